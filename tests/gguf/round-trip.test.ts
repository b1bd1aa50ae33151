/** Models out to GGUF and back: tensors, configuration, rotary positions, tokenizer; and what either side cannot say. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../compiler/checkpoint/checkpoint.js';
import { toFloat32 } from '../../compiler/checkpoint/dtypes.js';
import { openForReading } from '../../compiler/checkpoint/safetensors.js';
import { ggufName, huggingFaceName, rowOrder } from '../../compiler/gguf/architectures.js';
import { decodeBlocks, encodeBlocks, type WritableType } from '../../compiler/gguf/blocks.js';
import type { MetadataValue } from '../../compiler/gguf/format.js';
import { readHeader } from '../../compiler/gguf/header.js';
import { tokenizerJson, tokenizerMetadata } from '../../compiler/gguf/tokenizer.js';
import { type GgufEntry, writeGguf } from '../../compiler/gguf/write.js';
import { createTokenizer } from '../../compiler/tokenizer.js';
import { hew, scratchDirectory } from '../cli/run-cli.js';
import type { Config } from '../huggingface/reference.js';
import { decoderShapes, type TinyCheckpoint, writeCheckpoint } from '../huggingface/tiny-checkpoint.js';

const scratch = scratchDirectory();

const base = {
  hidden_act: 'silu',
  hidden_size: 32,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  vocab_size: 64,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  rope_theta: 500,
  rope_scaling: null,
  tie_word_embeddings: false,
};

function llama(settings: Config, dtype?: 'f32' | 'f16' | 'bf16'): TinyCheckpoint {
  const config = { ...base, architectures: ['LlamaForCausalLM'], ...settings };
  return { config, shapes: decoderShapes(config), ...(dtype && { dtype }) };
}

const llama3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 3,
  original_max_position_embeddings: 64,
};

const models: Readonly<Record<string, TinyCheckpoint>> = {
  llama: llama({ bos_token_id: 1, eos_token_id: 2 }),
  'llama, tied, bf16': llama({ tie_word_embeddings: true }, 'bf16'),
  'llama, other head size, f16': llama({ head_dim: 16 }, 'f16'),
  'llama with llama3': llama({ rope_scaling: llama3 }),
  'llama, linear': llama({ rope_scaling: { rope_type: 'linear', factor: 2 } }),
  'llama, YaRN': llama({
    rope_scaling: {
      rope_type: 'yarn',
      factor: 4,
      original_max_position_embeddings: 8,
      beta_fast: 16,
      beta_slow: 2,
    },
  }),
  'llama, biases': {
    config: { ...base, architectures: ['LlamaForCausalLM'], attention_bias: true },
    shapes: decoderShapes(base, { biases: ['q_proj', 'k_proj', 'v_proj', 'o_proj'] }),
  },
  qwen2: {
    config: { ...base, architectures: ['Qwen2ForCausalLM'], use_sliding_window: false },
    shapes: decoderShapes(base, { biases: ['q_proj', 'k_proj', 'v_proj'] }),
  },
  qwen3: {
    config: { ...base, architectures: ['Qwen3ForCausalLM'], use_sliding_window: false },
    shapes: decoderShapes(base, { qkNorms: true }),
  },
};

async function imported(directory: string, checkpoint: TinyCheckpoint): Promise<void> {
  await writeCheckpoint(directory, checkpoint);
  const { code, stderr } = await hew(['import', directory]);
  expect([code, stderr]).toEqual([0, '']);
}

const toGguf = (directory: string, output: string, ...more: string[]) =>
  hew(['export', directory, '--format', 'gguf', '-o', output, ...more]);

function tensorsOf(directory: string): Map<string, Float32Array> {
  const checkpoint = openCheckpoint(directory);
  const tensors = [...checkpoint.tensors].map(
    ([name, { dtype }]) => [name, toFloat32(dtype, checkpoint.read(name))] as const,
  );
  checkpoint.close();
  return new Map(tensors);
}

describe.each(Object.entries(models))('%s', (name, checkpoint) => {
  const directory = join(scratch, name.replaceAll(/\W+/g, '-'));

  test('F32: nothing is lost', async () => {
    await imported(directory, checkpoint);
    const [file, back] = [`${directory}.gguf`, `${directory}-back`];
    const exported = await toGguf(directory, file, '--type', 'F32');
    expect([exported.code, exported.stderr]).toEqual([0, '']);
    const { code, stderr } = await hew(['import', file, '-o', back]);
    expect(code).toBe(0);
    expect(stderr).toContain('without its tokenizer');
    expect(tensorsOf(back)).toEqual(tensorsOf(directory));
    const config = JSON.parse(readFileSync(join(back, 'config.json'), 'utf8')) as Config;
    const wanted: Config = checkpoint.config;
    for (const key of Object.keys(base)) {
      if (typeof wanted[key] === 'number')
        expect([key, config[key]]).toEqual([key, expect.closeTo(wanted[key], 6)]);
      else expect([key, config[key]]).toEqual([key, wanted[key]]);
    }
    expect(config.architectures).toEqual(wanted.architectures);
    expect(config.attention_bias ?? false).toBe(wanted.attention_bias ?? false);
  });
});

test.each(['F16', 'BF16', 'Q8_0', 'Q4_0'] as const)(
  '%s: matrices are what the type makes of them',
  async (type: WritableType) => {
    const directory = join(scratch, `types-${type}`);
    await imported(directory, llama({}));
    expect((await toGguf(directory, `${directory}.gguf`, '--type', type)).code).toBe(0);
    expect((await hew(['import', `${directory}.gguf`, '-o', `${directory}-back`])).code).toBe(0);
    const back = tensorsOf(`${directory}-back`);
    for (const [name, values] of tensorsOf(directory)) {
      const coarse = type === 'Q4_0' && (name.includes('embed') || name.includes('lm_head'));
      const stored = name.includes('norm') ? 'F32' : coarse ? 'Q8_0' : type;
      expect(back.get(name)).toEqual(decodeBlocks(stored, encodeBlocks(stored, values), name));
    }
  },
);

test('quantized weights can be stored in 16 bits', async () => {
  const directory = join(scratch, 'types-Q8_0');
  expect((await hew(['import', `${directory}.gguf`, '--dtype', 'f16', '-o', `${directory}-f16`])).code).toBe(
    0,
  );
  const checkpoint = openCheckpoint(`${directory}-f16`);
  expect(checkpoint.tensors.get('model.layers.0.self_attn.q_proj.weight')?.dtype).toBe('f16');
  expect(checkpoint.tensors.get('model.norm.weight')?.dtype).toBe('f32');
  checkpoint.close();
});

test('rows of queries change places, and back', () => {
  expect(rowOrder(8, 'gguf')).toEqual([0, 4, 1, 5, 2, 6, 3, 7]);
  const there = rowOrder(10, 'gguf');
  expect(rowOrder(10, 'huggingface').map((row) => there[row])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('names have one counterpart', () => {
  for (const name of [
    'token_embd.weight',
    'blk.12.attn_q.bias',
    'blk.3.attn_k_norm.weight',
    'output.weight',
  ]) {
    expect(ggufName(huggingFaceName(name) ?? '')).toBe(name);
  }
  for (const name of ['blk.1.ffn_gate_exps.weight', 'rope_freqs.weight', 'blk.{i}.attn_q.weight'])
    expect(huggingFaceName(name)).toBeUndefined();
});

// ---- tokenizers

const json = JSON.parse(readFileSync('examples/pangu-2m/tokenizer.json', 'utf8')) as Record<string, unknown>;
const texts = ['def main(argv):\n    return 0\n', "it's  größer than 1234567", '', '<s>x</s> 日本'];

function metadataOf(tokenizer: unknown, size = 4096): Map<string, MetadataValue> {
  const found = tokenizerMetadata(tokenizer, size);
  if ('problem' in found) throw new Error(found.problem);
  return found;
}

test('a tokenizer goes there and back', () => {
  const metadata = metadataOf(json, 4100);
  expect(metadata.get('tokenizer.ggml.pre')?.value).toBe('gpt-2');
  const types = metadata.get('tokenizer.ggml.token_type')?.value as number[];
  expect([types[0], types[4], types[4099]]).toEqual([3, 1, 5]);
  const back = createTokenizer(JSON.stringify(tokenizerJson(metadata)));
  const original = createTokenizer(JSON.stringify(json));
  for (const text of texts) {
    expect(back.encode(text)).toEqual(original.encode(text));
    expect(back.decode(original.encode(text))).toEqual(original.decode(original.encode(text)));
  }
});

const bos = {
  type: 'TemplateProcessing',
  single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  pair: [],
  special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
};

function splitBy(digits: string): Record<string, unknown> {
  const regex = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
  return {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false },
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  };
}

test.each([
  ['llama-bpe', { ...json, pre_tokenizer: splitBy('\\p{N}{1,3}'), post_processor: bos }],
  ['qwen2', { ...json, pre_tokenizer: splitBy('\\p{N}'), normalizer: { type: 'NFC' } }],
])('the splits of %s', (pre, tokenizer) => {
  const metadata = metadataOf(tokenizer);
  expect(metadata.get('tokenizer.ggml.pre')?.value).toBe(pre);
  expect(metadata.get('tokenizer.ggml.add_bos_token')?.value).toBe(pre === 'llama-bpe');
  const [back, original] = [tokenizerJson(metadata), tokenizer].map((each) =>
    createTokenizer(JSON.stringify(each)),
  );
  for (const text of texts.slice(0, 3)) expect(back?.encode(text)).toEqual(original?.encode(text));
});

test.each([
  ['no model', { ...json, model: undefined }, 'has no model'],
  ['another kind', { ...json, model: { type: 'Unigram' } }, 'Unigram'],
  ['another split', { ...json, pre_tokenizer: splitBy('\\p{N}{1,2}') }, 'no known name'],
  ['another normalizer', { ...json, normalizer: { type: 'Lowercase' } }, 'no known name'],
  ['ids beyond the embedding', json, 'but the embedding has 4000 rows'],
])('a tokenizer with %s has no metadata', (_, tokenizer, says) => {
  expect(tokenizerMetadata(tokenizer, 4000)).toEqual({ problem: expect.stringContaining(says) });
});

// ---- what cannot be said

describe('exporting refuses', () => {
  test.each([
    ['dynamic NTK', llama({ rope_scaling: { rope_type: 'dynamic', factor: 2 } }), "the type 'dynamic'"],
    [
      'YaRN with a scale of its own',
      llama({ rope_scaling: { rope_type: 'yarn', factor: 2, attention_factor: 1.5 } }),
      'with a scale of their own',
    ],
    [
      'a sliding window',
      { ...llama({}), config: { ...base, architectures: ['MistralForCausalLM'], sliding_window: 4 } },
      'a sliding window',
    ],
  ] as const)('%s', async (name, checkpoint, says) => {
    const directory = join(scratch, name.replaceAll(' ', '-'));
    await imported(directory, checkpoint);
    const { code, stderr } = await toGguf(directory, `${directory}.gguf`);
    expect(stderr).toContain('HEW3165');
    expect(stderr).toContain(says);
    expect(code).toBe(4);
    expect(existsSync(`${directory}.gguf`)).toBe(false);
  });

  test('other architectures', async () => {
    const { stderr } = await toGguf('examples/pangu-2m', join(scratch, 'pangu.gguf'));
    expect(stderr).toContain('HEW3165');
  });
});

describe('importing refuses', () => {
  const file = join(scratch, 'changed.gguf');

  /** The llama of above with metadata and tensors changed. */
  async function changed(
    metadata: Readonly<Record<string, MetadataValue | undefined>>,
    tensors: readonly GgufEntry[] = [],
    leaveOut = '',
  ): Promise<void> {
    const source = join(scratch, 'llama.gguf');
    const opened = openForReading(source);
    const header = readHeader(opened);
    const bytes = readFileSync(source);
    const entries = [...header.tensors.values()]
      .filter(({ name }) => name !== leaveOut)
      .map(({ name, shape, offset, bytes: length }) => ({
        name,
        type: 'F32' as const,
        shape,
        data: () => [bytes.subarray(offset, offset + length)],
      }));
    const all = new Map(header.metadata);
    for (const [key, value] of Object.entries(metadata)) {
      if (value === undefined) all.delete(key);
      else all.set(key, value);
    }
    await writeGguf(file, all, [...entries, ...tensors]);
  }

  const u32 = (value: number): MetadataValue => ({ type: 'u32', value });
  const text = (value: string): MetadataValue => ({ type: 'string', value });
  const vector = (name: string, values: readonly number[]): GgufEntry => ({
    name,
    type: 'F32',
    shape: [values.length],
    data: () => [encodeBlocks('F32', Float32Array.from(values))],
  });

  test.each<[string, Readonly<Record<string, MetadataValue | undefined>>, readonly GgufEntry[], string]>([
    ['another architecture', { 'general.architecture': text('gemma') }, [], '"gemma"'],
    ['no architecture', { 'general.architecture': undefined }, [], 'its architecture is'],
    ['experts', { 'llama.expert_count': u32(8) }, [], 'it has experts'],
    ['an unknown tensor', {}, [vector('blk.0.ssm_a', [1])], 'blk.0.ssm_a'],
    ['half rotary heads', { 'llama.rope.dimension_count': u32(4) }, [], '4 of the 8 channels'],
    [
      'a size that is missing',
      { 'llama.block_count': undefined },
      [],
      "lacks the number 'llama.block_count'",
    ],
    [
      'sizes by layer',
      { 'llama.attention.head_count_kv': { type: 'array', of: 'i32', value: [2, 4] } },
      [],
      'differs from layer',
    ],
    [
      'rotary positions of another type',
      { 'llama.rope.scaling.type': text('longrope') },
      [],
      "the type 'longrope'",
    ],
    [
      'divisors of another rule',
      {},
      [vector('rope_freqs.weight', [1, 2, 1, 7])],
      'not what the rule of Llama 3.1 gives',
    ],
  ])('%s', async (_, metadata, tensors, says) => {
    await changed(metadata, tensors);
    const output = join(scratch, 'refused');
    const { code, stderr } = await hew(['import', file, '-o', output]);
    expect(stderr).toContain('HEW3162');
    expect(stderr).toContain(says);
    expect(code).toBe(4);
    expect(existsSync(output)).toBe(false);
  });

  test('a tensor that is missing', async () => {
    await changed({}, [], 'blk.1.ffn_up.weight');
    const { stderr } = await hew(['import', file, '-o', join(scratch, 'refused')]);
    expect(stderr).toContain('HEW4002');
  });

  test('a directory is needed, and an empty one', async () => {
    const { stderr } = await hew(['import', file]);
    expect(stderr).toContain('HEW8001');
    const taken = join(scratch, 'llama');
    const before = readdirSync(taken);
    expect((await hew(['import', file, '-o', taken])).stderr).toContain('HEW8003');
    expect(readdirSync(taken)).toEqual(before);
  });
});

test('a tokenizer of another kind is none', () => {
  expect(tokenizerJson(new Map([['tokenizer.ggml.model', { type: 'string', value: 'llama' }]]))).toEqual({
    problem: expect.stringContaining("of the kind 'llama'"),
  });
  const pre = { type: 'string', value: 'dbrx' } as const;
  expect(tokenizerJson(new Map([...metadataOf(json), ['tokenizer.ggml.pre', pre]]))).toEqual({
    problem: expect.stringContaining("the rules 'dbrx'"),
  });
});
