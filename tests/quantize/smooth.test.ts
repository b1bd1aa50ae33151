/** `smooth` and `join-experts` change weights and nothing that the model computes: prefill, decode, every family. */
import { describe, expect, test } from 'vitest';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { calibrateOnSamples } from '../../compiler/diffusion-calibration.js';
import { loadModule } from '../../compiler/in-memory.js';
import { interpretEntry, type StateStore } from '../../ir/interpret.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import { smoothSites } from '../../passes/smooth/smooth-sites.js';
import {
  randomSource,
  type TinyModel,
  tinyData,
  tinyDit,
  tinyModel,
  tinyMoge,
  tinyMole,
  weightsOf,
} from '../prune/tiny-model.js';
import { relativeError } from './relative-error.js';

const simplified = ({ module, source }: TinyModel): TinyModel => ({
  module: runPipeline(module, parsePipeline(standardPipeline)).module,
  source,
});

const smoothed = async ({ module, source }: TinyModel, pipeline: string): Promise<TinyModel> => ({
  module: (await runDataPipeline(module, parsePipeline(pipeline), { source, data: tinyData(module, 20) }))
    .module,
  source,
});

/** Logits of prefill, then of a token behind it: the cache holds scaled values. */
function outputsOf({ module, source }: TinyModel): Float64Array {
  const states: StateStore = new Map();
  const logits = (entry: string, ids: readonly number[]): Float64Array => {
    const inputs = { ids: tensor('i32', [ids.length], ids) };
    return (interpretEntry(module, entry, inputs, { source, states, precision: 'f64' }).logits as Tensor)
      .data;
  };
  return Float64Array.from([...logits('prefill', [3, 1, 4, 1, 5]), ...logits('decode', [9])]);
}

const families: Readonly<Record<string, () => TinyModel>> = {
  'dense, sandwich norms': () => tinyModel(),
  'dense, no sandwich norms, a group of four heads': () =>
    tinyModel({ sandwich_norm: 'false', num_key_value_heads: '1' }),
  'dense, with biases': () => tinyModel({ attention_bias: 'true' }),
  'grouped experts': tinyMoge,
  'lookup experts': tinyMole,
};

describe.each(Object.entries(families))('%s', (name, make) => {
  const model = simplified(make());
  const wanted = outputsOf(model);
  test.each(['smooth{alpha=0.8,edges=true}', 'join-experts,smooth', 'join-experts'])(
    '%s is exact',
    async (pipeline) => {
      const changed = await smoothed(model, pipeline);
      expect(relativeError(outputsOf(changed), wanted)).toBeLessThanOrEqual(1e-6);
      expect(changed.module === model.module).toBe(pipeline === 'join-experts' && name !== 'lookup experts');
    },
  );
});

describe('smooth', () => {
  test('scales by equation 4, with the ranges of calibration and the weights of all that reads the norm', async () => {
    const model = simplified(tinyModel());
    const large = 3;
    const source = randomSource(model.module, (weight, values) =>
      weight.includes('input_layernorm') ? values.map((v, i) => (i === large ? 50 * v : v)) : values,
    );
    const changed = await smoothed({ ...model, source }, 'smooth{linear=false,alpha=0.5}');
    const [before, after] = [weightsOf({ ...model, source }), weightsOf(changed)];
    const ratio = (name: string, at: number): number =>
      (after.get(name)?.data[at] as number) / (before.get(name)?.data[at] as number);
    const gain = 'model.layers.{layer}.input_layernorm.weight#0';
    const layers = ['q', 'k', 'v'].map((p) => `model.layers.{layer}.self_attn.${p}_proj.weight#0`);
    for (const channel of [0, large]) {
      const s = 1 / ratio(gain, channel);
      for (const layer of layers) expect(ratio(layer, channel)).toBeCloseTo(s, 5);
    }
    // A channel fifty times as large, with weights alike, is scaled about seven times as much.
    const share = ratio(gain, 0) / ratio(gain, large);
    expect(share).toBeGreaterThan(3);
    expect(share).toBeLessThan(20);
    expect(ratio('model.layers.{layer}.self_attn.o_proj.weight#0', 0)).toBe(1);
  });

  test('query heads of a group share the scales of their row of V', () => {
    const { module } = simplified(tinyModel());
    const { sites } = smoothSites(module);
    const v = sites.find(({ params }) => params[0]?.includes('v_proj'));
    // Heads 0 and 1 read key head 0, heads 2 and 3 read key head 1; four channels each.
    const row = (head: number): number[] => [0, 1, 2, 3].map((i) => Math.floor(head / 2) * 4 + i);
    expect([...(v?.readers.values() ?? [])].map((channels) => [...channels])).toEqual([
      [0, 1, 2, 3].flatMap(row),
    ]);
  });

  test('finds norms with their routers and experts, V and the ungated layer, and nothing else', () => {
    const { module } = simplified(tinyMoge());
    const { sites, skipped } = smoothSites(module);
    const short = (name: string): string => name.replace('model.layers.{layer}.', '').replace('.weight', '');
    expect(
      sites.map(({ params, readers, routers }) => [
        params.map(short),
        [...readers.keys()].map(short),
        [...routers].map(short),
      ]),
    ).toEqual([
      [['input_layernorm'], ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'], []],
      [['self_attn.v_proj'], ['self_attn.o_proj'], []],
      [
        ['pre_mlp_layernorm'],
        [
          'mlp.gate',
          'mlp.experts.{e}.gate_proj',
          'mlp.experts.{e}.up_proj',
          'mlp.shared_expert.gate_proj',
          'mlp.shared_expert.up_proj',
        ],
        ['mlp.gate'],
      ],
      [['mlp.shared_expert.up_proj'], ['mlp.shared_expert.down_proj'], []],
      [['model.norm'], ['lm_head'], []],
    ]);
    expect(skipped).toEqual([
      'model.layers.{layer}.post_attention_layernorm.weight: add reads it',
      'model.layers.{layer}.post_mlp_layernorm.weight: add reads it',
    ]);
  });

  test('a table that is read as a head as well is left alone', () => {
    const { module } = simplified(tinyModel({ tie_word_embeddings: 'true' }));
    expect(smoothSites(module).skipped).toContain(
      'model.norm.weight: model.embed_tokens.weight has another reader',
    );
  });

  test('refuses settings that mean nothing, and models without a place for scales', async () => {
    await expect(smoothed(simplified(tinyModel()), 'smooth{alpha=2}')).rejects.toThrow(
      /HEW6121: smooth: alpha=2 is not within 0 \.\. 1/,
    );
    const { module, source } = simplified(tinyDit());
    const data = await calibrateOnSamples(module, source, { samples: 1, steps: 1, guidances: [1] });
    await expect(
      runDataPipeline(module, parsePipeline('smooth{linear=false}'), { source, data }),
    ).rejects.toThrow(/HEW6010: the model has no norm or linear layer/);
  });
});

test('join-experts leaves no stacked product, in the compiled model either', async () => {
  const model = simplified(tinyMole());
  const joined = await smoothed(model, 'join-experts');
  const names = [...joined.module.functions.values()].flatMap(({ body }) => body.map((op) => op.name));
  expect(names).not.toContain('matmul');
  const experts = [...joined.module.params.keys()].filter((name) => name.includes('experts'));
  expect(experts.every((name) => name.endsWith('.joined'))).toBe(true);
  const compiled = await loadModule(joined.module, joined.source, { optimize: false });
  const found = ['prefill', 'decode'].flatMap((entry) => {
    const ids = Int32Array.from(entry === 'prefill' ? [3, 1, 4, 1, 5] : [9]);
    return [...(compiled.run(entry, { ids }).logits as Float32Array)];
  });
  expect(relativeError(Float32Array.from(found), outputsOf(model))).toBeLessThanOrEqual(1e-5);
});
