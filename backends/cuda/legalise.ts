/** Legalisation for this target: what is decomposed, and what computes in f32. See narrow.ts for 16-bit compute. */
import { type Module, modelDims, type OpOf } from '../../ir/module.js';
import type { OpName } from '../../ir/ops/table.js';
import type { Rule } from '../../passes/rules/rule.js';
import { resolver } from '../kernel-function.js';
import { applyRules, decomposeRule, softmaxLast, widenRule } from '../legalise.js';
import { type ComputeDType, narrow, type ReadsIntegers } from '../narrow.js';
import { fewRows } from './few-rows.js';

/** Ops without a kernel of their own; the parts fuse into the kernels around them. */
const decomposed = [
  'swiglu',
  'modulate',
  'split',
  'quantize',
  'dynamic_quantize',
  'quantized_linear',
] as const satisfies readonly OpName[];

const computesInF32 = [
  'rms_norm',
  'layer_norm',
  'softmax',
  'rope',
  'matmul',
  'conv2d',
  'max_pool2d',
  'avg_pool2d',
] as const satisfies readonly OpName[];

/** Ops that have kernels for 16-bit activations as well, when all operands agree. */
const computesNarrow = ['linear', 'grouped_linear', 'attention'] as const satisfies readonly OpName[];

const narrowRules: readonly Rule[] = [
  ...decomposed.map(decomposeRule),
  softmaxLast,
  ...computesInF32.map(widenRule),
];
const wideRules: readonly Rule[] = [...narrowRules, ...computesNarrow.map(widenRule)];

export function legalise(module: Module, compute: ComputeDType): Module {
  if (compute === 'f32') return applyRules(module, wideRules);
  const resolve = resolver(modelDims(module));
  const readsIntegers: ReadsIntegers = (op, operands) =>
    op.name === 'linear' && fewRows({ ...(op as OpOf<'linear'>), operands }, resolve)?.packed !== undefined;
  return narrow(applyRules(module, narrowRules), compute, readsIntegers);
}
