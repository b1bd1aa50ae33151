/**
 * `hew export --format hf`: what is written is a checkpoint of its architecture with the sizes that the model has now,
 * as the reference of this folder computes it; what no configuration describes is refused.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../compiler/checkpoint/checkpoint.js';
import { toFloat32 } from '../../compiler/checkpoint/dtypes.js';
import { writeSafetensors } from '../../compiler/checkpoint/write-safetensors.js';
import { openModel } from '../../compiler/compile.js';
import { interpretEntry } from '../../ir/interpret.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { hew, scratchDirectory } from '../cli/run-cli.js';
import { randomFrom } from '../conformance/random.js';
import { type Config, decoderLogits, gpt2Logits } from './reference.js';
import { decoderShapes, type TinyCheckpoint, weightsOf, writeCheckpoint } from './tiny-checkpoint.js';

const scratch = scratchDirectory();

const base = {
  hidden_act: 'silu',
  hidden_size: 40,
  intermediate_size: 52,
  num_hidden_layers: 4,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  vocab_size: 61,
  max_position_embeddings: 24,
  rms_norm_eps: 1e-5,
  rope_theta: 500,
  head_dim: 8,
};
const llama = { ...base, architectures: ['LlamaForCausalLM'] };
const pangu = { ...base, architectures: ['PanguEmbeddedForCausalLM'], sandwich_norm: true };
const prompt = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 9, 7];

/** Token windows to calibrate on. */
const calibration = join(scratch, 'tokens.safetensors');
const random = randomFrom(3);
const tokens = Int32Array.from({ length: 16 * 24 }, () => Math.floor(random() * 61));
await writeSafetensors(calibration, [
  { name: 'tokens', dtype: 'i32', shape: [16, 24], data: new Uint8Array(tokens.buffer) },
]);

async function imported(name: string, checkpoint: TinyCheckpoint): Promise<string> {
  const directory = join(scratch, name);
  await writeCheckpoint(directory, checkpoint);
  writeFileSync(join(directory, 'generation_config.json'), '{"eos_token_id": 2}');
  writeFileSync(join(directory, 'tokenizer_config.json'), '{"model_max_length": 24}');
  const { code, stderr } = await hew(['import', directory]);
  expect([code, stderr]).toEqual([0, '']);
  return directory;
}

/** Logits of the reference for whatever lies in a directory. */
function referenceOf(directory: string): number[] {
  const config = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8')) as Config;
  const checkpoint = openCheckpoint(directory);
  const values = new Map(
    [...checkpoint.tensors].map(([name, { dtype }]) => [
      name,
      Float64Array.from(toFloat32(dtype, checkpoint.read(name))),
    ]),
  );
  const shapes = Object.fromEntries([...checkpoint.tensors].map(([name, { shape }]) => [name, shape]));
  checkpoint.close();
  const weights = weightsOf(values, shapes);
  return (config.n_embd === undefined ? decoderLogits : gpt2Logits)(weights, config, prompt).flat();
}

function logitsOf(spec: string): ArrayLike<number> {
  const { module, source, close } = openModel({ spec });
  try {
    const ids = tensor('i32', [prompt.length], prompt);
    return (interpretEntry(module, 'prefill', { ids }, source ? { source } : {}).logits as Tensor).data;
  } finally {
    close();
  }
}

function expectSame(found: ArrayLike<number>, wanted: readonly number[]): void {
  const worst = wanted.reduce((most, value, i) => Math.max(most, Math.abs(value - (found[i] as number))), 0);
  expect(found.length).toBe(wanted.length);
  expect(worst).toBeLessThan(1e-4);
}

async function prune(directory: string, pipeline: string, ...more: string[]): Promise<string> {
  const output = `${directory}-pruned`;
  const flags = ['--pipeline', pipeline, '--calib', calibration, '-o', output, ...more];
  const { code, stderr } = await hew(['prune', directory, ...flags]);
  expect(stderr).not.toContain('error');
  expect(code).toBe(0);
  return output;
}

const exportTo = (model: string, output: string) => hew(['export', model, '--format', 'hf', '-o', output]);

test('a pruned Llama: sizes, names and values', async () => {
  const directory = await imported('llama', { config: llama, shapes: decoderShapes(llama) });
  const pruned = await prune(directory, 'prune{layers=3,d=32,ffn=48,heads=4},slnp', '--hf');
  const output = join(pruned, 'hf');
  expect(readdirSync(output).sort()).toEqual([
    'config.json',
    'generation_config.json',
    'model.safetensors',
    'tokenizer_config.json',
  ]);
  const config = JSON.parse(readFileSync(join(output, 'config.json'), 'utf8')) as Config;
  expect(config).toEqual({
    ...llama,
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: 3,
    num_attention_heads: 4,
    torch_dtype: 'float32',
  });
  const { tensors, close } = openCheckpoint(output);
  close();
  expect([...tensors.keys()].sort()).toEqual(Object.keys(decoderShapes(config)).sort());
  for (const [name, shape] of Object.entries(decoderShapes(config)))
    expect(tensors.get(name)?.shape).toEqual(shape);
  expectSame(logitsOf(join(pruned, 'model.hew')), referenceOf(output));
});

test('says when transformers would not load it', async () => {
  const odd = await imported('llama-odd', { config: llama, shapes: decoderShapes(llama) });
  const { code, stdout } = await exportTo(odd, join(scratch, 'llama-odd-hf'));
  expect(code).toBe(0);
  expect(stdout).toContain('transformers 5 does not load it: hidden_size 40 is no multiple of 6 heads');
});

test('post-norms that were absorbed leave a block with two norms', async () => {
  const directory = await imported('pangu', {
    config: pangu,
    shapes: decoderShapes(pangu, { sandwich: true }),
  });
  const pruned = await prune(directory, 'prune{ffn=48},slnp,absorb-post-norm');
  const output = join(scratch, 'pangu-hf');
  const { code, stdout, stderr } = await exportTo(pruned, output);
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toContain('every tensor is the same');
  const config = JSON.parse(readFileSync(join(output, 'config.json'), 'utf8')) as Config;
  expect(config).toMatchObject({ sandwich_norm: false, intermediate_size: 48, head_dim: 8 });
  const { tensors, close } = openCheckpoint(output);
  close();
  expect([...tensors.keys()].filter((name) => name.includes('layers.0') && name.includes('norm'))).toEqual([
    'model.layers.0.input_layernorm.weight',
    'model.layers.0.post_attention_layernorm.weight',
  ]);
  expectSame(logitsOf(join(pruned, 'model.hew')), referenceOf(output));
});

test('a model of the examples, from its own spec', async () => {
  const output = join(scratch, 'pangu-2m');
  expect((await exportTo('examples/pangu-2m', output)).code).toBe(0);
  expect(readdirSync(output).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
  expect((await hew(['import', output])).code).toBe(0);
  const original = openCheckpoint('examples/pangu-2m');
  const written = openCheckpoint(output);
  expect([...written.tensors.keys()].sort()).toEqual([...original.tensors.keys()].sort());
  for (const name of written.tensors.keys()) expect(written.read(name)).toEqual(original.read(name));
  original.close();
  written.close();
});

test('GPT-2 keeps its transposed matrices', async () => {
  const config = {
    architectures: ['GPT2LMHeadModel'],
    n_embd: 12,
    n_layer: 1,
    n_head: 2,
    vocab_size: 61,
    n_positions: 24,
    layer_norm_epsilon: 1e-5,
  };
  const layer = (name: string) => ({
    [`${name}.ln_1.weight`]: [12],
    [`${name}.ln_1.bias`]: [12],
    [`${name}.attn.c_attn.weight`]: [12, 36],
    [`${name}.attn.c_attn.bias`]: [36],
    [`${name}.attn.c_proj.weight`]: [12, 12],
    [`${name}.attn.c_proj.bias`]: [12],
    [`${name}.ln_2.weight`]: [12],
    [`${name}.ln_2.bias`]: [12],
    [`${name}.mlp.c_fc.weight`]: [12, 48],
    [`${name}.mlp.c_fc.bias`]: [48],
    [`${name}.mlp.c_proj.weight`]: [48, 12],
    [`${name}.mlp.c_proj.bias`]: [12],
  });
  const shapes = {
    'wte.weight': [61, 12],
    'wpe.weight': [24, 12],
    'ln_f.weight': [12],
    'ln_f.bias': [12],
    ...layer('h.0'),
  };
  const directory = await imported('gpt2', { config, shapes });
  const output = join(scratch, 'gpt2-hf');
  expect((await exportTo(directory, output)).code).toBe(0);
  expect(referenceOf(output)).toEqual(referenceOf(directory));
});

describe('refuses, and writes nothing', () => {
  async function refused(model: string, code: string, says: string): Promise<void> {
    const output = join(scratch, 'refused');
    const { code: exit, stderr } = await exportTo(model, output);
    expect(stderr).toContain(code);
    expect(stderr).toContain(says);
    expect(exit).toBeGreaterThan(0);
    expect(existsSync(output)).toBe(false);
  }

  /** The spec of an imported model, edited. */
  async function edited(name: string, from: string, to: string): Promise<string> {
    const directory = await imported(name, { config: llama, shapes: decoderShapes(llama) });
    const spec = join(directory, 'model.hew');
    const text = readFileSync(spec, 'utf8');
    expect(text).toContain(from);
    writeFileSync(spec, text.replace(from, to));
    return directory;
  }

  test('a model whose layers compute something else', async () => {
    const directory = await edited('other-layer', 'SwiGLU[ffn](x)', 'SwiGLU[ffn](x) * 0.5');
    await refused(directory, 'HEW3164', 'its logits differ');
  });

  test('a model with a tensor that the architecture does not have', async () => {
    const directory = await edited(
      'other-bias',
      'return SwiGLU[ffn](x)',
      'weight b: [d] = "down_proj.bias"\n  return SwiGLU[ffn](x) + b',
    );
    const shapes = { ...decoderShapes(llama) };
    for (let i = 0; i < 4; i++) Object.assign(shapes, { [`model.layers.${i}.mlp.down_proj.bias`]: [40] });
    await writeCheckpoint(directory, { config: llama, shapes });
    await refused(directory, 'HEW3164', 'has a bias, unlike what the architecture gives it');
  });

  test('families that transformers does not have', async () => {
    await refused('examples/dit-1m', 'HEW3164', 'transformers has no models');
  });

  test('an architecture that is not known', async () => {
    const directory = join(scratch, 'mole');
    mkdirSync(directory);
    writeFileSync(join(directory, 'config.json'), '{"architectures": ["MoLEForCausalLM"], "n": 4}');
    writeFileSync(
      join(directory, 'model.hew'),
      'config n: int\ndim d = n\nentry run(x: [d]) -> (y: [d]) {\n  weight w: [d] = "w"\n  return (y = x * w)\n}\nconfig "config.json"\nweights "model.safetensors"\n',
    );
    await writeSafetensors(join(directory, 'model.safetensors'), [
      { name: 'w', dtype: 'f32', shape: [4], data: new Uint8Array(16) },
    ]);
    await refused(directory, 'HEW3151', 'MoLEForCausalLM');
  });

  test('a directory that holds something', async () => {
    const output = join(scratch, 'taken');
    mkdirSync(output);
    writeFileSync(join(output, 'notes.txt'), 'mine');
    const { code, stderr } = await exportTo('examples/pangu-2m', output);
    expect([code, stderr.includes('HEW8003')]).toEqual([1, true]);
    expect(readdirSync(output)).toEqual(['notes.txt']);
  });
});
