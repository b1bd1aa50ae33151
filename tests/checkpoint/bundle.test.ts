import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { load } from '../../backends/wasm/runtime/load.js';
import { writeFileAtomically } from '../../compiler/atomic-write.js';
import { type BundleSource, writeBundle } from '../../compiler/bundle.js';
import { toyFiles, toyManifest } from '../runtime/fixture.js';
import { codeOf } from './hew-errors.js';

let folder: string;
let target: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hew-bundle-'));
  target = join(folder, 'toy');
});
afterEach(() => rm(folder, { recursive: true }));

const write = (path = target, name = 'toy'): Promise<void> =>
  writeBundle(path, { ...toyManifest(), name }, toyFiles());

async function contents(path: string): Promise<Record<string, string>> {
  const names = (await readdir(path)).sort();
  const entries = names.map(async (name) => [name, (await readFile(join(path, name))).toString('base64')]);
  return Object.fromEntries(await Promise.all(entries));
}

describe('writing a bundle', () => {
  it('gives what the loader loads, the same bytes each time, and nothing else', async () => {
    await write();
    const first = await contents(target);
    expect(Object.keys(first)).toEqual([
      'manifest.json',
      'module.wasm',
      'tokenizer.json',
      'weights-00001.bin',
    ]);
    await write();
    expect(await contents(target)).toEqual(first);
    expect(await readdir(folder)).toEqual(['toy']);
    expect((await load(target)).manifest.name).toBe('toy');
  });

  it('streams files in their turn', async () => {
    const files = toyFiles();
    const shard = files.get('weights-00001.bin') ?? new Uint8Array();
    const chunks = async function* (): AsyncGenerator<Uint8Array> {
      for (const byte of shard) yield Uint8Array.of(byte);
    };
    await writeBundle(
      target,
      toyManifest(),
      new Map<string, BundleSource>([...files, ['weights-00001.bin', () => chunks()]]),
    );
    await expect(load(target)).resolves.toBeDefined();
  });

  it('creates parents, replaces bundles and empty directories, and follows links', async () => {
    await write(join(folder, 'a', 'b'));
    await mkdir(target);
    await write(target, 'first');
    await symlink(target, join(folder, 'link'));
    await write(join(folder, 'link'), 'second');
    expect((await load(target)).manifest.name).toBe('second');
    expect((await readdir(folder)).sort()).toEqual(['a', 'link', 'toy']);
  });

  it('HEW8003: never touches what is not a bundle', async () => {
    await mkdir(target);
    await writeFile(join(target, 'thesis.txt'), 'years of work');
    expect(await codeOf(() => write())).toBe('HEW8003');
    await writeFile(join(target, 'manifest.json'), '{"name":"of something else","files":{"thesis.txt":{}}}');
    expect(await codeOf(() => write())).toBe('HEW8003');
    expect(await readFile(join(target, 'thesis.txt'), 'utf8')).toBe('years of work');
    expect(await codeOf(() => write(join(target, 'thesis.txt')))).toBe('HEW8003');
    expect(await codeOf(() => write(join(target, 'thesis.txt', 'below')))).toBe('HEW8003');
  });

  it('HEW8003: never removes a file that somebody put into a bundle', async () => {
    await write();
    await writeFile(join(target, 'notes.txt'), 'mine');
    expect(await codeOf(() => write())).toBe('HEW8003');
    expect(await readFile(join(target, 'notes.txt'), 'utf8')).toBe('mine');
  });

  it('leaves the old bundle and no temporaries when a source fails', async () => {
    await write(target, 'old');
    const failing = function* (): Generator<Uint8Array> {
      yield new Uint8Array(10);
      throw new Error('the source broke');
    };
    const files = new Map<string, BundleSource>([...toyFiles(), ['weights-00001.bin', failing()]]);
    await expect(writeBundle(target, toyManifest(), files)).rejects.toThrow('the source broke');
    expect((await load(target)).manifest.name).toBe('old');
    expect(await readdir(folder)).toEqual(['toy']);
  });

  it('HEW9001: refuses to write what the loader would refuse', async () => {
    const manifest = toyManifest();
    const wasm = { ...manifest.wasm, memory_pages: 0 };
    expect(await codeOf(() => writeBundle(target, { ...manifest, wasm }, toyFiles()))).toBe('HEW9001');
    const misspelt = { ...manifest, smbols: {} };
    expect(await codeOf(() => writeBundle(target, misspelt, toyFiles()))).toBe('HEW9001');
    const outside = new Map([...toyFiles(), ['../x', new Uint8Array()]]);
    expect(await codeOf(() => writeBundle(target, manifest, outside))).toBe('HEW9001');
    expect(await readdir(folder)).toEqual([]);
  });

  it('removes temporaries of processes that are gone, and only those', async () => {
    const random = '0123456789ab';
    // Process ids end at 2^22 on Linux.
    await mkdir(join(folder, `.toy.hew-new-4194999-${random}`));
    await mkdir(join(folder, `.toy.hew-old-4194999-${random}`));
    const kept = [`.toy.hew-new-${process.ppid}-${random}`, `.other.hew-new-4194999-${random}`, '.toy.hew-x'];
    for (const name of kept) await mkdir(join(folder, name));
    await write();
    expect((await readdir(folder)).sort()).toEqual([...kept, 'toy'].sort());
  });

  it('HEW8003: a name that the file system refuses', async () => {
    expect(await codeOf(() => write(join(folder, 'x'.repeat(300))))).toBe('HEW8003');
  });
});

describe('a write that is killed', () => {
  const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

  it('leaves the old bundle, the new one or none, and the next write cleans up', {
    timeout: 60_000,
  }, async () => {
    await write(target, 'bundle-0');
    // The child writes copies of these files.
    const original = join(folder, 'original');
    await write(original);
    for (let round = 0; round < 8; round++) {
      const child = spawn(
        process.execPath,
        ['--import', source('./run-sources.ts'), source('./write-bundles.ts'), original, target],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
      expect(child.exitCode).toBeNull();
      await new Promise((resolve) => setTimeout(resolve, (round * 37) % 50));
      child.kill('SIGKILL');
      await once(child, 'exit');
      if ((await readdir(folder)).includes('toy')) {
        const { manifest } = await load(target);
        expect(manifest.name).toMatch(/^bundle-\d+$/);
      }
    }
    await write();
    expect((await readdir(folder)).sort()).toEqual(['original', 'toy']);
  });
});

describe('writing a file', () => {
  it('replaces it whole or not at all', async () => {
    const path = join(folder, 'image.png');
    await writeFileAtomically(path, Uint8Array.of(1));
    await writeFileAtomically(path, [Uint8Array.of(2), Uint8Array.of(3)]);
    expect([...(await readFile(path))]).toEqual([2, 3]);
    expect(await codeOf(() => writeFileAtomically(folder, Uint8Array.of(1)))).toBe('HEW8003');
    expect(await readdir(folder)).toEqual(['image.png']);
  });
});
