import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Checkpoint, openCheckpoint } from '../../compiler/checkpoint/checkpoint.js';
import { type FileDType, tensorSource, toFloat32 } from '../../compiler/checkpoint/dtypes.js';
import { writeSafetensors } from '../../compiler/checkpoint/write-safetensors.js';
import { codeOf } from './hew-errors.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hew-safetensors-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes a file of a header, as text or JSON value, and data. */
function fileOf(header: unknown, data: Uint8Array = new Uint8Array(), headerLength?: bigint): string {
  const text = typeof header === 'string' ? header : JSON.stringify(header);
  const json = Buffer.from(text, 'utf8');
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(headerLength ?? BigInt(json.length));
  const path = join(folder, 'hostile.safetensors');
  writeFileSync(path, Buffer.concat([prefix, json, data]));
  return path;
}

function open<T>(path: string, use: (checkpoint: Checkpoint) => T): T {
  const checkpoint = openCheckpoint(path);
  try {
    return use(checkpoint);
  } finally {
    checkpoint.close();
  }
}

const f32 = (begin: number, end: number, shape: unknown = [(end - begin) / 4]): unknown => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
});

describe('reading safetensors', () => {
  const values = Float32Array.of(1, 2, 3, 4, 5, 6);
  const data = new Uint8Array(values.buffer);

  it('gives names, types, shapes and positions', () => {
    const path = fileOf({ __metadata__: { format: 'pt' }, b: f32(8, 24, [2, 2]), a: f32(0, 8) }, data);
    open(path, (checkpoint) => {
      expect([...checkpoint.tensors.keys()]).toEqual(['b', 'a']);
      const size = statSync(path).size;
      expect(checkpoint.tensors.get('b')).toEqual({
        name: 'b',
        dtype: 'f32',
        shape: [2, 2],
        file: path,
        offset: size - 16,
        bytes: 16,
      });
      expect(checkpoint.metadata.get('format')).toBe('pt');
    });
  });

  it('reads whole tensors and ranges into arrays of their own', async () => {
    const path = fileOf({ a: f32(0, 8), b: f32(8, 24, [2, 2]) }, data);
    open(path, (checkpoint) => {
      const b = checkpoint.read('b');
      expect([b.byteOffset, b.buffer.byteLength]).toEqual([0, 16]);
      expect(new Float32Array(b.buffer)).toEqual(values.subarray(2));
      expect(new Float32Array(checkpoint.read('b', 4, 8).buffer)).toEqual(values.subarray(3, 5));
      expect(() => checkpoint.read('b', 4, 16)).toThrow(RangeError);
      expect(() => checkpoint.read('c')).toThrow(/no tensor 'c'/);
    });
    expect(await codeOf(() => open(path, (checkpoint) => checkpoint.read('c')))).toBe('HEW4002');
  });

  it('takes scalars, empty tensors and names of any kind', () => {
    const header = `{"__proto__":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"":{"dtype":"I64","shape":[0,9007199254740991,9007199254740991],"data_offsets":[4,4]}}  `;
    open(fileOf(header, data.subarray(0, 4)), (checkpoint) => {
      expect([...checkpoint.tensors.keys()]).toEqual(['__proto__', '']);
      expect(checkpoint.read('__proto__')).toHaveLength(4);
      expect(checkpoint.read('')).toHaveLength(0);
    });
  });

  it('notices a file that became shorter', async () => {
    const path = fileOf({ a: f32(0, 24) }, data);
    const code = await codeOf(() =>
      open(path, (checkpoint) => {
        writeFileSync(path, readFileSync(path).subarray(0, -4));
        return checkpoint.read('a');
      }),
    );
    expect(code).toBe('HEW4001');
  });

  it('fingerprints contents', () => {
    const fingerprint = (header: unknown, bytes: Uint8Array): string =>
      open(fileOf(header, bytes), (checkpoint) => checkpoint.fingerprint());
    const first = fingerprint({ a: f32(0, 24) }, data);
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(fingerprint({ a: f32(0, 24) }, data)).toBe(first);
    expect(fingerprint({ b: f32(0, 24) }, data)).not.toBe(first);
    expect(
      fingerprint(
        { a: f32(0, 24) },
        data.map((byte) => byte ^ 1),
      ),
    ).not.toBe(first);
  });
});

describe('invalid safetensors', () => {
  const data = new Uint8Array(16);
  const whole = f32(0, 16);
  const huge = 2 ** 40;

  it.each<[string, unknown, RegExp]>([
    ['text that is not JSON', '{"a":', /header is not JSON/],
    ['a list', [], /not a JSON object/],
    ['a byte order mark', '\uFEFF{}', /header is not JSON/],
    ['deep nesting', `{"a":${'['.repeat(200_000)}`, /header is not JSON/],
    ['no description', { a: 1 }, /"a" is not described by an object/],
    ['an unknown dtype', { a: { dtype: 'F4', shape: [32], data_offsets: [0, 16] } }, /unknown dtype "F4"/],
    ['a dtype in lower case', { a: { dtype: 'f32', shape: [4], data_offsets: [0, 16] } }, /unknown dtype/],
    [
      'a dtype of Object',
      { a: { dtype: 'CONSTRUCTOR', shape: [4], data_offsets: [0, 16] } },
      /unknown dtype/,
    ],
    ['no shape', { a: { dtype: 'F32', data_offsets: [0, 16] } }, /shape that is not a list/],
    ['a negative dimension', { a: f32(0, 16, [-4]) }, /non-negative integers/],
    ['a fractional dimension', { a: f32(0, 16, [4.5]) }, /non-negative integers/],
    ['a dimension of text', { a: f32(0, 16, ['4']) }, /non-negative integers/],
    ['a dimension beyond 2^53', '{"a":{"dtype":"F32","shape":[1e300],"data_offsets":[0,16]}}', /integers/],
    ['a product beyond 2^53', { a: f32(0, 16, [huge, huge]) }, /needs more than 2\^53 bytes/],
    ['a product that wraps to 16', { a: f32(0, 16, [2 ** 32, 2 ** 32, 2 ** 32]) }, /more than 2\^53/],
    ['too few bytes', { a: f32(0, 16, [5]) }, /needs 20 bytes for f32 \[5\], but has 16/],
    ['three offsets', { a: { dtype: 'F32', shape: [4], data_offsets: [0, 16, 16] } }, /not two/],
    ['offsets in reverse', { a: { dtype: 'F32', shape: [0], data_offsets: [16, 0] } }, /begins at 16/],
    ['an end beyond the file', { a: f32(0, 20) }, /but the file has/],
    ['an overlap', { a: f32(0, 12), b: f32(8, 16) }, /"b" overlaps/],
    ['the same bytes twice', { a: whole, b: whole }, /overlaps/],
    ['a hole', { a: f32(0, 4), b: f32(8, 16) }, /hole of 4 bytes/],
    ['a hole at the start', { a: f32(4, 16) }, /hole of 4 bytes/],
    ['bytes at the end', { a: f32(0, 12) }, /4 bytes at its end belong to no tensor/],
    [
      'a name twice',
      `{"a":${JSON.stringify(whole)},"b:\\"":{"dtype":"I8","shape":[0],"data_offsets":[16,16]},"\\u0061":${JSON.stringify(whole)}}`,
      /the tensor "a" is given twice/,
    ],
    ['a field twice', '{"a":{"dtype":"F32","shape":[1],"shape":[4],"data_offsets":[0,16]}}', /given twice/],
    ['metadata of another kind', { a: whole, __metadata__: { x: 1 } }, /object of strings/],
    ['metadata that is a list', { a: whole, __metadata__: [] }, /object of strings/],
  ])('is HEW4001, naming the file: %s', async (_, header, message) => {
    const path = fileOf(header, data);
    expect(() => openCheckpoint(path)).toThrow(message);
    expect(() => openCheckpoint(path)).toThrow(path);
    expect(await codeOf(() => openCheckpoint(path))).toBe('HEW4001');
  });

  it.each<[bigint, RegExp]>([
    [0n, /not JSON/],
    [1n, /not JSON/],
    [10_000n, /the file has only/],
    [100_000_001n, /more than the 100000000 allowed/],
    [2n ** 63n, /more than/],
    [2n ** 64n - 1n, /more than/],
  ])('is HEW4001: a header length of %s', async (length, message) => {
    const path = fileOf({ a: whole }, data, length);
    expect(() => openCheckpoint(path)).toThrow(message);
    expect(await codeOf(() => openCheckpoint(path))).toBe('HEW4001');
  });

  it('is HEW4001: a header that is not UTF-8', async () => {
    const path = join(folder, 'latin1.safetensors');
    writeFileSync(
      path,
      Buffer.concat([Buffer.from([4, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{"\xff}', 'latin1')]),
    );
    expect(() => openCheckpoint(path)).toThrow(/UTF-8/);
  });

  it('is HEW3001: what is not a file, without waiting for a pipe', async () => {
    expect(await codeOf(() => openCheckpoint(join(folder, 'missing.safetensors')))).toBe('HEW3001');
    symlinkSync('/dev/zero', join(folder, 'endless.safetensors'));
    expect(await codeOf(() => openCheckpoint(join(folder, 'endless.safetensors')))).toBe('HEW3001');
  });
});

describe('damage at random', () => {
  let valid: Uint8Array;
  beforeAll(async () => {
    const path = join(folder, 'valid.safetensors');
    await writeSafetensors(path, [
      { name: 'w', dtype: 'bf16', shape: [3, 5], data: new Uint8Array(30).fill(7) },
      { name: 'b', dtype: 'f32', shape: [2], data: new Uint8Array(8) },
    ]);
    valid = readFileSync(path);
  });

  function outcome(bytes: Uint8Array): Promise<string> {
    const path = join(folder, 'damaged.safetensors');
    writeFileSync(path, bytes);
    return codeOf(() =>
      open(path, (checkpoint) => {
        for (const name of checkpoint.tensors.keys()) checkpoint.read(name);
        checkpoint.fingerprint();
      }),
    );
  }

  it('by cutting is always HEW4001', async () => {
    for (let length = 0; length < valid.length; length++) {
      expect(await outcome(valid.subarray(0, length))).toBe('HEW4001');
    }
  });

  it('by changing bytes is HEW4001 or another valid file', async () => {
    const change = fc.tuple(fc.nat(), fc.nat(255));
    const property = fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
      const bytes = valid.slice();
      for (const [position, byte] of changes) bytes[position % bytes.length] = byte;
      expect(['HEW4001', 'no error']).toContain(await outcome(bytes));
    });
    await fc.assert(property, { numRuns: 500 });
  });

  it('by any header is HEW4001 or another valid file', async () => {
    const number = fc.oneof(
      fc.integer({ min: -2, max: 20 }),
      fc.double(),
      fc.constantFrom(2 ** 32, 2 ** 53, 1e18),
    );
    const info = fc.record(
      {
        dtype: fc.constantFrom('F32', 'BF16', 'I8', 'Q9', 3),
        shape: fc.oneof(fc.array(number, { maxLength: 3 }), fc.jsonValue()),
        data_offsets: fc.oneof(fc.tuple(number, number), fc.jsonValue()),
      },
      { requiredKeys: [] },
    );
    const property = fc.asyncProperty(fc.dictionary(fc.string(), info), async (header) => {
      const path = fileOf(header, new Uint8Array(16));
      expect(['HEW4001', 'no error']).toContain(await codeOf(() => open(path, () => {})));
    });
    await fc.assert(property, { numRuns: 500 });
  });
});

describe('writing safetensors', () => {
  let path: string;
  beforeEach(() => {
    path = join(folder, 'written.safetensors');
    rmSync(path, { force: true });
  });

  it('round-trips any tensors, aligned, in an order of its own', async () => {
    const dtype = fc.constantFrom<FileDType>('f64', 'f32', 'bf16', 'u8');
    const sizes = { f64: 8, f32: 4, bf16: 2, u8: 1 } as Record<FileDType, number>;
    const entry = fc
      .tuple(fc.string(), dtype, fc.array(fc.nat(4), { maxLength: 3 }))
      .filter(([name]) => name !== '__metadata__');
    const entries = fc.uniqueArray(entry, { selector: ([name]) => name, maxLength: 6 });
    const property = fc.asyncProperty(entries, async (list) => {
      const tensors = list.map(([name, type, shape], index) => ({
        name,
        dtype: type,
        shape,
        data: new Uint8Array(shape.reduce((a, b) => a * b, sizes[type])).fill(index + 1),
      }));
      await writeSafetensors(path, tensors, { note: 'x' });
      const first = readFileSync(path);
      await writeSafetensors(path, tensors.toReversed(), { note: 'x' });
      expect(readFileSync(path)).toEqual(first);
      open(path, (checkpoint) => {
        expect(checkpoint.tensors.size).toBe(tensors.length);
        for (const { name, dtype: type, shape, data } of tensors) {
          const info = checkpoint.tensors.get(name);
          expect(info).toMatchObject({ dtype: type, shape });
          expect((info?.offset ?? 0) % sizes[type]).toBe(0);
          expect(checkpoint.read(name)).toEqual(data);
        }
      });
    });
    await fc.assert(property, { numRuns: 60 });
  });

  it('streams data in chunks, asked for in turn', async () => {
    const asked: string[] = [];
    const chunks = async function* (name: string): AsyncGenerator<Uint8Array> {
      asked.push(name);
      for (let i = 0; i < 4; i++) yield Uint8Array.of(i, i);
    };
    await writeSafetensors(path, [
      { name: 'b', dtype: 'i16', shape: [4], data: () => chunks('b') },
      { name: 'a', dtype: 'i32', shape: [2], data: () => chunks('a') },
    ]);
    expect(asked).toEqual(['a', 'b']);
    open(path, (checkpoint) => expect([...checkpoint.read('b')]).toEqual([0, 0, 1, 1, 2, 2, 3, 3]));
  });

  it('leaves nothing behind when it fails', async () => {
    await writeSafetensors(path, [{ name: 'a', dtype: 'u8', shape: [1], data: Uint8Array.of(1) }]);
    const before = readFileSync(path);
    const names = await readdir(folder);
    const wrong = [{ name: 'a', dtype: 'u8', shape: [3], data: new Uint8Array(2) }] as const;
    expect(await codeOf(() => writeSafetensors(path, wrong))).toBe('HEW4003');
    const twice = [wrong[0], { ...wrong[0], dtype: 'f32' }] as const;
    expect(await codeOf(() => writeSafetensors(path, twice))).toBe('HEW4003');
    expect(await codeOf(() => writeSafetensors(join(folder, 'no', 'such', 'x'), []))).toBe('HEW8003');
    expect(readFileSync(path)).toEqual(before);
    expect(await readdir(folder)).toEqual(names);
  });
});

describe('values', () => {
  it.each<[FileDType, ArrayBufferView, number[]]>([
    ['f64', Float64Array.of(0.1, -2), [Math.fround(0.1), -2]],
    ['f32', Float32Array.of(0.5), [0.5]],
    ['f16', Float16Array.of(1.5, -65504), [1.5, -65504]],
    ['bf16', Uint16Array.of(0x3f80, 0xc000, 0x7f80), [1, -2, Number.POSITIVE_INFINITY]],
    ['i64', BigInt64Array.of(-3n), [-3]],
    ['i16', Int16Array.of(-3), [-3]],
    ['i8', Int8Array.of(-3), [-3]],
    ['u8', Uint8Array.of(253), [253]],
    ['bool', Uint8Array.of(0, 1, 2), [0, 1, 1]],
  ])('of %s become float32, wherever the bytes lie', (dtype, array, expected) => {
    const bytes = new Uint8Array(array.buffer);
    expect([...toFloat32(dtype, bytes)]).toEqual(expected);
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    expect([...toFloat32(dtype, shifted.subarray(3))]).toEqual(expected);
  });

  it('of dtypes without such numbers are refused', async () => {
    expect(await codeOf(() => toFloat32('c64', new Uint8Array(8)))).toBe('HEW4003');
  });

  it('reach the IR in its dtypes', async () => {
    const path = join(folder, 'source.safetensors');
    await mkdir(folder, { recursive: true });
    await writeSafetensors(path, [
      { name: 'd', dtype: 'f64', shape: [1], data: new Uint8Array(Float64Array.of(0.1).buffer) },
      { name: 'h', dtype: 'bf16', shape: [1], data: Uint8Array.of(0x80, 0x3f) },
      { name: 'u', dtype: 'u16', shape: [1], data: new Uint8Array(2) },
    ]);
    const checkpoint = openCheckpoint(path);
    const source = tensorSource(checkpoint);
    expect(source.read('d')).toEqual({ dtype: 'f32', bytes: new Uint8Array(Float32Array.of(0.1).buffer) });
    expect(source.read('h')).toEqual({ dtype: 'bf16', bytes: Uint8Array.of(0x80, 0x3f) });
    expect(await codeOf(() => source.read('u'))).toBe('HEW4003');
    expect(await codeOf(() => source.read('x'))).toBe('HEW4002');
    checkpoint.close();
  });
});
