/** Numbers and tables for people. */

export type Align = 'left' | 'right';

export interface Column {
  readonly title: string;
  readonly align?: Align;
}

/** Rows under their titles, columns two spaces apart. */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => row.map(String))];
  const widths = columns.map((_, i) => Math.max(...cells.map((row) => (row[i] ?? '').length)));
  const lines = cells.map((row) =>
    columns
      .map(({ align }, i) => {
        const cell = row[i] ?? '';
        return align === 'right' ? cell.padStart(widths[i] as number) : cell.padEnd(widths[i] as number);
      })
      .join('  ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;
const countUnits = ['', ' k', ' M', ' G', ' T', ' P'] as const;

/** `3.3 MiB`. */
export function formatBytes(bytes: number): string {
  const exponent = Math.min(byteUnits.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** exponent;
  return `${exponent === 0 ? value : value.toFixed(1)} ${byteUnits[exponent]}`;
}

/** `1.71 M`. */
export function formatCount(count: number): string {
  const exponent = Math.min(countUnits.length - 1, count < 1000 ? 0 : Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** exponent;
  return `${exponent === 0 ? value : value.toFixed(2)}${countUnits[exponent]}`;
}

/** `0.2 s`, `14 s`, `3 min 20 s`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 120 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** A measured value: four significant digits, in powers of ten only where that is shorter. */
export function formatValue(value: number): string {
  if (value === 0 || Number.isInteger(value) || !Number.isFinite(value)) return String(value);
  return Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}
