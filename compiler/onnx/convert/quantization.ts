/** Quantized values as ONNX has them: integers with a scale and a zero point, for all, per channel or per block. */
import { constantOf, type Dim, dim } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import type { DType } from '../../../ir/type.js';
import { add, broadcast, cast, div, like, mul, rankOf, reshape, sizeAlong, sub } from '../build.js';
import type { NodeContext, OperatorTable } from '../node.js';
import { convolve } from './convolution.js';
import { perChannel } from './normalization.js';

/** A scale or zero point so that it broadcasts against x: a scalar, a vector along an axis, or blocks of an axis. */
function beside(c: NodeContext, x: Value, vector: Value, axis: number, block: number): Value {
  if (rankOf(vector) === 0) return vector;
  if (block > 0) return blocks(c, x, vector, axis, block);
  if (rankOf(vector) === 1) {
    if (constantOf(sizeAlong(vector, 0)) === 1) return reshape(c.b, vector, []);
    return reshape(
      c.b,
      vector,
      x.type.shape.map((_, i) => (i === axis ? sizeAlong(vector, 0) : 1)),
    );
  }
  return vector;
}

function blocks(c: NodeContext, x: Value, scales: Value, axis: number, block: number): Value {
  const { shape } = scales.type;
  const column = reshape(c.b, scales, [...shape.slice(0, axis + 1), 1, ...shape.slice(axis + 1)]);
  const wide = broadcast(c.b, column, [...shape.slice(0, axis + 1), block, ...shape.slice(axis + 1)]);
  const joined = c.size(shape[axis] as Dim, 'the number of blocks') * block;
  const repeated = reshape(c.b, wide, [...shape.slice(0, axis), joined, ...shape.slice(axis + 1)]);
  const size = c.size(sizeAlong(x, axis), 'the axis of blocks');
  if (joined === size) return repeated;
  return c.b.one('slice', [repeated], { axis, start: dim(0), end: sizeAlong(x, axis) });
}

function axisOf(c: NodeContext, x: Value): number {
  return rankOf(x) === 0 ? 0 : c.axis(c.int('axis', 1), Math.max(rankOf(x), 2)) % Math.max(1, rankOf(x));
}

/** saturate(round(x / scale) + zero point); ties to even */
export function quantize(
  c: NodeContext,
  x: Value,
  scale: Value,
  zero: Value | undefined,
  dtype: DType,
): Value {
  const rounded = c.b.one('round', [div(c.b, cast(c.b, x, 'f32'), cast(c.b, scale, 'f32'))]);
  const shifted = zero === undefined ? rounded : add(c.b, rounded, cast(c.b, zero, 'f32'));
  return cast(c.b, shifted, dtype);
}

export function dequantize(c: NodeContext, x: Value, scale: Value, zero: Value | undefined): Value {
  const wide = cast(c.b, x, 'i32');
  const centred = zero === undefined ? wide : sub(c.b, wide, cast(c.b, zero, 'i32'));
  return mul(c.b, cast(c.b, centred, scale.type.dtype), scale);
}

export function quantizeLinear(c: NodeContext): Value {
  const x = c.input(0);
  const axis = axisOf(c, x);
  const block = c.int('block_size', 0);
  const code = c.int('output_dtype', 0);
  const zero = c.optional(2);
  const dtype = zero?.type.dtype ?? (code === 0 ? 'u8' : c.dtype(code));
  const spread = (vector: Value | undefined): Value | undefined =>
    vector && beside(c, x, vector, axis, block);
  return quantize(c, x, spread(c.input(1)) as Value, spread(zero), dtype);
}

export function dequantizeLinear(c: NodeContext): Value {
  const x = c.input(0);
  const axis = axisOf(c, x);
  const block = c.int('block_size', 0);
  const spread = (vector: Value | undefined): Value | undefined =>
    vector && beside(c, x, vector, axis, block);
  return dequantize(c, x, spread(c.input(1)) as Value, spread(c.optional(2)));
}

/** One scale for the whole tensor, so that 0 and both extremes fit in 0 .. 255. */
function dynamicQuantize(c: NodeContext): Value[] {
  const x = c.input(0);
  const axes = x.type.shape.map((_, i) => i);
  const zero = like(c.b, x, 0);
  const low = c.b.one('min', [c.b.one('reduce_min', [x], { axes, keepdims: false }), zero]);
  const high = c.b.one('max', [c.b.one('reduce_max', [x], { axes, keepdims: false }), zero]);
  const scale = div(c.b, sub(c.b, high, low), like(c.b, x, 255));
  const point = cast(c.b, c.b.one('round', [div(c.b, c.b.one('neg', [low]), scale)]), 'u8');
  return [quantize(c, x, scale, point, 'u8'), scale, point];
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
  const product = c.b.one('matmul', [centred(c, 0, 2, true), centred(c, 3, 5, false)]);
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
    convert: (c) => c.b.one('matmul', [centred(c, 0, 2, true), centred(c, 1, 3, false)]),
  },
  ConvInteger: { since: 10, limits: 'sums up to 2^24', convert: convInteger },
  QLinearMatMul: { since: 10, convert: qlinearMatMul },
  QLinearConv: { since: 10, limits: 'sums up to 2^24', convert: qlinearConv },
};
