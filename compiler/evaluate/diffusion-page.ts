/** The report of `hew eval-diffusion` as one HTML page without scripts. */
import type { Samples } from '../../backends/wasm/runtime/load.js';
import { escapeText, heatMap, linePlot } from '../plots.js';
import { encodePng, imageGrid } from '../png.js';
import type { ActivationRanges } from './activation-ranges.js';
import type { DiffusionReport, Estimate } from './diffusion.js';

export interface DiffusionPage {
  readonly title: string;
  readonly report: DiffusionReport;
  readonly samples: Samples | undefined;
  readonly referenceSamples: Samples | undefined;
  readonly ranges: ActivationRanges | undefined;
}

const style =
  'body{font:14px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#24292f}' +
  'table{border-collapse:collapse}td,th{padding:.2rem .8rem;border-bottom:1px solid #d0d7de;text-align:left}' +
  'img{image-rendering:pixelated;max-width:100%}';

export function diffusionPage({ title, report, samples, referenceSamples, ranges }: DiffusionPage): string {
  const labels = report.steps.map(({ timestep }) => timestep);
  const blocks = (report.steps[0]?.blocks ?? []).map((_, block) => ({
    name: `block ${block}`,
    values: report.steps.map((step) => step.blocks[block] ?? 0),
  }));
  const yTitle = 'relative error';
  const parts = [
    `<h1>${escapeText(title)}</h1>`,
    figures(report),
    linePlot([{ name: 'ε', values: report.steps.map(({ eps }) => eps) }], {
      title: 'Error of the predicted noise by timestep',
      labels,
      yTitle,
      logarithmic: true,
    }),
    blocks.length === 0
      ? ''
      : linePlot(blocks, { title: 'Error behind each block by timestep', labels, yTitle, logarithmic: true }),
    gridOf('Samples', samples),
    gridOf('Samples of the reference', referenceSamples),
    ranges === undefined ? '' : rangesOf(ranges),
  ];
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${escapeText(title)}</title><style>${style}</style></head><body>${parts.join('\n')}</body></html>\n`;
}

const estimate = ({ value, standardError }: Estimate): string =>
  `${value.toPrecision(4)} ± ${standardError.toPrecision(2)}`;

/** Name and value of every figure of a report. */
export function figureRows({ n, epsError, steps, psnr, features }: DiffusionReport): [string, string][] {
  const worst = steps.reduce((a, b) => (b.eps > a.eps ? b : a));
  const rows: [string, string | undefined][] = [
    ['predicted noise, mean relative error over steps', epsError.toPrecision(4)],
    ['the greatest of them', `${worst.eps.toPrecision(4)} at t = ${worst.timestep}`],
    ['samples', n === 0 ? undefined : String(n)],
    ['PSNR against the reference, dB', psnr?.toFixed(2)],
    ['Frechet distance to the reference', features && estimate(features.toReference)],
    ['Frechet distance to real data', features?.toReal && estimate(features.toReal)],
    ['the same of the reference', features?.referenceToReal && estimate(features.referenceToReal)],
    ['class accuracy', features && estimate(features.accuracy)],
    ['the same of the reference', features && estimate(features.referenceAccuracy)],
  ];
  return rows.filter((row): row is [string, string] => row[1] !== undefined);
}

function figures(report: DiffusionReport): string {
  const rows = figureRows(report).map(
    ([name, value]) => `<tr><td>${escapeText(name)}</td><td>${escapeText(value)}</td></tr>`,
  );
  return `<table>${rows.join('')}</table>`;
}

/** Images that a page shows at most. */
const imagesShown = 144;

function gridOf(title: string, samples: Samples | undefined): string {
  const [count = 0, channels = 0, ...size] = samples?.shape ?? [];
  if (samples === undefined || size.length !== 2 || (channels !== 1 && channels !== 3)) return '';
  const shown = Math.min(count, imagesShown);
  const each = samples.data.length / count;
  const grid = imageGrid(samples.data.subarray(0, shown * each), [shown, channels, ...size], { columns: 18 });
  const png = Buffer.from(encodePng(grid)).toString('base64');
  return `<h2>${escapeText(title)}</h2><img alt="${escapeText(title)}" src="data:image/png;base64,${png}">`;
}

function rangesOf({ timesteps, layers }: ActivationRanges): string {
  const plots = layers.map(({ weight, turn, centre, groups }) => {
    const place = turn === undefined ? weight : `${weight}, turn ${turn}`;
    return heatMap(centre, {
      title: place,
      labels: timesteps,
      yTitle: 'channel',
      boundaries: groups.slice(1),
    });
  });
  const text =
    'Centre of the range of each channel (rows) at each timestep (columns), of the inputs of linear layers in the ' +
    'reference. Lines divide the timesteps into ten groups of similar centres, the last one alone.';
  return `<h2>Ranges over timesteps</h2><p>${text}</p>${plots.join('\n')}`;
}
