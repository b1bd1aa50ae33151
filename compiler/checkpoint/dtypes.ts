/** Data types that safetensors files hold, and their values as the IR's types. */
import { fail } from '../../ir/diagnostics.js';
import type { TensorSource } from '../../ir/materialise.js';
import { type DType, isDType } from '../../ir/type.js';
import type { Checkpoint } from './checkpoint.js';

/**
 * Bytes per element by the name in the file, lower-cased. All are listed, so that a checkpoint with a tensor
 * that Hew cannot compute with still opens; the sub-byte types of some quantized files are not.
 */
export const fileDTypes = {
  f64: 8,
  f32: 4,
  f16: 2,
  bf16: 2,
  i64: 8,
  i32: 4,
  i16: 2,
  i8: 1,
  u64: 8,
  u32: 4,
  u16: 2,
  u8: 1,
  bool: 1,
  f8_e4m3: 1,
  f8_e5m2: 1,
  f8_e8m0: 1,
  c64: 8,
} as const;

export type FileDType = keyof typeof fileDTypes;

export function isFileDType(name: string): name is FileDType {
  return Object.hasOwn(fileDTypes, name);
}

/** The IR dtype that a file's dtype is read as: itself, or f32 for f64; undefined when there is none. */
export function readableAs(dtype: FileDType): DType | undefined {
  if (dtype === 'f64') return 'f32';
  return isDType(dtype) ? dtype : undefined;
}

/**
 * A checkpoint as the source of parameters: little-endian bytes in IR dtypes, f64 rounded to f32.
 * Its `read` fails with HEW4002 for a tensor that is missing and HEW4003 for a dtype that has no IR type.
 */
export function tensorSource(checkpoint: Checkpoint): TensorSource {
  return {
    read(name) {
      const info = checkpoint.tensors.get(name);
      if (info === undefined)
        return fail('HEW4002', `the checkpoint ${checkpoint.path} has no tensor '${name}'`);
      const dtype = readableAs(info.dtype);
      if (dtype === undefined) {
        return fail(
          'HEW4003',
          `tensor '${name}' of ${info.file} is ${info.dtype}, which Hew does not compute with`,
        );
      }
      const bytes = checkpoint.read(name);
      return { dtype, bytes: info.dtype === 'f64' ? bytesOf(toFloat32('f64', bytes)) : bytes };
    },
  };
}

function bytesOf(array: Float32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

type Decoder = (bytes: Uint8Array<ArrayBuffer>) => Float32Array;

const decoders: Partial<Record<FileDType, Decoder>> = {
  f64: ({ buffer }) => Float32Array.from(new Float64Array(buffer)),
  f32: ({ buffer }) => new Float32Array(buffer),
  f16: ({ buffer }) => Float32Array.from(new Float16Array(buffer)),
  bf16: ({ buffer }) => widenBf16(new Uint16Array(buffer)),
  i64: ({ buffer }) => Float32Array.from(new BigInt64Array(buffer), Number),
  i32: ({ buffer }) => Float32Array.from(new Int32Array(buffer)),
  i16: ({ buffer }) => Float32Array.from(new Int16Array(buffer)),
  i8: ({ buffer }) => Float32Array.from(new Int8Array(buffer)),
  u32: ({ buffer }) => Float32Array.from(new Uint32Array(buffer)),
  u16: ({ buffer }) => Float32Array.from(new Uint16Array(buffer)),
  u8: (bytes) => Float32Array.from(bytes),
  bool: (bytes) => Float32Array.from(bytes, (byte) => (byte === 0 ? 0 : 1)),
};

function widenBf16(halves: Uint16Array): Float32Array {
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) words[i] = (halves[i] ?? 0) << 16;
  return new Float32Array(words.buffer);
}

/**
 * Values of a tensor as float32, rounded to nearest. `bytes` are little-endian, as the file holds them.
 * Fails with HEW4003 for dtypes without numbers of this kind (u64, f8, c64).
 */
export function toFloat32(dtype: FileDType, bytes: Uint8Array): Float32Array {
  const decode = decoders[dtype];
  if (decode === undefined) return fail('HEW4003', `${dtype} tensors cannot be read as numbers`);
  const owned = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength;
  return decode(
    // Not `slice`, which of a Buffer is a view.
    owned && bytes.buffer instanceof ArrayBuffer
      ? (bytes as Uint8Array<ArrayBuffer>)
      : Uint8Array.from(bytes),
  );
}
