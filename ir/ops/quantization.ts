/**
 * Quantization: an integer q stands for the real number scale * (q - zero_point). Scales and zero points are ordinary
 * tensors, so that a scheme is nothing but their shapes (docs/adr/0002-quantization.md). For a tensor x they are
 *
 *   []                           one for the tensor
 *   [n]                          one per element of the axis `axis`
 *   of the rank of x             broadcast as numpy does: [T, 1] is one per token
 *   the same with `group` = g    along `axis` one per g elements; the last group may have fewer
 *
 * Every rounding is an f32 operation in the order of the formula, and sums of products of integers are exact, so that
 * all targets find the same integers and the same floats.
 */
import { type Dim, dim } from '../dim.js';
import { roundHalfEven } from '../numeric.js';
import {
  attr,
  choice,
  defineOp,
  type Emitter,
  type EvalContext,
  type InferContext,
  InferError,
  operand,
  optional,
  type Value,
  weight,
} from '../op.js';
import { emptyTensor, stridesOf, type Tensor } from '../tensor.js';
import { type DType, elementCount, type TensorType } from '../type.js';
import { constant, reshape, toDType } from './decompose.js';
import {
  axisOf,
  broadcastShapes,
  describeDim,
  dimAt,
  expectDType,
  expectFloat,
  expectMinRank,
  expectRank,
  lanesOf,
  normalAxis,
  unify,
} from './shared.js';

/** Least and greatest value of the integer types that tensors are quantized to. */
export const quantizedRange = {
  i8: [-128, 127],
  u8: [0, 255],
  i4: [-8, 7],
  u4: [0, 15],
} as const satisfies Partial<Record<DType, readonly [number, number]>>;

export type QuantizedDType = keyof typeof quantizedRange;

export function isQuantized(dtype: DType): dtype is QuantizedDType {
  return Object.hasOwn(quantizedRange, dtype);
}

interface Blocks {
  readonly axis: number;
  /** Elements that share a scale along the axis; 0: the axis is not divided. */
  readonly group: number;
}

function checkScale(
  op: string,
  x: TensorType,
  scale: TensorType,
  blocks: Blocks,
  context: InferContext,
  at: number,
): void {
  const rank = x.shape.length;
  const { group } = blocks;
  if (group < 0) throw new InferError(`group must be 0 or positive, not ${group}`, { kind: 'attr' });
  if (scale.shape.length === 0 && group === 0) return;
  const axis = normalAxis(blocks.axis, rank);
  if (scale.shape.length === 1 && group === 0) {
    broadcastShapes([[dimAt(x, axis)], scale.shape], context, `${op}: axis ${axis} of x and its scales`);
    return;
  }
  expectRank(scale, [rank], 'a scale that is neither one number nor one per element of the axis', at);
  if (group > 0) checkGroups(op, dimAt(x, axis), dimAt(scale, axis), group, context, at);
  const without = (shape: readonly Dim[]): Dim[] => shape.filter((_, i) => group === 0 || i !== axis);
  const joined = broadcastShapes(
    [without(x.shape), without(scale.shape)],
    context,
    `${op}: x and its scales`,
  );
  joined.forEach((d, i) => {
    unify(d, without(x.shape)[i] as Dim, context, `${op}: scales must not be larger than x; axis ${i}`, at);
  });
}

function checkGroups(
  op: string,
  axis: Dim,
  groups: Dim,
  group: number,
  context: InferContext,
  at: number,
): void {
  const [size, count] = [context.valueOf(axis), context.valueOf(groups)];
  if (size !== undefined && count === Math.ceil(size / group)) return;
  throw new InferError(
    `${op}: ${describeDim(axis, context)} elements in groups of ${group} do not have ${describeDim(groups, context)} scales`,
    { kind: 'shape', operand: at },
  );
}

function checkZeroPoint(
  scale: TensorType,
  zeroPoint: TensorType | undefined,
  dtype: DType,
  at: number,
  context: InferContext,
): void {
  if (zeroPoint === undefined) return;
  expectDType(zeroPoint, (t) => t === dtype, dtype, at);
  expectRank(zeroPoint, [scale.shape.length], 'zero_point', at);
  scale.shape.forEach((d, i) => {
    unify(d, dimAt(zeroPoint, i), context, `axis ${i} of scale and zero_point`, at);
  });
}

/** The place in `scales` that belongs to each element of a tensor of `shape`, in row-major order. */
function scalePlaces(
  shape: readonly number[],
  scales: readonly number[],
  { axis, group }: Blocks,
): (linear: number) => number {
  if (scales.length === 0) return () => 0;
  const strides = stridesOf(shape);
  const [at] = [axisOf(axis, shape)];
  if (scales.length === 1 && group === 0) {
    const [stride, size] = [strides[at] as number, scales[0] === 1 ? 1 : (shape[at] as number)];
    return (linear) => Math.floor(linear / stride) % size;
  }
  const own = stridesOf(scales);
  return (linear) => {
    let place = 0;
    for (let i = 0; i < shape.length; i++) {
      if (scales[i] === 1) continue;
      const index = Math.floor(linear / (strides[i] as number)) % (shape[i] as number);
      place += (i === at && group > 0 ? Math.floor(index / group) : index) * (own[i] as number);
    }
    return place;
  };
}

/** Calls `visit` with every element of a tensor of `shape` and the place of its scale, in row-major order. */
function eachPlace(
  shape: readonly number[],
  scales: readonly number[],
  blocks: Blocks,
  visit: (linear: number, place: number) => void,
): void {
  const placeOf = scalePlaces(shape, scales, blocks);
  // Places are sums of a row's and a column's, and those of the first row are the columns'.
  const columns = Int32Array.from({ length: shape.at(-1) ?? 1 }, (_, column) => placeOf(column));
  const count = elementCount(shape);
  for (let row = 0; row < count; row += columns.length) {
    const place = placeOf(row);
    for (let i = 0; i < columns.length; i++) visit(row + i, place + (columns[i] as number));
  }
}

/** clamp(round_half_even(f32(x / scale)) + zero_point); NaN becomes the zero point. */
function quantizeOne(
  x: number,
  scale: number,
  zeroPoint: number,
  [low, high]: readonly [number, number],
  round: (v: number) => number,
): number {
  const steps = roundHalfEven(round(x / scale));
  return Math.min(high, Math.max(low, (Number.isNaN(steps) ? 0 : steps) + zeroPoint)) + 0;
}

/** Scales, or zero points, in a shape that broadcasts against a tensor of type `x`. */
function spread(b: Emitter, x: TensorType, scale: Value, { axis, group }: Blocks): Value {
  const rank = x.shape.length;
  const at = axisOf(axis, x.shape);
  if (group > 0) {
    const index = b.one('iota', [], { length: dimAt(x, at), dtype: 'i32' });
    const chosen = b.one('div', [index, constant(b, group, 'i32')]);
    return b.one('gather', [scale, chosen], { axis: at });
  }
  if (scale.type.shape.length !== 1 || rank === 1) return scale;
  return reshape(
    b,
    scale,
    x.shape.map((_, i) => (i === at ? dimAt(scale.type, 0) : 1)),
  );
}

function quantizeDecomposed(
  b: Emitter,
  x: Value,
  scale: Value,
  zeroPoint: Value | undefined,
  dtype: QuantizedDType,
  blocks: Blocks,
): Value {
  const [low, high] = quantizedRange[dtype];
  const wide = (value: Value) => spread(b, x.type, toDType(b, value, 'f32'), blocks);
  const steps = b.one('round', [b.one('div', [toDType(b, x, 'f32'), wide(scale)])]);
  // A comparison with NaN is false, so NaN is 0 steps.
  const finite = b.one('where', [b.one('eq', [steps, steps]), steps, constant(b, 0, 'f32')]);
  const moved = zeroPoint === undefined ? finite : b.one('add', [finite, wide(zeroPoint)]);
  const clamped = b.one('min', [b.one('max', [moved, constant(b, low, 'f32')]), constant(b, high, 'f32')]);
  return b.one('cast', [clamped], { dtype });
}

/** q - zero_point as i32. */
function centred(b: Emitter, q: Value, zeroPoint: Value | undefined, blocks: Blocks): Value {
  const wide = toDType(b, q, 'i32');
  if (zeroPoint === undefined) return wide;
  return b.one('sub', [wide, spread(b, q.type, toDType(b, zeroPoint, 'i32'), blocks)]);
}

const blockAttrs = {
  axis: attr('int', 'the axis of scales of rank 1, and of groups; negative counts from the end', -1),
  group: attr('int', 'elements along the axis that share a scale; 0: the axis is not divided', 0),
};

const scaleDoc = 'f32; its shape says which elements share it: [], [n] along axis, or the rank of x';

/** Scale and zero point of a range, as f32 operations: what `dynamic_quantize` finds for each row. */
function rangeOf(
  values: readonly number[],
  dtype: QuantizedDType,
  symmetric: boolean,
  round: (v: number) => number,
): { scale: number; zeroPoint: number } {
  const [low, high] = quantizedRange[dtype];
  const orOne = (scale: number): number => (scale === 0 ? 1 : scale);
  if (symmetric) {
    const absmax = values.reduce((a, v) => Math.max(a, Math.abs(v)), 0);
    return { scale: orOne(round(absmax / high)), zeroPoint: 0 };
  }
  const least = values.reduce((a, v) => Math.min(a, v), 0);
  const greatest = values.reduce((a, v) => Math.max(a, v), 0);
  const scale = orOne(round(round(greatest - least) / (high - low)));
  return { scale, zeroPoint: quantizeOne(-least, scale, low, [low, high], round) };
}

/** Products of two numbers of nine bits, as two bytes less their zero points are: so many fit the sum in an i32. */
const maxInner = 2 ** 15;

export const quantizationOps = {
  quantize: defineOp({
    doc: 'clamp(round(x / scale) + zero_point) to the range of the dtype, rounding ties to even; NaN becomes the zero point (QuantizeLinear of ONNX)',
    category: 'quantization',
    operands: [
      operand('x', 'any shape, float'),
      weight('scale', `any float dtype, widened to ${scaleDoc}`),
      optional(operand('zero_point', 'of the dtype of the result, in the shape of scale; 0 when absent')),
    ],
    attrs: { dtype: attr('dtype', 'i8, u8, i4 or u4', 'i8'), ...blockAttrs },
    infer: (types, attrs, context) => {
      const [x, scale, zeroPoint] = types as [TensorType, TensorType, TensorType?];
      expectFloat(x, 0);
      expectFloat(scale, 1);
      checkQuantizedDType(attrs.dtype);
      checkScale('quantize', x, scale, attrs, context, 1);
      checkZeroPoint(scale, zeroPoint, attrs.dtype, 2, context);
      return [{ dtype: attrs.dtype, shape: x.shape }];
    },
    evaluate: ([x, scale, zeroPoint], attrs, context) => {
      const [from, scales] = [x as Tensor, scale as Tensor];
      const dtype = attrs.dtype as QuantizedDType;
      const out = emptyTensor(dtype, from.shape);
      const round = context.round('f32');
      const zeros = zeroPoint?.data;
      eachPlace(from.shape, scales.shape, attrs, (i, place) => {
        const [value, own] = [from.data[i] as number, scales.data[place] as number];
        out.data[i] = quantizeOne(value, own, zeros?.[place] ?? 0, quantizedRange[dtype], round);
      });
      return [out];
    },
    decompose: (b, [x, scale, zeroPoint], attrs) => [
      quantizeDecomposed(b, x as Value, scale as Value, zeroPoint, attrs.dtype as QuantizedDType, attrs),
    ],
    flops: ({ results: [shape] }) => 4 * elementCount(shape as number[]),
  }),

  dequantize: defineOp({
    doc: '(x - zero_point) * scale in f32 (DequantizeLinear of ONNX); as the weight of linear, grouped_linear or conv2d, the table of gather, or the keys and values of attention, targets read the integers directly',
    category: 'quantization',
    operands: [
      operand('x', 'any shape, i8, u8, i4, u4 or i32'),
      weight('scale', `any float dtype, widened to ${scaleDoc}`),
      optional(operand('zero_point', 'of the dtype of x, in the shape of scale; 0 when absent')),
    ],
    attrs: blockAttrs,
    infer: (types, attrs, context) => {
      const [x, scale, zeroPoint] = types as [TensorType, TensorType, TensorType?];
      expectDType(x, (t) => isQuantized(t) || t === 'i32', 'i8, u8, i4, u4 or i32', 0);
      expectFloat(scale, 1);
      checkScale('dequantize', x, scale, attrs, context, 1);
      checkZeroPoint(scale, zeroPoint, x.dtype, 2, context);
      return [{ dtype: 'f32', shape: x.shape }];
    },
    evaluate: ([x, scale, zeroPoint], attrs, context) => {
      const [from, scales] = [x as Tensor, scale as Tensor];
      const out = emptyTensor('f32', from.shape);
      const round = context.round('f32');
      const zeros = zeroPoint?.data;
      eachPlace(from.shape, scales.shape, attrs, (i, place) => {
        const steps = (from.data[i] as number) - (zeros?.[place] ?? 0);
        out.data[i] = round(steps * (scales.data[place] as number));
      });
      return [out];
    },
    decompose: (b, operands, attrs) => {
      const [x, scale, zeroPoint] = operands as [Value, Value, Value?];
      const steps = toDType(b, centred(b, x, zeroPoint, attrs), 'f32');
      return [b.one('mul', [steps, spread(b, x.type, toDType(b, scale, 'f32'), attrs)])];
    },
    flops: ({ results: [shape] }) => 2 * elementCount(shape as number[]),
  }),

  dynamic_quantize: defineOp({
    doc: 'quantize with the range of each row (a token, the last axis) or of the whole tensor. Symmetric: scale = max|x| / greatest of the dtype. Otherwise the range is widened to hold 0, scale = (max - min) / (number of steps) and zero_point = clamp(round(-min / scale) + least), as DynamicQuantizeLinear of ONNX. A scale of 0 becomes 1. Results are q, scale [.., 1] or [], and zero_point unless symmetric',
    category: 'quantization',
    operands: [operand('x', 'rank 1 or more, float')],
    attrs: {
      dtype: attr('dtype', 'i8, u8, i4 or u4; symmetric needs a signed one', 'i8'),
      granularity: choice('which elements share a scale', ['row', 'tensor'], 'row'),
      symmetric: attr('bool', 'true: the zero point is 0, and is no result', true),
    },
    infer: ([x], { dtype, granularity, symmetric }) => {
      const type = x as TensorType;
      expectFloat(type, 0);
      expectMinRank(type, 1, 'x', 0);
      checkQuantizedDType(dtype);
      if (symmetric && quantizedRange[dtype as QuantizedDType][0] === 0)
        throw new InferError(`a symmetric range needs a signed dtype, not ${dtype}`, {
          kind: 'attr',
          help: 'use i8 or i4, or symmetric = false',
        });
      const shape = granularity === 'row' ? [...type.shape.slice(0, -1), dim(1)] : [];
      const scale: TensorType = { dtype: 'f32', shape };
      return [{ dtype, shape: type.shape }, scale, ...(symmetric ? [] : [{ dtype, shape }])];
    },
    evaluate: ([x], attrs, context) => evaluateDynamic(x as Tensor, attrs, context),
    decompose: (b, [x], { dtype, granularity, symmetric }) => {
      const wide = toDType(b, x as Value, 'f32');
      const axes = granularity === 'row' ? [-1] : wide.type.shape.map((_, i) => i);
      const reduced = (op: 'reduce_max' | 'reduce_min', value: Value): Value =>
        b.one(op, [value], { axes, keepdims: granularity === 'row' });
      const float = (value: number) => constant(b, value, 'f32');
      const orOne = (scale: Value) => b.one('where', [b.one('eq', [scale, float(0)]), float(1), scale]);
      const [low, high] = quantizedRange[dtype as QuantizedDType];
      const blocks = { axis: -1, group: 0 };
      const one = { dtype, axis: -1, group: 0 };
      if (symmetric) {
        const absmax = b.one('max', [reduced('reduce_max', b.one('abs', [wide])), float(0)]);
        const scale = orOne(b.one('div', [absmax, float(high)]));
        return [b.one('quantize', [wide, scale], one), scale];
      }
      const least = b.one('min', [reduced('reduce_min', wide), float(0)]);
      const greatest = b.one('max', [reduced('reduce_max', wide), float(0)]);
      const scale = orOne(b.one('div', [b.one('sub', [greatest, least]), float(high - low)]));
      const lowest = b.one('full', [], { value: low, dtype, shape: scale.type.shape });
      const zeroPoint = quantizeDecomposed(
        b,
        b.one('neg', [least]),
        scale,
        lowest,
        dtype as QuantizedDType,
        blocks,
      );
      return [b.one('quantize', [wide, scale, zeroPoint], one), scale, zeroPoint];
    },
    flops: ({ operands: [shape] }) => 6 * elementCount(shape as number[]),
  }),

  quantized_linear: defineOp({
    doc: 'linear on integers: for each group of the inner axis an exact i32 sum of (x - x_zero_point)(w - w_zero_point), converted to f32, times w_scale, added up in order; then times x_scale, plus bias; every operation rounds to f32, none is fused',
    category: 'quantization',
    operands: [
      operand('x', '[.., in], i8 or u8'),
      operand('w', '[out, in], i8, u8, i4 or u4'),
      operand('x_scale', 'f32: [], or the rank of x with a last axis of 1 and others that broadcast'),
      weight('w_scale', '[out], or [out, groups] with group; any float dtype'),
      optional(weight('bias', '[out], any float dtype')),
      optional(operand('w_zero_point', 'of the dtype of w, in the shape of w_scale; 0 when absent')),
      optional(operand('x_zero_point', 'of the dtype of x, in the shape of x_scale; 0 when absent')),
    ],
    attrs: { group: attr('int', 'elements of the inner axis that share a scale; 0: all', 0) },
    infer: (types, { group }, context) => {
      const [x, w, xScale, wScale, bias, wZero, xZero] = types as [
        TensorType,
        TensorType,
        TensorType,
        TensorType,
        TensorType?,
        TensorType?,
        TensorType?,
      ];
      expectMinRank(x, 1, 'x', 0);
      expectDType(x, (t) => t === 'i8' || t === 'u8', 'i8 or u8', 0);
      expectRank(w, [2], 'w', 1);
      expectDType(w, isQuantized, 'i8, u8, i4 or u4', 1);
      unify(dimAt(x, -1), dimAt(w, 1), context, 'quantized_linear: last axes of x and w', 1);
      expectDType(xScale, (t) => t === 'f32', 'f32', 2);
      const rows: TensorType = { dtype: 'f32', shape: [...x.shape.slice(0, -1), dim(1)] };
      if (xScale.shape.length > 0) {
        expectRank(xScale, [x.shape.length], 'x_scale', 2);
        checkScale('quantized_linear', rows, xScale, { axis: -1, group: 0 }, context, 2);
      }
      expectFloat(wScale, 3);
      expectRank(wScale, [group > 0 ? 2 : 1], 'w_scale', 3);
      checkScale('quantized_linear', w, wScale, { axis: group > 0 ? 1 : 0, group }, context, 3);
      checkInnerSize('quantized_linear', dimAt(w, 1), group, context);
      if (bias !== undefined) {
        expectFloat(bias, 4);
        expectRank(bias, [1], 'bias', 4);
        unify(dimAt(w, 0), dimAt(bias, 0), context, 'quantized_linear: output axis of w and bias', 4);
      }
      checkZeroPoint(wScale, wZero, w.dtype, 5, context);
      checkZeroPoint(xScale, xZero, x.dtype, 6, context);
      return [{ dtype: 'f32', shape: [...x.shape.slice(0, -1), dimAt(w, 0)] }];
    },
    evaluate: (inputs, { group }, context) => [evaluateLinear(inputs, group, context)],
    decompose: (b, operands, { group }) => [decomposeLinear(b, operands, group)],
    flops: flopsOfLinear,
  }),
};

interface Shapes {
  readonly operands: readonly (readonly number[])[];
  readonly results: readonly (readonly number[])[];
}

/** Of a weight [out, in] and a result [.., out]. */
export function flopsOfLinear({ operands: [, w], results: [out] }: Shapes): number {
  return 2 * elementCount(out as number[]) * ((w as number[])[1] as number);
}

function checkQuantizedDType(dtype: DType): void {
  if (isQuantized(dtype)) return;
  throw new InferError(`cannot quantize to ${dtype}`, {
    kind: 'attr',
    help: `dtypes are ${Object.keys(quantizedRange).join(', ')}`,
  });
}

/** Fails where so many products of bytes may not fit an i32. */
export function checkInnerSize(op: string, inner: Dim, group: number, context: InferContext): void {
  const size = context.valueOf(inner);
  const summed = group > 0 ? Math.min(group, size ?? group) : size;
  if (summed !== undefined && summed <= maxInner) return;
  throw new InferError(
    `${op}: sums of ${summed ?? describeDim(inner, context)} products may not fit an i32; at most ${maxInner} do`,
    { kind: 'shape', operand: 1, help: 'divide the inner axis with group' },
  );
}

function evaluateDynamic(
  x: Tensor,
  { dtype, granularity, symmetric }: { dtype: DType; granularity: string; symmetric: boolean },
  context: EvalContext,
): readonly Tensor[] {
  const integers = dtype as QuantizedDType;
  const round = context.round('f32');
  const byRow = granularity === 'row';
  const shape = byRow ? [...x.shape.slice(0, -1), 1] : [];
  const [q, scales, zeroPoints] = [
    emptyTensor(dtype, x.shape),
    emptyTensor('f32', shape),
    emptyTensor(dtype, shape),
  ];
  const axes = byRow ? [x.shape.length - 1] : x.shape.map((_, i) => i);
  const { starts, steps } = lanesOf(x.shape, axes);
  starts.forEach((start, row) => {
    const values = steps.map((step) => x.data[start + step] as number);
    const { scale, zeroPoint } = rangeOf(values, integers, symmetric, round);
    scales.data[row] = scale;
    zeroPoints.data[row] = zeroPoint;
    steps.forEach((step, i) => {
      q.data[start + step] = quantizeOne(
        values[i] as number,
        scale,
        zeroPoint,
        quantizedRange[integers],
        round,
      );
    });
  });
  return symmetric ? [q, scales] : [q, scales, zeroPoints];
}

function evaluateLinear(
  inputs: readonly (Tensor | undefined)[],
  group: number,
  context: EvalContext,
): Tensor {
  const [x, w, xScale, wScale] = inputs as [Tensor, Tensor, Tensor, Tensor];
  const [, , , , bias, wZero, xZero] = inputs;
  const [outputs, inner] = w.shape as [number, number];
  const out = emptyTensor('f32', [...x.shape.slice(0, -1), outputs]);
  const round = context.round('f32');
  const groups = group > 0 ? (wScale.shape[1] as number) : 1;
  const width = group > 0 ? group : inner;
  const scaleOf = scalePlaces([...x.shape.slice(0, -1), 1], xScale.shape, { axis: -1, group: 0 });
  const rows = elementCount(x.shape.slice(0, -1));
  for (let r = 0; r < rows; r++) {
    const rowScale = xScale.data[scaleOf(r)] as number;
    const rowZero = xZero?.data[scaleOf(r)] ?? 0;
    for (let o = 0; o < outputs; o++) {
      let sum = 0;
      for (let g = 0; g < groups; g++) {
        const zero = wZero?.data[o * groups + g] ?? 0;
        let products = 0;
        for (let k = g * width; k < Math.min(inner, (g + 1) * width); k++)
          products +=
            ((x.data[r * inner + k] as number) - rowZero) * ((w.data[o * inner + k] as number) - zero);
        sum = round(sum + round(round(products) * (wScale.data[o * groups + g] as number)));
      }
      out.data[r * outputs + o] = round(round(sum * rowScale) + (bias?.data[o] ?? 0));
    }
  }
  return out;
}

function decomposeLinear(b: Emitter, operands: readonly Value[], group: number): Value {
  const [x, w, xScale, wScale, bias, wZero, xZero] = operands as [
    Value,
    Value,
    Value,
    Value,
    Value?,
    Value?,
    Value?,
  ];
  const [outputs, inner] = w.type.shape as [Dim, Dim];
  const whole = { axis: -1, group: 0 };
  const rows = centred(b, x, xZero, whole);
  const matrix = x.type.shape.length === 1 ? reshape(b, rows, [1, inner]) : rows;
  const weights = b.one(
    'transpose',
    [centred(b, w, wZero, group > 0 ? { axis: 1, group } : { axis: 0, group })],
    { perm: [1, 0] },
  );
  const scales = toDType(b, wScale, 'f32');
  const size = b.scope.valueOf(inner) as number;
  const product = (start: number, end: number, scale: Value): Value => {
    const part = (value: Value, axis: number): Value =>
      start === 0 && end === size
        ? value
        : b.one('slice', [value], { axis, start: dim(start), end: dim(end) });
    const sums = b.one('matmul', [part(matrix, matrix.type.shape.length - 1), part(weights, 0)]);
    return b.one('mul', [toDType(b, sums, 'f32'), scale]);
  };
  const groups = Math.ceil(size / group);
  const scaleOf = (g: number): Value =>
    reshape(b, b.one('slice', [scales], { axis: 1, start: dim(g), end: dim(g + 1) }), [outputs]);
  const parts =
    group === 0
      ? [product(0, size, scales)]
      : Array.from({ length: groups }, (_, g) =>
          product(g * group, Math.min(size, (g + 1) * group), scaleOf(g)),
        );
  const shape = [...x.type.shape.slice(0, -1), outputs];
  const sum =
    parts.length === 0
      ? b.one('full', [], { value: 0, dtype: 'f32', shape })
      : reshape(
          b,
          parts.reduce((total, part) => b.one('add', [total, part])),
          shape,
        );
  const scaled = b.one('mul', [sum, xScale]);
  return bias === undefined ? scaled : b.one('add', [scaled, toDType(b, bias, 'f32')]);
}
