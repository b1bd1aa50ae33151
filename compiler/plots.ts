/** Plots as SVG text, for reports that need no script and no network. */
import { encodePng } from './png.js';

export interface Line {
  readonly name: string;
  /** Values at the positions of the plot, from left to right. */
  readonly values: readonly number[];
}

export interface PlotOptions {
  readonly title: string;
  /** What stands at each position. */
  readonly labels: readonly (string | number)[];
  readonly yTitle: string;
  readonly logarithmic?: boolean | undefined;
}

const [width, height] = [720, 260];
const margin = { left: 64, right: 130, top: 28, bottom: 40 };
const plotWidth = width - margin.left - margin.right;
const plotHeight = height - margin.top - margin.bottom;
const colours = ['#0969da', '#cf222e', '#1a7f37', '#9a6700', '#8250df', '#bf3989', '#57606a', '#0550ae'];

export function escapeText(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

const frame = (title: string, inner: string, heightOfAll = height): string =>
  `<svg viewBox="0 0 ${width} ${heightOfAll}" width="${width}" role="img" aria-label="${escapeText(title)}" ` +
  `font-family="sans-serif" font-size="11" fill="#24292f"><text x="${margin.left}" y="16" font-size="13">` +
  `${escapeText(title)}</text>${inner}</svg>`;

const at = (value: number): string => value.toFixed(1);

/** Values over positions; with `logarithmic`, those that are not positive are left out. */
export function linePlot(
  lines: readonly Line[],
  { title, labels, yTitle, logarithmic }: PlotOptions,
): string {
  const scale = logarithmic ? Math.log10 : (v: number): number => v;
  const shown = lines.flatMap(({ values }) => values.map(scale)).filter(Number.isFinite);
  const low = Math.min(...(logarithmic ? [] : [0]), ...(shown.length > 0 ? shown : [0]));
  const high = Math.max(...(shown.length > 0 ? shown : [0]));
  const span = high > low ? high - low : 1;
  const x = (i: number): number => margin.left + (plotWidth * i) / Math.max(1, labels.length - 1);
  const y = (value: number): number => margin.top + plotHeight * (1 - (scale(value) - low) / span);
  const ticks = Array.from({ length: 5 }, (_, i) => low + (span * i) / 4).map((tick) => {
    const value = logarithmic ? 10 ** tick : tick;
    return (
      `<line x1="${margin.left}" x2="${margin.left + plotWidth}" y1="${at(y(value))}" y2="${at(y(value))}" stroke="#d0d7de"/>` +
      `<text x="${margin.left - 6}" y="${at(y(value) + 4)}" text-anchor="end">${value.toPrecision(2)}</text>`
    );
  });
  const paths = lines.map(({ name, values }, n) => {
    const colour = colours[n % colours.length] as string;
    const points = values.flatMap((value, i) =>
      Number.isFinite(scale(value)) ? [`${at(x(i))},${at(y(value))}`] : [],
    );
    return (
      `<polyline points="${points.join(' ')}" fill="none" stroke="${colour}" stroke-width="1.5"/>` +
      `<text x="${margin.left + plotWidth + 8}" y="${margin.top + 12 + 15 * n}" fill="${colour}">${escapeText(name)}</text>`
    );
  });
  const yLabel = `<text transform="translate(14,${margin.top + plotHeight / 2}) rotate(-90)" text-anchor="middle">${escapeText(yTitle)}</text>`;
  return frame(title, ticks.join('') + paths.join('') + axisLabels(labels, x) + yLabel);
}

/** At most eleven labels below the plot. */
function axisLabels(labels: readonly (string | number)[], x: (i: number) => number): string {
  const every = Math.max(1, Math.ceil(labels.length / 10));
  return labels
    .map((label, i) =>
      i % every === 0 || i === labels.length - 1
        ? `<text x="${at(x(i))}" y="${margin.top + plotHeight + 16}" text-anchor="middle">${escapeText(String(label))}</text>`
        : '',
    )
    .join('');
}

export interface HeatMapOptions {
  readonly title: string;
  /** What stands at each column. */
  readonly labels: readonly (string | number)[];
  readonly yTitle: string;
  /** Columns in front of which a line is drawn. */
  readonly boundaries?: readonly number[] | undefined;
}

/** values[row][column] as colours from blue (least) over white to red (greatest), zero being white. */
export function heatMap(values: readonly (readonly number[])[], options: HeatMapOptions): string {
  const [rows, columns] = [values.length, values[0]?.length ?? 0];
  const greatest = Math.max(1e-30, ...values.map((row) => Math.max(...row.map(Math.abs))));
  const data = new Uint8Array(rows * columns * 3);
  values.forEach((row, r) => {
    row.forEach((value, c) => {
      data.set(colourOf(value / greatest), (r * columns + c) * 3);
    });
  });
  const png = Buffer.from(encodePng({ width: columns, height: rows, channels: 3, data })).toString('base64');
  const x = (i: number): number => margin.left + (plotWidth * (i + 0.5)) / columns;
  const image =
    `<image x="${margin.left}" y="${margin.top}" width="${plotWidth}" height="${plotHeight}" preserveAspectRatio="none" ` +
    `style="image-rendering:pixelated" href="data:image/png;base64,${png}"/>`;
  const lines = (options.boundaries ?? []).map((column) => {
    const left = at(margin.left + (plotWidth * column) / columns);
    return `<line x1="${left}" x2="${left}" y1="${margin.top}" y2="${margin.top + plotHeight}" stroke="#24292f" stroke-width="0.8"/>`;
  });
  const scale = `<text x="${margin.left + plotWidth + 8}" y="${margin.top + 12}">±${greatest.toPrecision(3)}</text>`;
  const yLabel = `<text transform="translate(14,${margin.top + plotHeight / 2}) rotate(-90)" text-anchor="middle">${escapeText(options.yTitle)}</text>`;
  return frame(options.title, image + lines.join('') + axisLabels(options.labels, x) + scale + yLabel);
}

/** Of a value within -1 .. 1, by its square root, so that small values are told apart. */
function colourOf(value: number): [number, number, number] {
  const strength = Math.sqrt(Math.min(1, Math.abs(value)));
  const faded = Math.round(255 * (1 - strength));
  return value < 0 ? [faded, faded, 255] : [255, faded, faded];
}
