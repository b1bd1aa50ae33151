/** Quantized values as ONNX has them: integers with a scale and a zero point, for all, per channel or per block. */
import { constantOf } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { isFloat } from '../../../ir/type.js';
import { add, cast, div, mul, rankOf, reshape, sizeAlong, sub } from '../build.js';
import type { NodeContext, OperatorTable } from '../node.js';
import { matmul } from './contraction.js';
import { convolve } from './convolution.js';
import { perChannel } from './normalization.js';

/** Where the scales of a node belong: one for all, one per element of an axis, or one per block of it. */
function placeOf(c: NodeContext, x: Value): { readonly axis: number; readonly group: number } {
  const rank = rankOf(x);
  const axis = rank === 0 ? 0 : c.axis(c.int('axis', 1), Math.max(rank, 2)) % Math.max(1, rank);
  const block = c.int('block_size', 0);
  const size = rank === 0 ? undefined : constantOf(sizeAlong(x, axis));
  // A block that is the whole axis is a scale per row.
  return { axis, group: size !== undefined && block >= size ? 0 : block };
}

/** Scale and zero point, if there is one; a single element for an axis is one for all. */
function scalesOf(c: NodeContext, x: Value): Value[] {
  const scalar = rankOf(c.input(1)) === 0;
  return [c.input(1), c.optional(2)].flatMap((value) => {
    if (value === undefined) return [];
    const isSingle =
      (scalar || rankOf(x) !== 1) && rankOf(value) === 1 && constantOf(sizeAlong(value, 0)) === 1;
    return [isSingle ? reshape(c.b, value, []) : value];
  });
}

export function quantizeLinear(c: NodeContext): Value {
  const x = c.input(0);
  const { axis, group } = placeOf(c, x);
  const code = c.int('output_dtype', 0);
  const dtype = c.optional(2)?.type.dtype ?? (code === 0 ? 'u8' : c.dtype(code));
  const floats = isFloat(x.type.dtype) ? x : cast(c.b, x, 'f32');
  return c.b.one('quantize', [floats, ...scalesOf(c, x)], { dtype, axis, group });
}

export function dequantizeLinear(c: NodeContext): Value {
  const x = c.input(0);
  const place = placeOf(c, x);
  const values = c.b.one('dequantize', [x, ...scalesOf(c, x)], place);
  return cast(c.b, values, c.input(1).type.dtype);
}

/** One scale for the whole tensor, so that 0 and both extremes fit in 0 .. 255. */
function dynamicQuantize(c: NodeContext): Value[] {
  const x = c.input(0);
  const [q, scale, zero] = c.b.emit('dynamic_quantize', [rankOf(x) === 0 ? reshape(c.b, x, [1]) : x], {
    dtype: 'u8',
    granularity: 'tensor',
    symmetric: false,
  }) as [Value, Value, Value];
  return [rankOf(x) === 0 ? reshape(c.b, q, []) : q, scale, zero];
}

/** An integer matrix less its zero points; those of a left operand belong to rows, of a right one to columns. */
function centred(c: NodeContext, index: number, zeroIndex: number, isLeft: boolean): Value {
  const x = cast(c.b, c.input(index), 'i32');
  const zero = c.optional(zeroIndex);
  if (zero === undefined) return x;
  const wide = cast(c.b, zero, 'i32');
  const isVector = rankOf(wide) === 1 && constantOf(sizeAlong(wide, 0)) !== 1;
  return sub(c.b, x, isVector && isLeft ? reshape(c.b, wide, [sizeAlong(wide, 0), 1]) : wide);
}

function qlinearMatMul(c: NodeContext): Value {
  const product = matmul(c, centred(c, 0, 2, true), centred(c, 3, 5, false));
  const scale = div(c.b, mul(c.b, c.input(1), c.input(4)), c.input(6));
  const point = c.input(7);
  const scaled = mul(c.b, cast(c.b, product, 'f32'), cast(c.b, scale, 'f32'));
  return cast(c.b, add(c.b, c.b.one('round', [scaled]), cast(c.b, point, 'f32')), point.type.dtype);
}

/** Sums of integers in f32 are exact up to 2^24, as far as the kernels of 8-bit images reach. */
function convInteger(c: NodeContext): Value {
  const wide = (index: number, zeroIndex: number, isWeight: boolean): Value => {
    const x = cast(c.b, c.input(index), 'f32');
    const zero = c.optional(zeroIndex);
    if (zero === undefined) return x;
    const point = cast(c.b, zero, 'f32');
    const perOutput = isWeight && rankOf(point) === 1 && constantOf(sizeAlong(point, 0)) !== 1;
    return sub(
      c.b,
      x,
      perOutput ? reshape(c.b, point, [sizeAlong(point, 0), 1, 1, 1]) : reshape(c.b, point, []),
    );
  };
  return cast(c.b, convolve(c, wide(0, 2, false), wide(1, 3, true), undefined), 'i32');
}

function qlinearConv(c: NodeContext): Value {
  const perOutput = (vector: Value): Value => {
    if (rankOf(vector) === 0) return vector;
    const count = sizeAlong(vector, 0);
    return constantOf(count) === 1 ? reshape(c.b, vector, []) : reshape(c.b, vector, [count, 1, 1, 1]);
  };
  const scalar = (value: Value): Value => reshape(c.b, value, []);
  const x = sub(c.b, cast(c.b, c.input(0), 'f32'), scalar(cast(c.b, c.input(2), 'f32')));
  const w = sub(c.b, cast(c.b, c.input(3), 'f32'), perOutput(cast(c.b, c.input(5), 'f32')));
  const bias = c.optional(8);
  const product = convolve(c, x, w, bias && cast(c.b, bias, 'f32'));
  const weightScale = c.input(4);
  const isVector = rankOf(weightScale) === 1 && constantOf(sizeAlong(weightScale, 0)) !== 1;
  const scale = isVector ? perChannel(c, weightScale, rankOf(product)) : scalar(weightScale);
  const factor = div(c.b, mul(c.b, scalar(c.input(1)), scale), scalar(c.input(6)));
  const point = c.input(7);
  const shifted = add(c.b, c.b.one('round', [mul(c.b, product, factor)]), scalar(cast(c.b, point, 'f32')));
  return cast(c.b, shifted, point.type.dtype);
}

export const quantizationOperators: OperatorTable = {
  QuantizeLinear: { since: 10, limits: 'int8 and uint8', convert: quantizeLinear },
  DequantizeLinear: { since: 10, limits: 'int8, uint8 and int32', convert: dequantizeLinear },
  DynamicQuantizeLinear: { since: 11, convert: dynamicQuantize },
  MatMulInteger: {
    since: 10,
    convert: (c) => matmul(c, centred(c, 0, 2, true), centred(c, 1, 3, false)),
  },
  ConvInteger: { since: 10, limits: 'sums up to 2^24', convert: convInteger },
  QLinearMatMul: { since: 10, convert: qlinearMatMul },
  QLinearConv: { since: 10, limits: 'sums up to 2^24', convert: qlinearConv },
};
