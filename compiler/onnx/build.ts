/** Small pieces that many converters are made of. */
import { addDims, constantOf, type Dim, type DimLike, dim, productOfDims } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import type { Emitter } from '../../ir/op.js';
import { type DType, isFloat } from '../../ir/type.js';

export function full(b: Emitter, value: number, dtype: DType, shape: readonly DimLike[] = []): Value {
  return b.one('full', [], { value, dtype, shape: shape.map(dim) });
}

/** A scalar that fits beside `x`. */
export function like(b: Emitter, x: Value, value: number): Value {
  return full(b, value, x.type.dtype);
}

export function cast(b: Emitter, x: Value, dtype: DType): Value {
  return x.type.dtype === dtype ? x : b.one('cast', [x], { dtype });
}

export function reshape(b: Emitter, x: Value, shape: readonly DimLike[]): Value {
  return b.one('reshape', [x], { shape: shape.map(dim) });
}

export function transpose(b: Emitter, x: Value, perm: readonly number[]): Value {
  return perm.every((axis, i) => axis === i) ? x : b.one('transpose', [x], { perm });
}

export function slice(b: Emitter, x: Value, axis: number, start: DimLike, end: DimLike): Value {
  return b.one('slice', [x], { axis, start: dim(start), end: dim(end) });
}

export function broadcast(b: Emitter, x: Value, shape: readonly DimLike[]): Value {
  return b.one('broadcast_to', [x], { shape: shape.map(dim) });
}

export function gather(b: Emitter, x: Value, index: Value, axis = 0): Value {
  return b.one('gather', [x, index], { axis });
}

export function sizeAlong(value: Value, axis: number): Dim {
  return value.type.shape.at(axis) as Dim;
}

export function rankOf(value: Value): number {
  return value.type.shape.length;
}

export function dimSize(b: Emitter, size: Dim, dtype: DType): Value {
  const known = constantOf(size);
  return known === undefined ? cast(b, b.one('dim_size', [], { dim: size }), dtype) : full(b, known, dtype);
}

/** 0, 1, … along one axis of a rank, broadcast against the others. */
export function positions(b: Emitter, size: Dim, axis: number, rank: number, dtype: DType = 'i32'): Value {
  const shape = Array.from({ length: rank }, (_, i) => (i === axis ? size : dim(1)));
  return reshape(b, b.one('iota', [], { length: size, dtype }), shape);
}

/** Both in f32, so that integers and narrow floats can go through ops that need floats. */
export function inFloat(b: Emitter, x: Value, compute: (x: Value) => Value): Value {
  if (isFloat(x.type.dtype)) return compute(x);
  return cast(b, compute(cast(b, x, 'f32')), x.type.dtype);
}

export function add(b: Emitter, x: Value, y: Value): Value {
  return b.one('add', [x, y]);
}
export function sub(b: Emitter, x: Value, y: Value): Value {
  return b.one('sub', [x, y]);
}
export function mul(b: Emitter, x: Value, y: Value): Value {
  return b.one('mul', [x, y]);
}
export function div(b: Emitter, x: Value, y: Value): Value {
  return b.one('div', [x, y]);
}

/** x as [product of the axes before, product of the axes from `axis` on]. */
export function asMatrix(b: Emitter, x: Value, axis: number): Value {
  const { shape } = x.type;
  return reshape(b, x, [productOfDims(shape.slice(0, axis)), productOfDims(shape.slice(axis))]);
}

export function isStatic(shape: readonly Dim[]): boolean {
  return shape.every((size) => constantOf(size) !== undefined);
}

/** Sums of the elements from `before` places back to `after` places on along an axis; nothing lies outside. */
export function windowSum(b: Emitter, x: Value, axis: number, before: number, after: number): Value {
  const along = (count: number): number[] => x.type.shape.map((_, i) => (i === axis ? count : 0));
  const padded = b.one('pad', [x], { before: along(before), after: along(after), value: 0 });
  const size = sizeAlong(x, axis);
  const parts = Array.from({ length: before + after + 1 }, (_, i) =>
    slice(b, padded, axis, i, addDims(size, i)),
  );
  return parts.reduce((sum, part) => add(b, sum, part));
}
