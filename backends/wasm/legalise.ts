/**
 * Legalisation: rewrites a module, before fusion, to the ops and dtypes that this backend has kernels for. The rules
 * are exact up to rounding; capabilities.ts says what remains unsupported afterwards.
 */
import { mapFunctions, rewriteFunc, type Scope } from '../../ir/builder.js';
import type { Func, Module, Op, Value } from '../../ir/module.js';
import type { OpDecl } from '../../ir/op.js';
import { type OpName, opTable } from '../../ir/ops/table.js';
import { isFloat } from '../../ir/type.js';
import { type Rule, rule } from '../../passes/rules/rule.js';

/** Ops without a kernel of their own; the parts fuse into the kernels around them. */
const decomposed = [
  'swiglu',
  'modulate',
  'split',
  'quantize',
  'dequantize',
  'dynamic_quantize',
  'quantized_linear',
] as const satisfies readonly OpName[];

/** Ops whose kernels read and write activations as f32; weights may have any float dtype (see `widens`). */
const computesInF32 = [
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

function decomposeRule(name: OpName): Rule {
  const decl: OpDecl = opTable[name];
  return rule(name, `decompose-${name}`, `${name}(..) == its decomposition`, (op, operands, builder) =>
    decl.decompose?.(builder, operands, (op as Op).attrs),
  );
}

function isNarrow(value: Value | undefined): boolean {
  return value !== undefined && value.type.dtype !== 'f32' && isFloat(value.type.dtype);
}

function widenRule(name: OpName): Rule {
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

const softmaxLast = rule(
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

export const legalisationRules: readonly Rule[] = [
  ...decomposed.map(decomposeRule),
  ...computesInF32.map(widenRule),
  softmaxLast,
];

const rulesByOp = Map.groupBy(legalisationRules, (r) => r.op as string);

export function legalise(module: Module): Module {
  return mapFunctions(module, legaliseFunc);
}

/** Each op needs at most a few rules: none makes work for itself again. */
function legaliseFunc(func: Func, scope: Scope): Func {
  let changed = false;
  const next = rewriteFunc(func, scope, (op, operands, builder) => {
    for (const { apply } of rulesByOp.get(op.name) ?? []) {
      const values = apply(op as never, operands, builder);
      if (values === undefined) continue;
      changed = true;
      return values;
    }
    return undefined;
  });
  return changed ? legaliseFunc(next, scope) : func;
}
