/** The solver behind refit, against the definitions of what it computes. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { factorise, solveFactored } from '../../passes/refit/cholesky.js';
import {
  leastSquares,
  type Moments,
  residualMoments,
  SingularError,
} from '../../passes/refit/least-squares.js';
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
    inputs,
    outputs,
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

  test('768 equations with 256 right-hand sides take well under a second on an idle machine', () => {
    const n = 768;
    const a = new Float64Array(n * n);
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) a[i * n + j] = 0.9 ** Math.abs(i - j);
    const b = matrix(1, n * 256);
    const x = b.slice();
    const l = a.slice();
    const started = performance.now();
    expect(factorise(l, n)).toBeUndefined();
    solveFactored(l, n, x, 256);
    // Five times what it takes, because other programs may be running.
    expect(performance.now() - started).toBeLessThan(5000);
    const column = Float64Array.from({ length: n }, (_, i) => x[i * 256] as number);
    const rest = product(a, column, n, n, 1).map((value, i) => value - (b[i * 256] as number));
    expect(largest(rest)).toBeLessThan(1e-9);
  });
});

describe('least squares', () => {
  const sizes = fc.record({
    inputs: fc.integer({ min: 1, max: 9 }),
    outputs: fc.integer({ min: 1, max: 5 }),
    seed: fc.nat(),
  });

  test('weights that explain the targets are found, whatever they were before', () => {
    fc.assert(
      fc.property(sizes, ({ inputs, outputs, seed }) => {
        const rows = 4 * inputs + 4;
        const x = matrix(seed, rows * inputs);
        const w = matrix(seed + 1, outputs * inputs);
        const y = product(x, transposed(w, outputs, inputs), rows, inputs, outputs);
        const found = leastSquares(momentsOf(x, y, rows, inputs, outputs), 1e-12, matrix(seed + 2, w.length));
        expect(largest(found.map((value, i) => value - (w[i] as number)))).toBeLessThan(1e-6);
      }),
    );
  });

  test('what is left is orthogonal to the inputs: Σ x (y - W x)ᵀ = λ (W - W₀)ᵀ', () => {
    fc.assert(
      fc.property(sizes, fc.constantFrom(0, 1e-3, 1), ({ inputs, outputs, seed }, ridge) => {
        const rows = 4 * inputs + 4;
        const m = momentsOf(
          matrix(seed, rows * inputs),
          matrix(seed + 1, rows * outputs),
          rows,
          inputs,
          outputs,
        );
        const prior = matrix(seed + 2, outputs * inputs);
        const found = leastSquares(m, ridge, prior);
        const trace = Array.from({ length: inputs }, (_, i) => m.gram[i * inputs + i] as number).reduce(
          (a, b) => a + b,
        );
        const pull = transposed(
          found.map((value, i) => value - (prior[i] as number)),
          outputs,
          inputs,
        );
        const rest = residualMoments(m, found).map(
          (value, i) => value - ((ridge * trace) / inputs) * (pull[i] as number),
        );
        expect(largest(rest)).toBeLessThan(1e-8);
      }),
    );
  });

  test('directions that the data does not reach keep their weights', () => {
    // The second input is always zero, the third equals the first.
    const x = Float64Array.of(1, 0, 1, 2, 0, 2, -1, 0, -1);
    const y = Float64Array.of(3, 6, -3);
    const found = leastSquares(momentsOf(x, y, 3, 3, 1), 1e-9, Float64Array.of(1, 5, 0));
    [2, 5, 1].forEach((value, i) => {
      expect(found[i]).toBeCloseTo(value, 6);
    });
  });

  test('without data the weights stay; without a ridge a singular system is refused', () => {
    const zero: Moments = { inputs: 2, outputs: 1, gram: new Float64Array(4), cross: new Float64Array(2) };
    expect(leastSquares(zero, 1e-3, Float64Array.of(1, 2))).toEqual(Float64Array.of(1, 2));
    const rankOne: Moments = {
      inputs: 2,
      outputs: 1,
      gram: Float64Array.of(1, 1, 1, 1),
      cross: Float64Array.of(1, 1),
    };
    expect(() => leastSquares(rankOne, 0, new Float64Array(2))).toThrow(SingularError);
    expect(leastSquares(rankOne, 1e-6, new Float64Array(2))[0]).toBeCloseTo(0.5, 5);
  });
});
