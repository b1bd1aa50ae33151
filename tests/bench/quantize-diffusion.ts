/**
 * The half of `npm run bench:quantize` that is of diffusion models: how far the predicted noise of every scheme is from
 * that of f32, beside the figures of an independent implementation for dit-10m, and on request the samples.
 */
import { openModel } from '../../compiler/compile.js';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { calibrateOnSamples } from '../../compiler/diffusion-calibration.js';
import { evaluateDiffusion, traceReference } from '../../compiler/evaluate/diffusion.js';
import { readGaussian } from '../../compiler/evaluate/frechet.js';
import { loadModule } from '../../compiler/in-memory.js';
import { inspectModule } from '../../compiler/inspect.js';
import { ObservationCache } from '../../compiler/observation-cache.js';
import { parsePipeline } from '../../passes/pipeline.js';
import { printTable } from './measure.js';

interface Case {
  readonly scheme: 'W8A8' | 'W4A8';
  readonly what: string;
  readonly pipeline: string;
  /** What the independent implementation gives for dit-10m. */
  readonly reference?: number;
}

const w8a8: readonly Omit<Case, 'scheme'>[] = [
  { what: 'one range per tensor', pipeline: 'quantize', reference: 0.0134 },
  { what: 'range per group, G = 10', pipeline: 'quantize{activations=step}', reference: 0.0115 },
  { what: 'PTQ4DiT', pipeline: 'ptq4dit,quantize', reference: 0.0118 },
  { what: 'PTQ4DiT, G = 10', pipeline: 'ptq4dit,quantize{activations=step}', reference: 0.0092 },
  { what: 'HTG and ranges, G = 1', pipeline: 'htg{groups=1},quantize', reference: 0.0131 },
  { what: 'HTG and ranges, G = 5', pipeline: 'htg{groups=5},quantize{activations=step,groups=5}' },
  {
    what: 'HTG and ranges, G = 10',
    pipeline: 'htg{groups=10},quantize{activations=step}',
    reference: 0.0089,
  },
  {
    what: 'the same, scale by maximum',
    pipeline: 'htg{groups=10,scale=max},quantize{activations=step}',
    reference: 0.0083,
  },
  { what: 'dynamic per token', pipeline: 'quantize{activations=token}', reference: 0.0053 },
  {
    what: 'HTG, dynamic per token',
    pipeline: 'htg{groups=10},quantize{activations=token}',
    reference: 0.0042,
  },
  {
    what: 'the same, scale by maximum',
    pipeline: 'htg{groups=10,scale=max},quantize{activations=token}',
  },
];

const gptq = 'rounding=gptq';
const narrow = 'group=64,asymmetric';
const w4a8: readonly Omit<Case, 'scheme'>[] = [
  { what: 'one range per tensor', pipeline: 'quantize{scheme=w4a8}', reference: 0.0369 },
  { what: 'PTQ4DiT', pipeline: 'ptq4dit,quantize{scheme=w4a8}', reference: 0.034 },
  {
    what: 'HTG and ranges, G = 10',
    pipeline: 'htg{groups=10},quantize{scheme=w4a8,activations=step}',
    reference: 0.0342,
  },
  {
    what: 'HTG, dynamic per token',
    pipeline: 'htg{groups=10},quantize{scheme=w4a8,activations=token}',
    reference: 0.0332,
  },
  { what: 'one range per tensor, GPTQ', pipeline: `quantize{scheme=w4a8,${gptq}}`, reference: 0.0199 },
  { what: 'PTQ4DiT, GPTQ', pipeline: `ptq4dit,quantize{scheme=w4a8,${gptq}}`, reference: 0.0204 },
  {
    what: 'HTG and ranges, GPTQ',
    pipeline: `htg{groups=10},quantize{scheme=w4a8,activations=step,${gptq}}`,
    reference: 0.0188,
  },
  {
    what: 'HTG and ranges, GPTQ, groups of 64, asymmetric',
    pipeline: `htg{groups=10,scale=max},quantize{scheme=w4a8,activations=step,${gptq},${narrow}}`,
    reference: 0.0144,
  },
  {
    what: 'HTG, dynamic, GPTQ',
    pipeline: `htg{groups=10},quantize{scheme=w4a8,activations=token,${gptq}}`,
    reference: 0.0158,
  },
  {
    what: 'HTG, dynamic, GPTQ, groups of 64, asymmetric',
    pipeline: `htg{groups=10,scale=max},quantize{scheme=w4a8,activations=token,${gptq},${narrow}}`,
  },
];

const cases: readonly Case[] = [
  ...w8a8.map((of): Case => ({ ...of, scheme: 'W8A8' })),
  ...w4a8.map((of): Case => ({ ...of, scheme: 'W4A8' })),
];

export interface DiffusionTableOptions {
  /** Noises to calibrate on; 36 by default. */
  readonly noises: number | undefined;
  /** Samples to draw and compare; none by default. */
  readonly n: number | undefined;
}

/** `opened` with its module behind the standard pipeline; it is closed at the end. */
export async function diffusionTable(
  model: string,
  opened: ReturnType<typeof openModel>,
  { noises = 36, n = 0 }: DiffusionTableOptions,
): Promise<void> {
  const { module, source } = opened;
  const started = performance.now();
  const data = await calibrateOnSamples(module, source, { samples: noises });
  console.error(`${model}: calibration data in ${seconds(started)}`);
  const reference = await loadModule(module, source);
  const settings = { seed: 77, trajectories: 12 };
  const trace = await traceReference(reference, settings);
  const judges = n === 0 ? undefined : await openJudges();
  const drawn = await (judges && evaluateDiffusion(reference, reference, { ...settings, trace, n }));
  const cache = new ObservationCache();
  const rows: string[][] = [];
  for (const { scheme, what, pipeline, reference: wanted } of cases) {
    const began = performance.now();
    const { module: changed } = await runDataPipeline(module, parsePipeline(pipeline), {
      source,
      data,
      cache,
    });
    const passes = seconds(began);
    const quantized = await loadModule(changed, source);
    const { report } = await evaluateDiffusion(quantized, reference, {
      ...settings,
      ...judges,
      trace,
      n,
      referenceSamples: drawn?.referenceSamples,
    });
    const last = report.steps.at(-1)?.eps ?? 0;
    const count = report.steps.length;
    const share =
      inspectModule(changed).totals.parameterBytes / (4 * inspectModule(module).totals.parameters);
    const row = [
      scheme,
      what,
      report.epsError.toFixed(4),
      model === 'dit-10m' ? (wanted?.toFixed(4) ?? '') : '',
      last.toFixed(3),
      ((report.epsError * count - last) / (count - 1)).toFixed(4),
      share.toFixed(3),
    ];
    if (n > 0)
      row.push(
        (report.psnr ?? 0).toFixed(1),
        (report.features?.toReference.value ?? 0).toFixed(2),
        `${((report.features?.accuracy.value ?? 0) * 100).toFixed(1)} %`,
      );
    rows.push(row);
    console.error(`${model}: ${row.join(' | ')} (passes ${passes}, in all ${seconds(began)})`);
  }
  printTable(
    `${model}: relative error of the predicted noise over 50 DDIM steps`,
    [
      'scheme',
      'case',
      'mean',
      'independent',
      't = 0',
      'other steps',
      'bytes of f32',
      ...(n > 0 ? ['PSNR dB', 'Frechet to f32', 'class accuracy'] : []),
    ],
    rows,
  );
  opened.close();
}

/** A classifier, and what its features are of real data. */
async function openJudges() {
  const { module, source } = openModel({ spec: 'examples/glyphnet/model.hew' });
  if (source === undefined) return undefined;
  const real = readGaussian('../shared/models/glyphnet/golden.safetensors');
  return { features: await loadModule(module, source), real };
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(0)} s`;
}
