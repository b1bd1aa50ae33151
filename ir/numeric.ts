/** Exact conversions between JavaScript numbers and the dtypes, and between raw bytes and float64 arrays. */
import { type DType, dtypes } from './type.js';

const scratch = new DataView(new ArrayBuffer(8));

/** Nearest bf16, ties to even; NaN stays NaN. */
export function roundBf16(value: number): number {
  return bf16ToNumber(numberToBf16(value));
}

/** Bits of the nearest bf16, as if rounded once: a tie that only rounding to f32 made is resolved by the value. */
export function numberToBf16(value: number): number {
  scratch.setFloat32(0, value);
  const nearest = scratch.getFloat32(0);
  const tie = (scratch.getUint32(0) & 0xffff) === 0x8000;
  const bits = scratch.getUint32(0) + (tie ? Math.sign(Math.abs(value) - Math.abs(nearest)) : 0);
  if ((bits & 0x7fffffff) > 0x7f800000) return ((bits >>> 16) | 0x40) & 0xffff;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export function bf16ToNumber(bits: number): number {
  scratch.setUint32(0, (bits & 0xffff) << 16);
  return scratch.getFloat32(0);
}

function saturate(value: number, low: number, high: number): number {
  if (Number.isNaN(value)) return 0;
  return Math.min(high, Math.max(low, Math.trunc(value))) + 0; // no integer is -0
}

const int64Limit = 2 ** 63;

/** Rounds the exact result of an operation to its dtype: floats to nearest even, integers wrap. */
export const roundTo: Record<DType, (value: number) => number> = {
  f32: Math.fround,
  f16: Math.f16round,
  bf16: roundBf16,
  i32: (x) => x | 0,
  i64: (x) =>
    Number.isSafeInteger(x)
      ? x + 0
      : Number(BigInt.asIntN(64, BigInt(Number.isFinite(x) ? Math.trunc(x) : 0))),
  i8: (x) => (x << 24) >> 24,
  u8: (x) => x & 0xff,
  bool: (x) => (x !== 0 ? 1 : 0),
};

/** The `cast` conversion: to integers truncates and saturates (NaN becomes 0) as WebAssembly's trunc_sat does. */
export const castTo: Record<DType, (value: number) => number> = {
  f32: Math.fround,
  f16: Math.f16round,
  bf16: (x) => roundBf16(x),
  i32: (x) => saturate(x, -(2 ** 31), 2 ** 31 - 1),
  i64: (x) => saturate(x, -int64Limit, int64Limit - 1024),
  i8: (x) => saturate(x, -128, 127),
  u8: (x) => saturate(x, 0, 255),
  bool: (x) => (x !== 0 ? 1 : 0),
};

type Reader = (view: DataView, offset: number) => number;
type Writer = (view: DataView, offset: number, value: number) => void;

const readers: Record<DType, Reader> = {
  f32: (v, o) => v.getFloat32(o, true),
  f16: (v, o) => v.getFloat16(o, true),
  bf16: (v, o) => bf16ToNumber(v.getUint16(o, true)),
  i32: (v, o) => v.getInt32(o, true),
  i64: (v, o) => Number(v.getBigInt64(o, true)),
  i8: (v, o) => v.getInt8(o),
  u8: (v, o) => v.getUint8(o),
  bool: (v, o) => (v.getUint8(o) !== 0 ? 1 : 0),
};

const writers: Record<DType, Writer> = {
  f32: (v, o, x) => v.setFloat32(o, x, true),
  f16: (v, o, x) => v.setFloat16(o, x, true),
  bf16: (v, o, x) => v.setUint16(o, numberToBf16(x), true),
  i32: (v, o, x) => v.setInt32(o, x, true),
  i64: (v, o, x) => v.setBigInt64(o, BigInt(x), true),
  i8: (v, o, x) => v.setInt8(o, x),
  u8: (v, o, x) => v.setUint8(o, x),
  bool: (v, o, x) => v.setUint8(o, x !== 0 ? 1 : 0),
};

/** Little-endian bytes of `dtype` to float64. `bytes.length` must be a multiple of the element size. */
export function decodeBytes(dtype: DType, bytes: Uint8Array): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = dtypes[dtype].bytes;
  const read = readers[dtype];
  const out = new Float64Array(bytes.byteLength / size);
  for (let i = 0; i < out.length; i++) out[i] = read(view, i * size);
  return out;
}

/** Float64 values, already representable in `dtype`, to little-endian bytes. */
export function encodeBytes(dtype: DType, values: ArrayLike<number>): Uint8Array {
  const size = dtypes[dtype].bytes;
  const bytes = new Uint8Array(values.length * size);
  const view = new DataView(bytes.buffer);
  const write = writers[dtype];
  for (let i = 0; i < values.length; i++) write(view, i * size, values[i] as number);
  return bytes;
}

/** Gauss error function, about 1e-16 relative: series below 3, continued fraction above. */
export function erf(x: number): number {
  const magnitude = Math.abs(x);
  if (Number.isNaN(x)) return x;
  if (magnitude > 6) return Math.sign(x);
  return Math.sign(x) * (magnitude < 3 ? erfSeries(magnitude) : 1 - erfcFraction(magnitude));
}

/** All terms are positive, so nothing cancels: e^(-x^2) * sum of 2^n x^(2n+1) / (1 * 3 * … * (2n+1)). */
function erfSeries(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; term > 1e-17 * sum; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

function erfcFraction(x: number): number {
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (x + fraction);
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
}
