/**
 * Linear least squares from moments, as a correction of weights that are there. For inputs x and what the weights W₀
 * leave of the targets, e = y - W₀ x, over all rows of the data,
 *
 *   min over D of  Σ ‖D x - e‖² + λ ‖D‖²
 *   D = (Σ e xᵀ) (Σ x xᵀ + λ I)⁻¹
 *
 * with λ = ridge · mean diagonal of Σ x xᵀ. The ridge pulls towards the weights that are there rather than towards
 * zero, so directions that the data does not reach stay as they are. Moments of e instead of y lose nothing where both
 * are sums of large terms that cancel.
 */
import { factorise, solveFactored } from './cholesky.js';

/** The matrix of the normal equations is not positive definite, even with the ridge. */
export class SingularError extends Error {
  constructor(
    readonly pivot: number,
    readonly size: number,
  ) {
    super(`pivot ${pivot} of ${size} is not positive`);
  }
}

/** Σ x xᵀ + λ I, factored; without a factor when every x is zero. */
export interface NormalEquations {
  readonly inputs: number;
  readonly factor: Float64Array | undefined;
}

/** `gram` is Σ x xᵀ [inputs, inputs]. Throws SingularError. */
export function normalEquations(gram: Float64Array, inputs: number, ridge: number): NormalEquations {
  const scale = meanDiagonal(gram, inputs);
  if (scale === 0) return { inputs, factor: undefined };
  const factor = gram.slice();
  for (let i = 0; i < inputs; i++)
    factor[i * inputs + i] = (factor[i * inputs + i] as number) + ridge * scale;
  const pivot = factorise(factor, inputs);
  if (pivot !== undefined) throw new SingularError(pivot, inputs);
  return { inputs, factor };
}

/** D [outputs, inputs] for `cross` Σ x eᵀ [inputs, outputs]. */
export function correction({ inputs, factor }: NormalEquations, cross: Float64Array): Float64Array {
  const outputs = cross.length / inputs;
  const found = new Float64Array(cross.length);
  if (factor === undefined) return found;
  const solution = cross.slice();
  solveFactored(factor, inputs, solution, outputs);
  for (let i = 0; i < inputs; i++)
    for (let j = 0; j < outputs; j++) found[j * inputs + i] = solution[i * outputs + j] as number;
  return found;
}

export function meanDiagonal(matrix: Float64Array, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += matrix[i * n + i] as number;
  return sum / n;
}
