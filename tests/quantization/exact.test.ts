/** Properties of quantization: accumulators are exact integers, and errors stay below half a step. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { staticContext } from '../../ir/materialise.js';
import { quantizationOps, quantizedRange } from '../../ir/ops/quantization.js';
import { scalar, type Tensor, tensor } from '../../ir/tensor.js';

const context = staticContext(new Map());
const runs = { seed: 20261122, numRuns: 200 };
const dtype = fc.constantFrom('i8' as const, 'u8' as const, 'i4' as const, 'u4' as const);
const float = fc.float({ noNaN: true, noDefaultInfinity: true, min: -(2 ** 100), max: 2 ** 100 });

function integersOf(type: keyof typeof quantizedRange, count: number): fc.Arbitrary<Tensor> {
  const [min, max] = quantizedRange[type];
  return fc
    .array(fc.integer({ min, max }), { minLength: count, maxLength: count })
    .map((values) => tensor(type, [count], values));
}

const product = fc
  .tuple(fc.constantFrom('i8' as const, 'u8' as const), dtype, fc.integer({ min: 1, max: 70 }))
  .chain(([x, w, inner]) =>
    fc.tuple(integersOf(x, inner), integersOf(w, inner), integersOf(x, 1), integersOf(w, 1)),
  );

test('sums of products are what arithmetic without bounds makes of them', () => {
  fc.assert(
    fc.property(product, ([x, w, xZero, wZero]) => {
      const one = scalar('f32', 1);
      const [result] = quantizationOps.quantized_linear.evaluate(
        [
          x,
          { ...w, shape: [1, w.data.length] },
          one,
          tensor('f32', [1], [1]),
          tensor('f32', [1], [0]),
          wZero,
          { ...xZero, shape: [] },
        ],
        { group: 0 },
        context,
      );
      const wanted = [...x.data].reduce(
        (sum, v, k) =>
          sum +
          (BigInt(v) - BigInt(xZero.data[0] as number)) *
            (BigInt(w.data[k] as number) - BigInt(wZero.data[0] as number)),
        0n,
      );
      expect(result?.data[0]).toBe(Number(wanted));
    }),
    runs,
  );
});

test('what quantize made, dequantize brings back to within half a step', () => {
  fc.assert(
    fc.property(fc.array(float, { minLength: 1, maxLength: 40 }), dtype, (values, type) => {
      const x = tensor('f32', [values.length], values);
      const [q, scale, zeroPoint] = quantizationOps.dynamic_quantize.evaluate(
        [x],
        { dtype: type, granularity: 'row', symmetric: false },
        context,
      ) as [Tensor, Tensor, Tensor];
      const [low, high] = quantizedRange[type];
      expect(q.data.every((v) => Number.isInteger(v) && v >= low && v <= high)).toBe(true);
      const [back] = quantizationOps.dequantize.evaluate(
        [q, scale, zeroPoint],
        { axis: -1, group: 0 },
        context,
      ) as [Tensor];
      const step = scale.data[0] as number;
      // Half a step for the value, half for the zero point, and the roundings of f32.
      values.forEach((v, i) => {
        expect(Math.abs(v - (back.data[i] as number))).toBeLessThanOrEqual(step * 1.001 + Math.abs(v) * 1e-6);
      });
    }),
    runs,
  );
});

test('a symmetric range holds its greatest element and never its opposite bound', () => {
  fc.assert(
    fc.property(fc.array(float, { minLength: 1, maxLength: 40 }), (values) => {
      const [q, scale] = quantizationOps.dynamic_quantize.evaluate(
        [tensor('f32', [values.length], values)],
        { dtype: 'i8', granularity: 'row', symmetric: true },
        context,
      ) as [Tensor, Tensor];
      const absmax = Math.max(...values.map(Math.abs));
      expect(Math.min(...q.data)).toBeGreaterThanOrEqual(-127);
      // Subnormal scales have too few bits to hold the ratio.
      if (absmax > 1e-30) expect(Math.max(...q.data.map(Math.abs))).toBe(127);
      expect(scale.data[0]).toBeGreaterThan(0);
    }),
    runs,
  );
});
