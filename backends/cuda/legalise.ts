/** Legalisation for this target: what is decomposed, and what computes in f32. See narrow.ts for 16-bit compute. */
import { constantOf, type Dim, dimsEqual, mulDims } from '../../ir/dim.js';
import { type Module, modelDims, type OpOf, type Value } from '../../ir/module.js';
import type { OpName } from '../../ir/ops/table.js';
import { madeBy, type Rule, rule } from '../../passes/rules/rule.js';
import { resolver } from '../kernel-function.js';
import {
  applyRules,
  decomposeRule,
  patchesAsLinear,
  softmaxLast,
  wideDynamicQuantize,
  widenRule,
} from '../legalise.js';
import { type ComputeDType, narrow, type ReadsIntegers } from '../narrow.js';
import { composeLookups } from './composed-lookups.js';
import { fewRows } from './few-rows.js';
import { integerProducts, readsRows } from './integer-products.js';
import { narrowEarly } from './narrow-early.js';

/** Ops without a kernel of their own; the parts fuse into the kernels around them. */
const decomposed = ['swiglu', 'modulate', 'split', 'quantized_linear'] as const satisfies readonly OpName[];

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

/**
 * So that kernels can read parts of a tensor where they lie, as attention does with the heads of queries, keys and values
 * of one layer. Whole rows stay as they are.
 */
const joinedSlice = rule(
  'reshape',
  'slice-of-joined-axes',
  'reshape(x[.., i:i+1, ..], without that axis) == reshape(x, that axis and the next joined)[.., i*n:(i+1)*n, ..]',
  (op, [x], builder) => {
    const slice = madeBy(x, 'slice');
    if (slice === undefined) return undefined;
    const source = slice.operands[0] as Value;
    const { shape } = source.type;
    const axis = (slice.attrs.axis + shape.length) % shape.length;
    const next = shape[axis + 1];
    const isOne = constantOf((x as Value).type.shape[axis] as Dim) === 1 && slice.attrs.step === 1;
    const wanted = shape.filter((_, i) => i !== axis);
    const { shape: result } = (op.results[0] as Value).type;
    const drops = result.length === wanted.length && wanted.every((d, i) => dimsEqual(d, result[i] as Dim));
    if (next === undefined || axis + 2 === shape.length || !isOne || !drops) return undefined;
    const joined = [...shape.slice(0, axis), mulDims(shape[axis] as Dim, next), ...shape.slice(axis + 2)];
    const [start, end] = [slice.attrs.start, slice.attrs.end].map((at) => mulDims(at, next)) as [Dim, Dim];
    return builder.one('slice', [builder.one('reshape', [source], { shape: joined })], { axis, start, end });
  },
);

function isLookup(value: Value | undefined): boolean {
  const gather = madeBy(value, 'gather');
  return gather !== undefined && gather.operands[0]?.type.shape.length === 1;
}

/** So that kernels look up what they need: the scale of a group of timesteps, say, in the shape in which it is read. */
const lookedUp = rule(
  'reshape',
  'reshape-of-looked-up',
  'reshape(table[i], shape) == table[reshape(i, shape)] for a table of numbers, and so through casts',
  (op, [x], builder) => {
    const { shape } = op.attrs;
    const cast = madeBy(x, 'cast');
    const [source] = cast?.operands ?? [];
    if (cast !== undefined && isLookup(source))
      return [builder.one('cast', [builder.one('reshape', [source as Value], { shape })], cast.attrs)];
    const gather = isLookup(x) ? madeBy(x, 'gather') : undefined;
    if (gather === undefined) return undefined;
    const [table, index] = gather.operands as [Value, Value];
    return [builder.one('gather', [table, builder.one('reshape', [index], { shape })], { axis: 0 })];
  },
);

/** Rows that bulk copies cannot read are multiplied on the ordinary units. */
function integerRule(module: Module): Rule {
  const { apply, ...rest } = decomposeRule('integer_linear');
  const resolve = resolver(modelDims(module));
  return {
    ...rest,
    apply: (op, operands, builder) =>
      readsRows(operands[0] as Value, resolve) ? undefined : apply(op, operands, builder),
  };
}

const narrowRules: readonly Rule[] = [
  ...decomposed.map(decomposeRule),
  wideDynamicQuantize,
  softmaxLast,
  patchesAsLinear,
  joinedSlice,
  lookedUp,
  ...computesInF32.map(widenRule),
];
const wideRules: readonly Rule[] = [...narrowRules, ...computesNarrow.map(widenRule)];

export function legalise(module: Module, compute: ComputeDType): Module {
  const rules = [...(compute === 'f32' ? wideRules : narrowRules), integerRule(module)];
  const simple = applyRules(composeLookups(integerProducts(module)), rules);
  if (compute === 'f32') return simple;
  const resolve = resolver(modelDims(module));
  const readsIntegers: ReadsIntegers = (op, operands) =>
    op.name === 'linear' && fewRows({ ...(op as OpOf<'linear'>), operands }, resolve)?.packed !== undefined;
  return narrowEarly(narrow(simple, compute, readsIntegers), compute);
}
