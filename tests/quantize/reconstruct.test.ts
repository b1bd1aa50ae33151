/** `quantize{reconstruct=...}`: blocks rounded for what is behind them, and left alone where that does not help. */
import { describe, expect, test } from 'vitest';
import type { CalibrationData } from '../../compiler/calibration.js';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { calibrateOnSamples } from '../../compiler/diffusion-calibration.js';
import type { TensorSource } from '../../ir/materialise.js';
import type { Module } from '../../ir/module.js';
import { printModule } from '../../ir/print.js';
import type { Tensor } from '../../ir/tensor.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { tokenObjective, valueObjective } from '../../passes/quantize/objective.js';
import type { BlockChange } from '../../passes/quantize/reconstruct.js';
import { standardPipeline } from '../../passes/registry.js';
import { randomSource, tinyData, tinyDit, tinyModel, tinyMoge, weightsOf } from '../prune/tiny-model.js';

const simplify = (module: Module): Module => runPipeline(module, parsePipeline(standardPipeline)).module;

interface Given {
  readonly module: Module;
  readonly source: TensorSource;
  readonly data: CalibrationData;
}

async function reconstructed({ module, source, data }: Given, pipeline: string) {
  const { module: changed, reports } = await runDataPipeline(module, parsePipeline(pipeline), {
    source,
    data,
  });
  const report = reports.at(-1);
  const { blocks = [] } = (report?.details ?? {}) as { blocks?: readonly BlockChange[] };
  return { module: changed, blocks, report };
}

const scheme = 'scheme=w4,rounding=gptq,every=2,condition=none';

/** Blocks are changed where their error falls, and are to the bit what they were elsewhere. */
async function expectHonest(given: Given, pipeline: string): Promise<readonly BlockChange[]> {
  const plain = await reconstructed(given, pipeline.replace(/,reconstruct=\w+/, ''));
  const whole = await reconstructed(given, pipeline);
  expect(whole.report?.counts.reconstructed).toBe(whole.blocks.filter(({ kept }) => kept).length);
  const [before, after] = [plain, whole].map(({ module }) => weightsOf({ ...given, module }));
  for (const { turn, before: error, after: found, kept } of whole.blocks) {
    expect(kept).toBe(found < error);
    const changed = [...(before as Map<string, Tensor>)].filter(
      ([name, { data }]) => name.endsWith(`#${turn}`) && !isSame(data, after?.get(name)?.data),
    );
    expect(changed.length > 0).toBe(kept);
  }
  return whole.blocks;
}

const isSame = (a: Float64Array, b: Float64Array | undefined): boolean =>
  a.length === b?.length && a.every((value, i) => value === b[i]);

describe('objectives', () => {
  test('cotangents for tokens have the curvature of the divergence', () => {
    const [rows, logits] = [20000, [0.3, -1, 1.2]];
    const objective = tokenObjective(3);
    const wanted = Float32Array.from({ length: rows * 3 }, (_, i) => logits[i % 3] as number);
    const [found] = objective.cotangents([wanted], undefined) as [Float32Array];
    const step = [0.02, 0.03, -0.01];
    let squares = 0;
    for (let row = 0; row < rows; row++)
      squares += step.reduce((sum, v, i) => sum + v * (found[row * 3 + i] as number), 0) ** 2 / rows;
    const moved = Float32Array.from(wanted.subarray(0, 3), (v, i) => v + (step[i] as number));
    const loss = objective.loss([wanted.subarray(0, 3)], [moved]);
    expect(squares / 2 / loss).toBeCloseTo(1, 1);
    expect(objective.loss([wanted], [wanted])).toBe(0);
  });

  test('calls weigh by their size and by the error they have', () => {
    const [small, large] = [Float32Array.from([3, 4]), Float32Array.from([30, 40])];
    const present = [Float32Array.from([3.5, 4]), Float32Array.from([30, 60])];
    expect(valueObjective.loss([small, large], present)).toBeCloseTo((0.1 + 0.4) / 2, 6);
    const weights = (given: readonly Float32Array[] | undefined): number[] =>
      valueObjective.cotangents([small, large], given).map((values) => Math.abs(values[0] as number));
    expect(weights(undefined).map((w) => 1 / w)).toEqual([5, 50].map((v) => expect.closeTo(v, 4)));
    const wanted = [5 * Math.sqrt(0.1), 50 * Math.sqrt(0.4)];
    expect(weights(present).map((w) => 1 / w)).toEqual(wanted.map((v) => expect.closeTo(v, 4)));
  });
});

describe('a diffusion transformer', async () => {
  const { module: raw } = tinyDit();
  const module = simplify(raw);
  const source = randomSource(module);
  const data = await calibrateOnSamples(module, source, { samples: 4, steps: 6 });

  test('is rounded for the outputs of its blocks', async () => {
    const pipeline = `quantize{${scheme},reconstruct=block}`;
    const blocks = await expectHonest({ module, source, data }, pipeline);
    expect(blocks.map(({ turn }) => turn)).toEqual([0, 1]);
    expect(blocks.some(({ kept }) => kept)).toBe(true);
  });

  test('is rounded for its own, with integer inputs, ranges by timestep and search behind it', async () => {
    const more = 'group=8,asymmetric,activations=step,groups=2,act_order,sweeps=1';
    const pipeline = `htg{groups=2},quantize{scheme=w4a8,rounding=gptq,every=2,${more},reconstruct=model}`;
    await expectHonest({ module, source, data }, pipeline);
  });

  test('weights that codes stand for exactly stay as they are', async () => {
    // Of every 16 weights one is 7/8 and the others are multiples of 1/8 below: all have the scale 1/8.
    const onGrid = randomSource(module, (_, values) =>
      values.map((v, i) => (i % 16 === 0 ? 7 / 8 : Math.round(v * 14) / 8)),
    );
    const given = { module, source: onGrid, data };
    const plain = await reconstructed(given, `quantize{${scheme}}`);
    const whole = await reconstructed(given, `quantize{${scheme},reconstruct=model}`);
    expect(whole.blocks.map(({ before, kept }) => [before, kept])).toEqual([
      [0, false],
      [0, false],
    ]);
    expect(printModule(whole.module)).toBe(printModule(plain.module));
    expect(weightsOf({ module: whole.module, source: onGrid })).toEqual(
      weightsOf({ module: plain.module, source: onGrid }),
    );
  });

  test.each([
    ['quantize{rounding=gptq,reconstruct=layer}', /HEW6002: quantize: reconstruct cannot be 'layer'/],
    ['quantize{reconstruct=model}', /HEW6121: quantize: reconstruct=model needs rounding=gptq/],
  ])('%s is refused', async (pipeline, message) => {
    await expect(reconstructed({ module, source, data }, pipeline)).rejects.toThrow(message);
  });
});

describe('language models', () => {
  test.each([
    ['dense', () => tinyModel({ num_hidden_layers: '2' })],
    ['of experts', tinyMoge],
  ])('%s: rounded for the tokens that follow', async (_name, make) => {
    const { module: raw, source } = make();
    const module = simplify(raw);
    const given = { module, source, data: tinyData(module, 16) };
    const blocks = await expectHonest(given, `quantize{${scheme},reconstruct=model}`);
    expect(blocks.some(({ kept }) => kept)).toBe(true);
  });

  test('one call cannot both tell and judge', async () => {
    const { module: raw, source } = tinyModel();
    const module = simplify(raw);
    const given = { module, source, data: tinyData(module, 1) };
    await expect(reconstructed(given, `quantize{${scheme},reconstruct=block}`)).rejects.toThrow(/HEW6011/);
  });
});
