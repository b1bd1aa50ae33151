/** The data types of tensors at the boundary of a compiled model, and the typed arrays that hold them. */
import { refuse } from './errors.js';

/** Held in Uint16Array: bf16 (raw bits). One byte each: i8, u8, bool (0 or 1). */
export type DType = 'f32' | 'f16' | 'bf16' | 'i64' | 'i32' | 'i8' | 'u8' | 'bool';

export type TypedArray =
  | Float32Array
  | Float16Array
  | Uint16Array
  | BigInt64Array
  | Int32Array
  | Int8Array
  | Uint8Array;

interface TypedArrayConstructor {
  new (buffer: ArrayBuffer, byteOffset: number, length: number): TypedArray;
  readonly name: string;
}

interface DTypeInfo {
  /** Bytes of one element. */
  readonly bytes: number;
  readonly arrayName: string;
  readonly array: TypedArrayConstructor | undefined;
}

// Float16Array is younger than the rest of what this loader needs; it is looked up, not assumed.
const float16 = (globalThis as { Float16Array?: TypedArrayConstructor }).Float16Array;

export const dtypes: Readonly<Record<DType, DTypeInfo>> = {
  f32: { bytes: 4, arrayName: 'Float32Array', array: Float32Array },
  f16: { bytes: 2, arrayName: 'Float16Array', array: float16 },
  bf16: { bytes: 2, arrayName: 'Uint16Array', array: Uint16Array },
  i64: { bytes: 8, arrayName: 'BigInt64Array', array: BigInt64Array },
  i32: { bytes: 4, arrayName: 'Int32Array', array: Int32Array },
  i8: { bytes: 1, arrayName: 'Int8Array', array: Int8Array },
  u8: { bytes: 1, arrayName: 'Uint8Array', array: Uint8Array },
  bool: { bytes: 1, arrayName: 'Uint8Array', array: Uint8Array },
};

export function isDType(value: unknown): value is DType {
  return typeof value === 'string' && Object.hasOwn(dtypes, value);
}

/**
 * A typed array over `count` elements of `buffer` from `byteOffset`.
 * @throws LoadError HEW7009 when the engine has no typed array for the dtype.
 */
export function viewOf(dtype: DType, buffer: ArrayBuffer, byteOffset: number, count: number): TypedArray {
  const { array, arrayName } = dtypes[dtype];
  if (array === undefined) refuse('HEW7009', `this engine has no ${arrayName}, which holds ${dtype} tensors`);
  return new array(buffer, byteOffset, count);
}

/** Whether `data` is the typed array that holds `dtype`. */
export function holds(dtype: DType, data: unknown): data is TypedArray {
  return ArrayBuffer.isView(data) && data.constructor.name === dtypes[dtype].arrayName;
}

/** The bytes of a typed array, without copying. */
export function bytesOf(data: TypedArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
