/** Timing: both sides warmed up and run alternately in one process, medians reported. */

export interface Side {
  readonly name: string;
  readonly run: () => void;
}

export interface Timing {
  readonly name: string;
  /** Median, in milliseconds. */
  readonly median: number;
  readonly least: number;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** Runs all sides in turn `rounds` times after one warm-up round of at least `warmup` milliseconds each. */
export function compare(sides: readonly Side[], rounds = 7, warmup = 200): Timing[] {
  for (const side of sides) {
    const end = performance.now() + warmup;
    do side.run();
    while (performance.now() < end);
  }
  const samples = sides.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    sides.forEach((side, i) => {
      const start = performance.now();
      side.run();
      samples[i]?.push(performance.now() - start);
    });
  }
  return sides.map(({ name }, i) => ({
    name,
    median: median(samples[i] as number[]),
    least: Math.min(...(samples[i] as number[])),
  }));
}

/** A table with right-aligned columns after the first. */
export function printTable(
  title: string,
  header: readonly string[],
  rows: readonly (readonly string[])[],
): void {
  const widths = header.map((h, c) => Math.max(h.length, ...rows.map((row) => (row[c] ?? '').length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, c) => (c === 0 ? cell.padEnd(widths[c] as number) : cell.padStart(widths[c] as number)))
      .join('  ');
  console.log(`\n${title}\n${[header, ...rows].map(line).join('\n')}`);
}
