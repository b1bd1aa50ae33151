/** The solver behind refit, against the definitions of what it computes. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { factorise, solveFactored } from '../../passes/refit/cholesky.js';
import { correction, normalEquations, SingularError } from '../../passes/refit/least-squares.js';
import type { Moments } from '../../passes/refit/writers.js';
import { randomFrom, uniform } from '../conformance/random.js';

/** A [rows, inner] times B [inner, columns]. */
function product(
  a: Float64Array,
  b: Float64Array,
  rows: number,
  inner: number,
  columns: number,
): Float64Array {
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++)
      for (let k = 0; k < inner; k++)
        out[i * columns + j] =
          (out[i * columns + j] as number) + (a[i * inner + k] as number) * (b[k * columns + j] as number);
  return out;
}

function transposed(a: Float64Array, rows: number, columns: number): Float64Array {
  return Float64Array.from(
    { length: a.length },
    (_, i) => a[(i % rows) * columns + Math.floor(i / rows)] as number,
  );
}

function largest(values: Iterable<number>): number {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}

const matrix = (seed: number, size: number): Float64Array =>
  Float64Array.from(uniform(-1, 1)(size, randomFrom(seed)));

/** X Xᵀ + n I for a random X: well conditioned. */
function positiveDefinite(seed: number, n: number): Float64Array {
  const x = matrix(seed, n * n);
  const a = product(x, transposed(x, n, n), n, n, n);
  for (let i = 0; i < n; i++) a[i * n + i] = (a[i * n + i] as number) + n;
  return a;
}

/** Moments of samples x [rows, inputs] and y [rows, outputs]. */
function momentsOf(x: Float64Array, y: Float64Array, rows: number, inputs: number, outputs: number): Moments {
  const xt = transposed(x, rows, inputs);
  return {
    gram: product(xt, x, inputs, rows, inputs),
    cross: product(xt, y, inputs, rows, outputs),
  };
}

describe('Cholesky', () => {
  test('L Lᵀ X = B holds, for sizes around the width of a panel', () => {
    const sizes = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(47, 48, 49, 97));
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 5 }), fc.nat(), (n, m, seed) => {
        const a = positiveDefinite(seed, n);
        const b = matrix(seed + 1, n * m);
        const [l, x] = [a.slice(), b.slice()];
        expect(factorise(l, n)).toBeUndefined();
        solveFactored(l, n, x, m);
        const rest = product(a, x, n, n, m).map((value, i) => value - (b[i] as number));
        expect(largest(rest)).toBeLessThan(1e-11);
      }),
      { numRuns: 40 },
    );
  });

  test('the first pivot that is not positive is named', () => {
    expect(factorise(Float64Array.of(1, 0, 0, 0, -1, 0, 0, 0, 1), 3)).toBe(1);
    expect(factorise(Float64Array.of(1, 1, 1, 1), 2)).toBe(1);
    expect(factorise(Float64Array.of(Number.NaN), 1)).toBe(0);
  });

  test('768 equations with 256 right-hand sides leave no residual', () => {
    const n = 768;
    const a = new Float64Array(n * n);
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) a[i * n + j] = 0.9 ** Math.abs(i - j);
    const b = matrix(1, n * 256);
    const x = b.slice();
    const l = a.slice();
    expect(factorise(l, n)).toBeUndefined();
    solveFactored(l, n, x, 256);
    const column = Float64Array.from({ length: n }, (_, i) => x[i * 256] as number);
    const rest = product(a, column, n, n, 1).map((value, i) => value - (b[i * 256] as number));
    expect(largest(rest)).toBeLessThan(1e-9);
  });
});

/** D of min Σ ‖D x - e‖² + λ ‖D‖², row by row, by Gaussian elimination with pivoting on the normal equations. */
function reference(
  x: Float64Array,
  e: Float64Array,
  { rows, inputs, outputs, ridge }: { rows: number; inputs: number; outputs: number; ridge: number },
): Float64Array {
  const gram = product(transposed(x, rows, inputs), x, inputs, rows, inputs);
  const trace = Array.from({ length: inputs }, (_, i) => gram[i * inputs + i] as number).reduce(
    (a, b) => a + b,
  );
  for (let i = 0; i < inputs; i++)
    gram[i * inputs + i] = (gram[i * inputs + i] as number) + (ridge * trace) / inputs;
  const cross = product(transposed(x, rows, inputs), e, inputs, rows, outputs);
  const width = inputs + outputs;
  const table = Array.from({ length: inputs }, (_, i) => [
    ...gram.subarray(i * inputs, (i + 1) * inputs),
    ...cross.subarray(i * outputs, (i + 1) * outputs),
  ]);
  for (let i = 0; i < inputs; i++) {
    const best = table
      .slice(i)
      .reduce((a, b) => (Math.abs(b[i] as number) > Math.abs(a[i] as number) ? b : a));
    const at = table.indexOf(best);
    [table[i], table[at]] = [best, table[i] as number[]];
    for (const row of table) {
      if (row === best) continue;
      const factor = (row[i] as number) / (best[i] as number);
      for (let k = i; k < width; k++) row[k] = (row[k] as number) - factor * (best[k] as number);
    }
  }
  return Float64Array.from({ length: outputs * inputs }, (_, at) => {
    const row = table[at % inputs] as number[];
    return (row[inputs + Math.floor(at / inputs)] as number) / (row[at % inputs] as number);
  });
}

describe('least squares', () => {
  const sizes = fc.record({
    inputs: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constantFrom(31, 49)),
    outputs: fc.integer({ min: 1, max: 5 }),
    seed: fc.nat(),
  });

  test('corrections are those of a plain solver, for odd sizes, inputs of any rank and several ridges', () => {
    const ranks = fc.constantFrom('more rows than inputs', 'fewer rows than inputs');
    const ridges = fc.constantFrom(1e-4, 1e-3, 1e-2, 1);
    fc.assert(
      fc.property(sizes, ranks, ridges, ({ inputs, outputs, seed }, rank, ridge) => {
        const rows = rank === 'more rows than inputs' ? 2 * inputs + 3 : Math.ceil(inputs / 2);
        const x = matrix(seed, rows * inputs);
        const e = matrix(seed + 1, rows * outputs);
        const { gram, cross } = momentsOf(x, e, rows, inputs, outputs);
        const found = correction(normalEquations(gram, inputs, ridge), cross);
        const wanted = reference(x, e, { rows, inputs, outputs, ridge });
        expect(largest(found.map((value, i) => value - (wanted[i] as number)))).toBeLessThan(
          1e-9 * Math.max(1, largest(wanted)),
        );
      }),
      { numRuns: 60 },
    );
  });

  test('weights that explain the targets are found from what other weights leave', () => {
    fc.assert(
      fc.property(sizes, ({ inputs, outputs, seed }) => {
        const rows = 4 * inputs + 4;
        const x = matrix(seed, rows * inputs);
        const [w, prior] = [matrix(seed + 1, outputs * inputs), matrix(seed + 2, outputs * inputs)];
        const missing = w.map((value, i) => value - (prior[i] as number));
        const e = product(x, transposed(missing, outputs, inputs), rows, inputs, outputs);
        const { gram, cross } = momentsOf(x, e, rows, inputs, outputs);
        const found = correction(normalEquations(gram, inputs, 1e-12), cross);
        expect(largest(found.map((value, i) => value - (missing[i] as number)))).toBeLessThan(1e-6);
      }),
    );
  });

  test('directions that the data does not reach are not corrected', () => {
    // The second input is always zero, the third equals the first.
    const x = Float64Array.of(1, 0, 1, 2, 0, 2, -1, 0, -1);
    const e = Float64Array.of(2, 4, -2);
    const { gram, cross } = momentsOf(x, e, 3, 3, 1);
    const found = correction(normalEquations(gram, 3, 1e-9), cross);
    [1, 0, 1].forEach((value, i) => {
      expect(found[i]).toBeCloseTo(value, 6);
    });
  });

  test('without data nothing is corrected; without a ridge a singular system is refused', () => {
    const none = normalEquations(new Float64Array(4), 2, 1e-3);
    expect(correction(none, new Float64Array(2))).toEqual(new Float64Array(2));
    const ones = Float64Array.of(1, 1, 1, 1);
    expect(() => normalEquations(ones, 2, 0)).toThrow(SingularError);
    expect(correction(normalEquations(ones, 2, 1e-6), Float64Array.of(1, 1))[0]).toBeCloseTo(0.5, 5);
  });
});
