/** refit on a diffusion transformer: the gate behind each writer stays, what stands in front of it is solved. */
import { describe, expect, test } from 'vitest';
import { fromCalls } from '../../compiler/calibration.js';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { interpretEntry } from '../../ir/interpret.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { parsePipeline } from '../../passes/pipeline.js';
import { randomNumbers } from '../../passes/prune/scores.js';
import { type TinyModel, tinyDit } from '../prune/tiny-model.js';

const dit = tinyDit();
const random = randomNumbers(5);
const calls = Array.from({ length: 12 }, () => ({
  inputs: {
    x: { data: Float32Array.from({ length: 4 * 64 }, () => 2 * random() - 1), shape: [4, 1, 8, 8] },
    t: Int32Array.from({ length: 4 }, () => Math.floor(1000 * random())),
    y: Int32Array.from({ length: 4 }, () => Math.floor(4 * random())),
  },
}));

async function apply(text: string) {
  const data = fromCalls(dit.module, calls);
  const { module, reports } = await runDataPipeline(dit.module, parsePipeline(text), {
    source: dit.source,
    data,
  });
  return { module, source: dit.source, report: reports.at(-1) };
}

function outputs({ module, source }: TinyModel): number[] {
  return calls.slice(0, 4).flatMap(({ inputs }) => {
    const { eps } = interpretEntry(
      module,
      'denoise',
      {
        x: tensor('f32', inputs.x.shape, inputs.x.data),
        t: tensor('i32', [4], inputs.t),
        y: tensor('i32', [4], inputs.y),
      },
      { source },
    );
    return [...(eps as Tensor).data];
  });
}

async function error(text: string): Promise<number> {
  const [found, wanted] = [outputs(await apply(text)), outputs(dit)];
  const squares = found.reduce((sum, value, i) => sum + (value - (wanted[i] as number)) ** 2, 0);
  return Math.sqrt(squares / found.length);
}

describe('refit of a diffusion transformer', () => {
  test.each(['refit', 'refit{mode=one-shot}'])('%s leaves an unpruned model as it is', async (text) => {
    expect(await error(text)).toBeLessThan(1e-3);
  });

  test.each([
    ['prune{ffn=48}', 'refit'],
    ['prune{ffn=48}', 'refit{mode=one-shot}'],
    ['prune{heads=3}', 'refit'],
    ['prune{heads=3}', 'refit{mode=one-shot}'],
  ])('after %s, %s brings the outputs nearer to the original', async (pruning, refit) => {
    expect(await error(`${pruning},${refit}`)).toBeLessThan(0.9 * (await error(pruning)));
  });

  test('counts both writers of each block', async () => {
    const { report } = await apply('prune{ffn=48},refit');
    expect(report?.counts).toEqual({ writers: 4, readers: 0, gains: 0, head: 0, experts: 0 });
    expect(report?.notes).toEqual([]);
  });
});
