/** The formulas of quantization against direct computations: groups, scales, salience, rounding, GPTQ. */
import { describe, expect, test } from 'vitest';
import { randomNumbers } from '../../passes/prune/scores.js';
import { type GptqOptions, gptq } from '../../passes/quantize/gptq.js';
import {
  codeRange,
  dequantizeWeight,
  fitQuantizer,
  type QuantizedWeight,
  roundToCode,
  roundWeight,
  type WeightScheme,
} from '../../passes/quantize/rounding.js';
import { averageRanks, calibratedSalience, spearman, stepWeights } from '../../passes/quantize/salience.js';
import {
  balancedScale,
  groupShifts,
  groupSteps,
  groupStepsWithLast,
  magnitudes,
  midrange,
} from '../../passes/quantize/step-groups.js';
import { mergeGroups, segmentOfTimestep } from '../../passes/quantize/timestep.js';

const vector = (...values: number[]): Float64Array => Float64Array.from(values);
const points = (values: readonly number[]): Float64Array[] => values.map((value) => vector(value));

describe('groups of timesteps', () => {
  test('shifts are middles of ranges', () => {
    expect(midrange({ min: vector(-1, 2), max: vector(3, 2) })).toEqual(vector(1, 2));
  });

  test('neighbours are merged by the distance of centroids, which are means of all members', () => {
    // 0 and 1 merge first, then 5 and 6.5; the centroids 0.5, 5.75 and 9 leave 5.75 and 9 nearest.
    expect(groupSteps(points([0, 1, 5, 6.5, 9]), 2)).toEqual([
      { first: 0, end: 2 },
      { first: 2, end: 5 },
    ]);
    // With the last of merged centroids, instead of means of members, 4 would join the first group.
    expect(groupSteps(points([0, 0, 0, 3, 5.5]), 2)).toEqual([
      { first: 0, end: 3 },
      { first: 3, end: 5 },
    ]);
  });

  test('of equal distances the earlier pair is merged', () => {
    expect(groupSteps(points([0, 1, 2]), 2)).toEqual([
      { first: 0, end: 2 },
      { first: 2, end: 3 },
    ]);
  });

  test('groups are contiguous, cover all steps and number what was asked for', () => {
    const random = randomNumbers(5);
    const steps = Array.from({ length: 13 }, () => vector(random(), random(), random()));
    for (let count = 1; count <= steps.length; count++) {
      for (const groups of [groupSteps(steps, count), groupStepsWithLast(steps, count)]) {
        expect(groups).toHaveLength(count);
        expect(groups.map(({ first }) => first)).toEqual([0, ...groups.slice(0, -1).map(({ end }) => end)]);
        expect(groups.at(-1)?.end).toBe(steps.length);
      }
    }
    expect(groupShifts(steps, groupSteps(steps, steps.length))).toEqual(steps);
    expect(() => groupSteps(steps, 14)).toThrow(RangeError);
  });

  test('the last step can be a group of its own', () => {
    expect(groupStepsWithLast(points([0, 5, 5.1, 5.2]), 2)).toEqual([
      { first: 0, end: 3 },
      { first: 3, end: 4 },
    ]);
    expect(groupStepsWithLast(points([0, 1]), 1)).toEqual([{ first: 0, end: 2 }]);
  });

  test('the average of widths runs from the noisiest step down', () => {
    const ranges = [8, 4, 2].map((width) => ({ min: vector(-width), max: vector(width) }));
    expect(magnitudes(ranges, 'paper', 0.9)[0]).toBeCloseTo(0.9 * (0.9 * 8 + 0.1 * 4) + 0.1 * 2, 12);
    expect(magnitudes(ranges, 'max', 0.9)[0]).toBe(8);
    expect(magnitudes(ranges, 'mean', 0.9)[0]).toBeCloseTo(14 / 3, 12);
  });

  test('dead channels get a finite scale', () => {
    const scale = balancedScale(vector(0, 4, 0), vector(1, 0, 0));
    expect([...scale].every((s) => s > 0 && Number.isFinite(s))).toBe(true);
    expect(balancedScale(vector(4), vector(0.25))).toEqual(vector(4));
  });

  test('segments are where no partition changes; timesteps go to the nearest calibrated step', () => {
    const [a, b] = [groupSteps(points([0, 0, 9, 9]), 2), groupSteps(points([0, 9, 9, 9]), 2)];
    const { segments, groups } = mergeGroups([a, b]);
    expect(segments.map(({ first, end }) => [first, end])).toEqual([
      [0, 1],
      [1, 2],
      [2, 4],
    ]);
    expect(groups).toEqual([
      [0, 0, 1],
      [0, 1, 1],
    ]);
    const table = segmentOfTimestep(segments, { timesteps: [9, 6, 3, 0], total: 10 });
    expect([...table]).toEqual([2, 2, 2, 2, 2, 1, 1, 1, 0, 0]);
  });
});

describe('salience', () => {
  test('equal values share the mean of their ranks', () => {
    expect(averageRanks(vector(3, 1, 3, 2))).toEqual(vector(3.5, 1, 3.5, 2));
  });

  test('Spearman is 1, -1 and 0 where it should be', () => {
    expect(spearman(vector(1, 2, 3), vector(10, 100, 1000))).toBeCloseTo(1, 12);
    expect(spearman(vector(1, 2, 3), vector(3, 2, 1))).toBeCloseTo(-1, 12);
    expect(spearman(vector(1, 2, 3), vector(7, 7, 7))).toBe(0);
    // With ties 1 - 6 Σ d² / (n (n² - 1)) = 0.9 is not Pearson's correlation of the ranks.
    expect(spearman(vector(1, 1, 2, 3), vector(1, 2, 3, 3))).toBeCloseTo(8 / 9, 12);
  });

  test('timesteps that agree less with the weights weigh more', () => {
    const weights = stepWeights([vector(1, 2, 3), vector(3, 2, 1)], vector(1, 2, 3));
    expect(weights[1]).toBeCloseTo(1 / (1 + Math.exp(-2)), 12);
    expect(weights[0]).toBeCloseTo(1 - (weights[1] as number), 12);
    const salience = calibratedSalience([vector(1, 2, 3), vector(3, 2, 1)], vector(1, 2, 3));
    expect(salience[0]).toBeCloseTo((weights[0] as number) + 3 * (weights[1] as number), 12);
  });
});

const randomMatrix = (count: number, seed: number): Float64Array => {
  const random = randomNumbers(seed);
  return Float64Array.from({ length: count }, () => random() + random() + random() - 1.5);
};

/** Σ ‖(W - Ŵ) x‖² = tr((W - Ŵ) H (W - Ŵ)ᵀ) */
function outputError(w: Float64Array, quantized: QuantizedWeight, gram: Float64Array): number {
  const values = dequantizeWeight(quantized);
  const { rows, columns } = quantized;
  let sum = 0;
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < columns; i++) {
      for (let j = 0; j < columns; j++) {
        const [a, b] = [r * columns + i, r * columns + j];
        const [di, dj] = [w[a] as number, w[b] as number];
        sum +=
          (di - (values[a] as number)) * (gram[i * columns + j] as number) * (dj - (values[b] as number));
      }
    }
  }
  return sum;
}

describe('weights', () => {
  test('codes are within half a step, for every scheme', () => {
    const w = randomMatrix(6 * 20, 3);
    for (const bits of [4, 8]) {
      for (const asymmetric of [false, true]) {
        for (const group of [undefined, 5, 10]) {
          const quantized = roundWeight(w, 6, 20, { bits, asymmetric, group });
          const { low, high } = codeRange({ bits, asymmetric });
          expect(quantized.codes.every((code) => code >= low && code <= high)).toBe(true);
          dequantizeWeight(quantized).forEach((value, i) => {
            const step = quantized.scales[Math.floor(i / quantized.group)] as number;
            expect(Math.abs(value - (w[i] as number))).toBeLessThanOrEqual(step * 0.5000001);
          });
        }
      }
    }
  });

  test('halves round to even; rows of zeros have a quantizer', () => {
    expect([0.5, 1.5, -0.5, 2.5].map((v) => roundToCode(v, { scale: 1, zero: 0 }, -8, 7))).toEqual([
      0, 2, 0, 2,
    ]);
    expect(roundWeight(new Float64Array(4), 1, 4, { bits: 4 }).codes).toEqual(new Int8Array(4));
  });

  test('clipping never raises the squared error', () => {
    const w = randomMatrix(64, 9);
    w[7] = 4;
    const error = (clip: boolean): number => {
      const values = dequantizeWeight(roundWeight(w, 1, 64, { bits: 4, clip }));
      return values.reduce((sum, value, i) => sum + (value - (w[i] as number)) ** 2, 0);
    };
    expect(error(true)).toBeLessThan(error(false));
  });

  test('a range that does not contain zero is widened to it', () => {
    const quantizer = fitQuantizer(vector(2, 3), 0, 2, { bits: 8, asymmetric: true });
    expect(quantizer).toEqual({ scale: Math.fround(3 / 255), zero: -128 });
  });

  test('groups that do not divide the inputs are refused', () => {
    expect(() => roundWeight(new Float64Array(6), 1, 6, { bits: 4, group: 4 })).toThrow(RangeError);
  });
});

describe('GPTQ', () => {
  const [rows, columns, samples] = [5, 24, 40];
  const w = randomMatrix(rows * columns, 11);
  const x = randomMatrix(samples * columns, 12);
  // Neighbouring inputs are correlated: only then is there anything to make up for.
  for (let s = 0; s < samples; s++)
    for (let i = 1; i < columns; i++)
      x[s * columns + i] = (x[s * columns + i] as number) * 0.4 + (x[s * columns + i - 1] as number) * 0.9;
  const gram = new Float64Array(columns * columns);
  for (let i = 0; i < columns; i++)
    for (let j = 0; j < columns; j++)
      for (let s = 0; s < samples; s++)
        gram[i * columns + j] =
          (gram[i * columns + j] as number) + (x[s * columns + i] as number) * (x[s * columns + j] as number);

  test.each([{ bits: 4 }, { bits: 4, group: 8 }, { bits: 4, group: 8, asymmetric: true }])(
    'loses less than rounding to nearest: %o',
    (scheme) => {
      const nearest = outputError(w, roundWeight(w, rows, columns, scheme), gram);
      for (const actOrder of [false, true]) {
        const found = gptq(w, rows, columns, gram, scheme, { damp: 0.01, actOrder });
        expect(outputError(w, found as QuantizedWeight, gram)).toBeLessThan(nearest * 0.6);
      }
    },
  );

  test.each([{ bits: 4 }, { bits: 4, group: 8 }, { bits: 4, group: 8, asymmetric: true }])(
    'is bettered by coordinate search, until no change of one code or scale helps: %o',
    (scheme) => {
      const errorOf = (q: QuantizedWeight): number => outputError(w, q, gram);
      const of = (sweeps: number): QuantizedWeight =>
        gptq(w, rows, columns, gram, scheme, { damp: 0, sweeps }) as QuantizedWeight;
      const [first, second, last] = [0, 1, 200].map(of) as [
        QuantizedWeight,
        QuantizedWeight,
        QuantizedWeight,
      ];
      expect(errorOf(second)).toBeLessThan(errorOf(first) * 0.99);
      const least = errorOf(last);
      expect(least).toBeLessThanOrEqual(errorOf(second));
      const { low, high } = codeRange(scheme);
      last.codes.forEach((code, i) => {
        for (const other of [code - 1, code + 1].filter((c) => c >= low && c <= high))
          expect(errorOf({ ...last, codes: last.codes.with(i, other) })).toBeGreaterThanOrEqual(least);
      });
      last.scales.forEach((scale, i) => {
        for (const factor of [0.999, 1.001])
          expect(errorOf({ ...last, scales: last.scales.with(i, scale * factor) })).toBeGreaterThanOrEqual(
            least,
          );
      });
    },
  );

  describe('with a factor of the outputs', () => {
    // Rows 0 .. 4 have much in common, and row 3 matters most.
    const half = randomMatrix(rows * rows, 13).map((v, i) => v + (i % rows === 1 ? 2 : 0));
    const outputs = new Float64Array(rows * rows);
    for (let i = 0; i < rows; i++)
      for (let k = 0; k < rows; k++)
        for (let j = 0; j < rows; j++)
          outputs[i * rows + k] =
            (outputs[i * rows + k] as number) +
            (half[i * rows + j] as number) * (half[k * rows + j] as number);
    const damp = 1e-9;
    /** tr(A E H Eᵀ) */
    const errorOf = (q: QuantizedWeight): number => {
      const values = dequantizeWeight(q);
      const error = w.map((value, i) => value - (values[i] as number));
      let sum = 0;
      for (let i = 0; i < rows; i++)
        for (let k = 0; k < rows; k++)
          for (let a = 0; a < columns; a++)
            for (let b = 0; b < columns; b++)
              sum +=
                (outputs[i * rows + k] as number) *
                (error[i * columns + a] as number) *
                (gram[a * columns + b] as number) *
                (error[k * columns + b] as number);
      return sum;
    };
    const of = (scheme: WeightScheme, options: Partial<GptqOptions>): QuantizedWeight =>
      gptq(w, rows, columns, gram, scheme, { damp, ...options }) as QuantizedWeight;

    test.each([{ bits: 4 }, { bits: 4, group: 8 }, { bits: 4, group: 8, asymmetric: true }])(
      'rows make up for each other, and search betters that until nothing helps: %o',
      (scheme) => {
        for (const actOrder of [false, true]) {
          const [alone, together, searched, last] = [
            {},
            { outputs },
            { outputs, sweeps: 1 },
            { outputs, sweeps: 300 },
          ].map((options) => of(scheme, { actOrder, ...options })) as [
            QuantizedWeight,
            QuantizedWeight,
            QuantizedWeight,
            QuantizedWeight,
          ];
          expect(errorOf(together)).toBeLessThan(errorOf(alone) * 0.7);
          expect(errorOf(searched)).toBeLessThanOrEqual(errorOf(together));
          const least = errorOf(last);
          expect(least).toBeLessThanOrEqual(errorOf(searched));
          const { low, high } = codeRange(scheme);
          last.codes.forEach((code, i) => {
            for (const other of [code - 1, code + 1].filter((c) => c >= low && c <= high))
              expect(errorOf({ ...last, codes: last.codes.with(i, other) })).toBeGreaterThanOrEqual(
                least * (1 - 1e-6),
              );
          });
        }
      },
    );

    test('outputs that have nothing in common are rounded each by itself', () => {
      const apart = Float64Array.from({ length: rows * rows }, (_, i) =>
        i % (rows + 1) === 0 ? 1 + (i % 3) : 0,
      );
      for (const sweeps of [0, 2]) {
        const found = of({ bits: 4, group: 8 }, { outputs: apart, sweeps });
        expect(found).toEqual(of({ bits: 4, group: 8 }, { sweeps }));
      }
    });

    test('it is undefined where the damping does not help', () => {
      const wrong = Float64Array.from({ length: rows * rows }, (_, i) => (i === 0 ? -1 : 0));
      expect(gptq(w, rows, columns, gram, { bits: 4 }, { damp: 0.01, outputs: wrong })).toBeUndefined();
    });
  });

  test('is rounding to nearest when inputs are not correlated', () => {
    const identity = Float64Array.from({ length: columns * columns }, (_, i) =>
      i % (columns + 1) === 0 ? 3 : 0,
    );
    const found = gptq(w, rows, columns, identity, { bits: 4 }, { damp: 0.01 });
    expect(found?.codes).toEqual(roundWeight(w, rows, columns, { bits: 4 }).codes);
  });

  test('follows the textbook elimination', () => {
    // Two columns: the second loses e H01 / H00 ... of the inverse, computed by hand from H with damping 0.
    const h = vector(2, 1, 1, 1);
    const two = vector(0.3, 1);
    const found = gptq(two, 1, 2, h, { bits: 4 }, { damp: 0 }) as QuantizedWeight;
    const scale = found.scales[0] as number;
    const first = scale * (found.codes[0] as number);
    // Minimising over the second weight alone, given the first: w1 + (w0 - q0) H01 / H11.
    const wanted = 1 + (0.3 - first) * 1;
    expect(found.codes[1]).toBe(Math.min(7, Math.round(wanted / scale)));
  });

  test('is undefined where the damping does not help', () => {
    expect(gptq(vector(1, 1), 1, 2, vector(1, 0, 0, -1), { bits: 4 }, { damp: 0 })).toBeUndefined();
  });
});
