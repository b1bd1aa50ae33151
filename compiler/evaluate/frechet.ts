/**
 * Fréchet distance between sets of features, each taken as a normal distribution (Heusel et al., arXiv 1706.08500):
 *
 *   d² = ‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2 (Σ₁^½ Σ₂ Σ₁^½)^½)
 */
import { fail } from '../../ir/diagnostics.js';
import { openCheckpoint } from '../checkpoint/checkpoint.js';
import { toFloat32 } from '../checkpoint/dtypes.js';
import { symmetricEigen } from './symmetric-eigen.js';

export interface Gaussian {
  readonly mean: Float64Array;
  /** [n, n], row-major; unbiased. */
  readonly covariance: Float64Array;
}

/** Mean and covariance of rows [count, n], at least two. `chosen` names the rows to take, possibly repeatedly. */
export function gaussianOf(
  rows: ArrayLike<number>,
  n: number,
  chosen: readonly number[] = Array.from({ length: rows.length / n }, (_, i) => i),
): Gaussian {
  const count = chosen.length;
  const mean = new Float64Array(n);
  for (const row of chosen)
    for (let i = 0; i < n; i++) mean[i] = (mean[i] as number) + (rows[row * n + i] as number) / count;
  const covariance = new Float64Array(n * n);
  const centred = new Float64Array(n);
  for (const row of chosen) {
    for (let i = 0; i < n; i++) centred[i] = (rows[row * n + i] as number) - (mean[i] as number);
    for (let i = 0; i < n; i++) {
      const scaled = (centred[i] as number) / (count - 1);
      for (let j = 0; j < n; j++)
        covariance[i * n + j] = (covariance[i * n + j] as number) + scaled * (centred[j] as number);
    }
  }
  return { mean, covariance };
}

/** d² of two distributions over the same features. */
export function frechetDistance(a: Gaussian, b: Gaussian): number {
  const n = a.mean.length;
  const root = squareRoot(a.covariance, n);
  const between = multiply(multiply(root, b.covariance, n), root, n);
  const { values } = symmetricEigen(between, n);
  let sum = 0;
  for (let i = 0; i < n; i++) {
    sum += ((a.mean[i] as number) - (b.mean[i] as number)) ** 2;
    sum += (a.covariance[i * n + i] as number) + (b.covariance[i * n + i] as number);
    sum -= 2 * Math.sqrt(Math.max(0, values[i] as number));
  }
  return Math.max(0, sum);
}

/** The square root of a symmetric positive semidefinite matrix; eigenvalues below zero are rounding. */
function squareRoot(m: Float64Array, n: number): Float64Array {
  const { values, vectors } = symmetricEigen(m, n);
  const scaled = vectors.map((v, i) => v * Math.sqrt(Math.max(0, values[Math.floor(i / n)] as number)));
  const root = new Float64Array(n * n);
  for (let k = 0; k < n; k++) {
    for (let i = 0; i < n; i++) {
      const left = scaled[k * n + i] as number;
      for (let j = 0; j < n; j++)
        root[i * n + j] = (root[i * n + j] as number) + left * (vectors[k * n + j] as number);
    }
  }
  return root;
}

function multiply(a: Float64Array, b: Float64Array, n: number): Float64Array {
  const product = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < n; k++) {
      const left = a[i * n + k] as number;
      for (let j = 0; j < n; j++)
        product[i * n + j] = (product[i * n + j] as number) + left * (b[k * n + j] as number);
    }
  }
  return product;
}

/** Standard error of a statistic of `count` items: its spread over resamples with replacement. */
export function bootstrapError(
  count: number,
  resamples: number,
  random: () => number,
  statistic: (chosen: readonly number[]) => number,
): number {
  const values = Array.from({ length: resamples }, () =>
    statistic(Array.from({ length: count }, () => Math.min(count - 1, Math.floor(random() * count)))),
  );
  const mean = values.reduce((sum, v) => sum + v, 0) / resamples;
  return Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (resamples - 1));
}

/** Reads `real_mu` [n] and `real_cov` [n, n] of a safetensors file. Fails with HEW6122 when they are not there. */
export function readGaussian(path: string): Gaussian {
  const checkpoint = openCheckpoint(path);
  try {
    const read = (name: string): Float64Array => {
      const info =
        checkpoint.tensors.get(name) ??
        fail('HEW6122', `${path} has no tensor '${name}'`, {
          help: 'it takes real_mu [n] and real_cov [n, n]',
        });
      if (info.dtype === 'f64') {
        const bytes = checkpoint.read(name);
        return new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
      }
      return Float64Array.from(toFloat32(info.dtype, checkpoint.read(name)));
    };
    const [mean, covariance] = [read('real_mu'), read('real_cov')];
    if (covariance.length !== mean.length ** 2)
      fail('HEW6122', `real_cov of ${path} has ${covariance.length} elements, not ${mean.length} squared`);
    return { mean, covariance };
  } finally {
    checkpoint.close();
  }
}
