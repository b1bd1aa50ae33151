/** Helpers of decompositions: constants, casts to the compute type and broadcasts that keep dimension names. */
import { type Dim, dim } from '../dim.js';
import type { Emitter, Value } from '../op.js';
import type { DType } from '../type.js';

/** A rank-0 constant; it broadcasts against anything. */
export function constant(b: Emitter, value: number, dtype: DType): Value {
  return b.one('full', [], { value, dtype, shape: [] });
}

export function toDType(b: Emitter, value: Value, dtype: DType): Value {
  return value.type.dtype === dtype ? value : b.one('cast', [value], { dtype });
}

/** Computes in f32 and converts the result back to the dtype of `x`, as ops on storage types do. */
export function inF32(b: Emitter, x: Value, compute: (x: Value) => Value): Value {
  return toDType(b, compute(toDType(b, x, 'f32')), x.type.dtype);
}

export function reshape(b: Emitter, x: Value, shape: readonly (Dim | number)[]): Value {
  return b.one('reshape', [x], { shape: shape.map(dim) });
}

export function transpose(b: Emitter, x: Value, perm: readonly number[]): Value {
  return b.one('transpose', [x], { perm });
}

/** The part [start, end) of the last axis. */
export function sliceLast(b: Emitter, x: Value, start: Dim | number, end: Dim | number): Value {
  return b.one('slice', [x], { axis: x.type.shape.length - 1, start: dim(start), end: dim(end) });
}

/** Sum, mean or maximum of the last axis, which stays as 1. */
export function reduceLast(b: Emitter, op: 'reduce_sum' | 'reduce_mean' | 'reduce_max', x: Value): Value {
  return b.one(op, [x], { axes: [x.type.shape.length - 1], keepdims: true });
}
