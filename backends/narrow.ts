/**
 * 16-bit compute: linear layers whose weights are stored in the compute dtype or as integers, attention and its caches read
 * and write that dtype, and sum in f32. Everything else, above all the residual stream, stays f32. What this costs is one rounding
 * of each operand and result, as in the mixed precision that such models are trained in.
 */
import { type FuncBuilder, mapFunctions, rewriteFunc } from '../ir/builder.js';
import {
  type AttrsOfOp,
  defOf,
  type Func,
  type Module,
  type Op,
  type OpOf,
  type State,
  type Value,
} from '../ir/module.js';
import type { DType } from '../ir/type.js';

export const computeDTypes = ['f32', 'bf16', 'f16'] as const;
export type ComputeDType = (typeof computeDTypes)[number];

/**
 * Whether a target's kernel for a linear layer, on operands that are narrow already, reads integer weights itself. For
 * others they are widened to the compute dtype.
 */
export type ReadsIntegers = (op: OpOf<'linear' | 'grouped_linear'>, operands: readonly Value[]) => boolean;

export function narrow(module: Module, compute: DType, readsIntegers: ReadsIntegers = () => false): Module {
  const states = narrowStates(module, compute);
  return mapFunctions({ ...module, states }, (func, scope) =>
    rewriteFunc(func, scope, (op, operands, builder) =>
      narrowOp(op, operands, builder, compute, readsIntegers),
    ),
  );
}

/** Caches: states of f32 that are read by appends alone. Scales of integers stay exact. */
function narrowStates(module: Module, compute: DType): Map<string, State> {
  const functions = [...module.functions.values()];
  const isCache = (name: string): boolean =>
    functions.every((func) => isOnlyAppendedTo(func, name) && !areScales(func, name));
  return new Map(
    [...module.states].map(([name, state]) => {
      const becomes = state.type.dtype === 'f32' && state.type.shape.length >= 2 && isCache(name);
      return [name, becomes ? { ...state, type: { ...state.type, dtype: compute } } : state];
    }),
  );
}

function isOnlyAppendedTo(func: Func, state: string): boolean {
  const reads = func.body.filter((op) => op.name === 'state_read' && op.attrs.name === state);
  const writes = func.body.filter((op) => op.name === 'state_write' && op.attrs.name === state);
  const values = new Set(reads.flatMap((op) => op.results));
  const appended = new Set(
    func.body.flatMap((op) =>
      op.name === 'cache_append' && values.has(op.operands[0] as Value) ? op.results : [],
    ),
  );
  const readers = func.body.filter((op) => op.operands.some((o) => values.has(o)));
  const appends = readers.every((op) => op.name === 'cache_append' && !values.has(op.operands[1] as Value));
  const written = writes.every((op) => defOf(op.operands[0] as Value)?.name === 'cache_append');
  return appends && written && !func.results.some((r) => values.has(r) || appended.has(r));
}

/** Whether a state holds what integers are scaled by. */
function areScales(func: Func, state: string): boolean {
  return func.body.some((op) => {
    const append = op.name === 'dequantize' ? defOf(op.operands[1] as Value) : undefined;
    const read = append?.name === 'cache_append' ? defOf(append.operands[0] as Value) : undefined;
    return read?.name === 'state_read' && read.attrs.name === state;
  });
}

function narrowOp(
  op: Op,
  operands: readonly Value[],
  builder: FuncBuilder,
  compute: DType,
  readsIntegers: ReadsIntegers,
): readonly Value[] | undefined {
  if (op.name === 'state_read') return builder.emit(op.name, [], op.attrs);
  const attrs = op.attrs as AttrsOfOp<'cast'>;
  const result = op.results[0]?.type.dtype;
  const widened = (value: Value): readonly Value[] => [
    value.type.dtype === result ? value : builder.one('cast', [value], { dtype: result as DType }),
  ];
  switch (op.name) {
    case 'linear':
    case 'grouped_linear': {
      const at = op.name === 'linear' ? 1 : 2;
      const [x] = operands as [Value];
      if (x.type.dtype !== 'f32') break;
      const narrowed = operands.with(0, inDType(builder, x, compute));
      const weight = operands[at] as Value;
      const isQuantized = defOf(weight)?.name === 'dequantize';
      if (isQuantized && !readsIntegers(op, narrowed))
        narrowed[at] = builder.one('cast', [weight], { dtype: compute });
      if (!isQuantized && weight.type.dtype !== compute) break;
      return widened(builder.one(op.name, narrowed, attrs));
    }
    case 'attention': {
      const [q, k, v, ...offset] = operands as [Value, Value, Value, ...Value[]];
      if (op.operands[0]?.type.dtype !== 'f32') break;
      const narrowed = [q, k, v].map((value) => inDType(builder, value, compute));
      return widened(builder.one('attention', [...narrowed, ...offset], attrs));
    }
    case 'cache_append': {
      const [cache, x, position] = operands as [Value, Value, Value];
      if (cache.type.dtype === op.operands[0]?.type.dtype) break;
      return [builder.one('cache_append', [cache, inDType(builder, x, compute), position])];
    }
    case 'state_write':
      return undefined;
  }
  const changed = operands.some((value, i) => value.type.dtype !== op.operands[i]?.type.dtype);
  if (!changed) return undefined;
  return builder.emit(
    op.name,
    operands.map((value, i) => inDType(builder, value, op.operands[i]?.type.dtype as DType)),
    attrs,
  );
}

/** The value in a dtype, without a detour where it was just widened from it. */
function inDType(builder: FuncBuilder, value: Value, dtype: DType): Value {
  if (value.type.dtype === dtype) return value;
  const op = defOf(value);
  const source = op?.operands[0];
  if (op?.name === 'cast' && source?.type.dtype === dtype) return source;
  const moves = op?.name === 'reshape' || op?.name === 'transpose' || op?.name === 'slice';
  const from = moves ? widenedFrom(source as Value, dtype) : undefined;
  if (op !== undefined && from !== undefined)
    return builder.one(op.name, [inDType(builder, source as Value, dtype)], op.attrs);
  return builder.one('cast', [value], { dtype });
}

/** What a value was widened from, by casts and movements alone. */
function widenedFrom(value: Value, dtype: DType): Value | undefined {
  const op = defOf(value);
  const source = op?.operands[0];
  if (op?.name === 'cast') return source?.type.dtype === dtype ? source : undefined;
  const moves = op?.name === 'reshape' || op?.name === 'transpose' || op?.name === 'slice';
  return moves ? widenedFrom(source as Value, dtype) : undefined;
}
