/** Exact conversions between JavaScript numbers and the dtypes, and between raw bytes and float64 arrays. */
import { type DType, dtypes, storedBytes } from './type.js';

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

/** From here on all float64 are integers; added to a smaller one, it leaves no room for a fraction. */
const integersOnly = 2 ** 52;

/** The nearest integer, halves to the even one; -0 for what rounds to 0 from below. */
export function roundHalfEven(value: number): number {
  const magnitude = Math.abs(value);
  if (!(magnitude < integersOnly)) return value;
  const rounded = magnitude + integersOnly - integersOnly;
  return value < 0 || Object.is(value, -0) ? -rounded : rounded;
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
  i4: (x) => (x << 28) >> 28,
  u4: (x) => x & 0xf,
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
  i4: (x) => saturate(x, -8, 7),
  u4: (x) => saturate(x, 0, 15),
  bool: (x) => (x !== 0 ? 1 : 0),
};

/** `index` counts elements. */
type Reader = (view: DataView, index: number) => number;
type Writer = (view: DataView, index: number, value: number) => void;

function nibble(view: DataView, index: number): number {
  return (view.getUint8(index >> 1) >> ((index & 1) * 4)) & 0xf;
}

/** Bytes are zero before their first element is written. */
const writeNibble: Writer = (view, index, value) => {
  view.setUint8(index >> 1, view.getUint8(index >> 1) | ((value & 0xf) << ((index & 1) * 4)));
};

const readers: Record<DType, Reader> = {
  f32: (v, i) => v.getFloat32(i * 4, true),
  f16: (v, i) => v.getFloat16(i * 2, true),
  bf16: (v, i) => bf16ToNumber(v.getUint16(i * 2, true)),
  i32: (v, i) => v.getInt32(i * 4, true),
  i64: (v, i) => Number(v.getBigInt64(i * 8, true)),
  i8: (v, i) => v.getInt8(i),
  u8: (v, i) => v.getUint8(i),
  i4: (v, i) => (nibble(v, i) << 28) >> 28,
  u4: nibble,
  bool: (v, i) => (v.getUint8(i) !== 0 ? 1 : 0),
};

const writers: Record<DType, Writer> = {
  f32: (v, i, x) => v.setFloat32(i * 4, x, true),
  f16: (v, i, x) => v.setFloat16(i * 2, x, true),
  bf16: (v, i, x) => v.setUint16(i * 2, numberToBf16(x), true),
  i32: (v, i, x) => v.setInt32(i * 4, x, true),
  i64: (v, i, x) => v.setBigInt64(i * 8, BigInt(x), true),
  i8: (v, i, x) => v.setInt8(i, x),
  u8: (v, i, x) => v.setUint8(i, x),
  i4: writeNibble,
  u4: writeNibble,
  bool: (v, i, x) => v.setUint8(i, x !== 0 ? 1 : 0),
};

/** A kind of typed array. */
interface ArrayOf<A> {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBuffer, offset: number, length: number): A;
}

/** The first elements of bytes, all by default: a view, of a copy where the bytes begin at no multiple of an element. */
export function typedView<A>(
  type: ArrayOf<A>,
  bytes: Uint8Array,
  count = Math.floor(bytes.length / type.BYTES_PER_ELEMENT),
): A {
  const aligned = bytes.byteOffset % type.BYTES_PER_ELEMENT === 0 ? bytes : Uint8Array.from(bytes);
  return new type(aligned.buffer as ArrayBuffer, aligned.byteOffset, count);
}

/** Numbers of the machine are little-endian, as the bytes are. */
const isLittleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** Typed arrays, which convert many elements at a time. */
const wholeArrays = { f32: Float32Array, i32: Int32Array, i8: Int8Array, u8: Uint8Array } as const;
const arrays: Partial<Record<DType, (typeof wholeArrays)[keyof typeof wholeArrays]>> = isLittleEndian
  ? wholeArrays
  : {};

/** Little-endian bytes of `dtype` to float64: `count` elements, by default all that the bytes hold. */
export function decodeBytes(
  dtype: DType,
  bytes: Uint8Array,
  count = Math.floor((bytes.byteLength * 8) / dtypes[dtype].bits),
): Float64Array {
  if (storedBytes(dtype, count) > bytes.byteLength)
    throw new RangeError(`${bytes.byteLength} bytes do not hold ${count} elements of ${dtype}`);
  const array = arrays[dtype];
  if (array !== undefined) return new Float64Array(typedView<ArrayLike<number>>(array, bytes, count));
  if (dtype === 'bf16' && isLittleEndian) {
    const [halves, words] = [typedView(Uint16Array, bytes, count), new Uint32Array(count)];
    for (let i = 0; i < count; i++) words[i] = (halves[i] as number) << 16;
    return new Float64Array(new Float32Array(words.buffer));
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const read = readers[dtype];
  const out = new Float64Array(count);
  for (let i = 0; i < out.length; i++) out[i] = read(view, i);
  return out;
}

/** Float64 values, already representable in `dtype`, to little-endian bytes. */
export function encodeBytes(dtype: DType, values: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(storedBytes(dtype, values.length));
  const array = arrays[dtype];
  if (array !== undefined) {
    new array(bytes.buffer).set(values);
    return bytes;
  }
  const view = new DataView(bytes.buffer);
  const write = writers[dtype];
  for (let i = 0; i < values.length; i++) write(view, i, values[i] as number);
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
