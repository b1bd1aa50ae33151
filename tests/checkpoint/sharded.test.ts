import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../compiler/checkpoint/checkpoint.js';
import { writeSafetensors } from '../../compiler/checkpoint/write-safetensors.js';
import { codeOf } from './hew-errors.js';

let parent: string;
let folder: string;
beforeEach(async () => {
  parent = mkdtempSync(join(tmpdir(), 'hew-sharded-'));
  folder = join(parent, 'model');
  mkdirSync(join(folder, 'sub'), { recursive: true });
  await shard(join(folder, 'one.safetensors'), { a: 1, shared: 10 });
  await shard(join(folder, 'sub', 'two.safetensors'), { b: 2, shared: 20 });
  await shard(join(parent, 'outside.safetensors'), { a: 3 });
});
afterEach(() => rmSync(parent, { recursive: true }));

function shard(path: string, tensors: Record<string, number>): Promise<void> {
  const entries = Object.entries(tensors).map(([name, value]) => ({
    name,
    dtype: 'u8' as const,
    shape: [1],
    data: Uint8Array.of(value),
  }));
  return writeSafetensors(path, entries, { format: 'pt' });
}

function index(content: unknown): string {
  const path = join(folder, 'model.safetensors.index.json');
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

const good = { a: 'one.safetensors', b: 'sub/two.safetensors', shared: 'sub/two.safetensors' };

describe('sharded checkpoints', () => {
  it('read each tensor from the shard that the index names', () => {
    const path = index({ metadata: { total_size: 3 }, weight_map: good });
    for (const given of [path, folder]) {
      const checkpoint = openCheckpoint(given);
      const values = ['a', 'b', 'shared'].map((name) => checkpoint.read(name)[0]);
      expect(values).toEqual([1, 2, 20]);
      expect(checkpoint.tensors.size).toBe(3);
      expect(checkpoint.metadata.get('format')).toBe('pt');
      expect(checkpoint.fingerprint()).toMatch(/^[0-9a-f]{64}$/);
      checkpoint.close();
      checkpoint.close();
    }
  });

  it.each<[string, string, unknown]>([
    ['HEW4005', 'text that is not JSON', '{'],
    ['HEW4005', 'deep nesting', '['.repeat(200_000)],
    ['HEW4005', 'a list', []],
    ['HEW4005', 'no map', { metadata: {} }],
    ['HEW4005', 'an empty map', { weight_map: {} }],
    ['HEW4005', 'a shard that is no text', { weight_map: { a: 1 } }],
    ['HEW4005', 'a tensor that its shard lacks', { weight_map: { ...good, c: 'one.safetensors' } }],
    [
      'HEW4005',
      'too many shards',
      {
        weight_map: Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`t${i}`, `${i}.safetensors`])),
      },
    ],
    ['HEW3001', 'a shard that is missing', { weight_map: { a: 'three.safetensors' } }],
    ['HEW3005', 'a way up', { weight_map: { a: '../outside.safetensors' } }],
    ['HEW3005', 'a way up and down', { weight_map: { a: 'sub/../../outside.safetensors' } }],
    ['HEW3005', 'an absolute path', { weight_map: { a: '/etc/passwd.safetensors' } }],
    ['HEW3005', 'a path of another system', { weight_map: { a: '..\\outside.safetensors' } }],
    ['HEW3005', 'a drive', { weight_map: { a: 'C:outside.safetensors' } }],
    ['HEW3005', 'a NUL', { weight_map: { a: 'one\0.safetensors' } }],
    ['HEW3005', 'another kind of file', { weight_map: { a: 'passwd' } }],
    ['HEW3005', 'an empty name', { weight_map: { a: '' } }],
  ])('%s: %s', async (code, _, content) => {
    const path = index(content);
    expect(await codeOf(() => openCheckpoint(path))).toBe(code);
  });

  it('HEW3006: an index of absurd size', async () => {
    const path = index('{}');
    truncateSync(path, 100_000_001);
    expect(await codeOf(() => openCheckpoint(path))).toBe('HEW3006');
  });

  it('HEW3005: links out of the folder, of a file or of a folder', async () => {
    symlinkSync(join(parent, 'outside.safetensors'), join(folder, 'link.safetensors'));
    symlinkSync(parent, join(folder, 'up'));
    for (const name of ['link.safetensors', 'up/outside.safetensors']) {
      const path = index({ weight_map: { a: name } });
      expect(await codeOf(() => openCheckpoint(path))).toBe('HEW3005');
    }
  });

  it('takes links that stay inside', () => {
    symlinkSync('one.safetensors', join(folder, 'link.safetensors'));
    const checkpoint = openCheckpoint(index({ weight_map: { a: 'link.safetensors' } }));
    expect(checkpoint.read('a')[0]).toBe(1);
    checkpoint.close();
  });

  it('any content gives a coded error or a checkpoint', async () => {
    const name = fc.oneof(fc.constantFrom(...Object.values(good), '..', '.'), fc.string());
    const content = fc.oneof(
      fc.jsonValue(),
      fc.record({ weight_map: fc.oneof(fc.dictionary(fc.string(), name), fc.jsonValue()) }),
    );
    const property = fc.asyncProperty(content, async (value) => {
      const path = index(JSON.stringify(value));
      expect(['HEW3001', 'HEW3005', 'HEW4005', 'no error']).toContain(
        await codeOf(() => openCheckpoint(path).close()),
      );
    });
    await fc.assert(property, { numRuns: 300 });
  });
});

describe('directories', () => {
  it('prefer model.safetensors', async () => {
    index({ weight_map: good });
    await shard(join(folder, 'model.safetensors'), { only: 7 });
    const checkpoint = openCheckpoint(folder);
    expect([...checkpoint.tensors.keys()]).toEqual(['only']);
    checkpoint.close();
  });

  it('may hold one checkpoint of another name', () => {
    const checkpoint = openCheckpoint(join(folder, 'sub'));
    expect(checkpoint.tensors.has('b')).toBe(true);
    checkpoint.close();
  });

  it('HEW3001: none or several', async () => {
    mkdirSync(join(parent, 'empty'));
    expect(await codeOf(() => openCheckpoint(join(parent, 'empty')))).toBe('HEW3001');
    await shard(join(folder, 'two.safetensors'), { c: 1 });
    expect(await codeOf(() => openCheckpoint(folder))).toBe('HEW3001');
  });
});
