/**
 * Coordinate search behind GPTQ (QuantEase: Behdin et al., arXiv 2309.01885, extended to scales): codes and scales of a
 * weight are changed one at a time, each to what makes Σ ‖(W - Ŵ) x‖² = Σ_rows r H rᵀ least while all others stay. With
 * r = w - ŵ and g = H r, the best value of element j is ŵ_j + g_j / H_jj, and the best scale of a group with codes c
 * (zero points subtracted) is larger by c·g / c·H c.
 *
 * With a factor A of the outputs the sum is tr(A R H Rᵀ). All other rows staying, row i is best rounded as if it were
 * w_i + Σ_k≠i (A_ik / A_ii) r_k.
 */
import {
  codeRange,
  errorOfRow,
  type QuantizedWeight,
  type Quantizer,
  roundToCode,
  type WeightScheme,
} from './rounding.js';

/** `gram` is H [columns, columns] and `outputs` A [rows, rows], with their damping. The error of the result is at most that of `weight`. */
export function searchCoordinates(
  w: Float64Array,
  weight: QuantizedWeight,
  gram: Float64Array,
  scheme: WeightScheme,
  sweeps: number,
  outputs?: Float64Array,
): QuantizedWeight {
  const result = {
    ...weight,
    codes: Int8Array.from(weight.codes),
    scales: Float64Array.from(weight.scales),
  };
  if (outputs !== undefined) {
    for (let sweep = 0; sweep < sweeps; sweep++) if (!searchRows(w, result, gram, outputs, scheme)) break;
    return result;
  }
  for (let row = 0; row < weight.rows; row++) {
    const search = new RowSearch(w, result, gram, row);
    for (let sweep = 0; sweep < sweeps; sweep++) {
      const scaled = search.improveScales();
      if (!search.improveCodes(scheme) && !scaled) break;
    }
  }
  return result;
}

/** One sweep over rows that make up for each other; whether anything changed. */
function searchRows(
  w: Float64Array,
  weight: QuantizedWeight,
  gram: Float64Array,
  outputs: Float64Array,
  scheme: WeightScheme,
): boolean {
  const { rows, columns } = weight;
  const errors = Array.from({ length: rows }, (_, row) => {
    const error = new Float64Array(columns);
    errorOfRow(w, weight, row, error);
    return error;
  });
  const target = Float64Array.from(w);
  let changed = false;
  for (const [row, error] of errors.entries()) {
    const own = target.subarray(row * columns, (row + 1) * columns);
    for (const [k, other] of errors.entries()) {
      const factor = (outputs[row * rows + k] as number) / (outputs[row * rows + row] as number);
      if (k !== row)
        for (let j = 0; j < columns; j++) own[j] = (own[j] as number) + factor * (other[j] as number);
    }
    const search = new RowSearch(target, weight, gram, row);
    const scaled = search.improveScales();
    changed = search.improveCodes(scheme) || scaled || changed;
    errorOfRow(w, weight, row, error);
  }
  return changed;
}

/** One row of a weight and g = H (w - ŵ) for it. */
class RowSearch {
  private readonly gradient: Float64Array;
  private readonly product: Float64Array;

  constructor(
    w: Float64Array,
    private readonly weight: QuantizedWeight,
    private readonly gram: Float64Array,
    private readonly row: number,
  ) {
    const { columns } = weight;
    this.gradient = new Float64Array(columns);
    this.product = new Float64Array(columns);
    for (let j = 0; j < columns; j++) {
      const { scale, zero } = this.quantizer(j);
      const value = scale * ((weight.codes[row * columns + j] as number) - zero);
      addRow(this.gradient, gram, j, (w[row * columns + j] as number) - value);
    }
  }

  /** Whether any scale changed. */
  improveScales(): boolean {
    const { columns, group, codes, scales } = this.weight;
    let changed = false;
    for (let first = 0; first < columns; first += group) {
      const { scale, zero } = this.quantizer(first);
      this.product.fill(0);
      for (let j = first; j < first + group; j++)
        addRow(this.product, this.gram, j, (codes[this.row * columns + j] as number) - zero);
      let [slope, curvature] = [0, 0];
      for (let j = first; j < first + group; j++) {
        const code = (codes[this.row * columns + j] as number) - zero;
        slope += code * (this.gradient[j] as number);
        curvature += code * (this.product[j] as number);
      }
      // Scales are stored in f32 and stay positive.
      const wanted = Math.fround(scale + slope / curvature);
      if (!(wanted > 0 && Number.isFinite(wanted)) || wanted === scale) continue;
      changed = true;
      scales[this.place(first)] = wanted;
      for (let i = 0; i < columns; i++)
        this.gradient[i] = (this.gradient[i] as number) - (wanted - scale) * (this.product[i] as number);
    }
    return changed;
  }

  /** Whether any code changed. */
  improveCodes(scheme: WeightScheme): boolean {
    const { columns, codes } = this.weight;
    const { low, high } = codeRange(scheme);
    let changed = false;
    for (let j = 0; j < columns; j++) {
      const quantizer = this.quantizer(j);
      const { scale, zero } = quantizer;
      const code = codes[this.row * columns + j] as number;
      const curvature = this.gram[j * columns + j] as number;
      const best = scale * (code - zero) + (this.gradient[j] as number) / curvature;
      const next = curvature > 0 ? roundToCode(best, quantizer, low, high) : code;
      if (next === code) continue;
      codes[this.row * columns + j] = next;
      addRow(this.gradient, this.gram, j, scale * (code - next));
      changed = true;
    }
    return changed;
  }

  private place(column: number): number {
    const { columns, group } = this.weight;
    return this.row * (columns / group) + Math.floor(column / group);
  }

  private quantizer(column: number): Quantizer {
    const { scales, zeros } = this.weight;
    const at = this.place(column);
    return { scale: scales[at] as number, zero: zeros[at] as number };
  }
}

/** sum += factor · row j of a square matrix. */
function addRow(sum: Float64Array, matrix: Float64Array, j: number, factor: number): void {
  const base = j * sum.length;
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + factor * (matrix[base + i] as number);
}
