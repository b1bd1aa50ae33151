import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { LoadError, load } from '../../backends/wasm/runtime/load.js';
import type { WasmCode } from '../../backends/wasm/runtime/manifest.js';
import { writeBundle } from '../../compiler/bundle.js';
import { codeOf, serve, sha256, table, toyBundle, toyFiles, toyManifest } from './fixture.js';

const bundle = toyBundle();
const inputs = { a: Float32Array.of(1, 2), b: Float32Array.of(10, 20) };

describe('load from memory', () => {
  it('returns a model whose weights are in place and whose states are zero', async () => {
    const model = await load('toy', { fetchFile: serve(bundle) });
    expect(model.manifest.name).toBe('toy');
    expect(model.state('pos').read()).toEqual(Int32Array.of(0));
    expect(model.run('decode', { ids: Int32Array.of(0) }).logits).toEqual(table);
  });

  it('reports progress in bytes of weights', async () => {
    const seen: number[][] = [];
    await load('toy', { fetchFile: serve(bundle), onProgress: (...progress) => seen.push(progress) });
    expect(seen).toEqual([[32, 32]]);
  });

  it('hands the verified tokenizer file to a factory', async () => {
    const tokenizer = { encode: () => [1], decode: () => 'x' };
    const made = await load('toy', {
      fetchFile: serve(bundle),
      tokenizer: (json) => {
        expect(json).toBe('{"toy":true}');
        return tokenizer;
      },
    });
    expect(made.tokenizer).toBe(tokenizer);
    expect((await load('toy', { fetchFile: serve(bundle), tokenizer })).tokenizer).toBe(tokenizer);
    expect((await load('toy', { fetchFile: serve(bundle) })).tokenizer).toBeUndefined();
  });
});

describe('load from a URL', () => {
  const server = createServer((request, response) => {
    const name = request.url?.replace('/models/toy/', '') ?? '';
    const body = name === 'manifest.json' ? JSON.stringify(bundle.manifest) : bundle.files.get(name);
    response.writeHead(body === undefined ? 404 : 200).end(body);
  });
  let origin = '';
  beforeAll(async () => {
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const address = server.address();
    origin = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  });
  afterAll(() => server.close());

  it('fetches the files below it', async () => {
    for (const source of [`${origin}/models/toy`, new URL(`${origin}/models/toy/`)]) {
      expect((await load(source)).run('vector', inputs).sum).toEqual(Float32Array.of(11, 22));
    }
  });

  it('reports what the server lacks', async () => {
    await expect(load(`${origin}/models/other`)).rejects.toThrow(/'manifest.json' .* the server answers 404/);
    expect(await codeOf(load(`${origin}/models/other`))).toBe('HEW7001');
    expect(await codeOf(load('http://127.0.0.1:1/none'))).toBe('HEW7001');
  });
});

describe('load from a directory', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hew-load-'));
    await writeBundle(join(folder, 'toy'), toyManifest(), toyFiles());
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('takes a path, a file URL and its text', async () => {
    const path = join(folder, 'toy');
    for (const source of [path, pathToFileURL(path), pathToFileURL(path).href]) {
      const model = await load(source);
      expect(model.run('vector', inputs).sum).toEqual(Float32Array.of(11, 22));
    }
  });

  it('refuses a changed, a shortened and a missing file', async () => {
    const path = join(folder, 'toy', 'weights-00001.bin');
    await writeFile(path, new Uint8Array(40));
    await expect(load(join(folder, 'toy'))).rejects.toThrow(
      /the hash of 'weights-00001.bin' is .* manifest says/,
    );
    await expect(load(join(folder, 'toy'), { verify: false })).resolves.toBeDefined();
    await writeFile(path, new Uint8Array(39));
    await expect(load(join(folder, 'toy'))).rejects.toThrow(/has 39 bytes, but the manifest says 40/);
    await rm(path);
    expect(await codeOf(load(join(folder, 'toy')))).toBe('HEW7003');
  });

  it('refuses what is not a bundle', async () => {
    expect(await codeOf(load(folder))).toBe('HEW7001');
    expect(await codeOf(load(join(folder, 'nothing')))).toBe('HEW7001');
  });
});

describe('engines that lack something', () => {
  afterEach(() => vi.unstubAllGlobals());

  it.each([
    ['crypto', /no WebCrypto/],
    ['WebAssembly', /no WebAssembly/],
  ])('are told so: %s', async (name, message) => {
    vi.stubGlobal(name, undefined);
    const loading = load('toy', { fetchFile: serve(bundle) });
    await expect(loading).rejects.toMatchObject({ code: 'HEW7009', message: expect.stringMatching(message) });
  });

  it('can skip the hashes', async () => {
    vi.stubGlobal('crypto', undefined);
    await expect(load('toy', { fetchFile: serve(bundle), verify: false })).resolves.toBeDefined();
  });
});

describe('what does not match', () => {
  const withManifest = (changes: object): Promise<unknown> =>
    load('toy', { fetchFile: serve(bundle, { ...bundle.manifest, ...changes }) });

  it.each([
    ['HEW7001', { format: 'other' }],
    ['HEW7002', { version: 2 }],
    ['HEW7002', { target: 'cuda' }],
    ['HEW7009', { wasm: { ...bundle.manifest.wasm, features: ['simd128', 'gc-and-more'] } }],
  ])('is %s for %j', async (code, changes) => {
    expect(await codeOf(withManifest(changes))).toBe(code);
  });

  it('is said in words, with a remedy', async () => {
    const error = await withManifest({ version: 7 }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(LoadError);
    expect(error).toMatchObject({
      message: 'the bundle has format version 7, and this loader reads version 1',
      help: expect.stringContaining('compile the model again'),
    });
  });

  it('accepts relaxed SIMD where the engine has it', async () => {
    const features = ['simd128', 'relaxed-simd'];
    await expect(withManifest({ wasm: { ...bundle.manifest.wasm, features } })).resolves.toBeDefined();
  });

  it('takes the first variant that the engine can run, and the module itself when there is none', async () => {
    const needs = (module: string, ...features: string[]): WasmCode => ({ module, features });
    const wasm = (...variants: WasmCode[]) => ({ wasm: { ...bundle.manifest.wasm, variants } });
    const notCode = 'tokenizer.json';
    await expect(withManifest(wasm(needs(notCode, 'simd128', 'telepathy')))).resolves.toBeDefined();
    const two = wasm(needs('module.wasm', 'simd128'), needs(notCode, 'simd128'));
    await expect(withManifest(two)).resolves.toBeDefined();
    expect(await codeOf(withManifest(wasm(needs(notCode, 'simd128'))))).toBe('HEW7003');
    expect(await codeOf(withManifest(wasm(needs('absent.wasm', 'simd128'))))).toBe('HEW7003');
    const { variants: _, ...older } = bundle.manifest.wasm;
    await expect(withManifest({ wasm: older })).resolves.toBeDefined();
  });

  it.each([
    ['not a module', Uint8Array.of(1, 2, 3)],
    // (module (import "x" "y" (func)))
    [
      'a foreign import',
      Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 2, 7, 1, 1, 120, 1, 121, 0, 0),
    ],
    ['no exports', Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)],
  ])('refuses a module that is or has %s', async (_, code) => {
    const files = new Map([...bundle.files, ['module.wasm', code]]);
    const record = { bytes: code.length, sha256: sha256(code) };
    const manifest = { ...bundle.manifest, files: { ...bundle.manifest.files, 'module.wasm': record } };
    expect(await codeOf(load('toy', { fetchFile: serve({ manifest, files }) }))).toBe('HEW7003');
  });
});
