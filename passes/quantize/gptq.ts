/**
 * GPTQ (Frantar et al., arXiv 2210.17323): columns of a weight are rounded one after the other, and what rounding a
 * column lost is made up for by the columns that follow, so that Σ ‖(W - Ŵ) x‖² over calibration inputs x is small.
 * With H = Σ x xᵀ and H⁻¹ = Uᵀ U, U upper triangular, the columns behind i lose (w_i - ŵ_i) U_ij / U_ii.
 */
import { dotRows, factorise } from '../refit/cholesky.js';
import { searchCoordinates } from './coordinate-search.js';
import {
  codeRange,
  emptyWeight,
  errorOfRow,
  fitQuantizer,
  type QuantizedWeight,
  type Quantizer,
  roundToCode,
  type WeightScheme,
} from './rounding.js';

export interface GptqOptions {
  /** Added to the diagonal of H, as a share of its mean. */
  readonly damp: number;
  /** Columns of large inputs first; quantizers are those of the unchanged weights then. */
  readonly actOrder?: boolean | undefined;
  /** Sweeps of the search over codes and scales that follows (coordinate-search.ts). */
  readonly sweeps?: number | undefined;
  /** A [rows, rows]: what is made small is tr(A E H Eᵀ) of the error E (output-factors.ts); the identity by default. */
  readonly outputs?: Float64Array | undefined;
}

/**
 * With a factor A of the outputs rows are rounded one after the other as columns are: with A⁻¹ = Vᵀ V what a row lost is made
 * up for by the rows behind it, which lose e_i V_ik / V_ii.
 *
 * W [rows, columns] and H [columns, columns], both row-major and left as they are; undefined when H stays singular in
 * spite of the damping.
 */
export function gptq(
  w: Float64Array,
  rows: number,
  columns: number,
  gram: Float64Array,
  scheme: WeightScheme,
  { damp, actOrder, sweeps = 0, outputs }: GptqOptions,
): QuantizedWeight | undefined {
  const order = actOrder ? byDescendingDiagonal(gram, columns) : undefined;
  const at = (i: number): number => order?.[i] ?? i;
  const damped = withDamping(gram, columns, damp);
  const u = inverseFactor(damped, columns, at);
  if (u === undefined) return undefined;
  const result = emptyWeight(rows, columns, scheme);
  const importance = Float64Array.from({ length: columns }, (_, i) => gram[i * columns + i] as number);
  const rounding = { u, at, scheme, importance, result, fixed: order !== undefined };
  const minded = outputs && withDamping(outputs, rows, damp);
  if (minded === undefined) {
    for (let top = 0; top < rows; top += strip) roundStrip(w, top, Math.min(strip, rows - top), rounding);
  } else if (!roundRows(w, rows, minded, rounding)) return undefined;
  return sweeps === 0 ? result : searchCoordinates(w, result, damped, scheme, sweeps, minded);
}

/** Rows that are rounded together, so that a row of U is used while it is in the cache. */
const strip = 16;

interface Rounding {
  readonly u: Float64Array;
  /** The column that is rounded in turn i. */
  readonly at: (i: number) => number;
  readonly scheme: WeightScheme;
  readonly importance: Float64Array;
  readonly result: QuantizedWeight;
  /** Quantizers are those of the unchanged weights. */
  readonly fixed: boolean;
}

function roundStrip(
  w: Float64Array,
  top: number,
  count: number,
  { u, at, scheme, importance, result, fixed }: Rounding,
): void {
  const { columns, group, codes, scales, zeros } = result;
  const { low, high } = codeRange(scheme);
  const perRow = columns / group;
  // The strip's weights in the order in which columns are rounded.
  const rest = Float64Array.from(
    { length: count * columns },
    (_, i) => w[(top + Math.floor(i / columns)) * columns + at(i % columns)] as number,
  );
  const fit = (row: number, g: number): void => {
    const start = (fixed ? top + row : row) * columns + g * group;
    const quantizer = fitQuantizer(
      fixed ? w : rest,
      start,
      start + group,
      scheme,
      importance.subarray(g * group, (g + 1) * group),
    );
    scales[(top + row) * perRow + g] = quantizer.scale;
    zeros[(top + row) * perRow + g] = quantizer.zero;
  };
  for (let row = 0; fixed && row < count; row++) for (let g = 0; g < perRow; g++) fit(row, g);
  for (let i = 0; i < columns; i++) {
    const column = at(i);
    const g = Math.floor(column / group);
    for (let row = 0; row < count; row++) {
      if (!fixed && column % group === 0) fit(row, g);
      const own = (top + row) * perRow + g;
      const quantizer: Quantizer = { scale: scales[own] as number, zero: zeros[own] as number };
      const value = rest[row * columns + i] as number;
      const code = roundToCode(value, quantizer, low, high);
      codes[(top + row) * columns + column] = code;
      const lost = (value - quantizer.scale * (code - quantizer.zero)) / (u[i * columns + i] as number);
      const base = row * columns;
      for (let j = i + 1; j < columns; j++)
        rest[base + j] = (rest[base + j] as number) - lost * (u[i * columns + j] as number);
    }
  }
}

/** Row by row, those that matter most first; false when A stays singular. */
function roundRows(w: Float64Array, rows: number, outputs: Float64Array, rounding: Rounding): boolean {
  const order = byDescendingDiagonal(outputs, rows);
  const v = inverseFactor(outputs, rows, (i) => order[i] as number);
  if (v === undefined) return false;
  const { columns } = rounding.result;
  const rest = Float64Array.from(w);
  const lost = new Float64Array(columns);
  for (const [i, row] of order.entries()) {
    roundStrip(rest, row, 1, rounding);
    errorOfRow(rest, rounding.result, row, lost);
    for (let k = i + 1; k < rows; k++) {
      const factor = (v[i * rows + k] as number) / (v[i * rows + i] as number);
      const base = (order[k] as number) * columns;
      for (let j = 0; j < columns; j++)
        rest[base + j] = (rest[base + j] as number) - factor * (lost[j] as number);
    }
  }
  return true;
}

function byDescendingDiagonal(gram: Float64Array, n: number): number[] {
  const diagonal = (i: number): number => gram[i * n + i] as number;
  return Array.from({ length: n }, (_, i) => i).sort((a, b) => diagonal(b) - diagonal(a));
}

/** H + damp · mean(diag H) · I. An input that is always zero would make H singular; its weights do not matter. */
function withDamping(gram: Float64Array, n: number, damp: number): Float64Array {
  const result = Float64Array.from(gram);
  let trace = 0;
  for (let i = 0; i < n; i++) trace += gram[i * n + i] as number;
  const added = Math.max(damp * (trace / n), Number.MIN_VALUE);
  for (let i = 0; i < n; i++) result[i * n + i] = (result[i * n + i] as number) + added;
  return result;
}

/**
 * U, upper triangular, with H⁻¹ = Uᵀ U, in the given order of columns. With the columns reversed H = L Lᵀ, and the inverse
 * of L read backwards is U.
 */
function inverseFactor(gram: Float64Array, n: number, at: (i: number) => number): Float64Array | undefined {
  const reversed = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const row = at(n - 1 - i) * n;
    for (let j = 0; j <= i; j++) reversed[i * n + j] = gram[row + at(n - 1 - j)] as number;
  }
  if (factorise(reversed, n) !== undefined) return undefined;
  return readBackwards(invertLower(reversed, n), n);
}

/** Lᵀ's inverse, row-major: column j of L⁻¹ is row j of the result, so that inner products run along rows. */
function invertLower(l: Float64Array, n: number): Float64Array {
  const inverse = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    inverse[j * n + j] = 1 / (l[j * n + j] as number);
    for (let i = j + 1; i < n; i++) {
      const sum = dotRows(l, i * n + j, inverse, j * n + j, i - j);
      inverse[j * n + i] = -sum / (l[i * n + i] as number);
    }
  }
  return inverse;
}

/** U_ij = (L⁻¹) at row n-1-i, column n-1-j. */
function readBackwards(transposedInverse: Float64Array, n: number): Float64Array {
  const u = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = i; j < n; j++) u[i * n + j] = transposedInverse[(n - 1 - j) * n + (n - 1 - i)] as number;
  return u;
}
