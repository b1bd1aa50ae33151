/** Bundles of quantized diffusion transformers are as small as they are meant to be, tables of timesteps included. */
import { openModel } from 'hew';
import { expect, test } from 'vitest';
import { emitModule, emitVariants, lowerModule } from '../../compiler/build.js';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { calibrateOnSamples } from '../../compiler/diffusion-calibration.js';
import { inspectModule } from '../../compiler/inspect.js';
import { ObservationCache } from '../../compiler/observation-cache.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import { randomSource } from '../prune/tiny-model.js';

/** The sizes of dit-10m: the tables weigh more in smaller models. */
const set = {
  hidden_size: '256',
  depth: '8',
  num_heads: '8',
  patch_size: '4',
  input_size: '32',
  in_channels: '1',
  num_classes: '36',
};
const opened = openModel({ spec: 'examples/dit/dit.hew', set });
const module = runPipeline(opened.module, parsePipeline(standardPipeline)).module;
const f32 = 4 * inspectModule(module).totals.parameters;
const random = randomSource(module);
const tensors = new Map<string, ReturnType<typeof random.read>>();
const source: typeof random = {
  read: (name) => tensors.getOrInsertComputed(name, () => random.read(name)),
};
// Enough steps for the groups of two sites to differ wherever they can.
const data = await calibrateOnSamples(module, source, { samples: 1, steps: 20 });
const cache = new ObservationCache();

test.each([
  ['quantize{activations=step}', 0.25, 0.3],
  ['quantize{activations=step,scheme=w4a8,group=64,asymmetric,condition=w4}', 0.125, 0.18],
])('htg and %s take %f to %f of the bytes of f32', async (quantize, least, most) => {
  const pipeline = parsePipeline(`htg{groups=10,scale=max},${quantize}`);
  const { module: changed } = await runDataPipeline(module, pipeline, { source, data, cache });
  const lowered = (await lowerModule(changed)).module;
  const plain = await emitModule(lowered, { optimize: false });
  const code = [plain, ...(await emitVariants(lowered, { optimize: false }))].map((wasm) => wasm.code.length);
  const share = code.reduce((sum, bytes) => sum + bytes, plain.schedule.bytes.weights) / f32;
  expect(share).toBeLessThanOrEqual(most);
  expect(share).toBeGreaterThan(least);
});
