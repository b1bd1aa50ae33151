/** What the least-squares problems of writers, readers and gains share. */
import type { FuncBuilder } from '../../ir/builder.js';
import { fail } from '../../ir/diagnostics.js';
import type { Value } from '../../ir/module.js';
import type { PassData } from '../pass.js';
import { correction, type NormalEquations, normalEquations, SingularError } from './least-squares.js';
import type { Place } from './segment.js';
import { withWeight } from './walk.js';

export interface Settings {
  readonly data: PassData;
  readonly ridge: number;
}

/** 1 / sqrt(mean(u²) + eps), with the last axis kept as 1. */
export function reciprocalRms(b: FuncBuilder, u: Value, eps: number): Value {
  const mean = b.one('reduce_mean', [b.one('mul', [u, u])], { axes: [-1], keepdims: true });
  return b.one('rsqrt', [b.one('add', [mean, b.one('full', [], { value: eps })])]);
}

/** HEW6011, naming the weight, when the moments do not determine it. */
export function normalsFor(
  weight: string,
  gram: Float64Array,
  inputs: number,
  ridge: number,
): NormalEquations {
  try {
    return normalEquations(gram, inputs, ridge);
  } catch (error) {
    if (!(error instanceof SingularError)) throw error;
    return fail('HEW6011', `the calibration data does not determine ${weight}: ${error.message}`, {
      help: 'use more calibration data, or a larger ridge: refit{ridge=0.01}',
    });
  }
}

/**
 * The place with a weight [outputs, inputs] corrected by the cross-moments Σ x eᵀ of its inputs with what it leaves.
 * A row whose moments are not finite keeps its weights: its channel is switched off behind it, so the data says
 * nothing about it.
 */
export function corrected(
  place: Place,
  weight: string,
  normals: NormalEquations,
  cross: Float64Array,
  data: PassData,
): Place {
  const { data: present } = data.weight(place.module, weight, place.turn);
  const step = correction(normals, cross);
  const values = step.map((value, i) => (present[i] as number) + (Number.isFinite(value) ? value : 0));
  return withWeight(place, weight, values);
}
