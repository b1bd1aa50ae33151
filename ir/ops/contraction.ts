/** Matrix products: plain and batched matmul, linear layers, and linear layers whose weight depends on the row. */
import type { Dim } from '../dim.js';
import { defineOp, type InferContext, InferError, operand, optional, type Value, weight } from '../op.js';
import { emptyTensor, type Tensor } from '../tensor.js';
import { type DType, elementCount, isFloat, type TensorType } from '../type.js';
import { inF32, reshape, toDType, transpose } from './decompose.js';
import { productOf } from './elementwise.js';
import {
  broadcastShapes,
  broadcastSizes,
  describeDim,
  dimAt,
  dimsAgree,
  expectDType,
  expectFloat,
  expectIndex,
  expectMinRank,
  expectRank,
  unify,
} from './shared.js';

/** dot of `count` elements from two arrays with their own starts and strides, in float64. */
export function dot(
  a: Float64Array,
  aStart: number,
  aStride: number,
  b: Float64Array,
  bStart: number,
  bStride: number,
  count: number,
): number {
  let sum = 0;
  for (let k = 0; k < count; k++)
    sum += (a[aStart + k * aStride] as number) * (b[bStart + k * bStride] as number);
  return sum;
}

/** The same for integers, wrapping at every step: sums of i32 products leave the exact range of float64. */
function wrappingDot(dtype: DType, round: (value: number) => number): typeof dot {
  const product = productOf(dtype);
  return (a, aStart, aStride, b, bStart, bStride, count) => {
    let sum = 0;
    for (let k = 0; k < count; k++)
      sum = round(sum + product(a[aStart + k * aStride] as number, b[bStart + k * bStride] as number));
    return sum;
  };
}

function checkInner(inputType: TensorType, weightType: TensorType, context: InferContext): void {
  const [input, inner] = [dimAt(inputType, -1), dimAt(weightType, -1)];
  if (dimsAgree(input, inner, context)) return;
  throw new InferError(
    `the last axis of x is ${describeDim(input, context)}, but the weight reads ${describeDim(inner, context)}`,
    { kind: 'shape', operand: 0, help: 'a weight is [out, in]; its last axis must be the last axis of x' },
  );
}

export const contractionOps = {
  matmul: defineOp({
    doc: 'a @ b over the last two axes; leading axes broadcast',
    category: 'contraction',
    operands: [operand('a', '[.., M, K], float or integer'), operand('b', '[.., K, N], same dtype')],
    attrs: {},
    infer: (types, _attrs, context) => {
      const [a, b] = types as [TensorType, TensorType];
      expectMinRank(a, 2, 'a', 0);
      expectMinRank(b, 2, 'b', 1);
      expectDType(b, (t) => t === a.dtype, a.dtype, 1);
      expectDType(a, (t) => t !== 'bool', 'a number type', 0);
      const fitsTransposed = dimsAgree(dimAt(a, -1), dimAt(b, -1), context);
      const help = fitsTransposed ? 'b fits when transposed: a @ b.T' : undefined;
      unify(dimAt(a, -1), dimAt(b, -2), context, 'matmul: the inner axes', 1, help);
      const batch = broadcastShapes([a.shape.slice(0, -2), b.shape.slice(0, -2)], context, 'matmul');
      return [{ dtype: a.dtype, shape: [...batch, dimAt(a, -2), dimAt(b, -1)] }];
    },
    evaluate: ([a, b], _attrs, context) => [
      evaluateMatmul(a as Tensor, b as Tensor, context.round((a as Tensor).dtype)),
    ],
    flops: ({ operands: [a], results: [out] }) =>
      2 * elementCount(out as number[]) * ((a as number[]).at(-1) as number),
  }),

  linear: defineOp({
    doc: 'x @ w.T + bias: a dense layer with the checkpoint layout of weights; sums in f32',
    category: 'contraction',
    operands: [
      operand('x', '[.., in], f32'),
      weight('w', '[out, in], any float dtype'),
      optional(weight('bias', '[out], any float dtype')),
    ],
    attrs: {},
    infer: (types, _attrs, context) => {
      const [input, w, bias] = types as [TensorType, TensorType, TensorType?];
      expectMinRank(input, 1, 'x', 0);
      expectRank(w, [2], 'w', 1);
      expectFloat(input, 0);
      expectFloat(w, 1);
      checkInner(input, w, context);
      let outputs = dimAt(w, 0);
      if (bias !== undefined) {
        expectRank(bias, [1], 'bias', 2);
        expectFloat(bias, 2);
        outputs = unify(dimAt(w, 0), dimAt(bias, 0), context, 'linear: output axis of w and bias', 2);
      }
      return [{ dtype: input.dtype, shape: [...input.shape.slice(0, -1), outputs] }];
    },
    evaluate: ([input, w, bias], _attrs, context) => {
      const [from, matrix] = [input as Tensor, w as Tensor];
      const [outputs, inner] = matrix.shape as [number, number];
      const rows = elementCount(from.shape.slice(0, -1));
      const out = emptyTensor(from.dtype, [...from.shape.slice(0, -1), outputs]);
      const round = context.round(from.dtype);
      for (let r = 0; r < rows; r++) {
        for (let o = 0; o < outputs; o++) {
          const sum = dot(from.data, r * inner, 1, matrix.data, o * inner, 1, inner);
          out.data[r * outputs + o] = round(sum + ((bias as Tensor | undefined)?.data[o] ?? 0));
        }
      }
      return [out];
    },
    decompose: (b, [x, w, bias]) => [
      inF32(b, x as Value, (wide) => {
        const [input, weights] = [wide.type, toDType(b, w as Value, 'f32')];
        const vector = input.shape.length === 1;
        const rows = vector ? reshape(b, wide, [1, dimAt(input, 0)]) : wide;
        const product = b.one('matmul', [rows, transpose(b, weights, [1, 0])]);
        const shaped = vector ? reshape(b, product, [dimAt(weights.type, 0)]) : product;
        return bias === undefined ? shaped : b.one('add', [shaped, toDType(b, bias, 'f32')]);
      }),
    ],
    flops: ({ operands: [, w], results: [out] }) =>
      2 * elementCount(out as number[]) * ((w as number[])[1] as number),
  }),

  grouped_linear: defineOp({
    doc: 'linear with one of several weights per row: out[t, k] = w[index[t, k]] @ x[t] (or x[t, k]); a grouped matmul',
    category: 'contraction',
    operands: [
      operand('x', '[T, in] (read by every slot) or [T, K, in], f32'),
      operand('index', '[T, K], i32: which weight each slot uses; out of range is an error'),
      weight('w', '[experts, out, in], any float dtype'),
    ],
    attrs: {},
    infer: (types, _attrs, context) => {
      const [input, index, w] = types as [TensorType, TensorType, TensorType];
      expectRank(input, [2, 3], 'x', 0);
      expectRank(index, [2], 'index', 1);
      expectRank(w, [3], 'w', 2);
      expectFloat(input, 0);
      expectIndex(index, 1);
      expectDType(w, isFloat, 'floating point', 2);
      checkInner(input, w, context);
      unify(dimAt(input, 0), dimAt(index, 0), context, 'grouped_linear: rows of x and index', 1);
      if (input.shape.length === 3)
        unify(dimAt(input, 1), dimAt(index, 1), context, 'grouped_linear: slots of x and index', 1);
      return [{ dtype: input.dtype, shape: [...index.shape, dimAt(w, 1)] }];
    },
    evaluate: ([input, index, w], _attrs, context) => {
      const [from, chosen, matrices] = [input as Tensor, index as Tensor, w as Tensor];
      const [experts, outputs, inner] = matrices.shape as [number, number, number];
      const slots = chosen.shape[1] as number;
      const perSlot = from.shape.length === 3;
      const out = emptyTensor(from.dtype, [...chosen.shape, outputs]);
      const round = context.round(from.dtype);
      for (let slot = 0; slot < chosen.data.length; slot++) {
        const expert = chosen.data[slot] as number;
        if (expert < 0 || expert >= experts)
          throw new RangeError(`index ${expert} is out of range for ${experts} experts`);
        const row = perSlot ? slot : Math.floor(slot / slots);
        for (let o = 0; o < outputs; o++) {
          out.data[slot * outputs + o] = round(
            dot(from.data, row * inner, 1, matrices.data, (expert * outputs + o) * inner, 1, inner),
          );
        }
      }
      return [out];
    },
    decompose: (b, operands) => {
      const [x, index, w] = operands as [Value, Value, Value];
      return [
        inF32(b, x, (wide) => {
          const [tokens, slots] = index.type.shape as [Dim, Dim];
          const columns = wide.type.shape.length === 3 ? slots : 1;
          const vectors = reshape(b, wide, [tokens, columns, dimAt(wide.type, -1), 1]);
          const chosen = toDType(b, b.one('gather', [w, index]), 'f32');
          return reshape(b, b.one('matmul', [chosen, vectors]), [tokens, slots, dimAt(w.type, 1)]);
        }),
      ];
    },
    flops: ({ operands: [, , w], results: [out] }) =>
      2 * elementCount(out as number[]) * ((w as number[])[2] as number),
  }),
};

function evaluateMatmul(a: Tensor, b: Tensor, round: (v: number) => number): Tensor {
  const [rows, inner] = a.shape.slice(-2) as [number, number];
  const columns = b.shape.at(-1) as number;
  const batchShape = broadcastSizes([a.shape.slice(0, -2), b.shape.slice(0, -2)]);
  const out = emptyTensor(a.dtype, [...batchShape, rows, columns]);
  const batches = elementCount(batchShape);
  const product = isFloat(a.dtype) ? dot : wrappingDot(a.dtype, round);
  const [aBatch, bBatch] = [batchOffsets(a.shape, batchShape), batchOffsets(b.shape, batchShape)];
  for (let batch = 0; batch < batches; batch++) {
    const [aStart, bStart] = [aBatch(batch) * rows * inner, bBatch(batch) * inner * columns];
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const sum = product(a.data, aStart + r * inner, 1, b.data, bStart + c, columns, inner);
        out.data[(batch * rows + r) * columns + c] = round(sum);
      }
    }
  }
  return out;
}

/** Index of the operand's own matrix for each matrix of the broadcast batch. */
function batchOffsets(shape: readonly number[], batchShape: readonly number[]): (batch: number) => number {
  const own = shape.slice(0, -2);
  return (batch) => {
    let rest = batch;
    let offset = 0;
    let stride = 1;
    for (let axis = batchShape.length - 1; axis >= 0; axis--) {
      const size = batchShape[axis] as number;
      const at = rest % size;
      rest = Math.floor(rest / size);
      const ownSize = own[axis - (batchShape.length - own.length)] ?? 1;
      if (ownSize > 1) offset += at * stride;
      stride *= ownSize;
    }
    return offset;
  };
}
