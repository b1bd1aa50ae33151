/** Routed experts: each is rounded for the tokens it sees, and quantization says what became of the choice of experts. */
import { expect, test } from 'vitest';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { parsePipeline, runPipeline, type StepReport } from '../../passes/pipeline.js';
import { randomNumbers } from '../../passes/prune/scores.js';
import { roundExperts } from '../../passes/quantize/expert-rounding.js';
import { gptq } from '../../passes/quantize/gptq.js';
import { standardPipeline } from '../../passes/registry.js';
import { tinyData, tinyMoge } from '../prune/tiny-model.js';

const [rows, columns] = [3, 4];
const scheme = { bits: 4 };
const options = { damp: 0.01 };

/** Σ x xᵀ of random inputs, one channel of which is large. */
function gram(seed: number, tokens: number, large: number): Float64Array {
  const random = randomNumbers(seed);
  const sum = new Float64Array(columns * columns);
  for (let t = 0; t < tokens; t++) {
    const x = Array.from({ length: columns }, (_, i) => (random() - 0.5) * (i === large ? 20 : 1));
    for (let i = 0; i < sum.length; i++)
      sum[i] = (sum[i] as number) + (x[Math.floor(i / columns)] as number) * (x[i % columns] as number);
  }
  return sum;
}

test('an expert is rounded for its own tokens, or for those of its layer when it saw too few', () => {
  const random = randomNumbers(5);
  const w = Float64Array.from({ length: 3 * rows * columns }, () => random() - 0.5);
  const each = [gram(1, 50, 0), gram(2, 50, 3), gram(3, 2, 1)] as const;
  const grams = Float64Array.from(each.flatMap((g) => [...g]));
  const tokens = Float64Array.of(50, 50, 2);
  const { weight, sparse } = roundExperts(w, columns, { grams, tokens }, scheme, options);
  expect(sparse).toEqual([2]);
  const ofLayer = each[0].map((value, i) => value + (each[1][i] as number) + (each[2][i] as number));
  const alone = [each[0], each[1], ofLayer].map((own, expert) => {
    const part = w.slice(expert * rows * columns, (expert + 1) * rows * columns);
    return gptq(part, rows, columns, own, scheme, options);
  });
  expect([...weight.codes]).toEqual(alone.flatMap((part) => [...(part?.codes ?? [])]));
  expect([...weight.scales]).toEqual(alone.flatMap((part) => [...(part?.scales ?? [])]));
  // The Gram matrix matters: with those of the experts exchanged, other codes come out.
  const exchanged = Float64Array.from([each[1], each[0], each[2]].flatMap((g) => [...g]));
  const other = roundExperts(w, columns, { grams: exchanged, tokens }, scheme, options);
  expect([...other.weight.codes]).not.toEqual([...weight.codes]);
});

const model = tinyMoge();
const module = runPipeline(model.module, parsePipeline(standardPipeline)).module;
const { source } = model;
const data = tinyData(module, 40);
const quantized = (pipeline: string) => runDataPipeline(module, parsePipeline(pipeline), { source, data });

test('experts by GPTQ, routers in float, and a report of what both do', async () => {
  const { module: changed, reports } = await quantized('quantize{scheme=w4,rounding=gptq,every=1}');
  const [{ notes, details }] = reports as [StepReport];
  const experts = 'model.layers.{layer}.mlp.experts.{e}.down_proj.weight';
  expect(changed.params.get(experts)?.type.dtype).toBe('i4');
  expect(changed.params.get('model.layers.{layer}.mlp.gate.weight')?.type.dtype).toBe('f32');
  const { routing } = details as { routing: { router: string; same: number; error: number }[] };
  expect(routing.map(({ router }) => router)).toEqual(['model.layers.{layer}.mlp.gate.weight']);
  const [{ same, error }] = routing as [(typeof routing)[0]];
  expect(same).toBeGreaterThan(0.5);
  expect(same).toBeLessThan(1);
  expect(error).toBeGreaterThan(0.001);
  expect(notes.at(-1)).toMatch(
    /^router \S+gate\.weight: \d+\.\d\d % of the choices of experts are as before/,
  );
});

test('the choice of experts stays with weights of 8 bits', async () => {
  const { reports } = await quantized('quantize{scheme=w8}');
  const [{ details }] = reports as [StepReport];
  const [{ same, error }] = (details as { routing: { same: number; error: number }[] }).routing as [
    { same: number; error: number },
  ];
  expect(same).toBeGreaterThan(0.9);
  expect(error).toBeLessThan(0.02);
});
