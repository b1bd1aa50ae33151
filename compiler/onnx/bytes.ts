/**
 * Protobuf by position: a message is read field by field from a file without holding the file in memory, so that the
 * data of tensors can stay where they are.
 */
import type { OpenFile } from '../checkpoint/safetensors.js';
import { readRange } from '../checkpoint/safetensors.js';

/** Thrown for bytes that are no protobuf message; `readModel` turns it into a diagnostic. */
export class WireError extends Error {}

/** Bytes that can be read at any position. */
export interface Bytes {
  readonly size: number;
  byteAt(position: number): number;
  slice(start: number, end: number): Uint8Array;
}

export function memoryBytes(bytes: Uint8Array): Bytes {
  return {
    size: bytes.length,
    byteAt: (position) => bytes[position] as number,
    slice: (start, end) => bytes.subarray(start, end),
  };
}

const windowBytes = 1 << 16;

/** Reads through one window, because fields follow one another; long fields are skipped without being read. */
export function fileBytes(file: OpenFile): Bytes {
  let start = 0;
  let held: Uint8Array = new Uint8Array(0);
  return {
    size: file.size,
    byteAt(position) {
      if (position < start || position >= start + held.length) {
        start = position;
        held = readRange(file, start, Math.min(windowBytes, file.size - start), 'HEW3102');
      }
      return held[position - start] as number;
    },
    slice: (from, to) => readRange(file, from, to - from, 'HEW3102'),
  };
}

export const wireTypes = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** One field of a message: `start` to `end` is its value, `tag` where the field begins. */
export interface Field {
  readonly number: number;
  readonly wireType: number;
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

export interface Range {
  readonly start: number;
  readonly end: number;
}

/** The fields of the message in a range, in order. Throws WireError where the bytes are no message. */
export function* fieldsOf(bytes: Bytes, { start, end }: Range): Generator<Field> {
  let position = start;
  while (position < end) {
    const tag = varint(bytes, position, end);
    const [number, wireType] = [Math.floor(tag.value / 8), tag.value % 8];
    if (number < 1 || number > 2 ** 29) throw new WireError(`a field has the number ${number}`);
    const value = valueRange(bytes, wireType, tag.next, end);
    yield { number, wireType, tag: position, ...value };
    position = value.end;
  }
}

function valueRange(bytes: Bytes, wireType: number, start: number, end: number): Range {
  switch (wireType) {
    case wireTypes.varint:
      return { start, end: varint(bytes, start, end).next };
    case wireTypes.fixed64:
      return within(start, start + 8, end);
    case wireTypes.fixed32:
      return within(start, start + 4, end);
    case wireTypes.bytes: {
      const length = varint(bytes, start, end);
      return within(length.next, length.next + length.value, end);
    }
    default:
      throw new WireError(`a field has the wire type ${wireType}`);
  }
}

function within(start: number, finish: number, end: number): Range {
  if (finish <= end) return { start, end: finish };
  throw new WireError(`a field ends at byte ${finish}, its message at byte ${end}`);
}

/** Values above 2^53 lose their low bits; lengths and tags never are. */
export function varint(bytes: Bytes, start: number, end: number): { value: number; next: number } {
  let value = 0;
  let scale = 1;
  for (let position = start; position < Math.min(end, start + 10); position++) {
    const byte = bytes.byteAt(position);
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return { value, next: position + 1 };
    scale *= 0x80;
  }
  throw new WireError(`the number at byte ${start} has no end`);
}

/** The message without some of its fields, as bytes of their own. */
export function joined(bytes: Bytes, fields: readonly Field[]): Uint8Array {
  const parts = fields.map((field) => bytes.slice(field.tag, field.end));
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

export function textOf(bytes: Bytes, range: Range): string {
  return new TextDecoder().decode(bytes.slice(range.start, range.end));
}
