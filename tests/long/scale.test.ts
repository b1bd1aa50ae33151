/**
 * How compilation scales: code and time do not grow with the number of layers, and peak memory is a few tensors,
 * whatever the size of the checkpoint.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Measured, runMeasured } from './measured.js';
import { writeSyntheticPangu } from './synthetic-checkpoint.js';

const folder = mkdtempSync(join(tmpdir(), 'hew-scale-'));

beforeAll(() => {
  const built = spawnSync('npm', ['run', '--silent', 'build'], { encoding: 'utf8' });
  expect(built.stderr + built.stdout).toBe('');
}, 120_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Compiled extends Measured {
  readonly codeBytes: number;
}

function compileMeasured(name: string, config: Record<string, unknown>, weights: string): Compiled {
  const configFile = join(folder, `${name}.json`);
  writeFileSync(configFile, JSON.stringify(config));
  const output = join(folder, name);
  const spec = 'examples/pangu/pangu.hew';
  const measured = runMeasured([
    'compile',
    spec,
    '--config',
    configFile,
    '--weights',
    weights,
    '-o',
    output,
    '--json',
  ]);
  return { ...measured, codeBytes: statSync(join(output, 'module.wasm')).size };
}

const small = {
  hidden_size: 64,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  intermediate_size: 96,
  vocab_size: 256,
  max_position_embeddings: 128,
  sandwich_norm: true,
};

describe('layers', () => {
  test('94 layers give the code of 12', async () => {
    const compiled = [];
    for (const layers of [12, 94]) {
      const config = { ...small, num_hidden_layers: layers };
      const weights = join(folder, `layers-${layers}.safetensors`);
      await writeSyntheticPangu(weights, config);
      compiled.push(compileMeasured(`layers-${layers}`, config, weights));
    }
    const [few, many] = compiled as [Compiled, Compiled];
    console.log(
      `12 layers: ${few.codeBytes} bytes of code, ${few.seconds.toFixed(2)} s; 94 layers: ${many.codeBytes} bytes, ${many.seconds.toFixed(2)} s`,
    );
    expect(Math.abs(many.codeBytes - few.codeBytes)).toBeLessThan(256);
  }, 120_000);
});

describe('memory', () => {
  test('a checkpoint of 1 GB is compiled within a few of its largest tensors', async () => {
    const config = {
      ...small,
      hidden_size: 2048,
      num_hidden_layers: 9,
      num_attention_heads: 32,
      num_key_value_heads: 8,
      head_dim: 64,
      intermediate_size: 6656,
      vocab_size: 16_000,
    };
    const weights = join(folder, 'large.safetensors');
    await writeSyntheticPangu(weights, config);
    const bytes = statSync(weights).size;
    expect(bytes).toBeGreaterThan(1e9);
    const base = compileMeasured(
      'base',
      { ...small, num_hidden_layers: 12 },
      join(folder, 'layers-12.safetensors'),
    );
    const large = compileMeasured('large', config, weights);
    const largestMiB = (16_000 * 2048 * 2) / 2 ** 20;
    console.log(
      `${(bytes / 2 ** 30).toFixed(2)} GiB checkpoint: ${large.maxRssMiB.toFixed(0)} MiB peak in ${large.seconds.toFixed(1)} s; a small one: ${base.maxRssMiB.toFixed(0)} MiB; largest tensor ${largestMiB.toFixed(0)} MiB`,
    );
    expect(large.maxRssMiB - base.maxRssMiB).toBeLessThan(6 * largestMiB);
    expect(readFileSync(join(folder, 'large', 'manifest.json'), 'utf8')).toContain('hew-bundle');
  }, 300_000);
});
