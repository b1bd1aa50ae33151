/** The head of GGUF files: what is written is read, and files that are damaged or hostile are refused with a code. */
import { closeSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openForReading } from '../../compiler/checkpoint/safetensors.js';
import { encodeBlocks } from '../../compiler/gguf/blocks.js';
import type { MetadataValue } from '../../compiler/gguf/format.js';
import { type GgufHeader, readHeader } from '../../compiler/gguf/header.js';
import { writeGguf } from '../../compiler/gguf/write.js';
import { HewError } from '../../ir/diagnostics.js';
import { scratchDirectory } from '../cli/run-cli.js';
import { randomFrom } from '../conformance/random.js';

const scratch = scratchDirectory();

const metadata = new Map<string, MetadataValue>([
  ['general.architecture', { type: 'string', value: 'llama' }],
  ['general.alignment', { type: 'u32', value: 32 }],
  ['a', { type: 'u8', value: 200 }],
  ['b', { type: 'i8', value: -3 }],
  ['c', { type: 'u16', value: 60000 }],
  ['d', { type: 'i16', value: -30000 }],
  ['e', { type: 'i32', value: -5 }],
  ['f', { type: 'f32', value: 0.5 }],
  ['truth', { type: 'bool', value: true }],
  ['h', { type: 'u64', value: 2 ** 40 }],
  ['i', { type: 'i64', value: -(2 ** 40) }],
  ['j', { type: 'f64', value: 1.1 }],
  ['words', { type: 'array', of: 'string', value: ['', 'ß', 'Ġthe'] }],
  ['list', { type: 'array', of: 'i32', value: [1, -1] }],
  ['m', { type: 'array', of: 'bool', value: [] }],
]);

const tensors = [
  { name: 'x', type: 'F32', shape: [3, 5], data: () => [encodeBlocks('F32', new Float32Array(15))] },
  { name: 'q', type: 'Q8_0', shape: [2, 64], data: () => [encodeBlocks('Q8_0', new Float32Array(128))] },
  { name: 'v', type: 'F32', shape: [7], data: () => [encodeBlocks('F32', new Float32Array(7))] },
] as const;

const file = join(scratch, 'sound.gguf');
await writeGguf(file, metadata, tensors);
const sound = readFileSync(file);

function read(bytes: Uint8Array): GgufHeader {
  const path = join(scratch, 'case.gguf');
  writeFileSync(path, bytes);
  const opened = openForReading(path);
  try {
    return readHeader(opened);
  } finally {
    closeSync(opened.fd);
  }
}

test('what is written is read', () => {
  const header = read(sound);
  expect(header.version).toBe(3);
  expect(header.metadata).toEqual(metadata);
  expect([...header.tensors.values()].map(({ name, type, shape }) => ({ name, type, shape }))).toEqual(
    tensors.map(({ name, type, shape }) => ({ name, type, shape: [...shape] })),
  );
  for (const { offset } of header.tensors.values()) expect(offset % 32).toBe(0);
});

test('version 2 is read as well', () => {
  const bytes = Buffer.from(sound);
  bytes.writeUInt32LE(2, 4);
  expect(read(bytes).version).toBe(2);
});

/** Changes bytes behind the first occurrence of a text. */
function patched(after: string, write: (bytes: Buffer, at: number) => void): Buffer {
  const bytes = Buffer.from(sound);
  write(bytes, bytes.indexOf(after) + after.length);
  return bytes;
}

/** The entry of a tensor: axes (u32), their sizes (u64 each), type (u32), offset (u64). */
const tensorEntry = (name: string): string => `\x01\0\0\0\0\0\0\0${name}`;

const hostile: Readonly<Record<string, readonly [Uint8Array, string]>> = {
  'an empty file': [new Uint8Array(), 'ends within its head'],
  'another magic': [Buffer.from(`GGML${'x'.repeat(40)}`), 'letters GGUF'],
  'version 1': [patched('GGUF', (b, at) => b.writeUInt32LE(1, at)), 'its version is 1'],
  'big-endian': [patched('GGUF', (b, at) => b.writeUInt32BE(3, at)), 'big-endian'],
  'more tensors than fit': [
    patched('GGUF', (b, at) => b.writeBigUInt64LE(1n << 40n, at + 4)),
    'tensors, but only',
  ],
  'a count beyond 2^53': [
    patched('GGUF', (b, at) => b.writeBigUInt64LE(1n << 63n, at + 4)),
    'more than any model needs',
  ],
  'more metadata than fits': [
    patched('GGUF', (b, at) => b.writeBigUInt64LE(1n << 30n, at + 12)),
    'metadata entries',
  ],
  'a long key': [patched('GGUF', (b, at) => b.writeBigUInt64LE(1n << 50n, at + 20)), 'bytes of text'],
  'an unknown type of value': [
    patched('general.architecture', (b, at) => b.writeUInt32LE(13, at)),
    'unknown type 13',
  ],
  'a truth value of 2': [patched('truth', (b, at) => b.writeUInt8(2, at + 4)), 'truth value'],
  'an array of arrays': [patched('words', (b, at) => b.writeUInt32LE(9, at + 4)), 'holds arrays'],
  'a long array': [patched('list', (b, at) => b.writeBigUInt64LE(1n << 33n, at + 8)), 'items of an array'],
  'a key given twice': [patched('\x01\0\0\0\0\0\0\0', (b, at) => b.write('b', at)), 'given twice'],
  'an odd alignment': [
    patched('general.alignment', (b, at) => b.writeUInt32LE(12, at + 4)),
    'no multiple of 8',
  ],
  'too many axes': [patched(tensorEntry('x'), (b, at) => b.writeUInt32LE(9, at)), 'has 9 axes'],
  'a tensor that is too large': [
    patched(tensorEntry('x'), (b, at) => b.writeBigUInt64LE(1n << 20n, at + 4)),
    'the file has',
  ],
  'a size beyond 2^53': [
    patched(tensorEntry('x'), (b, at) => b.writeBigUInt64LE(1n << 52n, at + 4)),
    'cannot have the shape',
  ],
  'rows that are no whole blocks': [
    patched(tensorEntry('q'), (b, at) => b.writeBigUInt64LE(63n, at + 4)),
    'cannot have the shape',
  ],
  'an offset between alignments': [
    patched(tensorEntry('q'), (b, at) => b.writeBigUInt64LE(8n, at + 24)),
    'not aligned',
  ],
  'tensors that overlap': [
    patched(tensorEntry('q'), (b, at) => b.writeBigUInt64LE(32n, at + 24)),
    'overlaps',
  ],
  'two tensors of one name': [patched(tensorEntry('v'), (b, at) => b.write('x', at - 1)), 'two tensors'],
  'a file cut short': [sound.subarray(0, sound.length - 40), 'but the file has'],
};

describe('refuses', () => {
  test.each(Object.entries(hostile))('%s', (_, [bytes, says]) => {
    expect(() => read(bytes)).toThrow(HewError);
    expect(() => read(bytes)).toThrow(says);
    expect(() => read(bytes)).toThrow('HEW3161');
  });

  test('a type of tensors that Hew does not read', () => {
    const bytes = patched(tensorEntry('v'), (b, at) => b.writeUInt32LE(20, at + 12));
    expect(() => read(bytes)).toThrow('HEW3162');
  });
});

test('whatever the bytes, reading ends in a header or a code', () => {
  const random = randomFrom(11);
  const head = sound.indexOf('\x01\0\0\0\0\0\0\0v') + 40;
  for (let round = 0; round < 2000; round++) {
    const bytes = Buffer.from(
      sound.subarray(0, round % 5 === 0 ? Math.floor(random() * head) : sound.length),
    );
    const changes = 1 + Math.floor(random() * 4);
    for (let i = 0; i < changes && bytes.length > 0; i++) {
      bytes[Math.floor(random() * Math.min(head, bytes.length))] = Math.floor(random() * 256);
    }
    try {
      read(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(HewError);
      expect((error as HewError).diagnostics[0]?.code).toMatch(/^HEW316[12]$/);
    }
  }
});
