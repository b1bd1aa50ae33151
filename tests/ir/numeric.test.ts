/** Rounding and casting against independent references, every bf16 and f16, and the byte codecs. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bf16ToNumber,
  castTo,
  decodeBytes,
  encodeBytes,
  erf,
  numberToBf16,
  roundBf16,
  roundTo,
} from '../../ir/numeric.js';
import { type DType, dtypeNames, isFloat, storedBytes } from '../../ir/type.js';

const f16View = new DataView(new ArrayBuffer(2));
function f16ToNumber(bits: number): number {
  f16View.setUint16(0, bits);
  return f16View.getFloat16(0);
}

/** All finite values of a 16-bit format at and above zero, ascending; the bits are the index. */
function ascending(toNumber: (bits: number) => number): number[] {
  const all = Array.from({ length: 0x8000 }, (_, bits) => toNumber(bits));
  return all.slice(0, all.indexOf(Number.POSITIVE_INFINITY));
}

const formats = [
  { name: 'bf16', round: roundBf16, toNumber: bf16ToNumber },
  { name: 'f16', round: roundTo.f16, toNumber: f16ToNumber },
] as const;

describe.each(formats)('$name', ({ round, toNumber }) => {
  const finite = ascending(toNumber);

  test('every value rounds to itself, with its sign', () => {
    expect(finite.filter((v) => !Object.is(round(v), v) || !Object.is(round(-v), -v))).toEqual([]);
    expect(round(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
    expect(round(Number.NaN)).toBeNaN();
  });

  test('ties go to even, anything else to the nearer neighbour', () => {
    const wrong: number[] = [];
    for (let bits = 0; bits + 1 < finite.length; bits++) {
      const [low, high] = [finite[bits] as number, finite[bits + 1] as number];
      const middle = low + (high - low) / 2;
      const step = (high - low) * 2 ** -30;
      const even = bits % 2 === 0 ? low : high;
      const sound = round(middle) === even && round(middle - step) === low && round(middle + step) === high;
      if (!sound || round(-middle - step) !== -high) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
  });

  test('half a step above the greatest is infinite', () => {
    const [before, greatest] = finite.slice(-2) as [number, number];
    const half = (greatest - before) / 2;
    expect(round(greatest + half)).toBe(Number.POSITIVE_INFINITY);
    expect(round(greatest + half * 0.999)).toBe(greatest);
  });
});

test('bf16 keeps NaN a NaN', () => {
  expect(bf16ToNumber(numberToBf16(Number.NaN))).toBeNaN();
  for (let bits = 0x7f81; bits <= 0x7fff; bits++) expect(bf16ToNumber(bits)).toBeNaN();
});

describe('integers', () => {
  const reference: Record<'i8' | 'u8' | 'i32', Int8Array | Uint8Array | Int32Array> = {
    i8: new Int8Array(1),
    u8: new Uint8Array(1),
    i32: new Int32Array(1),
  };
  test.each(['i8', 'u8', 'i32'] as const)('%s wraps as typed arrays do', (dtype) => {
    const cell = reference[dtype];
    fc.assert(
      fc.property(fc.integer({ min: -(2 ** 40), max: 2 ** 40 }), (x) => {
        cell[0] = x;
        expect(roundTo[dtype](x)).toBe(cell[0]);
      }),
    );
  });

  test('i64 wraps at 2^63', () => {
    expect(roundTo.i64(2 ** 63)).toBe(-(2 ** 63));
    expect(roundTo.i64(-5)).toBe(-5);
    expect(roundTo.i64(Number.NaN)).toBe(0);
  });

  test.each<[DType, number, number]>([
    ['i8', 300, 127],
    ['i8', -300, -128],
    ['u8', -1, 0],
    ['u8', 1e9, 255],
    ['i32', 3e9, 2 ** 31 - 1],
    ['i32', -1.9, -1],
    ['i64', 1e30, 2 ** 63 - 1024],
    ['i32', Number.NaN, 0],
    ['i32', Number.NEGATIVE_INFINITY, -(2 ** 31)],
    ['i4', 8, 7],
    ['i4', -9, -8],
    ['u4', 99, 15],
    ['u4', -1, 0],
    ['bool', -0.5, 1],
    ['bool', 0, 0],
  ])('cast to %s of %d', (dtype, from, to) => {
    expect(castTo[dtype](from)).toBe(to);
  });

  test('no integer is a negative zero', () => {
    for (const dtype of ['i8', 'u8', 'i4', 'u4', 'i32', 'i64', 'bool'] as const) {
      expect(castTo[dtype](-0.25) === 1 || Object.is(castTo[dtype](-0.25), 0)).toBe(true);
      expect(Object.is(roundTo[dtype](-0), 0)).toBe(true);
    }
  });
});

describe('bytes', () => {
  test.each(dtypeNames)('%s reads back what it wrote', (dtype) => {
    const any = isFloat(dtype) ? fc.double() : fc.integer();
    fc.assert(
      fc.property(fc.array(any), (list) => {
        const values = Float64Array.from(list, castTo[dtype]);
        const bytes = encodeBytes(dtype, values);
        expect(bytes.length).toBe(storedBytes(dtype, values.length));
        expect(decodeBytes(dtype, bytes, values.length)).toEqual(values);
      }),
    );
  });

  test('are little-endian and may start anywhere in their buffer', () => {
    const bytes = Uint8Array.of(9, 9, 9, 1, 2, 0, 0);
    expect([...decodeBytes('i32', bytes.subarray(3))]).toEqual([513]);
    for (const dtype of ['f32', 'bf16', 'f16'] as const)
      expect(() => decodeBytes(dtype, bytes.subarray(3), 3)).toThrow(RangeError);
    // Node's buffers are views of a pool, and so are their slices.
    for (const dtype of ['f32', 'bf16', 'i8', 'i64'] as const) {
      const values = [1, 2, -3];
      const pooled = Buffer.concat([Buffer.of(9), encodeBytes(dtype, values)]).subarray(1);
      expect([...decodeBytes(dtype, pooled)]).toEqual(values);
    }
    expect([...encodeBytes('bf16', [1])]).toEqual([0x80, 0x3f]);
  });

  test('of four-bit types hold two elements, the first in the low half', () => {
    expect([...encodeBytes('i4', [-1, 2, -8])]).toEqual([0x2f, 0x08]);
    expect([...decodeBytes('i4', Uint8Array.of(0x2f, 0x08), 3)]).toEqual([-1, 2, -8]);
    expect([...decodeBytes('u4', Uint8Array.of(0x2f))]).toEqual([15, 2]);
    expect([roundTo.i4(8), roundTo.i4(-9), roundTo.u4(16)]).toEqual([-8, 7, 0]);
  });
});

test.each([
  [0, 0],
  [0.5, 0.5204998778130465],
  [1, 0.8427007929497149],
  [2.9, 0.9999589021219005],
  [3, 0.9999779095030014],
  [3.5, 0.9999992569016276],
  [7, 1],
])('erf(%d)', (x, wanted) => {
  expect(erf(x)).toBeCloseTo(wanted, 14);
  expect(erf(-x)).toBeCloseTo(-wanted, 14);
});
