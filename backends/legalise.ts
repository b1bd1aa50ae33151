/** Legalisation rules that several targets share, and how a target applies its list of them. */
import { mapFunctions, rewriteFunc, type Scope } from '../ir/builder.js';
import { constantOf, type Dim, dim, productOfDims } from '../ir/dim.js';
import type { Func, Module, Op, Value } from '../ir/module.js';
import type { OpDecl } from '../ir/op.js';
import { type OpName, opTable } from '../ir/ops/table.js';
import { isFloat } from '../ir/type.js';
import { type Rule, rule } from '../passes/rules/rule.js';

/** The op becomes its decomposition. */
export function decomposeRule(name: OpName): Rule {
  const decl: OpDecl = opTable[name];
  return rule(name, `decompose-${name}`, `${name}(..) == its decomposition`, (op, operands, builder) =>
    decl.decompose?.(builder, operands, (op as Op).attrs),
  );
}

function isNarrow(value: Value | undefined): boolean {
  return value !== undefined && value.type.dtype !== 'f32' && isFloat(value.type.dtype);
}

/** The op reads and writes activations as f32; weights may have any float dtype. */
export function widenRule(name: OpName): Rule {
  const decl: OpDecl = opTable[name];
  const algebra = `${name}(x: f16 or bf16) == cast(${name}(cast(x, f32)), its own dtype)`;
  return rule(name, `${name.replaceAll('_', '-')}-in-f32`, algebra, (op, operands, builder) => {
    const narrow = operands.map((value, i) => isNarrow(value) && decl.operands[i]?.widens !== true);
    if (!narrow.includes(true)) return undefined;
    const wide = operands.map((value, i) =>
      narrow[i] ? builder.one('cast', [value], { dtype: 'f32' }) : value,
    );
    const { attrs, results } = op as Op;
    return builder.emit(name, wide, attrs).map((value, i) => {
      const { dtype } = (results[i] as Value).type;
      return value.type.dtype === dtype ? value : builder.one('cast', [value], { dtype });
    });
  });
}

/** The permutation that exchanges `axis` with the last axis; its own inverse. */
function swapWithLast(axis: number, rank: number): number[] {
  return Array.from({ length: rank }, (_, i) => (i === axis ? rank - 1 : i === rank - 1 ? axis : i));
}

/** Ranges of whole tensors, and four-bit results, are found by the ops they are made of. */
export const wideDynamicQuantize = rule(
  'dynamic_quantize',
  'decompose-dynamic-quantize',
  'dynamic_quantize(x) of a whole tensor or to four bits == its decomposition',
  (op, operands, builder) => {
    const { granularity, dtype } = op.attrs;
    if (granularity === 'row' && (dtype === 'i8' || dtype === 'u8')) return undefined;
    return opTable.dynamic_quantize.decompose?.(builder, operands, op.attrs);
  },
);

export const softmaxLast = rule(
  'softmax',
  'softmax-last-axis',
  'softmax(x, axis) == transpose(softmax(transpose(x, p)), p), p exchanges axis and the last',
  (op, operands, builder) => {
    const [x] = operands as [Value];
    const rank = x.type.shape.length;
    const axis = (op.attrs.axis + rank) % rank;
    if (axis === rank - 1) return undefined;
    const perm = swapWithLast(axis, rank);
    const rows = builder.one('softmax', [builder.one('transpose', [x], { perm })]);
    return builder.one('transpose', [rows], { perm });
  },
);

const all = (values: readonly number[], wanted: number): boolean => values.every((value) => value === wanted);

/** Windows that lie side by side read every pixel once: the convolution is a linear layer of patches. */
export const patchesAsLinear = rule(
  'conv2d',
  'patches-as-linear',
  'conv2d(x, w, stride = kernel) == linear(patches of x, rows of w)',
  (op, operands, builder) => {
    const [x, w, ...bias] = operands as [Value, Value, ...Value[]];
    const { stride, padding, dilation, groups } = op.attrs;
    const kernel = w.type.shape.slice(2).map(constantOf);
    const isPatches = kernel.every((size, i) => size !== undefined && size === stride[i]);
    if (!isPatches || groups !== 1 || !all(padding, 0) || !all(dilation, 1)) return undefined;
    const [rows, columns] = (op.results[0] as Value).type.shape.slice(2).map(constantOf) as number[];
    const [height, width] = x.type.shape.slice(2).map(constantOf);
    const [down, across] = kernel as [number, number];
    if (rows === undefined || columns === undefined) return undefined;
    if (height !== rows * down || width !== columns * across) return undefined;
    const [batch, channels] = x.type.shape as [Dim, Dim];
    const depth = productOfDims([channels, down, across]);
    const split = builder.one('reshape', [x], {
      shape: [batch, channels, dim(rows), dim(down), dim(columns), dim(across)],
    });
    const patches = builder.one('transpose', [split], { perm: [0, 2, 4, 1, 3, 5] });
    const flat = builder.one('reshape', [patches], { shape: [batch, dim(rows), dim(columns), depth] });
    const weight = builder.one('reshape', [w], { shape: [w.type.shape[0] as Dim, depth] });
    const product = builder.one('linear', [flat, weight, ...bias]);
    return [builder.one('transpose', [product], { perm: [0, 3, 1, 2] })];
  },
);

/** Each op needs at most a few rules: none makes work for itself again. */
export function applyRules(module: Module, rules: readonly Rule[]): Module {
  const byOp = Map.groupBy(rules, (r) => r.op as string);
  return mapFunctions(module, (func, scope) => legaliseFunc(func, scope, byOp));
}

function legaliseFunc(func: Func, scope: Scope, byOp: ReadonlyMap<string, readonly Rule[]>): Func {
  let changed = false;
  const next = rewriteFunc(func, scope, (op, operands, builder) => {
    for (const { apply } of byOp.get(op.name) ?? []) {
      const values = apply(op as never, operands, builder);
      if (values === undefined) continue;
      changed = true;
      return values;
    }
    return undefined;
  });
  return changed ? legaliseFunc(next, scope, byOp) : func;
}
