/**
 * Uniform quantizers of weights: x ≈ scale · (q - zero), q in low .. high, with one scale and zero point for each group
 * of neighbouring inputs of an output channel (or for the whole channel).
 */
import { roundHalfEven } from '../../ir/numeric.js';

export interface WeightScheme {
  readonly bits: number;
  /** Inputs that share a scale; undefined is all of them. */
  readonly group?: number | undefined;
  /** Zero points, so that the range need not be symmetric. */
  readonly asymmetric?: boolean | undefined;
  /** Shrinks ranges where that lowers the squared error. */
  readonly clip?: boolean | undefined;
}

export interface Quantizer {
  readonly scale: number;
  /** An integer in low .. high; 0 for symmetric schemes. */
  readonly zero: number;
}

/** Codes are low .. high: -128 .. 127 for 8 bits, and never -128 when symmetric. */
export function codeRange({ bits, asymmetric }: WeightScheme): { low: number; high: number } {
  const high = 2 ** (bits - 1) - 1;
  return { low: asymmetric ? -high - 1 : -high, high };
}

/** Least positive scale, so that a row of zeros has a quantizer. */
const leastScale = 1e-10;

/** As the op `quantize` does, which divides in f32. */
export function roundToCode(value: number, { scale, zero }: Quantizer, low: number, high: number): number {
  return Math.min(high, Math.max(low, roundHalfEven(Math.fround(value / scale)) + zero));
}

/** The quantizer of values[start .. end - 1]. `importance` weighs squared errors when ranges are clipped. */
export function fitQuantizer(
  values: Float64Array,
  start: number,
  end: number,
  scheme: WeightScheme,
  importance?: Float64Array,
): Quantizer {
  let [least, most] = [0, 0];
  for (let i = start; i < end; i++) {
    least = Math.min(least, values[i] as number);
    most = Math.max(most, values[i] as number);
  }
  const whole = quantizerOf(least, most, scheme);
  if (!scheme.clip) return whole;
  const { low, high } = codeRange(scheme);
  const errorOf = (quantizer: Quantizer): number => {
    let sum = 0;
    for (let i = start; i < end; i++) {
      const code = roundToCode(values[i] as number, quantizer, low, high);
      const error = quantizer.scale * (code - quantizer.zero) - (values[i] as number);
      sum += error * error * (importance?.[i - start] ?? 1);
    }
    return sum;
  };
  let [best, bestError] = [whole, errorOf(whole)];
  for (let step = 1; step < clipSteps; step++) {
    const shrink = 1 - (step / clipSteps) * mostClipped;
    const candidate = quantizerOf(least * shrink, most * shrink, scheme);
    const error = errorOf(candidate);
    if (error < bestError) [best, bestError] = [candidate, error];
  }
  return best;
}

/** Ranges are tried from the whole one down to half of it. */
const clipSteps = 25;
const mostClipped = 0.5;

function quantizerOf(least: number, most: number, scheme: WeightScheme): Quantizer {
  const { low, high } = codeRange(scheme);
  if (!scheme.asymmetric) {
    return { scale: storedScale(Math.max(-least, most) / high), zero: 0 };
  }
  const scale = storedScale((most - least) / (high - low));
  return { scale, zero: Math.min(high, Math.max(low, low - roundHalfEven(least / scale))) };
}

/** Scales are stored in f32, so codes are chosen for that value. */
function storedScale(scale: number): number {
  return Math.fround(Math.max(scale, leastScale));
}

/** Codes [out, in] and their quantizers [out, groups], row-major. */
export interface QuantizedWeight {
  readonly codes: Int8Array;
  readonly scales: Float64Array;
  readonly zeros: Int8Array;
  readonly rows: number;
  readonly columns: number;
  /** Inputs that share a quantizer. */
  readonly group: number;
}

export function emptyWeight(rows: number, columns: number, scheme: WeightScheme): QuantizedWeight {
  const group = scheme.group ?? columns;
  if (columns % group !== 0)
    throw new RangeError(`${columns} inputs cannot be divided into groups of ${group}`);
  const groups = rows * (columns / group);
  return {
    codes: new Int8Array(rows * columns),
    scales: new Float64Array(groups),
    zeros: new Int8Array(groups),
    rows,
    columns,
    group,
  };
}

/** Round to nearest. `importance` [in] weighs inputs when ranges are clipped. */
export function roundWeight(
  w: Float64Array,
  rows: number,
  columns: number,
  scheme: WeightScheme,
  importance?: Float64Array,
): QuantizedWeight {
  const result = emptyWeight(rows, columns, scheme);
  const { codes, scales, zeros, group } = result;
  const { low, high } = codeRange(scheme);
  for (let at = 0; at < w.length; at += group) {
    const column = at % columns;
    const quantizer = fitQuantizer(w, at, at + group, scheme, importance?.subarray(column, column + group));
    scales[at / group] = quantizer.scale;
    zeros[at / group] = quantizer.zero;
    for (let i = at; i < at + group; i++) codes[i] = roundToCode(w[i] as number, quantizer, low, high);
  }
  return result;
}

/** The values that codes stand for, [out, in]. */
export function dequantizeWeight({ codes, scales, zeros, group }: QuantizedWeight): Float64Array {
  const values = new Float64Array(codes.length);
  for (let at = 0; at < scales.length; at++) {
    const [scale, zero] = [scales[at] as number, zeros[at] as number];
    for (let i = at * group; i < (at + 1) * group; i++) values[i] = scale * ((codes[i] as number) - zero);
  }
  return values;
}

/** w - ŵ of one row. */
export function errorOfRow(
  w: Float64Array,
  { codes, scales, zeros, columns, group }: QuantizedWeight,
  row: number,
  error: Float64Array,
): void {
  for (let j = 0; j < columns; j++) {
    const i = row * columns + j;
    const own = Math.floor(i / group);
    error[j] = (w[i] as number) - (scales[own] as number) * ((codes[i] as number) - (zeros[own] as number));
  }
}
