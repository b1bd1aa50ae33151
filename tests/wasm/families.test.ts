/**
 * The family specs at other sizes than the trained models: odd head counts, small heads, untied embeddings, weights
 * stored in every dtype. Compiled code against the interpreter, with random weights.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openModel } from '../../compiler/compile.js';
import { interpretEntry, type StateStore } from '../../ir/interpret.js';
import type { Module } from '../../ir/module.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import { randomFrom, uniform } from '../conformance/random.js';
import { randomWeights } from './random-weights.js';
import { instantiate, type RunOptions } from './run-module.js';

const folder = mkdtempSync(join(tmpdir(), 'hew-families-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Config = Readonly<Record<string, number | boolean>>;

function moduleOf(family: string, config: Config, weightsDtype?: 'f32' | 'f16' | 'bf16'): Module {
  const file = join(folder, 'config.json');
  writeFileSync(file, JSON.stringify(config));
  const model = openModel({ spec: `examples/${family}/${family}.hew`, config: file, weightsDtype });
  return runPipeline(model.module, parsePipeline(standardPipeline)).module;
}

const ids = (...values: readonly number[]): Record<string, Tensor> => ({
  ids: tensor('i32', [values.length], values),
});

function largestDifference(a: Tensor, b: Tensor): number {
  expect(a.shape).toEqual(b.shape);
  return a.data.reduce((most, value, i) => Math.max(most, Math.abs(value - (b.data[i] as number))), 0);
}

/** Logits of a prompt in one call, in two chunks, and token by token, all against the interpreter's. */
function checkLanguageModel(module: Module, options: RunOptions = {}): void {
  const source = randomWeights(module);
  const prompt = [3, 1, 4, 1, 5, 9, 2, 6, 5];
  const wanted = interpretEntry(module, 'prefill', ids(...prompt), { source }).logits as Tensor;
  const vocab = wanted.shape[1] as number;
  const whole = instantiate(module, { ...options, source });
  expect(largestDifference(whole.run('prefill', ids(...prompt)).logits as Tensor, wanted)).toBeLessThan(1e-4);

  const chunked = instantiate(module, { ...options, source });
  chunked.run('prefill', ids(...prompt.slice(0, 4)), ['last']);
  const rest = chunked.run('prefill', ids(...prompt.slice(4)), ['logits']).logits as Tensor;
  const tail = tensor('f32', [5, vocab], wanted.data.slice(4 * vocab));
  expect(largestDifference(rest, tail)).toBeLessThan(1e-4);

  const stepped = instantiate(module, { ...options, source });
  const states: StateStore = new Map();
  prompt.forEach((id, i) => {
    const row = tensor('f32', [vocab], wanted.data.slice(i * vocab, (i + 1) * vocab));
    expect(largestDifference(stepped.run('decode', ids(id)).logits as Tensor, row)).toBeLessThan(1e-4);
    expect(
      largestDifference(interpretEntry(module, 'decode', ids(id), { source, states }).logits as Tensor, row),
    ).toBeLessThan(1e-4);
  });
}

const decoder = {
  hidden_size: 40,
  num_hidden_layers: 2,
  num_attention_heads: 5,
  num_key_value_heads: 5,
  head_dim: 16,
  intermediate_size: 52,
  vocab_size: 61,
  max_position_embeddings: 32,
};

const decoders: Readonly<Record<string, { readonly family: string; readonly config: Config }>> = {
  'odd head count': { family: 'pangu', config: decoder },
  'one key-value head, sandwich norm': {
    family: 'pangu',
    config: { ...decoder, num_attention_heads: 3, num_key_value_heads: 1, sandwich_norm: true },
  },
  'tied embeddings, head_dim 10': {
    family: 'pangu',
    config: { ...decoder, head_dim: 10, tie_word_embeddings: true },
  },
  'attention bias': { family: 'pangu', config: { ...decoder, attention_bias: true } },
  'grouped experts, two of each group': {
    family: 'moge',
    config: {
      ...decoder,
      sandwich_norm: true,
      num_experts: 12,
      num_groups: 3,
      num_experts_per_tok: 6,
      moe_intermediate_size: 20,
      shared_expert_intermediate_size: 36,
    },
  },
  'lookup experts': {
    family: 'mole',
    config: {
      ...decoder,
      num_lookup_experts: 3,
      moe_intermediate_size: 12,
      shared_expert_intermediate_size: 28,
    },
  },
};

describe('decoders', () => {
  test.each(Object.entries(decoders))('%s', (_name, { family, config }) => {
    checkLanguageModel(moduleOf(family, config));
  });

  test.each(['f32', 'f16', 'bf16'] as const)('weights as %s', (dtype) => {
    checkLanguageModel(moduleOf('pangu', { ...decoder, sandwich_norm: true }, dtype));
  });

  test('optimised code with relaxed SIMD', () => {
    checkLanguageModel(
      moduleOf('moge', (decoders['grouped experts, two of each group'] as { config: Config }).config),
      { optimize: true, relaxed: true },
    );
  });
});

const dits: Readonly<Record<string, Config>> = {
  'three channels, odd head count': {
    hidden_size: 36,
    depth: 2,
    num_heads: 3,
    patch_size: 2,
    input_size: 6,
    in_channels: 3,
    num_classes: 5,
  },
  'one head, patch 3': {
    hidden_size: 20,
    depth: 1,
    num_heads: 1,
    patch_size: 3,
    input_size: 9,
    in_channels: 1,
    num_classes: 2,
  },
};

describe('diffusion transformers', () => {
  test.each(Object.entries(dits))('%s', (_name, config) => {
    const module = moduleOf('dit', config);
    const source = randomWeights(module);
    const { in_channels: channels = 1, input_size: size = 1 } = config as Record<string, number>;
    const image = tensor(
      'f32',
      [2, channels, size, size],
      uniform(-1, 1)(2 * channels * size * size, randomFrom(7)),
    );
    const inputs = { x: image, t: tensor('i32', [2], [999, 3]), y: tensor('i32', [2], [1, 0]) };
    const wanted = interpretEntry(module, 'denoise', inputs, { source });
    const running = instantiate(module, { source });
    const all = running.run('denoise', inputs);
    expect(largestDifference(all.eps as Tensor, wanted.eps as Tensor)).toBeLessThan(1e-4);
    expect(largestDifference(all.block_out as Tensor, wanted.block_out as Tensor)).toBeLessThan(1e-4);
    expect(
      largestDifference(running.run('denoise', inputs, ['eps']).eps as Tensor, wanted.eps as Tensor),
    ).toBeLessThan(1e-4);
  });
});
