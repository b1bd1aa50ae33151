/**
 * GGUF files in llama.cpp itself, from the optional package of tests/llama-cpp: its greedy tokens are those of the model
 * that was exported, and so are the tokens of texts. Skipped where the package is not installed.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Model } from '../../backends/wasm/runtime/load.js';
import { openModel } from '../../compiler/compile.js';
import { loadModule } from '../../compiler/in-memory.js';
import { createTokenizer } from '../../compiler/tokenizer.js';
import { hew, scratchDirectory } from '../cli/run-cli.js';
import type { Config } from '../huggingface/reference.js';
import { decoderShapes, type TinyCheckpoint, writeCheckpoint } from '../huggingface/tiny-checkpoint.js';

const folder = 'tests/llama-cpp';
const isInstalled = existsSync(join(folder, 'node_modules/node-llama-cpp'));
if (!isInstalled)
  console.log(
    `skipped: llama.cpp is not installed (npm install --no-save --ignore-scripts --omit=optional in ${folder})`,
  );

const scratch = scratchDirectory();
const count = 32;
const texts = ['def main(x):\n    return 17', "it's  größer", 'a\n\n\tb  '];

const base = {
  hidden_act: 'silu',
  hidden_size: 128,
  intermediate_size: 256,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  vocab_size: 4096,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
};

function checkpoint(
  name: string,
  settings: Config,
  options?: Parameters<typeof decoderShapes>[1],
): TinyCheckpoint {
  const config = { ...base, architectures: [name], ...settings };
  return { config, shapes: decoderShapes(config, options) };
}

const llama3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
};

const models: Readonly<Record<string, TinyCheckpoint>> = {
  llama: checkpoint('LlamaForCausalLM', {}),
  'llama, tied, RoPE scaled by llama3': checkpoint('LlamaForCausalLM', {
    tie_word_embeddings: true,
    rope_scaling: llama3,
  }),
  'llama, RoPE scaled by YaRN': checkpoint('LlamaForCausalLM', {
    rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32 },
  }),
  qwen2: checkpoint('Qwen2ForCausalLM', {}, { biases: ['q_proj', 'k_proj', 'v_proj'] }),
  qwen3: checkpoint('Qwen3ForCausalLM', {}, { qkNorms: true }),
};

interface Greedy {
  readonly prompt: readonly number[];
  readonly tokens: readonly number[];
  /** How far the most likely token lies before the second, where that is least. */
  readonly margin: number;
}

/** Prompts to choose from: sums differ in their last bits, which must not decide a token. */
const prompts = Array.from({ length: 16 }, (_, i) => [0, 329, 3743, 11, 91, 322 + 17 * i]);

/** The prompt whose most likely tokens are clearest, and what Hew finds to follow it. */
async function greedy(spec: string): Promise<Greedy> {
  const { module, source, close } = openModel({ spec });
  try {
    const model = await loadModule(module, source, { optimize: false });
    const [clearest] = prompts.map((prompt) => follow(model, prompt)).toSorted((a, b) => b.margin - a.margin);
    return clearest as Greedy;
  } finally {
    close();
  }
}

function follow(model: Model, prompt: readonly number[]): Greedy {
  model.reset();
  const outputs = model.run('prefill', { ids: Int32Array.from(prompt) }, { outputs: ['last'] });
  let logits = outputs.last as Float32Array;
  const tokens: number[] = [];
  let margin = Number.POSITIVE_INFINITY;
  while (tokens.length < count) {
    const [first = 0, second = 0] = logits.toSorted((a, b) => b - a);
    margin = Math.min(margin, first - second);
    const token = logits.indexOf(first);
    tokens.push(token);
    logits = model.run('decode', { ids: Int32Array.of(token) }).logits as Float32Array;
  }
  return { prompt, tokens, margin };
}

describe.skipIf(!isInstalled).each(Object.entries(models))('%s', (name, model) => {
  const directory = join(scratch, name.replaceAll(/\W+/g, '-'));

  test.each(['F32', 'F16'])('%s: greedy tokens and the tokens of texts', async (type) => {
    if (type === 'F32') {
      await writeCheckpoint(directory, model);
      copyFileSync('examples/pangu-2m/tokenizer.json', join(directory, 'tokenizer.json'));
      expect((await hew(['import', directory])).code).toBe(0);
    }
    const [file, back] = [join(scratch, `${type}.gguf`), `${directory}-${type}`];
    const exported = await hew(['export', directory, '--format', 'gguf', '--type', type, '-o', file]);
    expect(exported.stderr).toBe('');
    const imported = await hew(['import', file, '-o', back]);
    expect(imported.stderr).toBe('');
    const { prompt, tokens, margin } = await greedy(join(back, 'model.hew'));
    console.log(`${name}, ${type}: the clearest prompt decides every token by ${margin.toFixed(4)}`);
    const output = execFileSync(
      process.execPath,
      ['generate.js', file, JSON.stringify(prompt), String(count), JSON.stringify(texts)],
      { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const found = JSON.parse(output.trim().split('\n').at(-1) ?? '') as {
      tokens: number[];
      encoded: number[][];
    };
    expect(found.tokens).toEqual(tokens);
    const tokenizer = createTokenizer(readFileSync('examples/pangu-2m/tokenizer.json', 'utf8'));
    expect(found.encoded).toEqual(texts.map((text) => tokenizer.encode(text)));
  });
});
