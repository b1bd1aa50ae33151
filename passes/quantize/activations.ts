/**
 * Quantizers of activations, from the ranges that calibration saw: one for all, one for each group of timesteps, or
 * none because they are found anew for each token. Codes are signed integers with a zero point.
 */
import { groupSteps, groupStepsWithLast, type StepGroup } from './step-groups.js';

/** Least and greatest value of a tensor. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** x ≈ scale · (q - zero), q in low .. high. */
export interface ActivationQuantizer {
  readonly scale: number;
  readonly zero: number;
}

export const activationCodes = (bits: number): { readonly low: number; readonly high: number } => ({
  low: -(2 ** (bits - 1)),
  high: 2 ** (bits - 1) - 1,
});

/** Least positive scale, so that a tensor of zeros has a quantizer. */
const leastScale = 1e-10;

/** Covers a range, and zero; scale and zero point as they are stored, in f32 and as an integer. */
export function quantizerFor({ min, max }: Range, bits: number): ActivationQuantizer {
  const { low, high } = activationCodes(bits);
  const [from, to] = [Math.min(min, 0), Math.max(max, 0)];
  const scale = Math.fround(Math.max((to - from) / (high - low), leastScale));
  return { scale, zero: Math.min(high, Math.max(low, Math.round(low - from / scale))) };
}

export function unionOf(ranges: readonly Range[]): Range {
  return {
    min: Math.min(...ranges.map(({ min }) => min)),
    max: Math.max(...ranges.map(({ max }) => max)),
  };
}

/** Groups of timesteps with similar ranges, and the quantizer of each. */
export function groupedQuantizers(
  ranges: readonly Range[],
  groups: number,
  bits: number,
  last: boolean,
): { readonly groups: readonly StepGroup[]; readonly quantizers: readonly ActivationQuantizer[] } {
  const points = ranges.map(({ min, max }) => Float64Array.of(min, max));
  const found = (last ? groupStepsWithLast : groupSteps)(points, Math.min(groups, ranges.length));
  const quantizers = found.map(({ first, end }) => quantizerFor(unionOf(ranges.slice(first, end)), bits));
  return { groups: found, quantizers };
}
