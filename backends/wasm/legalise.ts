/**
 * Legalisation: rewrites a module, before fusion, to the ops and dtypes that this backend has kernels for. The rules
 * are exact up to rounding; capabilities.ts says what remains unsupported afterwards.
 */
import { constantOf, type Dim, dim, dimsEqual } from '../../ir/dim.js';
import type { Module, Value } from '../../ir/module.js';
import type { OpName } from '../../ir/ops/table.js';
import { madeBy, type Rule, rule } from '../../passes/rules/rule.js';
import { applyRules, decomposeRule, softmaxLast, wideDynamicQuantize, widenRule } from '../legalise.js';

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

/** So that quantization can join attention: heads are rows of their own there, and one row of the reader. */
const quantizedAttention = rule(
  'quantize',
  'quantize-attention-before-reshape',
  'quantize(reshape(a)) == reshape(quantize(a)) for the result a of attention, with scales that its heads share',
  (op, [x, scale, zero], builder) => {
    const joined = x === undefined ? undefined : madeBy(x, 'reshape');
    const [a] = joined?.operands ?? [];
    if (x === undefined || scale === undefined || a === undefined || !madeBy(a, 'attention'))
      return undefined;
    const [own, heads] = [x.type.shape, a.type.shape];
    const { shape } = scale.type;
    const isShared = shape.length === 0 || (shape.length === own.length && isOne(shape.at(-1) as Dim));
    const joinsHeads =
      heads.length === own.length + 1 && own.slice(0, -1).every((d, i) => dimsEqual(d, heads[i] as Dim));
    if (!isShared || !joinsHeads || op.attrs.group !== 0) return undefined;
    const byHead = (value: Value): Value =>
      shape.length === 0 ? value : builder.one('reshape', [value], { shape: [...shape, dim(1)] });
    const operands = [a, byHead(scale), ...(zero === undefined ? [] : [byHead(zero)])];
    return [builder.one('reshape', [builder.one('quantize', operands, op.attrs)], { shape: own })];
  },
);

const isOne = (d: Dim): boolean => constantOf(d) === 1;

export const legalisationRules: readonly Rule[] = [
  ...decomposed.map(decomposeRule),
  ...computesInF32.map(widenRule),
  wideDynamicQuantize,
  quantizedAttention,
  softmaxLast,
];

export function legalise(module: Module): Module {
  return applyRules(module, legalisationRules);
}
