/**
 * Cholesky factorisation of symmetric positive definite matrices and solution of linear systems with many right-hand
 * sides, in float64. Matrices are row-major.
 *
 * The factor is computed in panels of columns: the rows of a panel stay in the cache while every row below it is
 * reduced by them, and all inner products run along rows.
 */

/** Rows of a panel: 48 rows of 4096 float64 are 1.5 MiB. */
const panel = 48;

/**
 * Overwrites the lower triangle of A [n, n] with L, A = L Lᵀ; the upper triangle is left as it was. Returns undefined,
 * or the index of the first pivot that is not positive, where it stopped.
 */
export function factorise(a: Float64Array, n: number): number | undefined {
  for (let start = 0; start < n; start += panel) {
    const end = Math.min(n, start + panel);
    for (let i = start; i < n; i++) {
      const last = Math.min(i, end - 1);
      for (let j = start; j <= last; j++) {
        const rest = (a[i * n + j] as number) - dotRows(a, i * n, a, j * n, j);
        if (i > j) a[i * n + j] = rest / (a[j * n + j] as number);
        else if (rest > 0 && Number.isFinite(rest)) a[i * n + i] = Math.sqrt(rest);
        else return i;
      }
    }
  }
  return undefined;
}

/** Σ a[p + k] b[q + k] for k < count; four sums, so that additions do not wait for each other. */
export function dotRows(a: Float64Array, p: number, b: Float64Array, q: number, count: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let k = 0;
  for (; k + 3 < count; k += 4) {
    s0 += (a[p + k] as number) * (b[q + k] as number);
    s1 += (a[p + k + 1] as number) * (b[q + k + 1] as number);
    s2 += (a[p + k + 2] as number) * (b[q + k + 2] as number);
    s3 += (a[p + k + 3] as number) * (b[q + k + 3] as number);
  }
  for (; k < count; k++) s0 += (a[p + k] as number) * (b[q + k] as number);
  return s0 + s1 + (s2 + s3);
}

/** Columns of right-hand sides that are solved together: those of 4096 equations are 4 MiB. */
const strip = 128;

/** Overwrites B [n, m] with X of L Lᵀ X = B. */
export function solveFactored(l: Float64Array, n: number, b: Float64Array, m: number): void {
  for (let left = 0; left < m; left += strip) {
    const width = Math.min(strip, m - left);
    // L Y = B from the top, then Lᵀ X = Y from the bottom.
    for (let i = 0; i < n; i++) {
      subtractRows(b, m, i, left, width, { l, at: i * n, stride: 1, first: 0, end: i });
      scaleRow(b, i * m + left, width, 1 / (l[i * n + i] as number));
    }
    for (let i = n - 1; i >= 0; i--) {
      subtractRows(b, m, i, left, width, { l, at: i, stride: n, first: i + 1, end: n });
      scaleRow(b, i * m + left, width, 1 / (l[i * n + i] as number));
    }
  }
}

/** Coefficients l[at + j · stride] of rows j in first .. end - 1. */
interface Coefficients {
  readonly l: Float64Array;
  readonly at: number;
  readonly stride: number;
  readonly first: number;
  readonly end: number;
}

/** Row i of B loses coefficient times row j for every j, in the columns left .. left + width - 1. Four rows at a time. */
function subtractRows(
  b: Float64Array,
  m: number,
  i: number,
  left: number,
  width: number,
  rows: Coefficients,
): void {
  const { l, at, stride, first, end } = rows;
  const to = i * m + left;
  let j = first;
  for (; j + 3 < end; j += 4) {
    const c0 = l[at + j * stride] as number;
    const c1 = l[at + (j + 1) * stride] as number;
    const c2 = l[at + (j + 2) * stride] as number;
    const c3 = l[at + (j + 3) * stride] as number;
    const r0 = j * m + left;
    const [r1, r2, r3] = [r0 + m, r0 + 2 * m, r0 + 3 * m];
    for (let k = 0; k < width; k++) {
      const low = c0 * (b[r0 + k] as number) + c1 * (b[r1 + k] as number);
      const high = c2 * (b[r2 + k] as number) + c3 * (b[r3 + k] as number);
      b[to + k] = (b[to + k] as number) - (low + high);
    }
  }
  for (; j < end; j++) {
    const c = l[at + j * stride] as number;
    for (let k = 0; k < width; k++) b[to + k] = (b[to + k] as number) - c * (b[j * m + left + k] as number);
  }
}

function scaleRow(b: Float64Array, at: number, count: number, factor: number): void {
  for (let k = 0; k < count; k++) b[at + k] = (b[at + k] as number) * factor;
}
