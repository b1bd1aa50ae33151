/** A manifest is hostile data: no change of a valid one may crash, hang or reach beyond the model's memory. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { load } from '../../backends/wasm/runtime/load.js';
import { parseManifest } from '../../backends/wasm/runtime/manifest.js';
import { codeOf, serve, toyBundle } from './fixture.js';

const bundle = toyBundle();
const text = JSON.stringify(bundle.manifest);
const bytes = (json: string): Uint8Array => new TextEncoder().encode(json);

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** The manifest with the value at a path (`entries.vector.inputs.0.address`) replaced or, if undefined, removed. */
function changed(path: string, value: unknown): string {
  const copy: Json = JSON.parse(text);
  const keys = path.split('.');
  const last = keys.pop() ?? '';
  const parent = keys.reduce<Record<string, unknown>>(
    (object, key) => object[key] as Record<string, unknown>,
    copy as Record<string, unknown>,
  );
  Object.defineProperty(parent, last, { value, enumerable: true, configurable: true, writable: true });
  return JSON.stringify(copy);
}

/** Paths of all values inside. */
function pathsOf(value: unknown, path: string[] = []): string[][] {
  if (typeof value !== 'object' || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([key, item]) => pathsOf(item, [...path, key]))];
}

const file = { bytes: 1, sha256: 'a'.repeat(64) };

describe('manifests that make no sense', () => {
  it('accepts the valid one', () => {
    expect(parseManifest(bytes(text))).toEqual(bundle.manifest);
  });

  it.each<[string, string, unknown, RegExp]>([
    [
      'HEW7003',
      'files',
      { '../../etc/passwd': file },
      /"\.\.\/\.\.\/etc\/passwd", which is not a plain name/,
    ],
    ['HEW7003', 'files', { '/etc/passwd': file }, /not a plain name/],
    ['HEW7003', 'files', { 'C:\\x': file }, /not a plain name/],
    ['HEW7003', 'files', { '..': file }, /not a plain name/],
    ['HEW7003', 'wasm.module', 'other.wasm', /'other.wasm', which is not among the files/],
    ['HEW7003', 'wasm.memory_pages', 65537, /not an integer in 0\.\.65536/],
    ['HEW7003', 'wasm.memory_pages', 0, /outside the memory/],
    ['HEW7003', 'weights.0.address', 65536 - 16, /weights\[0\] lies outside the memory/],
    ['HEW7003', 'weights.0.address', 2 ** 53, /not an integer/],
    ['HEW7003', 'weights.0.offset', 9, /goes past the end of 'weights-00001.bin'/],
    ['HEW7003', 'weights.0.address', 64, /share bytes/],
    ['HEW7003', 'weights.0.address', 2048 - 4, /weights\[0\] share bytes/],
    ['HEW7003', 'states.0.address', 68, /state 'pos' and state 'sum' share bytes/],
    ['HEW7003', 'states.0.address', 66, /not a multiple/],
    ['HEW7003', 'states.0.shape', [2], /too few for its shape/],
    ['HEW7003', 'states.0.shape', [2 ** 40, 2 ** 40], /too few for its shape/],
    ['HEW7003', 'states.0.name', 'sum', /'sum' twice/],
    ['HEW7003', 'symbols.N.max', 17, /share bytes/],
    ['HEW7003', 'symbols.N.max', 2 ** 31 - 1, /outside the memory/],
    ['HEW7003', 'symbols.N', { min: 5, max: 4 }, /not an integer in 5/],
    ['HEW7003', 'symbols.N', undefined, /has 'N'; the symbols are/],
    ['HEW7003', 'entries.vector.inputs.0.shape', [[[1, 'Q']]], /uses 'Q'/],
    ['HEW7003', 'entries.vector.inputs.0.shape', [-1], /not an integer/],
    ['HEW7003', 'entries.vector.inputs.0.shape', [[[2 ** 50, 'N', 'N']]], /outside the memory|absurd/],
    ['HEW7003', 'entries.vector.inputs.0.shape', new Array(17).fill(1), /more than 16 dimensions/],
    ['HEW7003', 'entries.vector.inputs.0.dtype', 'f8', /not one of f32/],
    ['HEW7003', 'entries.vector.inputs.0.dtype', 'toString', /not one of f32/],
    ['HEW7003', 'entries.vector.inputs.0.name', '__proto__', /not an identifier/],
    ['HEW7003', 'entries.vector.inputs.0.address', 2112, /'a' of entry 'vector' and 'b'/],
    ['HEW7003', 'entries.vector.outputs.0.address', 1024 + 16, /share bytes/],
    ['HEW7003', 'entries.vector.export', 'nothing', /no function 'nothing'/],
    ['HEW7003', 'entries.vector.export', 'constructor', /no function 'constructor'/],
    ['HEW7003', 'entries.__proto__', JSON.parse(text).entries.trap, /not an identifier/],
    ['HEW7003', 'sampler.kind', 'other', /neither "text" nor "diffusion"/],
    ['HEW7003', 'sampler.temperature', 'hot', /not a finite number/],
    ['HEW7003', 'tokenizer.file', 'tokenizer.model', /not among the files/],
  ])('%s: %s = %j', async (code, path, value, message) => {
    const fetchFile = serve(bundle, JSON.parse(changed(path, value)));
    const outcome: unknown = await load('toy', { fetchFile }).catch((error: unknown) => error);
    expect(outcome).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it.each(['', 'null', '[]', '{}', '{"format":1}', '[[[[', '['.repeat(100_000), '\uFEFF{}'])(
    'HEW7001: %j',
    async (json) => {
      expect(await codeOf(() => parseManifest(bytes(json)))).toBe('HEW7001');
    },
  );

  it('HEW7001: bytes that are not UTF-8', async () => {
    expect(await codeOf(() => parseManifest(Uint8Array.of(0x7b, 0xff, 0x7d)))).toBe('HEW7001');
  });
});

describe('changes at random', () => {
  const nasty = fc.oneof(
    fc.constantFrom<unknown>(
      undefined,
      null,
      true,
      '',
      '..',
      '__proto__',
      [],
      {},
      [[]],
      [[1, 'N']],
      [[[1, 'T']]],
    ),
    fc.constantFrom(-1, 0, 1, 0.5, 3, 2 ** 16, 2 ** 31, 2 ** 32, 2 ** 53, 1e308, -(2 ** 53)),
    fc.integer({ min: 0, max: 70000 }),
    fc.jsonValue(),
  );
  const paths = pathsOf(bundle.manifest).filter((path) => path.length > 0);

  it('give a coded error, or a model whose entries still run or refuse in order', async () => {
    const property = fc.asyncProperty(
      fc.array(fc.tuple(fc.constantFrom(...paths), nasty), { minLength: 1, maxLength: 3 }),
      async (changes) => {
        const manifest: Json = JSON.parse(text);
        for (const [path, value] of changes) assign(manifest, path, value);
        const allowance = /^HEW70\d\d$/;
        const hostile: unknown = JSON.parse(JSON.stringify(manifest));
        try {
          const model = await load('toy', { fetchFile: serve(bundle, hostile) });
          for (const name of Object.keys(model.entries)) {
            const code = await codeOf(() => model.run(name, { ids: Int32Array.of(1) }));
            expect(code === 'no error' || allowance.test(code)).toBe(true);
          }
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(allowance) });
        }
      },
    );
    await fc.assert(property, { numRuns: 1500 });
  });

  it('of single bytes give a coded error or a manifest', () => {
    const original = bytes(text);
    const property = fc.property(fc.nat(original.length - 1), fc.nat(255), (position, byte) => {
      const damaged = original.slice();
      damaged[position] = byte;
      try {
        parseManifest(damaged);
      } catch (error) {
        expect(error).toMatchObject({ code: expect.stringMatching(/^HEW700[123]$/) });
      }
    });
    fc.assert(property, { numRuns: 1000 });
  });
});

function assign(root: Json, path: readonly string[], value: unknown): void {
  let parent: unknown = root;
  for (const key of path.slice(0, -1)) {
    if (typeof parent !== 'object' || parent === null) return;
    parent = (parent as Record<string, unknown>)[key];
  }
  if (typeof parent === 'object' && parent !== null) {
    (parent as Record<string, unknown>)[path.at(-1) ?? ''] = value;
  }
}
