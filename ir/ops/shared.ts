/** Helpers of the op declarations: shape inference and evaluation patterns that several ops share. */
import { constantOf, type Dim, dim, dimsEqual, isConstantDim, printDim } from '../dim.js';
import { type EvalContext, type InferContext, InferError } from '../op.js';
import { broadcastStrides, emptyTensor, stridesOf, type Tensor, walk, walkRows } from '../tensor.js';
import { type DType, isFloat, type TensorType } from '../type.js';

/**
 * Whether two dimensions may meet: equal polynomials, or equal values where one is a bare integer. Two different
 * names never agree, even if their values happen to be equal, so that a named dimension can be pruned alone.
 */
export function dimsAgree(a: Dim, b: Dim, context: InferContext): boolean {
  if (dimsEqual(a, b)) return true;
  if (!isConstantDim(a) && !isConstantDim(b)) return false;
  const left = context.valueOf(a);
  return left !== undefined && left === context.valueOf(b);
}

/** The more informative of two agreeing dimensions. */
export function preferNamed(a: Dim, b: Dim): Dim {
  return isConstantDim(a) ? b : a;
}

export function describeDim(d: Dim, context: InferContext): string {
  const text = printDim(d);
  const value = context.valueOf(d);
  return value === undefined || String(value) === text ? text : `${text} (${value})`;
}

/** Fails unless the dimensions agree; returns the named one. `what` names both sides for the message. */
export function unify(
  a: Dim,
  b: Dim,
  context: InferContext,
  what: string,
  operand?: number,
  help?: string,
): Dim {
  if (dimsAgree(a, b, context)) return preferNamed(a, b);
  const message = `${what}: ${describeDim(a, context)} is not ${describeDim(b, context)}`;
  const sameValue = context.valueOf(a) !== undefined && context.valueOf(a) === context.valueOf(b);
  const remedy =
    help ?? (sameValue ? 'the values are equal but the names differ; use one name for both axes' : undefined);
  throw new InferError(message, {
    kind: 'shape',
    ...(operand === undefined ? {} : { operand }),
    ...(remedy === undefined ? {} : { help: remedy }),
  });
}

export function expectRank(type: TensorType, ranks: readonly number[], name: string, operand: number): void {
  if (ranks.includes(type.shape.length)) return;
  const wanted = ranks.join(' or ');
  throw new InferError(`${name} must have rank ${wanted}, not ${type.shape.length}`, {
    kind: 'shape',
    operand,
  });
}

export function expectMinRank(type: TensorType, rank: number, name: string, operand: number): void {
  if (type.shape.length >= rank) return;
  throw new InferError(`${name} must have rank ${rank} or more, not ${type.shape.length}`, {
    kind: 'shape',
    operand,
  });
}

export function expectDType(
  type: TensorType,
  accepts: (dtype: DType) => boolean,
  wanted: string,
  operand: number,
): void {
  if (accepts(type.dtype)) return;
  throw new InferError(`operand ${operand} must be ${wanted}, not ${type.dtype}`, { kind: 'dtype', operand });
}

export function expectFloat(type: TensorType, operand: number): void {
  expectDType(type, isFloat, 'floating point', operand);
}

export function expectIndex(type: TensorType, operand: number): void {
  expectDType(type, (t) => t === 'i32' || t === 'i64', 'i32 or i64', operand);
}

/** A valid axis of `rank`, negative counting from the end. */
export function normalAxis(axis: number, rank: number, operand = 0): number {
  const result = axis < 0 ? axis + rank : axis;
  if (result >= 0 && result < rank) return result;
  throw new InferError(`axis ${axis} is out of range for rank ${rank}`, { kind: 'attr', operand });
}

export function dimAt(type: TensorType, axis: number): Dim {
  const index = axis < 0 ? type.shape.length + axis : axis;
  return type.shape[index] as Dim;
}

/** numpy broadcasting of named shapes: aligned at the end, an axis of literal 1 stretches. */
export function broadcastShapes(
  shapes: readonly (readonly Dim[])[],
  context: InferContext,
  name: string,
): Dim[] {
  const rank = Math.max(...shapes.map((s) => s.length));
  return Array.from({ length: rank }, (_, axis) =>
    shapes.reduce<Dim>((result, shape, operand) => {
      const own = shape[axis - (rank - shape.length)];
      if (own === undefined || constantOf(own) === 1) return result;
      if (constantOf(result) === 1) return own;
      return unify(result, own, context, `${name}: axis ${axis - rank} of the operands`, operand);
    }, dim(1)),
  );
}

/** Numeric broadcast of evaluated shapes. */
export function broadcastSizes(shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(...shapes.map((s) => s.length));
  return Array.from({ length: rank }, (_, axis) =>
    shapes.reduce((size, shape) => {
      const own = shape[axis - (rank - shape.length)] ?? 1;
      return own === 1 ? size : own;
    }, 1),
  );
}

/** Applies a scalar function of one to three values elementwise with broadcasting and rounds once. */
export function mapTensors(
  context: EvalContext,
  dtype: DType,
  inputs: readonly Tensor[],
  compute: (a: number, b: number, c: number) => number,
): Tensor {
  const shape = broadcastSizes(inputs.map((t) => t.shape));
  const out = emptyTensor(dtype, shape);
  // An operand that is absent is read as the first.
  const operands = Array.from({ length: 3 }, (_, i) => inputs[i] ?? (inputs[0] as Tensor));
  const [a, b, c] = operands.map(({ data }) => data) as [Float64Array, Float64Array, Float64Array];
  walkRows(
    shape,
    operands.map((t) => broadcastStrides(t.shape, shape)),
    (linear, offsets, length, steps) => {
      let [atA, atB, atC] = offsets as [number, number, number];
      const [stepA, stepB, stepC] = steps as [number, number, number];
      for (let i = linear; i < linear + length; i++) {
        out.data[i] = compute(a[atA] as number, b[atB] as number, c[atC] as number);
        atA += stepA;
        atB += stepB;
        atC += stepC;
      }
    },
  );
  return { ...out, data: roundedAll(out.data, context.round(dtype)) };
}

/** Rounds values in their place, or all at once where a typed array does that. */
function roundedAll(values: Float64Array, round: (value: number) => number): Float64Array {
  if (round === Math.fround) return new Float64Array(new Float32Array(values));
  for (let i = 0; i < values.length; i++) values[i] = round(values[i] as number);
  return values;
}

/** Offsets that split a tensor into lanes: element i of lane l is `data[starts[l] + steps[i]]`. */
export interface Lanes {
  readonly starts: readonly number[];
  readonly steps: readonly number[];
}

/** The lanes along `axes` (nonnegative), in row-major order of the remaining axes. */
export function lanesOf(shape: readonly number[], axes: readonly number[]): Lanes {
  const strides = stridesOf(shape);
  const offsets = (chosen: readonly number[]): number[] => {
    const result: number[] = [];
    walk(
      chosen.map((axis) => shape[axis] as number),
      [chosen.map((axis) => strides[axis] as number)],
      (_, [offset]) => result.push(offset as number),
    );
    return result;
  };
  const kept = shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
  return { starts: offsets(kept), steps: offsets(axes) };
}

/** Axis of a type that was already checked. */
export function axisOf(axis: number, shape: readonly unknown[]): number {
  return axis < 0 ? axis + shape.length : axis;
}
