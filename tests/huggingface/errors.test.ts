/** Directories that hew import refuses, and why. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hew, scratchDirectory } from '../cli/run-cli.js';
import { decoderShapes, type Shapes, type TinyCheckpoint, writeCheckpoint } from './tiny-checkpoint.js';

const scratch = scratchDirectory();

const config = {
  architectures: ['LlamaForCausalLM'],
  hidden_act: 'silu',
  hidden_size: 16,
  intermediate_size: 20,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  vocab_size: 30,
  max_position_embeddings: 16,
};
const shapes = decoderShapes(config);

const without = (name: string): Shapes =>
  Object.fromEntries(Object.entries(shapes).filter(([key]) => key !== name));
const pangu = { ...config, architectures: ['PanguEmbeddedForCausalLM'] };
const sandwich = decoderShapes(config, { sandwich: true });

const refused: Readonly<Record<string, TinyCheckpoint & { readonly code: string; readonly says: string }>> = {
  'an architecture that is not known': {
    config: { ...config, architectures: ['LlamaForCausalLN'] },
    shapes,
    code: 'HEW3151',
    says: "did you mean 'LlamaForCausalLM'?",
  },
  'no architecture': {
    config: { ...config, architectures: undefined },
    shapes,
    code: 'HEW3151',
    says: "neither 'architectures' nor 'model_type'",
  },
  'rotary positions of another type': {
    config: { ...config, rope_scaling: { rope_type: 'longrope', factor: 4 } },
    shapes,
    code: 'HEW3153',
    says: '"longrope"',
  },
  'rotary positions without a factor': {
    config: { ...config, rope_scaling: { type: 'linear' } },
    shapes,
    code: 'HEW3153',
    says: "no number 'factor'",
  },
  'rotary positions by kind of layer': {
    config: { ...config, rope_parameters: { full_attention: { rope_type: 'default' } } },
    shapes,
    code: 'HEW3153',
    says: 'not one set of settings',
  },
  'rotary positions of some channels': {
    config: { ...config, partial_rotary_factor: 0.5 },
    shapes,
    code: 'HEW3153',
    says: 'only 0.5 of the channels',
  },
  'another activation': {
    config: { ...config, hidden_act: 'relu2' },
    shapes,
    code: 'HEW3154',
    says: 'known with silu or swish',
  },
  'a pattern of windows': {
    config: {
      ...config,
      architectures: ['Qwen2ForCausalLM'],
      use_sliding_window: true,
      sliding_window: 4,
      max_window_layers: 1,
      layer_types: ['sliding_attention', 'full_attention'],
    },
    shapes: decoderShapes(config, { biases: ['q_proj', 'k_proj', 'v_proj'] }),
    code: 'HEW3154',
    says: "layer 0 is 'sliding_attention'",
  },
  'Qwen2 without biases': {
    config: { ...config, architectures: ['Qwen2ForCausalLM'] },
    shapes,
    code: 'HEW3155',
    says: 'no model.layers.0.self_attn.q_proj.bias',
  },
  'biases that the configuration denies': {
    config: { ...config, attention_bias: false },
    shapes: decoderShapes(config, { biases: ['k_proj'] }),
    code: 'HEW3155',
    says: 'a model.layers.0.self_attn.k_proj.bias',
  },
  'Qwen3 without norms of keys': {
    config: { ...config, architectures: ['Qwen3ForCausalLM'] },
    shapes,
    code: 'HEW3155',
    says: 'q_norm.weight',
  },
  'no head': { config, shapes: without('lm_head.weight'), code: 'HEW3155', says: 'no lm_head.weight' },
  'no head_dim': {
    config: { ...config, hidden_size: 20 },
    shapes: decoderShapes({ ...config, hidden_size: 20, head_dim: 8 }),
    code: 'HEW3155',
    says: 'add "head_dim": 8',
  },
  'sandwich norms that the configuration denies': {
    config: { ...pangu, sandwich_norm: false },
    shapes: sandwich,
    code: 'HEW3155',
    says: 'config.json says sandwich_norm: false, but layer 0 has',
  },
  'sandwich norms that are not there': {
    config: { ...pangu, sandwich_norm: true },
    shapes,
    code: 'HEW3155',
    says: 'has no pre_mlp_layernorm',
  },
  'half a sandwich': {
    config: pangu,
    shapes: Object.fromEntries(Object.entries(sandwich).filter(([name]) => !name.includes('post_mlp'))),
    code: 'HEW3155',
    says: 'without the other one',
  },
  'a bias of the choice of experts': {
    config: { ...pangu, architectures: ['PanguUltraMoEForCausalLM'] },
    shapes: { ...shapes, 'model.layers.0.mlp.gate.e_score_correction_bias': [4] },
    code: 'HEW3154',
    says: 'e_score_correction_bias',
  },
  'a setting of another kind': {
    config: { ...config, num_attention_heads: 'two' },
    shapes,
    code: 'HEW3003',
    says: "'num_attention_heads' in config.json must be a number",
  },
  'tensors of another size': {
    config: { ...config, intermediate_size: 24 },
    shapes,
    code: 'HEW4003',
    says: 'is [20, 16] in the checkpoint',
  },
  'a layer that is missing': {
    config: { ...config, num_hidden_layers: 3 },
    shapes,
    code: 'HEW4002',
    says: 'model.layers.2',
  },
};

test.each(Object.entries(refused))('%s', async (name, { code, says, ...checkpoint }) => {
  const directory = join(scratch, name.replaceAll(/\W+/g, '-'));
  await writeCheckpoint(directory, checkpoint);
  const before = readdirSync(directory);
  const { code: exit, stderr } = await hew(['import', directory]);
  expect(stderr).toContain(code);
  expect(stderr).toContain(says);
  expect(exit).toBeGreaterThan(0);
  expect(readdirSync(directory)).toEqual(before);
});

test('GPT-2 with scores that are not scaled', async () => {
  const directory = join(scratch, 'gpt2');
  await writeCheckpoint(directory, {
    config: { model_type: 'gpt2', scale_attn_by_inverse_layer_idx: true },
    shapes: { 'wte.weight': [4, 4] },
  });
  const { stderr } = await hew(['import', directory]);
  expect(stderr).toContain('HEW3154');
});

test('a spec that is there already stays', async () => {
  const directory = join(scratch, 'twice');
  await writeCheckpoint(directory, { config, shapes });
  expect((await hew(['import', directory])).code).toBe(0);
  writeFileSync(join(directory, 'model.hew'), 'edited');
  const { code, stderr } = await hew(['import', directory]);
  expect([code, stderr.includes('HEW8003')]).toEqual([1, true]);
  expect(readFileSync(join(directory, 'model.hew'), 'utf8')).toBe('edited');
});

test('settings are names of the spec that config.json leaves open', async () => {
  const directory = join(scratch, 'settings');
  await writeCheckpoint(directory, { config, shapes });
  const output = join(directory, 'out');
  const run = (set: string) => hew(['import', directory, '-o', output, '--set', set]);
  expect((await run('context_lenght=8')).stderr).toContain("did you mean 'context_length'?");
  expect((await run('vocab_size=8')).stderr).toContain('config.json says');
  expect(existsSync(join(output, 'model.hew'))).toBe(false);
  expect((await run('context_length=8')).code).toBe(0);
  expect(readFileSync(join(output, 'model.hew'), 'utf8')).toContain('config context_length: int = 8');
});

test('other commands say what a checkpoint without a spec needs', async () => {
  const directory = join(scratch, 'no-spec');
  await writeCheckpoint(directory, { config, shapes });
  const { code, stderr } = await hew(['inspect', directory]);
  expect(code).toBe(1);
  expect(stderr).toContain(`hew import ${directory}`);
});

test('directories that are no models', async () => {
  const directory = join(scratch, 'empty');
  mkdirSync(directory);
  expect((await hew(['import', directory])).stderr).toContain('HEW3101');
  writeFileSync(join(directory, 'config.json'), '[]');
  expect((await hew(['import', directory])).stderr).toContain('HEW3004');
  writeFileSync(join(directory, 'config.json'), '{');
  expect((await hew(['import', directory])).stderr).toContain('HEW3004');
  writeFileSync(join(directory, 'config.json'), '{}');
  writeFileSync(join(directory, 'pytorch_model.bin'), '');
  expect((await hew(['import', directory])).stderr).toContain('HEW3152');
});
