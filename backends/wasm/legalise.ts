/**
 * Legalisation: rewrites a module, before fusion, to the ops and dtypes that this backend has kernels for. The rules
 * are exact up to rounding; capabilities.ts says what remains unsupported afterwards.
 */
import type { Module } from '../../ir/module.js';
import { type OpName, opTable } from '../../ir/ops/table.js';
import { type Rule, rule } from '../../passes/rules/rule.js';
import { applyRules, decomposeRule, softmaxLast, widenRule } from '../legalise.js';

/** Ops without a kernel of their own; the parts fuse into the kernels around them. */
const decomposed = ['swiglu', 'modulate', 'split', 'integer_linear'] as const satisfies readonly OpName[];

/** Ops whose kernels read and write activations as f32; weights may have any float dtype (see `widens`). */
const computesInF32 = [
  'dynamic_quantize',
  'rms_norm',
  'layer_norm',
  'softmax',
  'rope',
  'attention',
  'linear',
  'matmul',
  'grouped_linear',
  'conv2d',
  'max_pool2d',
  'avg_pool2d',
] as const satisfies readonly OpName[];

/** Ranges of whole tensors, and four-bit results, are found by the ops they are made of. */
const wideDynamicQuantize = rule(
  'dynamic_quantize',
  'decompose-dynamic-quantize',
  'dynamic_quantize(x) of a whole tensor or to four bits == its decomposition',
  (op, operands, builder) => {
    const { granularity, dtype } = op.attrs;
    if (granularity === 'row' && (dtype === 'i8' || dtype === 'u8')) return undefined;
    return opTable.dynamic_quantize.decompose?.(builder, operands, op.attrs);
  },
);

export const legalisationRules: readonly Rule[] = [
  ...decomposed.map(decomposeRule),
  ...computesInF32.map(widenRule),
  wideDynamicQuantize,
  softmaxLast,
];

export function legalise(module: Module): Module {
  return applyRules(module, legalisationRules);
}
