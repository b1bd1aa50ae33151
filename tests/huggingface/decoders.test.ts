/**
 * Checkpoints of each architecture, tiny and random, through `hew import`: prefill and decode, in the interpreter and
 * compiled, against the reference of this folder.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openModel } from '../../compiler/compile.js';
import { importModel } from '../../compiler/import.js';
import { loadModule } from '../../compiler/in-memory.js';
import { interpretEntry, type StateStore } from '../../ir/interpret.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { scratchDirectory } from '../cli/run-cli.js';
import { type Config, decoderLogits, gpt2Logits } from './reference.js';
import {
  decoderShapes,
  randomWeights,
  type Shapes,
  stackShapes,
  swigluShapes,
  type TinyCheckpoint,
  weightsOf,
  writeCheckpoint,
} from './tiny-checkpoint.js';

const scratch = scratchDirectory();
const prompt = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 9, 7];
const tolerance = 1e-4;

const base = {
  hidden_act: 'silu',
  hidden_size: 40,
  intermediate_size: 52,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 8,
  vocab_size: 61,
  max_position_embeddings: 24,
  rms_norm_eps: 1e-5,
  rope_theta: 500,
  tie_word_embeddings: false,
};

const llama = { ...base, architectures: ['LlamaForCausalLM'] };
const pangu = { ...base, architectures: ['PanguEmbeddedForCausalLM'] };

function llamaWith(settings: Config): TinyCheckpoint {
  const config = { ...llama, ...settings };
  return { config, shapes: decoderShapes(config) };
}

const scaled = (settings: Config): TinyCheckpoint => llamaWith({ rope_scaling: settings });

function qwen(name: string, settings: Config): TinyCheckpoint {
  const config = { ...base, architectures: [name], ...settings };
  const options =
    name === 'Qwen2ForCausalLM' ? { biases: ['q_proj', 'k_proj', 'v_proj'] as const } : { qkNorms: true };
  return { config, shapes: decoderShapes(config, options) };
}

function moge(settings: Config, scale: boolean): TinyCheckpoint {
  const config = {
    ...base,
    architectures: ['PanGuMoEForCausalLM'],
    num_experts: 12,
    num_experts_per_tok: 4,
    moe_intermediate_size: 12,
    shared_expert_intermediate_size: 20,
    ...settings,
  };
  const ffn = (_: number, prefix: string): Shapes =>
    Object.assign(
      { [`${prefix}.gate.weight`]: [12, 40] },
      scale ? { [`${prefix}.router_scale`]: [1, 12] } : {},
      swigluShapes(`${prefix}.shared_expert`, 40, 20),
      ...Array.from({ length: 12 }, (_, e) => swigluShapes(`${prefix}.experts.${e}`, 40, 12)),
    );
  const biases = ['q_proj', 'k_proj', 'v_proj', 'o_proj'] as const;
  return {
    config,
    shapes: decoderShapes(config, { biases, ffn, sandwich: settings.sandwich_norm === true }),
  };
}

function ultra(settings: Config): TinyCheckpoint {
  const { head_dim, num_key_value_heads, ...rest } = base;
  const config: Config = {
    ...rest,
    architectures: ['PanguUltraMoEForCausalLM'],
    attention_qk_dim: 10,
    attention_qk_rope_dim: 6,
    attention_v_dim: 9,
    attention_q_lora_dim: 14,
    attention_kv_lora_dim: 12,
    sandwich_norm: true,
    num_dense_layers: 1,
    num_routed_experts: 6,
    num_shared_experts: 2,
    num_experts_per_tok: 3,
    moe_intermediate_size: 8,
    norm_topk_prob: true,
    routed_scaling_factor: 2.5,
    ...settings,
  };
  const attention = (prefix: string): Shapes => ({
    ...(config.attention_q_lora_dim === null
      ? { [`${prefix}.q_proj.weight`]: [6 * 16, 40] }
      : {
          [`${prefix}.q_a_proj.weight`]: [14, 40],
          [`${prefix}.q_a_layernorm.weight`]: [14],
          [`${prefix}.q_b_proj.weight`]: [6 * 16, 14],
        }),
    [`${prefix}.kv_a_proj_with_mqa.weight`]: [12 + 6, 40],
    [`${prefix}.kv_a_layernorm.weight`]: [12],
    [`${prefix}.kv_b_proj.weight`]: [6 * (10 + 9), 12],
    [`${prefix}.o_proj.weight`]: [40, 6 * 9],
  });
  const ffn = (layer: number, prefix: string): Shapes =>
    layer < (config.num_dense_layers as number) || config.num_routed_experts === null
      ? swigluShapes(prefix, 40, 52)
      : Object.assign(
          { [`${prefix}.gate.weight`]: [6, 40] },
          swigluShapes(`${prefix}.shared_experts`, 40, 16),
          ...Array.from({ length: 6 }, (_, e) => swigluShapes(`${prefix}.experts.${e}`, 40, 8)),
        );
  return { config, shapes: stackShapes(config, attention, { ffn, sandwich: config.sandwich_norm === true }) };
}

function gpt2(prefix: string): TinyCheckpoint {
  const layer = (name: string): Shapes => ({
    [`${name}.ln_1.weight`]: [24],
    [`${name}.ln_1.bias`]: [24],
    [`${name}.attn.c_attn.weight`]: [24, 72],
    [`${name}.attn.c_attn.bias`]: [72],
    [`${name}.attn.c_proj.weight`]: [24, 24],
    [`${name}.attn.c_proj.bias`]: [24],
    [`${name}.ln_2.weight`]: [24],
    [`${name}.ln_2.bias`]: [24],
    [`${name}.mlp.c_fc.weight`]: [24, 96],
    [`${name}.mlp.c_fc.bias`]: [96],
    [`${name}.mlp.c_proj.weight`]: [96, 24],
    [`${name}.mlp.c_proj.bias`]: [24],
  });
  return {
    config: {
      architectures: ['GPT2LMHeadModel'],
      activation_function: 'gelu_new',
      n_embd: 24,
      n_layer: 2,
      n_head: 3,
      n_positions: 24,
      vocab_size: 61,
      layer_norm_epsilon: 1e-5,
    },
    shapes: {
      [`${prefix}wte.weight`]: [61, 24],
      [`${prefix}wpe.weight`]: [24, 24],
      [`${prefix}ln_f.weight`]: [24],
      [`${prefix}ln_f.bias`]: [24],
      ...layer(`${prefix}h.0`),
      ...layer(`${prefix}h.1`),
    },
  };
}

const llama3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
};

const checkpoints: Readonly<Record<string, TinyCheckpoint>> = {
  'Llama, GQA': llamaWith({}),
  'Llama, bf16, tied, biases': {
    config: { ...llama, tie_word_embeddings: true, attention_bias: true },
    shapes: decoderShapes(
      { ...llama, tie_word_embeddings: true },
      { biases: ['q_proj', 'k_proj', 'v_proj', 'o_proj'] },
    ),
    dtype: 'bf16',
  },
  'Llama, biases of the feed-forward layers': {
    config: { ...llama, mlp_bias: true },
    shapes: decoderShapes(llama, {
      ffn: (_, prefix) => ({
        ...swigluShapes(prefix, 40, 52),
        [`${prefix}.gate_proj.bias`]: [52],
        [`${prefix}.up_proj.bias`]: [52],
        [`${prefix}.down_proj.bias`]: [40],
      }),
    }),
  },
  'Llama, RoPE scaled by llama3': scaled(llama3),
  'Llama, RoPE scaled by llama3, new spelling': llamaWith({
    rope_theta: undefined,
    rope_parameters: { ...llama3, rope_theta: 500 },
  }),
  'Llama, RoPE scaled linearly, old spelling': scaled({ type: 'linear', factor: 2.5 }),
  'Llama, RoPE scaled dynamically': llamaWith({
    max_position_embeddings: 8,
    rope_scaling: { rope_type: 'dynamic', factor: 3 },
  }),
  'Llama, RoPE scaled by YaRN': scaled({
    rope_type: 'yarn',
    factor: 4,
    original_max_position_embeddings: 24,
    beta_fast: 4,
    beta_slow: 0.5,
  }),
  'Llama, RoPE scaled by YaRN with mscale': scaled({
    type: 'yarn',
    factor: 4,
    mscale: 0.8,
    mscale_all_dim: 0.5,
    original_max_position_embeddings: 12,
    truncate: false,
  }),
  'Mistral, sliding window': {
    config: { ...base, architectures: ['MistralForCausalLM'], sliding_window: 4 },
    shapes: decoderShapes(base),
  },
  'Mistral, no window': {
    config: {
      ...base,
      architectures: ['MistralForCausalLM'],
      sliding_window: null,
      head_dim: null,
      hidden_size: 48,
    },
    shapes: decoderShapes({ ...base, head_dim: undefined, hidden_size: 48 }),
  },
  Qwen2: qwen('Qwen2ForCausalLM', { use_sliding_window: false, sliding_window: 4, max_window_layers: 1 }),
  'Qwen2, window in the upper layers': qwen('Qwen2ForCausalLM', {
    use_sliding_window: true,
    sliding_window: 5,
    max_window_layers: 1,
    layer_types: ['full_attention', 'sliding_attention', 'sliding_attention'],
  }),
  Qwen3: qwen('Qwen3ForCausalLM', { use_sliding_window: false, head_dim: 10 }),
  'Pangu Embedded': {
    config: pangu,
    shapes: decoderShapes(pangu, { biases: ['q_proj', 'k_proj', 'v_proj', 'o_proj'] }),
  },
  'Pangu, sandwich norms': {
    config: { ...pangu, sandwich_norm: true },
    shapes: decoderShapes(pangu, { sandwich: true }),
  },
  'Pangu Pro MoE': moge({}, true),
  'Pangu Pro MoE, two of each group, sandwich norms': moge({ num_groups: 2, sandwich_norm: true }, false),
  'Pangu Ultra MoE': ultra({}),
  'Pangu Ultra MoE, no dense layers, no latent of queries': ultra({
    num_dense_layers: 0,
    attention_q_lora_dim: null,
    sandwich_norm: false,
    norm_topk_prob: false,
  }),
  'Pangu Ultra, dense': ultra({ num_routed_experts: null }),
  'GPT-2': gpt2('transformer.'),
  'GPT-2, names without a prefix': gpt2(''),
};

const ids = (...values: readonly number[]): Record<string, Tensor> => ({
  ids: tensor('i32', [values.length], values),
});

function difference(found: ArrayLike<number>, wanted: readonly (readonly number[])[]): number {
  const flat = wanted.flat();
  expect(found.length).toBe(flat.length);
  return flat.reduce((most, value, i) => Math.max(most, Math.abs(value - (found[i] as number))), 0);
}

describe.each(Object.entries(checkpoints))('%s', (name, checkpoint) => {
  const directory = join(scratch, name.replaceAll(/\W+/g, '-'));
  const { config } = checkpoint;
  const isGpt2 = config.n_embd !== undefined;

  test('prefill and decode', async () => {
    const weights = await writeCheckpoint(directory, checkpoint);
    const given = config.head_dim === null ? { ...config, head_dim: undefined } : config;
    const reference = (calls: readonly number[]): number[][] =>
      isGpt2 ? gpt2Logits(weights, given, prompt) : decoderLogits(weights, given, prompt, calls);
    const set: Record<string, string> = name.includes('dynamically') ? { context_length: '24' } : {};
    const { warnings } = await importModel({ path: directory, set });
    expect(warnings).toEqual([]);
    const { module, source, close } = openModel({ spec: join(directory, 'model.hew') });
    try {
      if (source === undefined) throw new Error('the checkpoint was not opened');
      const whole = reference([prompt.length]);
      const stepped = reference(prompt.map(() => 1));
      const logits = interpretEntry(module, 'prefill', ids(...prompt), { source }).logits as Tensor;
      expect(difference(logits.data, whole)).toBeLessThan(tolerance);
      const states: StateStore = new Map();
      const rows = prompt.map(
        (id) => interpretEntry(module, 'decode', ids(id), { source, states }).logits as Tensor,
      );
      expect(
        difference(
          rows.flatMap(({ data }) => [...data]),
          stepped,
        ),
      ).toBeLessThan(tolerance);

      const model = await loadModule(module, source, { optimize: false });
      const prefill = model.run('prefill', { ids: Int32Array.from(prompt) }, { outputs: ['logits'] });
      expect(difference(prefill.logits as Float32Array, whole)).toBeLessThan(tolerance);
      model.reset();
      const steps = prompt.flatMap((id) => [
        ...(model.run('decode', { ids: Int32Array.of(id) }).logits as Float32Array),
      ]);
      expect(difference(steps, stepped)).toBeLessThan(tolerance);
    } finally {
      close();
    }
  });
});

test('scalings of rotary positions make a difference', async () => {
  const shapes = decoderShapes(llama);
  const weights = weightsOf(randomWeights(shapes), shapes);
  const variants = Object.entries(checkpoints).filter(
    ([name]) => name.includes('RoPE') && !name.includes('new'),
  );
  const all = variants.map(([, { config }]) => decoderLogits(weights, config, prompt).flat());
  expect(all.length).toBe(5);
  all.forEach((logits, i) => {
    for (const other of all.slice(0, i)) expect(difference(logits, [other])).toBeGreaterThan(0.01);
  });
});

test('a spec reads as if it had been written', async () => {
  const directory = join(scratch, 'reading');
  const checkpoint = scaled(llama3);
  await writeCheckpoint(directory, checkpoint);
  writeFileSync(
    join(directory, 'generation_config.json'),
    JSON.stringify({ do_sample: true, temperature: 0.6, top_p: 0.9, eos_token_id: [2, 7] }),
  );
  await importModel({ path: directory, output: join(directory, 'spec'), set: { context_length: '16' } });
  expect(readFileSync(join(directory, 'spec', 'model.hew'), 'utf8')).toMatchSnapshot();
});
