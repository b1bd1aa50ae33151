/** npm run bench:quantized: steps and tokens of quantized models against f32, all in one process. */
import { existsSync } from 'node:fs';
import { cpus } from 'node:os';
import { byteDotOffset } from '../../backends/wasm/runtime/byte-dot.js';
import type { Model } from '../../backends/wasm/runtime/model.js';
import { loadModule, openModel, parsePipeline, runPipeline, standardPipeline } from '../../compiler/api.js';
import { emitModule, lowerModule } from '../../compiler/build.js';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { calibrateOnSamples } from '../../compiler/diffusion-calibration.js';
import type { Module } from '../../ir/module.js';
import { type Rounding, roundToNearest } from '../quantization/round-to-nearest.js';
import { compare, printTable } from './measure.js';

interface Variant {
  readonly name: string;
  readonly rounding?: Rounding;
  /** Passes that quantize with ranges of a calibration. */
  readonly pipeline?: string;
  readonly byteDots?: boolean;
}

const variants: readonly Variant[] = [
  { name: 'f32' },
  { name: 'W8A8, dynamic per token', rounding: { weights: 'i8', group: 0, activations: 'i8' } },
  {
    name: 'W8A8, without dot products of bytes',
    rounding: { weights: 'i8', group: 0, activations: 'i8' },
    byteDots: false,
  },
  {
    name: 'W8A8, htg with ranges of 10 groups',
    pipeline: 'htg{groups=10,scale=max},quantize{activations=step}',
  },
  { name: 'W4A8, dynamic per token', rounding: { weights: 'i4', group: 0, activations: 'i8' } },
  { name: 'W8, weights only', rounding: { weights: 'i8', group: 0, activations: 'f32' } },
];

interface Work {
  readonly name: string;
  /** Calls the model once; returns what it computed. */
  readonly run: (model: Model) => Float32Array;
}

async function benchVariants(
  title: string,
  path: string,
  spec: string,
  works: readonly Work[],
): Promise<void> {
  const opened = openModel({ spec, config: `${path}/config.json`, weights: `${path}/model.safetensors` });
  try {
    const { module } = runPipeline(opened.module, parsePipeline(standardPipeline));
    const data = await calibrateOnSamples(module, opened.source, { samples: 1, steps: 20 });
    const quantized = async ({ rounding, pipeline }: Variant): Promise<Module> => {
      if (rounding !== undefined) return roundToNearest(module, rounding);
      if (pipeline === undefined) return module;
      const options = { source: opened.source, data };
      return (await runDataPipeline(module, parsePipeline(pipeline), options)).module;
    };
    const loaded: { name: string; model: Model; bytes: number }[] = [];
    for (const variant of variants) {
      const { name, byteDots } = variant;
      const changed = await quantized(variant);
      const model = await loadModule(changed, opened.source, { byteDots });
      const { schedule } = await emitModule((await lowerModule(changed)).module, { optimize: false });
      loaded.push({ name, model, bytes: schedule.bytes.weights });
    }
    for (const work of works) {
      const outputs = loaded.map(({ model }) => work.run(model).slice());
      const times = compare(loaded.map(({ name, model }) => ({ name, run: () => void work.run(model) })));
      const [plain] = times;
      printTable(
        `${title}: ${work.name}`,
        ['weights', 'ms', 'speed', 'bytes of weights', 'of f32', 'relative error'],
        loaded.map(({ name, bytes }, i) => [
          name,
          (times[i]?.median ?? 0).toFixed(2),
          `${((plain?.median ?? 0) / (times[i]?.median ?? 1)).toFixed(2)}x`,
          `${(bytes / 2 ** 20).toFixed(1)} MiB`,
          (bytes / (loaded[0]?.bytes ?? 1)).toFixed(3),
          relativeError(outputs[0] as Float32Array, outputs[i] as Float32Array).toFixed(4),
        ]),
      );
    }
  } finally {
    opened.close();
  }
}

function relativeError(wanted: Float32Array, found: Float32Array): number {
  const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));
  return norm(wanted.map((v, i) => v - (found[i] as number))) / norm(wanted);
}

function denoise(batch: number): Work {
  const values = Float32Array.from({ length: batch * 3 * 32 * 32 }, (_, i) => Math.sin(i * 12.9898) * 1.5);
  return {
    name: `one denoising step, batch of ${batch}`,
    run: (model) => {
      const { inputs } = model.manifest.entries.denoise ?? { inputs: [] };
      const image = inputs[0]?.shape.slice(1).reduce<number>((n, size) => n * (size as number), 1) ?? 0;
      const result = model.run(
        'denoise',
        {
          x: values.subarray(0, batch * image),
          t: new Int32Array(batch).fill(500),
          y: new Int32Array(batch).fill(3),
        },
        { outputs: ['eps'] },
      );
      return result.eps as Float32Array;
    },
  };
}

const dots = byteDotOffset() === undefined ? 'without' : 'with';
console.log(
  `${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.version}, ${dots} dot products of bytes`,
);
const shared = '../shared/models';
if (existsSync(`${shared}/dit-10m/model.safetensors`))
  await benchVariants('dit-10m', `${shared}/dit-10m`, 'examples/dit/dit.hew', [denoise(2)]);
else console.log(`${shared}/dit-10m is absent`);
