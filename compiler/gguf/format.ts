/**
 * The GGUF format, versions 2 and 3, little-endian: the magic and the version, two counts, typed metadata by name, the
 * table of tensors, and their data, aligned. Figures are those of the format's description in ggml (docs/gguf.md).
 */

export const magic = 0x46554747;
export const versions = [2, 3] as const;
export const defaultAlignment = 32;
export const alignmentKey = 'general.alignment';

/** Numbers of the metadata's types, and the bytes of those with a fixed size. */
export const valueTypes = {
  u8: { id: 0, bytes: 1 },
  i8: { id: 1, bytes: 1 },
  u16: { id: 2, bytes: 2 },
  i16: { id: 3, bytes: 2 },
  u32: { id: 4, bytes: 4 },
  i32: { id: 5, bytes: 4 },
  f32: { id: 6, bytes: 4 },
  bool: { id: 7, bytes: 1 },
  string: { id: 8, bytes: 8 },
  array: { id: 9, bytes: 12 },
  u64: { id: 10, bytes: 8 },
  i64: { id: 11, bytes: 8 },
  f64: { id: 12, bytes: 8 },
} as const;

export type ValueType = keyof typeof valueTypes;
export type ItemType = Exclude<ValueType, 'array'>;
export type NumberType = Exclude<ItemType, 'bool' | 'string'>;
export type Item = number | boolean | string;

export type MetadataValue =
  | { readonly type: NumberType; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'array'; readonly of: ItemType; readonly value: readonly Item[] };

export type Metadata = ReadonlyMap<string, MetadataValue>;

/** How tensors are stored: blocks of `values` elements in `bytes` bytes, along the last axis. */
export const tensorTypes = {
  F32: { id: 0, values: 1, bytes: 4 },
  F16: { id: 1, values: 1, bytes: 2 },
  Q4_0: { id: 2, values: 32, bytes: 18 },
  Q4_1: { id: 3, values: 32, bytes: 20 },
  Q5_0: { id: 6, values: 32, bytes: 22 },
  Q5_1: { id: 7, values: 32, bytes: 24 },
  Q8_0: { id: 8, values: 32, bytes: 34 },
  Q2_K: { id: 10, values: 256, bytes: 84 },
  Q3_K: { id: 11, values: 256, bytes: 110 },
  Q4_K: { id: 12, values: 256, bytes: 144 },
  Q5_K: { id: 13, values: 256, bytes: 176 },
  Q6_K: { id: 14, values: 256, bytes: 210 },
  I8: { id: 24, values: 1, bytes: 1 },
  I16: { id: 25, values: 1, bytes: 2 },
  I32: { id: 26, values: 1, bytes: 4 },
  I64: { id: 27, values: 1, bytes: 8 },
  F64: { id: 28, values: 1, bytes: 8 },
  BF16: { id: 30, values: 1, bytes: 2 },
} as const;

export type TensorType = keyof typeof tensorTypes;

export interface GgufTensor {
  readonly name: string;
  readonly type: TensorType;
  /** Row-major, as everywhere in Hew; the file has the axes in the opposite order. */
  readonly shape: readonly number[];
  /** Position of the first byte in the file. */
  readonly offset: number;
  readonly bytes: number;
}

/** Bytes of a tensor whose last axis is whole blocks; undefined when it is not, or beyond 2^53. */
export function tensorBytes(type: TensorType, shape: readonly number[]): number | undefined {
  const { values, bytes } = tensorTypes[type];
  const count = shape.reduce((product, size) => product * size, 1);
  if ((shape.at(-1) ?? 1) % values !== 0) return undefined;
  const total = (count / values) * bytes;
  return Number.isSafeInteger(count) && Number.isSafeInteger(total) ? total : undefined;
}

export function aligned(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment;
}
