/** Observations that are kept on disk: found again, and as good as absent when they are damaged. */
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ContentStore, storedFloats } from '../../compiler/content-store.js';
import { ObservationCache } from '../../compiler/observation-cache.js';
import { observe } from '../../compiler/observe.js';
import type { Observation, Probe } from '../../passes/probe.js';
import { observedStructure } from '../../passes/structure.js';
import { writePanguFiles } from '../cli/pangu-files.js';
import { hew } from '../cli/run-cli.js';
import { tinyData, tinyModel } from '../prune/tiny-model.js';

const folder = mkdtempSync(join(tmpdir(), 'hew-cache-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const { module, source } = tinyModel();
const data = tinyData(module, 2, 6);
const [norm] = observedStructure(module).norms;
if (norm === undefined) throw new Error('the model has norms');
const probes = (['abs', 'square'] as const).map(
  (statistic): Probe => ({ key: statistic, module, func: norm.func, values: [norm.result], statistic }),
);

/** What is observed with a store, and how many calls that took. */
async function observed(directory: string, identity = 'one'): Promise<[Map<string, Observation>, number]> {
  let calls = 0;
  const cache = new ObservationCache({ store: new ContentStore(directory), identity });
  const found = await observe(probes, data, { source, cache, onProgress: () => calls++ });
  return [found, calls];
}

describe('observations on disk', () => {
  const directory = join(folder, 'observations');

  test('are found by another run, with the same weights alone', async () => {
    const [first, calls] = await observed(directory);
    expect(calls).toBe(2);
    expect(readdirSync(directory)).toHaveLength(2);
    expect(await observed(directory)).toEqual([first, 0]);
    expect((await observed(directory, 'other'))[1]).toBe(2);
  });

  test.each([
    ['a byte that was changed', (bytes: Buffer) => bytes.with(-1, (bytes.at(-1) ?? 0) ^ 1)],
    ['its end cut off', (bytes: Buffer) => bytes.subarray(0, -8)],
    ['nothing in it', () => Buffer.alloc(0)],
    ['something else in it', () => Buffer.from('not what you think')],
  ])('with %s are ignored and made again', async (_, damage) => {
    const own = join(folder, 'damaged');
    rmSync(own, { recursive: true, force: true });
    const [first] = await observed(own);
    for (const name of readdirSync(own)) {
      const path = join(own, name);
      writeFileSync(path, damage(readFileSync(path)));
    }
    expect(await observed(own)).toEqual([first, 2]);
    expect(await observed(own)).toEqual([first, 0]);
  });

  test('that cannot be kept cost nothing but time', async () => {
    const taken = join(folder, 'taken');
    writeFileSync(taken, 'a file');
    expect((await observed(taken))[0].size).toBe(2);
  });
});

test('a store makes room for what is new', async () => {
  const directory = join(folder, 'small');
  const store = new ContentStore(directory, 3000);
  const item = (value: number) => ({
    tensors: new Map([['x', storedFloats(new Float64Array(128).fill(value), [128])]]),
    facts: value,
  });
  for (const key of ['a', 'b', 'c']) {
    await store.write(key, item(key.charCodeAt(0)));
    // All a minute old: the clock of a file system is coarse, and what is read next is newer than all.
    for (const name of readdirSync(directory)) {
      const used = new Date(Date.now() - 60_000);
      utimesSync(join(directory, name), used, used);
    }
    if (key === 'b') store.read('a');
  }
  expect([store.read('a')?.facts, store.read('b')?.facts, store.read('c')?.facts]).toEqual([
    97,
    undefined,
    99,
  ]);
});

describe('hew prune', () => {
  let model: readonly string[] = [];
  beforeAll(async () => {
    model = await writePanguFiles(folder);
  });

  test.each([
    [[], true],
    [['--no-cache'], false],
  ])(
    'with %j keeps observations: %j',
    async (options, kept) => {
      const cache = join(folder, kept ? 'kept' : 'none');
      const result = await hew(
        ['prune', ...model, '--pipeline', 'prune{ffn=50%}', '-o', join(folder, 'out'), ...options],
        { env: { HEW_CACHE: cache } },
      );
      expect(result.code, result.stderr).toBe(0);
      expect(existsSync(join(cache, 'observations'))).toBe(kept);
    },
    60_000,
  );
});
