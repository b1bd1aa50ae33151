/** Products of integers, whose exact sums are the results. */
import type { Dim } from '../dim.js';
import { defineOp, operand, type Value } from '../op.js';
import { emptyTensor, type Tensor } from '../tensor.js';
import type { TensorType } from '../type.js';
import { reshape, toDType } from './decompose.js';
import { checkInnerSize, flopsOfLinear } from './quantization.js';
import { dimAt, expectDType, expectMinRank, expectRank, unify } from './shared.js';

export const integerProductOps = {
  integer_linear: defineOp({
    doc: 'x @ w.T of integers: exact sums of products as i32 (MatMulInteger of ONNX). Models say quantized_linear; targets that scale sums in an epilogue are given this one',
    category: 'quantization',
    operands: [operand('x', '[.., in], i8'), operand('w', '[out, in], i8')],
    attrs: {},
    infer: ([x, w], _attrs, context) => {
      const [rows, weights] = [x, w] as [TensorType, TensorType];
      expectMinRank(rows, 1, 'x', 0);
      expectDType(rows, (t) => t === 'i8', 'i8', 0);
      expectRank(weights, [2], 'w', 1);
      expectDType(weights, (t) => t === 'i8', 'i8', 1);
      unify(dimAt(rows, -1), dimAt(weights, 1), context, 'integer_linear: last axes of x and w', 1);
      checkInnerSize('integer_linear', dimAt(weights, 1), 0, context);
      return [{ dtype: 'i32', shape: [...rows.shape.slice(0, -1), dimAt(weights, 0)] }];
    },
    evaluate: ([x, w]) => [evaluateIntegers(x as Tensor, w as Tensor)],
    decompose: (b, [x, w]) => {
      const [rows, weights] = [x, w] as [Value, Value];
      const [outputs, inner] = weights.type.shape as [Dim, Dim];
      const isRow = rows.type.shape.length === 1;
      const wide = toDType(b, isRow ? reshape(b, rows, [1, inner]) : rows, 'i32');
      const sums = b.one('matmul', [
        wide,
        b.one('transpose', [toDType(b, weights, 'i32')], { perm: [1, 0] }),
      ]);
      return [isRow ? reshape(b, sums, [outputs]) : sums];
    },
    flops: flopsOfLinear,
  }),
};

function evaluateIntegers(x: Tensor, w: Tensor): Tensor {
  const [outputs, inner] = w.shape as [number, number];
  const out = emptyTensor('i32', [...x.shape.slice(0, -1), outputs]);
  for (let i = 0; i < out.data.length; i++) {
    const [row, column] = [Math.floor(i / outputs) * inner, (i % outputs) * inner];
    let sum = 0;
    for (let k = 0; k < inner; k++) sum += (x.data[row + k] as number) * (w.data[column + k] as number);
    out.data[i] = sum;
  }
  return out;
}
