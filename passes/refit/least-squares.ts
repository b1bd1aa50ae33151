/**
 * Linear least squares from moments. For inputs x and targets y over all rows of the data,
 *
 *   min over W of  Σ ‖W x - y‖² + λ ‖W - W₀‖²
 *   W = W₀ + (Σ y xᵀ - W₀ Σ x xᵀ) (Σ x xᵀ + λ I)⁻¹
 *
 * with λ = ridge · mean diagonal of Σ x xᵀ. The ridge pulls towards the weights that are there rather than towards
 * zero, so directions that the data does not reach stay as they are.
 */
import { dotRows, factorise, solveFactored } from './cholesky.js';

/** Sums over rows, row-major. */
export interface Moments {
  /** Sizes of x and of y. */
  readonly inputs: number;
  readonly outputs: number;
  /** Σ x xᵀ [inputs, inputs]. */
  readonly gram: Float64Array;
  /** Σ x yᵀ [inputs, outputs]. */
  readonly cross: Float64Array;
}

/** The matrix of the normal equations is not positive definite, even with the ridge. */
export class SingularError extends Error {
  constructor(
    readonly pivot: number,
    readonly size: number,
  ) {
    super(`pivot ${pivot} of ${size} is not positive`);
  }
}

/** W [outputs, inputs] for `prior` W₀ of the same shape. Throws SingularError. */
export function leastSquares(moments: Moments, ridge: number, prior: Float64Array): Float64Array {
  const { inputs: n, outputs: m, gram } = moments;
  const scale = meanDiagonal(gram, n);
  if (scale === 0) return prior.slice();
  const regular = gram.slice();
  for (let i = 0; i < n; i++) regular[i * n + i] = (regular[i * n + i] as number) + ridge * scale;
  const pivot = factorise(regular, n);
  if (pivot !== undefined) throw new SingularError(pivot, n);
  const step = residualMoments(moments, prior);
  solveFactored(regular, n, step, m);
  const solution = prior.slice();
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < m; j++)
      solution[j * n + i] = (solution[j * n + i] as number) + (step[i * m + j] as number);
  }
  return solution;
}

export function meanDiagonal(matrix: Float64Array, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += matrix[i * n + i] as number;
  return sum / n;
}

/** Σ x (y - W x)ᵀ [inputs, outputs]: what the weights W [outputs, inputs] leave unexplained. */
export function residualMoments(
  { inputs: n, outputs: m, gram, cross }: Moments,
  weights: Float64Array,
): Float64Array {
  const rest = cross.slice();
  for (let i = 0; i < n; i++)
    for (let j = 0; j < m; j++)
      rest[i * m + j] = (rest[i * m + j] as number) - dotRows(gram, i * n, weights, j * n, n);
  return rest;
}
