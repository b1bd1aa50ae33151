/**
 * The half of `npm run bench:quantize` that is of diffusion models: how far the predicted noise of every scheme is from
 * that of f32, beside the figures of an independent implementation for dit-10m, and on request the samples. Bundles are
 * left in out/quantize.
 */
import { readdirSync, statSync } from 'node:fs';
import { compileOpened, openModel } from '../../compiler/compile.js';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { calibrateOnSamples } from '../../compiler/diffusion-calibration.js';
import { evaluateDiffusion, traceReference } from '../../compiler/evaluate/diffusion.js';
import { readGaussian } from '../../compiler/evaluate/frechet.js';
import { loadModule } from '../../compiler/in-memory.js';
import { inspectModule } from '../../compiler/inspect.js';
import { loadBundle } from '../../compiler/load.js';
import { ObservationCache } from '../../compiler/observation-cache.js';
import { parsePipeline } from '../../passes/pipeline.js';
import { printTable } from './measure.js';

interface Case {
  /** Names the bundle. */
  readonly id: string;
  readonly what: string;
  readonly pipeline: string;
  /** What the independent implementation gives for dit-10m. */
  readonly reference?: number;
}

const balanced = 'htg{groups=10,scale=max}';
const gptq = 'rounding=gptq';
const search = 'sweeps=4';
const whole = 'reconstruct=model';
const narrow = 'group=64,asymmetric';

/** Inputs of 8 bits, and weights of 8. */
const w8a8: readonly Case[] = [
  { id: 'naive', what: 'one range per tensor', pipeline: 'quantize', reference: 0.0134 },
  {
    id: 'step',
    what: 'range per group, G = 10',
    pipeline: 'quantize{activations=step}',
    reference: 0.0115,
  },
  { id: 'ptq4dit', what: 'PTQ4DiT', pipeline: 'ptq4dit,quantize', reference: 0.0118 },
  {
    id: 'ptq4dit-step',
    what: 'PTQ4DiT and ranges, G = 10',
    pipeline: 'ptq4dit,quantize{activations=step}',
    reference: 0.0092,
  },
  { id: 'htg-1', what: 'HTG, G = 1', pipeline: 'htg{groups=1},quantize', reference: 0.0131 },
  {
    id: 'htg-5',
    what: 'HTG and ranges, G = 5',
    pipeline: 'htg{groups=5},quantize{activations=step,groups=5}',
    reference: 0.0095,
  },
  {
    id: 'htg-10',
    what: 'HTG and ranges, G = 10',
    pipeline: 'htg{groups=10},quantize{activations=step}',
    reference: 0.0089,
  },
  {
    id: 'htg',
    what: 'HTG by maximum and ranges, G = 10',
    pipeline: `${balanced},quantize{activations=step}`,
    reference: 0.0083,
  },
  {
    id: 'htg-gptq',
    what: 'HTG by maximum and ranges, GPTQ',
    pipeline: `${balanced},quantize{activations=step,${gptq}}`,
  },
  {
    id: 'dynamic',
    what: 'dynamic per token',
    pipeline: 'quantize{activations=token}',
    reference: 0.0053,
  },
  {
    id: 'htg-10-dynamic',
    what: 'HTG, dynamic per token',
    pipeline: 'htg{groups=10},quantize{activations=token}',
    reference: 0.0042,
  },
  {
    id: 'htg-dynamic',
    what: 'HTG by maximum, dynamic per token',
    pipeline: `${balanced},quantize{activations=token}`,
  },
  {
    id: 'best',
    what: 'HTG by maximum, dynamic per token, GPTQ',
    pipeline: `${balanced},quantize{activations=token,${gptq}}`,
  },
  {
    id: 'best-model',
    what: 'the same reconstructed for the output of the model',
    pipeline: `${balanced},quantize{activations=token,${gptq},${whole}}`,
  },
];

/** The same with weights of 4 bits. */
const w4a8: readonly Case[] = [
  { id: 'naive', what: 'one range per tensor', pipeline: 'quantize{scheme=w4a8}', reference: 0.0369 },
  {
    id: 'step',
    what: 'range per group, G = 10',
    pipeline: 'quantize{scheme=w4a8,activations=step}',
    reference: 0.036,
  },
  { id: 'ptq4dit', what: 'PTQ4DiT', pipeline: 'ptq4dit,quantize{scheme=w4a8}', reference: 0.034 },
  {
    id: 'ptq4dit-step',
    what: 'PTQ4DiT and ranges, G = 10',
    pipeline: 'ptq4dit,quantize{scheme=w4a8,activations=step}',
    reference: 0.0331,
  },
  { id: 'htg-1', what: 'HTG, G = 1', pipeline: 'htg{groups=1},quantize{scheme=w4a8}', reference: 0.034 },
  {
    id: 'htg-5',
    what: 'HTG and ranges, G = 5',
    pipeline: 'htg{groups=5},quantize{scheme=w4a8,activations=step,groups=5}',
    reference: 0.0344,
  },
  {
    id: 'htg',
    what: 'HTG and ranges, G = 10',
    pipeline: 'htg{groups=10},quantize{scheme=w4a8,activations=step}',
    reference: 0.0342,
  },
  {
    id: 'htg-64',
    what: 'HTG and ranges, groups of 64',
    pipeline: 'htg{groups=10},quantize{scheme=w4a8,activations=step,group=64}',
    reference: 0.0269,
  },
  {
    id: 'dynamic',
    what: 'dynamic per token',
    pipeline: 'quantize{scheme=w4a8,activations=token}',
    reference: 0.0341,
  },
  {
    id: 'htg-dynamic',
    what: 'HTG, dynamic per token',
    pipeline: 'htg{groups=10},quantize{scheme=w4a8,activations=token}',
    reference: 0.0332,
  },
  {
    id: 'htg-dynamic-64',
    what: 'HTG, dynamic, groups of 64',
    pipeline: 'htg{groups=10},quantize{scheme=w4a8,activations=token,group=64}',
    reference: 0.0256,
  },
  {
    id: 'naive-gptq',
    what: 'one range per tensor, GPTQ',
    pipeline: `quantize{scheme=w4a8,${gptq}}`,
    reference: 0.0199,
  },
  {
    id: 'ptq4dit-gptq',
    what: 'PTQ4DiT, GPTQ',
    pipeline: `ptq4dit,quantize{scheme=w4a8,${gptq}}`,
    reference: 0.0204,
  },
  {
    id: 'htg-gptq',
    what: 'HTG and ranges, GPTQ',
    pipeline: `htg{groups=10},quantize{scheme=w4a8,activations=step,${gptq}}`,
    reference: 0.0188,
  },
  {
    id: 'htg-10-dynamic-gptq',
    what: 'HTG, dynamic, GPTQ',
    pipeline: `htg{groups=10},quantize{scheme=w4a8,activations=token,${gptq}}`,
    reference: 0.0158,
  },
  {
    id: 'htg-dynamic-gptq',
    what: 'the same by maximum, large inputs first, bias correction',
    pipeline: `${balanced},quantize{scheme=w4a8,activations=token,${gptq},act_order,bias_correction}`,
  },
  {
    id: 'htg-dynamic-gptq-search',
    what: 'the same with coordinate search',
    pipeline: `${balanced},quantize{scheme=w4a8,activations=token,${gptq},act_order,bias_correction,${search}}`,
  },
  {
    id: 'htg-dynamic-gptq-model',
    what: 'the same reconstructed for the output of the model',
    pipeline: `${balanced},quantize{scheme=w4a8,activations=token,${gptq},act_order,bias_correction,${whole}}`,
  },
  {
    id: 'htg-gptq-64',
    what: 'HTG by maximum and ranges, GPTQ, groups of 64, asymmetric',
    pipeline: `${balanced},quantize{scheme=w4a8,activations=step,${gptq},${narrow}}`,
    reference: 0.0144,
  },
  {
    id: 'best-static',
    what: 'HTG by maximum and ranges, GPTQ, groups of 64, asymmetric, large inputs first, condition in 4 bits',
    pipeline: `${balanced},quantize{scheme=w4a8,activations=step,${gptq},act_order,${narrow},condition=w4}`,
  },
  {
    id: 'best-static-model',
    what: 'the same reconstructed for the output of the model',
    pipeline: `${balanced},quantize{scheme=w4a8,activations=step,${gptq},act_order,${narrow},condition=w4,${whole}}`,
  },
  {
    id: 'htg-dynamic-gptq-64',
    what: 'HTG by maximum, dynamic, GPTQ, groups of 64, asymmetric',
    pipeline: `${balanced},quantize{scheme=w4a8,activations=token,${gptq},${narrow}}`,
  },
  {
    id: 'best',
    what: 'HTG by maximum, dynamic, GPTQ, groups of 64, asymmetric, large inputs first, condition in 4 bits',
    pipeline: `${balanced},quantize{scheme=w4a8,activations=token,${gptq},act_order,${narrow},condition=w4}`,
  },
  {
    id: 'best-search',
    what: 'the same with coordinate search',
    pipeline: `${balanced},quantize{scheme=w4a8,activations=token,${gptq},act_order,${narrow},condition=w4,${search}}`,
  },
  {
    id: 'best-block',
    what: 'reconstructed for the outputs of blocks, no coordinate search',
    pipeline: `${balanced},quantize{scheme=w4a8,activations=token,${gptq},act_order,${narrow},condition=w4,reconstruct=block}`,
  },
  {
    id: 'best-model',
    what: 'reconstructed for the output of the model, no coordinate search',
    pipeline: `${balanced},quantize{scheme=w4a8,activations=token,${gptq},act_order,${narrow},condition=w4,${whole}}`,
  },
];

const cases: readonly (Case & { readonly scheme: string })[] = [
  ...w8a8.map((of) => ({ ...of, id: `w8a8-${of.id}`, scheme: 'W8A8' })),
  ...w4a8.map((of) => ({ ...of, id: `w4a8-${of.id}`, scheme: 'W4A8' })),
];

export interface DiffusionTableOptions {
  /** Noises to calibrate on; 36 by default. */
  readonly noises: number | undefined;
  /** Samples to draw and compare; none by default. */
  readonly n: number | undefined;
  /** Noises to judge on; 12 by default. */
  readonly judged: number | undefined;
  /** Names of the cases to measure; all by default. */
  readonly only: RegExp | undefined;
}

/** `opened` with its module behind the standard pipeline; it is closed at the end. */
export async function diffusionTable(
  model: string,
  opened: ReturnType<typeof openModel>,
  { noises = 36, n = 0, judged = 12, only }: DiffusionTableOptions,
): Promise<void> {
  const { module, source } = opened;
  const started = performance.now();
  const data = await calibrateOnSamples(module, source, { samples: noises });
  console.error(`${model}: calibration data in ${seconds(started)}`);
  const reference = await loadModule(module, source);
  const settings = { seed: 77, trajectories: judged };
  const trace = await traceReference(reference, settings);
  const judges = n === 0 ? undefined : await openJudges();
  const drawn = await (judges && evaluateDiffusion(reference, reference, { ...settings, trace, n }));
  const cache = new ObservationCache();
  const rows: string[][] = [];
  const f32 = 4 * inspectModule(module).totals.parameters;
  for (const { id, scheme, what, pipeline, reference: wanted } of cases) {
    if (only?.test(id) === false) continue;
    const began = performance.now();
    const { module: changed } = await runDataPipeline(module, parsePipeline(pipeline), {
      source,
      data,
      cache,
    });
    const passes = seconds(began);
    const bundle = `out/quantize/${model}/${id}`;
    await compileOpened({ ...opened, module: changed }, { output: bundle });
    const quantized = await loadBundle(bundle);
    const { report } = await evaluateDiffusion(quantized, reference, {
      ...settings,
      ...judges,
      trace,
      n,
      referenceSamples: drawn?.referenceSamples,
    });
    const last = report.steps.at(-1)?.eps ?? 0;
    const count = report.steps.length;
    const row = [
      scheme,
      what,
      report.epsError.toFixed(4),
      model === 'dit-10m' ? (wanted?.toFixed(4) ?? '') : '',
      last.toFixed(3),
      ((report.epsError * count - last) / (count - 1)).toFixed(4),
      (bytesOf(bundle) / f32).toFixed(3),
    ];
    if (n > 0)
      row.push(
        (report.psnr ?? 0).toFixed(1),
        (report.features?.toReference.value ?? 0).toFixed(2),
        `${((report.features?.accuracy.value ?? 0) * 100).toFixed(1)} %`,
      );
    rows.push(row);
    console.error(`${model}: ${id}: ${row.join(' | ')} (passes ${passes}, in all ${seconds(began)})`);
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
      'bundle, of f32',
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

const bytesOf = (bundle: string): number =>
  readdirSync(bundle).reduce((sum, file) => sum + statSync(`${bundle}/${file}`).size, 0);

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(0)} s`;
}
