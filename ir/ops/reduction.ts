/** Reductions over axes, and the ordered ops along one axis: argmax, topk and cumulative sum. */
import { dim, productOfDims } from '../dim.js';
import { castTo } from '../numeric.js';
import { attr, defineOp, type EvalContext, InferError, operand, type Value } from '../op.js';
import { emptyTensor, type Tensor } from '../tensor.js';
import { type DType, elementCount, isFloat, type TensorType } from '../type.js';
import { inF32, toDType } from './decompose.js';
import { productOf } from './elementwise.js';
import {
  axisOf,
  describeDim,
  dimAt,
  expectDType,
  expectFloat,
  expectMinRank,
  lanesOf,
  normalAxis,
} from './shared.js';

const reductionAttrs = {
  axes: attr('ints', 'the axes; negative counts from the end; none leaves x as it is'),
  keepdims: attr('bool', 'reduced axes stay, with size 1', false),
};

function normalAxes(axes: readonly number[], type: TensorType): number[] {
  const normal = axes.map((axis) => normalAxis(axis, type.shape.length));
  if (new Set(normal).size === normal.length) return normal;
  throw new InferError(`axes [${axes.join(', ')}] name an axis twice`, { kind: 'attr', operand: 0 });
}

function reducedShape<T>(shape: readonly T[], axes: readonly number[], keepdims: boolean, one: T): T[] {
  const kept = shape.map((size, axis) => (axes.includes(axis) ? (keepdims ? one : undefined) : size));
  return kept.filter((size) => size !== undefined);
}

/** One value per lane along `axes`. `compute` folds the exact elements of a lane; the result is rounded once. */
function reduceLanes(
  x: Tensor,
  axes: readonly number[],
  keepdims: boolean,
  dtype: DType,
  round: (value: number) => number,
  compute: (lane: Float64Array) => number,
): Tensor {
  const normal = axes.map((axis) => axisOf(axis, x.shape));
  const { starts, steps } = lanesOf(x.shape, normal);
  const out = emptyTensor(dtype, reducedShape(x.shape, normal, keepdims, 1));
  const lane = new Float64Array(steps.length);
  starts.forEach((start, i) => {
    steps.forEach((step, k) => {
      lane[k] = x.data[start + step] as number;
    });
    out.data[i] = round(compute(lane));
  });
  return out;
}

/** Folds a lane: floats exactly, integers wrapping at every step so that no step leaves the exact range. */
function fold(
  dtype: DType,
  start: number,
  combine: (a: number, b: number) => number,
  round: (value: number) => number,
): (lane: Float64Array) => number {
  if (isFloat(dtype)) return (lane) => lane.reduce((a, v) => combine(a, v), start);
  return (lane) => lane.reduce((a, v) => round(combine(a, v)), start);
}

type Folding = (dtype: DType) => {
  readonly start: number;
  readonly combine: (a: number, b: number) => number;
};

function reduction(doc: string, folding: Folding) {
  return defineOp({
    doc,
    category: 'reduction',
    operands: [operand('x', 'any shape, a number type')],
    attrs: reductionAttrs,
    infer: ([x], { axes, keepdims }) => {
      const type = x as TensorType;
      expectDType(type, (t) => t !== 'bool', 'a number type', 0);
      const shape = reducedShape(type.shape, normalAxes(axes, type), keepdims, dim(1));
      return [{ dtype: type.dtype, shape }];
    },
    evaluate: ([x], { axes, keepdims }, context: EvalContext) => {
      const from = x as Tensor;
      const round = context.round(from.dtype);
      const { start, combine } = folding(from.dtype);
      const compute = fold(from.dtype, start, combine, round);
      return [reduceLanes(from, axes, keepdims, from.dtype, round, compute)];
    },
    flops: ({ operands: [shape] }) => elementCount(shape as number[]),
  });
}

/** The value that loses every comparison in `dtype`: infinite for floats, the end of the range for integers. */
function extreme(dtype: DType, sign: 1 | -1): number {
  const infinite = sign * Number.POSITIVE_INFINITY;
  return isFloat(dtype) ? infinite : castTo[dtype](infinite);
}

/** Index of the first greatest element; NaN counts as less than everything; 0 for an empty lane. */
function firstGreatest(lane: Float64Array): number {
  let best = 0;
  let greatest = Number.NEGATIVE_INFINITY;
  lane.forEach((value, i) => {
    if (value <= greatest || Number.isNaN(value)) return;
    greatest = value;
    best = i;
  });
  return best;
}

/** Indices of the k greatest elements, descending; equal ones by index; NaN counts as less than everything. */
export function topIndices(lane: Float64Array, k: number): number[] {
  const rank = (i: number): number => {
    const value = lane[i] as number;
    return Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value;
  };
  const order = Array.from(lane, (_, i) => i);
  order.sort((a, b) => (rank(a) === rank(b) ? a - b : rank(a) < rank(b) ? 1 : -1));
  return order.slice(0, k);
}

export const reductionOps = {
  reduce_sum: reduction('sum over axes; 0 over an empty axis', () => ({
    start: 0,
    combine: (a, b) => a + b,
  })),
  reduce_prod: reduction('product over axes; 1 over an empty axis', (dtype) => ({
    start: 1,
    combine: productOf(dtype),
  })),
  reduce_max: reduction(
    'maximum over axes; -inf (integers: the least value) over an empty axis',
    (dtype) => ({
      start: extreme(dtype, -1),
      combine: Math.max,
    }),
  ),
  reduce_min: reduction(
    'minimum over axes; +inf (integers: the greatest value) over an empty axis',
    (dtype) => ({
      start: extreme(dtype, 1),
      combine: Math.min,
    }),
  ),

  reduce_mean: defineOp({
    doc: 'arithmetic mean over axes; NaN over an empty axis',
    category: 'reduction',
    operands: [operand('x', 'any shape, float')],
    attrs: reductionAttrs,
    infer: ([x], { axes, keepdims }) => {
      const type = x as TensorType;
      expectFloat(type, 0);
      return [
        { dtype: type.dtype, shape: reducedShape(type.shape, normalAxes(axes, type), keepdims, dim(1)) },
      ];
    },
    evaluate: ([x], { axes, keepdims }, context) => {
      const from = x as Tensor;
      const mean = (lane: Float64Array) => lane.reduce((a, v) => a + v, 0) / lane.length;
      return [reduceLanes(from, axes, keepdims, from.dtype, context.round(from.dtype), mean)];
    },
    decompose: (b, [x], { axes, keepdims }) => [
      inF32(b, x as Value, (wide) => {
        const count = productOfDims(axes.map((axis) => dimAt(wide.type, axis)));
        const size = toDType(b, b.one('dim_size', [], { dim: count }), 'f32');
        return b.one('div', [b.one('reduce_sum', [wide], { axes, keepdims }), size]);
      }),
    ],
    flops: ({ operands: [shape] }) => elementCount(shape as number[]),
  }),

  argmax: defineOp({
    doc: 'index of the greatest element along an axis, the first of equals; NaN is never chosen over a number; 0 for an empty axis',
    category: 'reduction',
    operands: [operand('x', 'rank 1 or more, a number type')],
    attrs: { axis: attr('int', 'the axis, which the result does not have', -1) },
    infer: ([x], { axis }) => {
      const type = x as TensorType;
      expectDType(type, (t) => t !== 'bool', 'a number type', 0);
      const at = normalAxis(axis, type.shape.length);
      return [{ dtype: 'i32', shape: reducedShape(type.shape, [at], false, dim(1)) }];
    },
    evaluate: ([x], { axis }, context) => [
      reduceLanes(x as Tensor, [axis], false, 'i32', context.round('i32'), firstGreatest),
    ],
    flops: ({ operands: [shape] }) => elementCount(shape as number[]),
  }),

  topk: defineOp({
    doc: 'the k greatest elements of the last axis, descending, ties to the lower index; results are the values and their i32 indices',
    category: 'reduction',
    operands: [operand('x', '[.., n], a number type')],
    attrs: { k: attr('int', 'how many, 1 .. n') },
    infer: ([x], { k }, context) => {
      const type = x as TensorType;
      expectDType(type, (t) => t !== 'bool', 'a number type', 0);
      expectMinRank(type, 1, 'x', 0);
      const size = context.valueOf(dimAt(type, -1));
      if (k < 1 || (size !== undefined && k > size)) {
        const text = describeDim(dimAt(type, -1), context);
        throw new InferError(`topk: cannot choose ${k} of ${text} elements`, { kind: 'attr', operand: 0 });
      }
      const shape = [...type.shape.slice(0, -1), dim(k)];
      return [
        { dtype: type.dtype, shape },
        { dtype: 'i32', shape },
      ];
    },
    evaluate: ([x], { k }) => {
      const from = x as Tensor;
      const size = from.shape.at(-1) as number;
      if (k > size) throw new RangeError(`cannot choose ${k} of ${size} elements`);
      const shape = [...from.shape.slice(0, -1), k];
      const [values, index] = [emptyTensor(from.dtype, shape), emptyTensor('i32', shape)];
      for (let row = 0; row < elementCount(from.shape.slice(0, -1)); row++) {
        const lane = from.data.subarray(row * size, (row + 1) * size);
        topIndices(lane, k).forEach((chosen, i) => {
          values.data[row * k + i] = lane[chosen] as number;
          index.data[row * k + i] = chosen;
        });
      }
      return [values, index];
    },
    flops: ({ operands: [shape] }, { k }) => elementCount(shape as number[]) * Math.ceil(Math.log2(k + 1)),
  }),

  cumsum: defineOp({
    doc: 'running sum along an axis, each element included',
    category: 'reduction',
    operands: [operand('x', 'rank 1 or more, a number type')],
    attrs: { axis: attr('int', 'the axis; negative counts from the end', -1) },
    infer: ([x], { axis }) => {
      const type = x as TensorType;
      expectDType(type, (t) => t !== 'bool', 'a number type', 0);
      normalAxis(axis, type.shape.length);
      return [type];
    },
    evaluate: ([x], { axis }, context) => {
      const from = x as Tensor;
      const out = emptyTensor(from.dtype, from.shape);
      const round = context.round(from.dtype);
      const carry = isFloat(from.dtype) ? (sum: number) => sum : round;
      const { starts, steps } = lanesOf(from.shape, [axisOf(axis, from.shape)]);
      for (const start of starts) {
        let sum = 0;
        for (const step of steps) {
          sum = carry(sum + (from.data[start + step] as number));
          out.data[start + step] = round(sum);
        }
      }
      return [out];
    },
    flops: ({ operands: [shape] }) => elementCount(shape as number[]),
  }),
};
