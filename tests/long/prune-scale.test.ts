/** Memory of pruning and refitting does not grow with the checkpoint: a bound in the size CI can afford. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pruneModel } from 'hew';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writePanguFiles } from '../cli/pangu-files.js';
import { layers, pruneMeasured, pruneScales } from './prune-scale.js';

const folder = mkdtempSync(join(tmpdir(), 'hew-prune-scale-'));

beforeAll(() => {
  const built = spawnSync('npm', ['run', '--silent', 'build'], { encoding: 'utf8' });
  expect(built.status, built.stderr).toBe(0);
}, 120_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What the engine lets pile up before it collects buffers that are no longer used. */
const garbageMiB = 96;

test('300 MB in 94 layers are pruned within a few layers of what a tiny model takes', async () => {
  const base = await pruneMeasured(join(folder, 'base'), pruneScales['3 MB']);
  const large = await pruneMeasured(join(folder, 'large'), pruneScales['300 MB']);
  const layerMiB = large.checkpointBytes / layers / 2 ** 20;
  console.log(
    `${(large.checkpointBytes / 1e6).toFixed(0)} MB: ${large.maxRssMiB.toFixed(0)} MiB peak, ${large.cpuSeconds.toFixed(0)} s of CPU; ` +
      `${(base.checkpointBytes / 1e6).toFixed(0)} MB: ${base.maxRssMiB.toFixed(0)} MiB, ${base.cpuSeconds.toFixed(0)} s; a layer ${layerMiB.toFixed(1)} MiB`,
  );
  expect(large.checkpointBytes).toBeGreaterThan(290e6);
  expect(large.report).toMatchObject({
    reloadDifference: 0,
    after: { dims: { d: 384, ffn: 152, heads: 4, layers } },
  });
  expect(large.report.passes.at(-1)?.counts.writers).toBe(2 * layers);
  expect(large.maxRssMiB - base.maxRssMiB).toBeLessThan(garbageMiB + 12 * layerMiB);
}, 900_000);

test('a model beyond the memory of WebAssembly is written without a bundle', async () => {
  const scratch = mkdtempSync(join(folder, 'beyond-'));
  // The caches of 72 layers take 64 bytes for each token of the context.
  await writePanguFiles(scratch, { num_hidden_layers: 72, max_position_embeddings: 1_000_000 });
  const output = join(scratch, 'pruned');
  const report = await pruneModel({
    spec: 'examples/pangu/pangu.hew',
    config: join(scratch, 'config.json'),
    weights: join(scratch, 'model.safetensors'),
    calibration: join(scratch, 'tokens.safetensors'),
    pipeline: 'prune{ffn=-50%}',
    output,
  });
  expect(report).toMatchObject({ reloadDifference: 0, after: { dims: { ffn: 12 } } });
  expect(report.withoutBundle).toMatch(/needs 4.* GiB of memory, WebAssembly has 4 GiB/);
  expect(['bundle', 'model.hew', 'model.safetensors'].map((name) => existsSync(join(output, name)))).toEqual([
    false,
    true,
    true,
  ]);
}, 300_000);
