/** Eigenvalues and eigenvectors of real symmetric matrices in float64, by cyclic Jacobi rotations. */

export interface Eigen {
  readonly values: Float64Array;
  /** Row i is the eigenvector of value i. */
  readonly vectors: Float64Array;
}

/** Off-diagonal elements below this share of the norm are zero; each sweep squares what is left of them. */
const tolerance = 1e-15;
const maxSweeps = 60;

/** A [n, n], row-major; its upper triangle is read. */
export function symmetricEigen(a: Float64Array, n: number): Eigen {
  const m = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = i; j < n; j++) m[i * n + j] = m[j * n + i] = a[i * n + j] as number;
  const vectors = new Float64Array(n * n);
  for (let i = 0; i < n; i++) vectors[i * n + i] = 1;
  const limit = tolerance * Math.sqrt(m.reduce((sum, x) => sum + x * x, 0));
  for (let sweep = 0; sweep < maxSweeps && greatestOffDiagonal(m, n) > limit; sweep++) {
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotate(m, vectors, n, p, q);
  }
  return { values: Float64Array.from({ length: n }, (_, i) => m[i * n + i] as number), vectors };
}

function greatestOffDiagonal(m: Float64Array, n: number): number {
  let greatest = 0;
  for (let i = 0; i < n; i++)
    for (let j = i + 1; j < n; j++) greatest = Math.max(greatest, Math.abs(m[i * n + j] as number));
  return greatest;
}

/** Makes m[p, q] zero (Golub and Van Loan, Matrix Computations, algorithm 8.4.1). */
function rotate(m: Float64Array, vectors: Float64Array, n: number, p: number, q: number): void {
  const pq = m[p * n + q] as number;
  if (pq === 0) return;
  const tau = ((m[q * n + q] as number) - (m[p * n + p] as number)) / (2 * pq);
  const t = (tau < 0 ? -1 : 1) / (Math.abs(tau) + Math.sqrt(1 + tau * tau));
  const c = 1 / Math.sqrt(1 + t * t);
  const s = t * c;
  for (let k = 0; k < n; k++) {
    const [a, b] = [m[k * n + p] as number, m[k * n + q] as number];
    m[k * n + p] = c * a - s * b;
    m[k * n + q] = s * a + c * b;
  }
  for (const rows of [m, vectors]) {
    for (let k = 0; k < n; k++) {
      const [a, b] = [rows[p * n + k] as number, rows[q * n + k] as number];
      rows[p * n + k] = c * a - s * b;
      rows[q * n + k] = s * a + c * b;
    }
  }
}
