/** The score `obs` against removing blocks one by one and solving what is left anew each time. */

import { parsePipeline } from 'hew';
import { describe, expect, test } from 'vitest';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { interpretEntry } from '../../ir/interpret.js';
import type { Module } from '../../ir/module.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import type { StepReport } from '../../passes/pipeline.js';
import { removalCosts } from '../../passes/prune/removal-cost.js';
import { correction, normalEquations } from '../../passes/refit/least-squares.js';
import { randomFrom, uniform } from '../conformance/random.js';
import { randomSource, type TinyModel, tinyData, tinyModel, tinyMoge } from './tiny-model.js';

/** Rows of x, some inputs nearly explained by others. */
function samples(seed: number, rows: number, inputs: number): number[][] {
  const random = randomFrom(seed);
  return Array.from({ length: rows }, () => {
    const row = Array.from(uniform(-1, 1)(inputs, random));
    for (let i = 2; i < inputs; i += 3) row[i] = (row[i - 1] as number) * 0.7 + (row[i] as number) * 0.2;
    return row;
  });
}

function gramOf(x: readonly number[][], kept: readonly number[]): Float64Array {
  return Float64Array.from({ length: kept.length ** 2 }, (_, at) => {
    const [i, j] = [kept[Math.floor(at / kept.length)] as number, kept[at % kept.length] as number];
    return x.reduce((sum, row) => sum + (row[i] as number) * (row[j] as number), 0);
  });
}

/** Least Σ ‖W x - W' x'‖² + λ ‖W - W'‖² over weights W' of the kept inputs: what the score is to be. */
function errorWithout(
  x: readonly number[][],
  w: Float64Array,
  inputs: number,
  kept: readonly number[],
): number {
  const outputs = w.length / inputs;
  const n = kept.length;
  const whole = gramOf(
    x,
    Array.from({ length: inputs }, (_, i) => i),
  );
  let trace = 0;
  for (let i = 0; i < inputs; i++) trace += whole[i * inputs + i] as number;
  const lambda = (1e-3 * trace) / inputs;
  const gram = gramOf(x, kept);
  // The ridge of the whole problem, so that `normalEquations` adds none of its own.
  for (let i = 0; i < n; i++) gram[i * n + i] = (gram[i * n + i] as number) + lambda;
  const gone = Array.from({ length: inputs }, (_, i) => i).filter((i) => !kept.includes(i));
  const cross = Float64Array.from({ length: n * outputs }, (_, at) => {
    const [i, j] = [kept[Math.floor(at / outputs)] as number, at % outputs];
    return gone.reduce(
      (sum, g) => sum + (w[j * inputs + g] as number) * (whole[i * inputs + g] as number),
      0,
    );
  });
  const step = correction(normalEquations(gram, n, 0), cross);
  let error = 0;
  for (let j = 0; j < outputs; j++) {
    const difference = Array.from({ length: inputs }, (_, i) =>
      kept.includes(i) ? -(step[j * n + kept.indexOf(i)] as number) : (w[j * inputs + i] as number),
    );
    error += lambda * difference.reduce((sum, value) => sum + value * value, 0);
    for (const row of x)
      error += difference.reduce((sum, value, i) => sum + value * (row[i] as number), 0) ** 2;
  }
  return error;
}

async function squaredError(model: TinyModel, text: string): Promise<number> {
  const { source } = model;
  const data = tinyData(model.module, 24, 16);
  const { module } = await runDataPipeline(model.module, parsePipeline(text), { source, data });
  const outputs = (own: Module): Float64Array[] =>
    (data.windows ?? []).slice(0, 6).map((ids) => {
      const inputs = { ids: tensor('i32', [ids.length], ids) };
      return (interpretEntry(own, 'prefill', inputs, { source }).logits as Tensor).data;
    });
  const wanted = outputs(model.module);
  return outputs(module)
    .flatMap((rows, call) => Array.from(rows, (value, i) => (value - (wanted[call]?.[i] ?? Number.NaN)) ** 2))
    .reduce((a, b) => a + b);
}

describe('score obs', () => {
  test.each(['true', 'false'])(
    'removes what other neurons explain, however active it is (sandwich_norm = %s)',
    async (sandwich_norm) => {
      const { module } = tinyModel({ sandwich_norm });
      // Neurons 0 to 5 repeat neurons 6 to 11, twice as large; 12 to 23 are alone and small.
      const d = 16;
      const source = randomSource(module, (name, values) =>
        values.map((value, i) => {
          const neuron = Math.floor(i / d);
          if (!/gate_proj|up_proj/.test(name)) return value;
          const own = neuron < 6 ? (values[i + 6 * d] as number) : value;
          const factor = neuron < 6 ? 2 : neuron < 12 ? 1 : 0.25;
          return Math.fround(/up_proj/.test(name) ? own * factor : own);
        }),
      );
      const model = { module, source };
      const refit = 'refit{mode=one-shot,ridge=1e-7}';
      const paper = await squaredError(model, `prune{ffn=18},${refit}`);
      expect(await squaredError(model, `prune{ffn=18,score=obs},${refit}`)).toBeLessThan(paper / 20);
    },
    60_000,
  );

  test('of heads keeps as many in each group', async () => {
    const model = tinyModel();
    const { source } = model;
    const data = tinyData(model.module, 8, 16);
    const steps = parsePipeline('prune{heads=2,score=obs}');
    const { reports } = await runDataPipeline(model.module, steps, { source, data });
    const [report] = reports as [StepReport];
    const { heads } = report.details as Record<string, { kept: Record<string, number[]> }>;
    expect(Object.keys(heads?.kept ?? {})).toHaveLength(4);
    for (const kept of Object.values(heads?.kept ?? {}))
      expect(kept.map((head) => Math.floor(head / 2))).toEqual([0, 1]);
  });

  test('of neurons that a router chooses from is refused', async () => {
    const { module, source } = tinyMoge();
    const data = tinyData(module);
    const run = runDataPipeline(module, parsePipeline('prune{expert_ffn=6,score=obs}'), { source, data });
    await expect(run).rejects.toThrow(/HEW6010: nothing in the model shows how important each index/);
  });
});

describe('removal costs', () => {
  test.each([
    { inputs: 7, block: 1, outputs: 3 },
    { inputs: 12, block: 3, outputs: 5 },
    { inputs: 10, block: 2, outputs: 1 },
  ])('$inputs inputs in blocks of $block: the greedy order and its errors', ({ inputs, block, outputs }) => {
    const x = samples(inputs, 40, inputs);
    const w = Float64Array.from(uniform(-1, 1)(outputs * inputs, randomFrom(3)));
    const all = Array.from({ length: inputs }, (_, i) => i);
    const costs = removalCosts({ gram: gramOf(x, all), weights: w, inputs, block });
    let left = Array.from({ length: inputs / block }, (_, i) => i);
    while (left.length > 1) {
      const errors = left.map((candidate) => {
        const kept = all.filter((i) => {
          const own = Math.floor(i / block);
          return own !== candidate && left.includes(own);
        });
        return errorWithout(x, w, inputs, kept);
      });
      const at = errors.indexOf(Math.min(...errors));
      const index = left[at] as number;
      expect(costs[index]).toBeCloseTo(errors[at] as number, 8);
      left = left.filter((other) => other !== index);
    }
    expect(Math.max(...costs)).toBe(costs[left[0] as number]);
  });

  test('of inputs that are equal the higher index goes first, at no cost', () => {
    const gram = Float64Array.of(2, 2, 2, 2).map((value) => value * 1e6);
    const costs = removalCosts({ gram, weights: Float64Array.of(1, 1), inputs: 2, block: 1 });
    expect(costs[1]).toBeLessThan(costs[0] as number);
  });

  test('inputs that are always zero cost nothing but the ridge, and moments that are not finite are refused', () => {
    const costs = removalCosts({
      gram: new Float64Array(4),
      weights: Float64Array.of(1, 2),
      inputs: 2,
      block: 1,
    });
    expect([...costs]).toEqual([1, 5]);
    const bad = { gram: Float64Array.of(Number.NaN), weights: Float64Array.of(1), inputs: 1, block: 1 };
    expect(() => removalCosts(bad)).toThrow(/not finite/);
  });
});
