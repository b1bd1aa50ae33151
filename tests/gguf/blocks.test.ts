/**
 * Quantized blocks: integers and scales are packed here by the layouts of ggml, and what is read must be the formula of
 * the type applied to them; what is written must be no further from its values than half a step.
 */
import { describe, expect, test } from 'vitest';
import { decodeBlocks, encodeBlocks, readableTypes, writableTypes } from '../../compiler/gguf/blocks.js';
import { type TensorType, tensorTypes } from '../../compiler/gguf/format.js';
import { randomFrom, seedOf } from '../conformance/random.js';

const f16 = (value: number): number => Math.f16round(value);
const f16Bytes = (value: number): number[] => {
  const bytes = new Uint8Array(2);
  new DataView(bytes.buffer).setFloat16(0, value, true);
  return [...bytes];
};

interface Packed {
  readonly bytes: readonly number[];
  readonly values: readonly number[];
}

type Pack = (integer: (below: number) => number, scale: () => number) => Packed;

const times = <T>(count: number, make: (i: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i));

/** 32 values of 4 bits: value i in the low half of byte i, value i + 16 in the high half. */
const pairs = (q: readonly number[]): number[] =>
  times(16, (i) => (q[i] as number) | ((q[i + 16] as number) << 4));

const withFour =
  (offset: boolean): Pack =>
  (integer, scale) => {
    const [d, m] = [f16(scale()), f16(scale())];
    const q = times(32, () => integer(16));
    return {
      bytes: [...f16Bytes(d), ...(offset ? f16Bytes(m) : []), ...pairs(q)],
      values: q.map((x) => (offset ? d * x + m : d * (x - 8))),
    };
  };

const withFive =
  (offset: boolean): Pack =>
  (integer, scale) => {
    const [d, m] = [f16(scale()), f16(scale())];
    const q = times(32, () => integer(32));
    const fifth = q.reduce((word, x, i) => word | (((x >> 4) << i) >>> 0), 0) >>> 0;
    return {
      bytes: [
        ...f16Bytes(d),
        ...(offset ? f16Bytes(m) : []),
        ...times(4, (i) => (fifth >>> (8 * i)) & 255),
        ...pairs(q.map((x) => x & 15)),
      ],
      values: q.map((x) => (offset ? d * x + m : d * (x - 16))),
    };
  };

/** Eight scales and eight minima of 6 bits in 12 bytes: of the last four, two bits each lie above the first four's. */
function sixBits(scales: readonly number[], minima: readonly number[]): number[] {
  const bytes = times(12, () => 0);
  for (let j = 0; j < 4; j++) {
    bytes[j] = (scales[j] as number) | (((scales[j + 4] as number) >> 4) << 6);
    bytes[j + 4] = (minima[j] as number) | (((minima[j + 4] as number) >> 4) << 6);
    bytes[j + 8] = ((scales[j + 4] as number) & 15) | (((minima[j + 4] as number) & 15) << 4);
  }
  return bytes;
}

/** Groups of 32 share 32 bytes in twos: group 2k in the low halves, group 2k + 1 in the high ones. */
const groupPairs = (q: readonly number[]): number[] =>
  times(128, (i) => {
    const [pair, within] = [Math.floor(i / 32), i % 32];
    return (q[pair * 64 + within] as number) | ((q[pair * 64 + 32 + within] as number) << 4);
  });

const kQuant =
  (bits: 4 | 5): Pack =>
  (integer, scale) => {
    const [d, m] = [f16(scale()), f16(scale())];
    const [scales, minima] = [times(8, () => integer(64)), times(8, () => integer(64))];
    const q = times(256, () => integer(1 << bits));
    const fifth = times(32, (i) =>
      times(8, (j) => ((q[j * 32 + i] as number) >> 4) << j).reduce((a, b) => a | b),
    );
    return {
      bytes: [
        ...f16Bytes(d),
        ...f16Bytes(m),
        ...sixBits(scales, minima),
        ...(bits === 5 ? fifth : []),
        ...groupPairs(q.map((x) => x & 15)),
      ],
      values: q.map((x, i) => d * (scales[i >> 5] as number) * x - m * (minima[i >> 5] as number)),
    };
  };

const packers: Partial<Record<TensorType, Pack>> = {
  Q4_0: withFour(false),
  Q4_1: withFour(true),
  Q5_0: withFive(false),
  Q5_1: withFive(true),
  Q4_K: kQuant(4),
  Q5_K: kQuant(5),
  Q8_0: (integer, scale) => {
    const d = f16(scale());
    const q = times(32, () => integer(256) - 128);
    return { bytes: [...f16Bytes(d), ...q.map((x) => x & 255)], values: q.map((x) => d * x) };
  },
  Q6_K: (integer, scale) => {
    const d = f16(scale());
    const scales = times(16, () => integer(256) - 128);
    const q = times(256, () => integer(64));
    const at = (i: number): number => q[i] as number;
    const lows = times(128, (i) => {
      const first = Math.floor(i / 64) * 128 + (i % 64);
      return (at(first) & 15) | ((at(first + 64) & 15) << 4);
    });
    const highs = times(64, (i) => {
      const first = Math.floor(i / 32) * 128 + (i % 32);
      return times(4, (k) => (at(first + 32 * k) >> 4) << (2 * k)).reduce((a, b) => a | b);
    });
    return {
      bytes: [...lows, ...highs, ...scales.map((s) => s & 255), ...f16Bytes(d)],
      values: q.map((x, i) => d * (scales[i >> 4] as number) * (x - 32)),
    };
  },
};

describe('reading', () => {
  test.each(Object.entries(packers))('%s', (type, pack) => {
    const random = randomFrom(seedOf(type));
    const integer = (below: number): number => Math.floor(random() * below);
    const scale = (): number => random() * 2 - 1;
    const blocks = times(5, () => pack(integer, scale));
    const found = decodeBlocks(
      type as TensorType,
      Uint8Array.from(blocks.flatMap(({ bytes }) => bytes)),
      'x',
    );
    expect([...found]).toEqual(blocks.flatMap(({ values }) => values.map(Math.fround)));
  });

  test('every type that is read is tested', () => {
    const floats = ['F32', 'F64', 'F16', 'BF16'];
    expect([...Object.keys(packers), ...floats].sort()).toEqual([...readableTypes].sort());
    const bytes = new Uint8Array(new Float64Array([1.1]).buffer);
    expect([...decodeBlocks('F64', bytes, 'x')]).toEqual([Math.fround(1.1)]);
  });
});

describe('writing', () => {
  const random = randomFrom(7);
  const values = Float32Array.from(
    { length: 256 },
    (_, i) => (random() * 2 - 1) * (i < 32 ? 0.001 : i < 64 ? 40 : 1),
  );
  values.fill(0, 96, 128);

  test.each(writableTypes)('%s', (type) => {
    const bytes = encodeBlocks(type, values);
    expect(bytes.length).toBe((256 / tensorTypes[type].values) * tensorTypes[type].bytes);
    const read = decodeBlocks(type, bytes, 'x');
    for (let block = 0; block < 8; block++) {
      const part = [...values.slice(block * 32, block * 32 + 32)];
      const absmax = Math.max(...part.map(Math.abs));
      // Half a step, or for Q4_0 at the far end of its range a whole one, and the rounding of the scale.
      const step = { F32: 0, F16: absmax / 1024, BF16: absmax / 128, Q8_0: absmax / 127, Q4_0: absmax / 8 }[
        type
      ];
      const bound = (type === 'Q4_0' ? 1 : 0.5) * step + absmax * 2 ** -10 * (type === 'F32' ? 0 : 1) + 1e-7;
      part.forEach((value, i) => {
        expect(Math.abs(value - (read[block * 32 + i] as number))).toBeLessThanOrEqual(bound);
      });
    }
    const again = encodeBlocks(type, read);
    if (type !== 'Q4_0') expect(again).toEqual(bytes);
  });

  test('floats are rounded as everywhere', () => {
    const odd = Float32Array.of(
      1 + 2 ** -8,
      1 + 3 * 2 ** -8,
      -0,
      Number.POSITIVE_INFINITY,
      Number.NaN,
      65519,
      65520,
    );
    const bf16 = decodeBlocks('BF16', encodeBlocks('BF16', odd), 'x');
    expect([...bf16.slice(0, 5)]).toEqual([1, 1 + 2 ** -6, -0, Number.POSITIVE_INFINITY, Number.NaN]);
    const half = decodeBlocks('F16', encodeBlocks('F16', odd), 'x');
    expect([...half.slice(5)]).toEqual([65504, Number.POSITIVE_INFINITY]);
  });
});
