/** shard: the ranks together compute what the whole model does, and each has its share of the weights. */
import { HewError } from 'hew';
import { describe, expect, test } from 'vitest';
import { figures } from '../../compiler/prune.js';
import { dim } from '../../ir/dim.js';
import { interpretEntry, type StateStore } from '../../ir/interpret.js';
import { modelDims } from '../../ir/module.js';
import { parseModule } from '../../ir/parse.js';
import { interpretRanks } from '../../ir/ranks.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { assertValid } from '../../ir/verify.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import {
  largestDifference,
  type TinyModel,
  tinyDit,
  tinyModel,
  tinyMoge,
  tinyMole,
} from '../prune/tiny-model.js';

const simplified = ({ module, source }: TinyModel): TinyModel => ({
  module: runPipeline(module, parsePipeline(standardPipeline)).module,
  source,
});

const ranksOf = ({ module }: TinyModel, tp: number, more = '') =>
  Array.from({ length: tp }, (_, rank) => {
    const step = `shard{tp=${tp},rank=${rank}${more}}`;
    const { module: own, reports } = runPipeline(module, parsePipeline(step));
    assertValid(own, step);
    return { module: own, states: new Map() as StateStore, notes: reports[0]?.notes ?? [] };
  });

const ids = (...values: number[]): Record<string, Tensor> => ({
  ids: tensor('i32', [values.length], values),
});

function refusal(model: TinyModel, step: string): string {
  try {
    runPipeline(model.module, parsePipeline(step));
    return '';
  } catch (error) {
    return error instanceof HewError ? error.message : String(error);
  }
}

const decoders: Readonly<Record<string, { model: TinyModel; split: RegExp }>> = {
  dense: { model: tinyModel(), split: /heads: 2 of 4 kv: 1 of 2 ffn: 12 of 24/ },
  'dense without post-norms, biased': {
    model: tinyModel({ sandwich_norm: 'false', attention_bias: 'true' }),
    split: /heads: 2 of 4 kv: 1 of 2 ffn: 12 of 24/,
  },
  'groups of experts': { model: tinyMoge(), split: /experts: 2 of 4 .*shared_ffn: 6 of 12/ },
  'lookup experts': { model: tinyMole(), split: /heads: 2 of 4 kv: 1 of 2/ },
};

describe.each(Object.entries(decoders))('%s', (_name, { model, split }) => {
  const whole = simplified(model);

  test.each([standardPipeline, ''])('two ranks give the whole model after "%s"', (first) => {
    const given = { ...model, module: runPipeline(model.module, parsePipeline(first)).module };
    const ranks = ranksOf(given, 2);
    expect(ranks[0]?.notes.join(' ')).toMatch(split);
    const states: StateStore = new Map();
    const options = { source: model.source, precision: 'f64' as const };
    for (const [entry, inputs] of [
      ['prefill', ids(3, 1, 4, 1)],
      ['decode', ids(5)],
      ['decode', ids(9)],
    ] as const) {
      const wanted = interpretEntry(whole.module, entry, inputs, { ...options, states }).logits as Tensor;
      for (const outputs of interpretRanks(ranks, entry, inputs, options))
        expect(largestDifference((outputs.logits as Tensor).data, wanted.data)).toBeLessThan(1e-5);
    }
  });

  test('no rank has much more than its share', () => {
    const all = figures(whole.module).parameters;
    const shared = [...whole.module.params].reduce(
      (sum, [name]) => sum + (/embed|norm|gate\.weight|table/.test(name) ? 1 : 0),
      0,
    );
    expect(shared).toBeGreaterThan(0);
    const own = ranksOf(whole, 2).map(({ module }) => figures(module).parameters);
    expect(own[0]).toBe(own[1]);
    expect(own[0]).toBeLessThan(0.85 * all);
  });
});

test('the ranks of a diffusion transformer give the whole one', () => {
  const model = simplified(tinyDit());
  const ranks = ranksOf(model, 4);
  const inputs = {
    x: tensor(
      'f32',
      [2, 1, 8, 8],
      Array.from({ length: 128 }, (_, i) => Math.sin(i)),
    ),
    t: tensor('i32', [2], [3, 700]),
    y: tensor('i32', [2], [0, 2]),
  };
  const options = { source: model.source, precision: 'f64' as const };
  const wanted = interpretEntry(model.module, 'denoise', inputs, options).eps as Tensor;
  for (const { eps } of interpretRanks(ranks, 'denoise', inputs, options))
    expect(largestDifference((eps as Tensor).data, wanted.data)).toBeLessThan(1e-5);
});

test.each([
  ['2 ranks', tinyModel(), 2, ''],
  ['4 ranks', tinyModel(), 4, ',dims=ffn'],
  ['2 ranks with experts', tinyMoge(), 2, ''],
])('a head over %s gives the same logits on each, with a part of its weight', (_, model, tp, dims) => {
  const whole = simplified(model);
  const ranks = ranksOf(whole, tp, dims);
  const vocabulary = modelDims(whole.module).get('vocab') as number;
  for (const { module } of ranks) {
    const [, part] = [...module.params].find(([name]) => name.endsWith('.part')) ?? [];
    expect(part?.type.shape[0]).toEqual(dim(vocabulary / tp));
  }
  const states: StateStore = new Map();
  const options = { source: whole.source, precision: 'f64' as const };
  for (const [entry, inputs] of [
    ['prefill', ids(3, 1, 4)],
    ['decode', ids(5)],
  ] as const) {
    const wanted = interpretEntry(whole.module, entry, inputs, { ...options, states }).logits as Tensor;
    const made = interpretRanks(ranks, entry, inputs, options).map(({ logits }) => logits as Tensor);
    for (const logits of made) {
      expect(logits).toEqual(made[0]);
      expect(logits.shape).toEqual(wanted.shape);
      expect(largestDifference(logits.data, wanted.data)).toBeLessThan(1e-5);
    }
  }
});

test('a head that ranks cannot share equally, or shall not, is whole on each', () => {
  const model = simplified(tinyModel());
  const vocabulary = modelDims(model.module).get('vocab') as number;
  expect(vocabulary % 3).not.toBe(0);
  for (const [tp, more] of [
    [3, ',dims=ffn'],
    [2, ',head=false'],
  ] as const)
    for (const { module } of ranksOf(model, tp, more)) {
      expect([...module.params.keys()].filter((name) => name.endsWith('.part'))).toEqual([]);
      expect(module.functions.get('decode')?.body.some(({ name }) => name === 'all_reduce')).toBe(false);
    }
});

test('one sum stands behind each sub-layer', () => {
  for (const model of [tinyModel(), tinyMoge()]) {
    const [{ module }] = ranksOf(simplified(model), 2) as [ReturnType<typeof ranksOf>[number]];
    const body = module.functions.get('decode.layer')?.body ?? [];
    expect(body.filter((op) => op.name === 'all_reduce')).toHaveLength(2);
  }
});

test.each([
  ['shard{tp=5}', /HEW6010.*no dimension can be split/],
  ['shard{tp=2,rank=2}', /HEW6002.*rank=2 must be from 0 to 1/],
  ['shard{tp=0}', /HEW6002.*tp=0/],
  ['shard{dims=heads}', /HEW6010.*heads and kv have to be split together/],
  ['shard{dims=d}', /HEW6010.*d cannot be split/],
  ['shard{dims=wings}', /HEW6007.*wings/],
])('%s is refused', (step, message) => {
  expect(refusal(simplified(tinyModel()), step)).toMatch(message);
});

test('a layer from one split dimension to another is refused', () => {
  const module = parseModule(`
module @m {
  dim d = 4
  dim a = 4
  dim b = 4
  param @one : f32[a, d] = source("one", f32[a, d])
  param @two : f32[b, a] = source("two", f32[b, a])
  param @three : f32[d, b] = source("three", f32[d, b])
  entry @main(%x: f32[2, d]) -> (y: f32[2, d]) {
    %p = param(name=@one) : f32[a, d]
    %q = param(name=@two) : f32[b, a]
    %r = param(name=@three) : f32[d, b]
    %u = linear(%x, %p) : f32[2, a]
    %v = linear(%u, %q) : f32[2, b]
    %y = linear(%v, %r) : f32[2, d]
    return %y
  }
}`);
  expect(refusal({ module, source: tinyModel().source }, 'shard{dims=a+b}')).toMatch(
    /HEW6010.*linear in @main sums over one of them and makes another/,
  );
  const [first] = ranksOf({ module, source: tinyModel().source }, 2);
  expect(first?.notes.join(' ')).toMatch(/a: 2 of 4 .*b stays whole/);
});

test('experts that a rank cannot have whole groups of stay whole', () => {
  const { notes } = ranksOf(simplified(tinyMoge()), 4, '')[0] as { notes: readonly string[] };
  expect(notes.join(' ')).toMatch(/experts stays whole: .* 2 groups of experts, which 4 ranks cannot share/);
  expect(notes.join(' ')).toMatch(/expert_ffn: 2 of 8/);
});
