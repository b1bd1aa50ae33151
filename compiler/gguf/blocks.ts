/**
 * Blocks of quantized values: to float32 and, for Q8_0 and Q4_0, from it. Layouts and formulas are those of ggml's
 * quants (ggml-common.h, ggml-quants.c). A block's scale is f16; K-quants share one among 256 values and refine it by
 * small integers for each 16 or 32 of them.
 */
import { fail } from '../../ir/diagnostics.js';
import { type TensorType, tensorTypes } from './format.js';

/** Writes the values of the block at `at` to `out` from `to` on. */
type BlockDecoder = (bytes: DataView, at: number, out: Float32Array, to: number) => void;

const half = (bytes: DataView, at: number): number => bytes.getFloat16(at, true);
const low = (byte: number): number => byte & 15;
const high = (byte: number): number => byte >> 4;

/** Four bits each: byte i holds value i and value i + 16. */
function nibbles(
  bytes: DataView,
  at: number,
  value: (q: number) => number,
  out: Float32Array,
  to: number,
): void {
  for (let i = 0; i < 16; i++) {
    const byte = bytes.getUint8(at + i);
    out[to + i] = value(low(byte));
    out[to + i + 16] = value(high(byte));
  }
}

/** The fifth bits of 32 values are the bits of one word. */
function fiveBits(
  bytes: DataView,
  at: number,
  value: (q: number) => number,
  out: Float32Array,
  to: number,
): void {
  const fifth = bytes.getUint32(at, true);
  for (let i = 0; i < 16; i++) {
    const byte = bytes.getUint8(at + 4 + i);
    out[to + i] = value(low(byte) | (((fifth >>> i) & 1) << 4));
    out[to + i + 16] = value(high(byte) | (((fifth >>> (i + 16)) & 1) << 4));
  }
}

/** The 6-bit scale and minimum of 32 values of a K-quant, number `j` of eight, packed into twelve bytes. */
function scaleAndMinimum(bytes: DataView, at: number, j: number): [number, number] {
  const byte = (i: number): number => bytes.getUint8(at + i);
  if (j < 4) return [byte(j) & 63, byte(j + 4) & 63];
  return [low(byte(j + 4)) | ((byte(j - 4) >> 6) << 4), high(byte(j + 4)) | ((byte(j) >> 6) << 4)];
}

const decoders: Partial<Record<TensorType, BlockDecoder>> = {
  F32: (bytes, at, out, to) => {
    out[to] = bytes.getFloat32(at, true);
  },
  F64: (bytes, at, out, to) => {
    out[to] = bytes.getFloat64(at, true);
  },
  F16: (bytes, at, out, to) => {
    out[to] = half(bytes, at);
  },
  BF16: (bytes, at, out, to) => {
    bf16Word.setUint32(0, bytes.getUint16(at, true) << 16);
    out[to] = bf16Word.getFloat32(0);
  },
  // d q
  Q8_0: (bytes, at, out, to) => {
    const d = half(bytes, at);
    for (let i = 0; i < 32; i++) out[to + i] = d * bytes.getInt8(at + 2 + i);
  },
  // d (q - 8)
  Q4_0: (bytes, at, out, to) => {
    const d = half(bytes, at);
    nibbles(bytes, at + 2, (q) => d * (q - 8), out, to);
  },
  // d q + m
  Q4_1: (bytes, at, out, to) => {
    const [d, m] = [half(bytes, at), half(bytes, at + 2)];
    nibbles(bytes, at + 4, (q) => d * q + m, out, to);
  },
  // d (q - 16)
  Q5_0: (bytes, at, out, to) => {
    const d = half(bytes, at);
    fiveBits(bytes, at + 2, (q) => d * (q - 16), out, to);
  },
  // d q + m
  Q5_1: (bytes, at, out, to) => {
    const [d, m] = [half(bytes, at), half(bytes, at + 2)];
    fiveBits(bytes, at + 4, (q) => d * q + m, out, to);
  },
  // d s_j q - m m_j for each 32 values; 64 values share 32 bytes, low nibbles first
  Q4_K: (bytes, at, out, to) => {
    const [d, m] = [half(bytes, at), half(bytes, at + 2)];
    for (let j = 0; j < 8; j++) {
      const [s, minimum] = scaleAndMinimum(bytes, at + 4, j);
      const part = j % 2 === 0 ? low : high;
      for (let i = 0; i < 32; i++) {
        const q = part(bytes.getUint8(at + 16 + (j >> 1) * 32 + i));
        out[to + j * 32 + i] = d * s * q - m * minimum;
      }
    }
  },
  // as Q4_K, with a fifth bit: bit j of byte i belongs to value i of group j
  Q5_K: (bytes, at, out, to) => {
    const [d, m] = [half(bytes, at), half(bytes, at + 2)];
    for (let j = 0; j < 8; j++) {
      const [s, minimum] = scaleAndMinimum(bytes, at + 4, j);
      const part = j % 2 === 0 ? low : high;
      for (let i = 0; i < 32; i++) {
        const fifth = (bytes.getUint8(at + 16 + i) >> j) & 1;
        const q = part(bytes.getUint8(at + 48 + (j >> 1) * 32 + i)) | (fifth << 4);
        out[to + j * 32 + i] = d * s * q - m * minimum;
      }
    }
  },
  // d s_k (q - 32), s_k for each 16 values; of 128 values, byte i of 64 has the low nibbles of i and i + 64
  Q6_K: (bytes, at, out, to) => {
    const d = half(bytes, at + 208);
    for (let i = 0; i < 256; i++) {
      const [side, within] = [i >> 7, i & 127];
      const nibble = bytes.getUint8(at + side * 64 + (within & 63));
      const pair = (bytes.getUint8(at + 128 + side * 32 + (within & 31)) >> ((within >> 5) * 2)) & 3;
      const q = (within < 64 ? low(nibble) : high(nibble)) | (pair << 4);
      out[to + i] = d * bytes.getInt8(at + 192 + (i >> 4)) * (q - 32);
    }
  },
};

const bf16Word = new DataView(new ArrayBuffer(4));

export const readableTypes = Object.keys(decoders) as TensorType[];

/** Whole blocks as float32. Fails with HEW3162 for a type that is not read. */
export function decodeBlocks(type: TensorType, bytes: Uint8Array, name: string): Float32Array {
  const decode = decoders[type];
  if (decode === undefined) {
    return fail('HEW3162', `tensor '${name}' is ${type}, which Hew does not read`, {
      help: `types that it reads: ${readableTypes.join(', ')}`,
    });
  }
  const { values, bytes: size } = tensorTypes[type];
  const blocks = bytes.length / size;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Float32Array(blocks * values);
  for (let i = 0; i < blocks; i++) decode(view, i * size, out, i * values);
  return out;
}

/** Types that tensors are written in. */
export const writableTypes = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0'] as const;
export type WritableType = (typeof writableTypes)[number];

type BlockEncoder = (values: Float32Array, from: number, bytes: DataView, at: number) => void;

const encoders: Record<WritableType, BlockEncoder> = {
  F32: (values, from, bytes, at) => bytes.setFloat32(at, values[from] as number, true),
  F16: (values, from, bytes, at) => bytes.setFloat16(at, values[from] as number, true),
  BF16: (values, from, bytes, at) => {
    bf16Word.setFloat32(0, values[from] as number);
    const word = bf16Word.getUint32(0);
    // To nearest, ties to even; NaN stays NaN.
    const isNotANumber = (word & 0x7fffffff) > 0x7f800000;
    bytes.setUint16(at, isNotANumber ? 0x7fc0 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16, true);
  },
  // d = absmax / 127, q = round(x / d)
  Q8_0: (values, from, bytes, at) => {
    let absmax = 0;
    for (let i = 0; i < 32; i++) absmax = Math.max(absmax, Math.abs(values[from + i] as number));
    const d = absmax / 127;
    bytes.setFloat16(at, d, true);
    const inverse = d === 0 ? 0 : 1 / d;
    for (let i = 0; i < 32; i++)
      bytes.setInt8(at + 2 + i, awayFromZero((values[from + i] as number) * inverse));
  },
  // d = x / -8 of the x that is largest in size, so that one end of the range is met exactly
  Q4_0: (values, from, bytes, at) => {
    let extreme = 0;
    for (let i = 0; i < 32; i++) {
      const x = values[from + i] as number;
      if (Math.abs(x) > Math.abs(extreme)) extreme = x;
    }
    const d = extreme / -8;
    bytes.setFloat16(at, d, true);
    const inverse = d === 0 ? 0 : 1 / d;
    const q = (i: number): number => Math.min(15, Math.floor((values[from + i] as number) * inverse + 8.5));
    for (let i = 0; i < 16; i++) bytes.setUint8(at + 2 + i, q(i) | (q(i + 16) << 4));
  },
};

const awayFromZero = (x: number): number => Math.sign(x) * Math.round(Math.abs(x));

/** Float32 values, whole blocks of them, as bytes. */
export function encodeBlocks(type: WritableType, values: Float32Array): Uint8Array<ArrayBuffer> {
  const { values: perBlock, bytes: size } = tensorTypes[type];
  const blocks = values.length / perBlock;
  const out = new Uint8Array(blocks * size);
  const view = new DataView(out.buffer);
  for (let i = 0; i < blocks; i++) encoders[type](values, i * perBlock, view, i * size);
  return out;
}
