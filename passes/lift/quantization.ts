/** Quantized layers as exporters write them: pairs of quantize and dequantize around float ops. */

import type { FuncBuilder } from '../../ir/builder.js';
import { constantOf, type Dim, dimsEqual } from '../../ir/dim.js';
import { defOf, type OpOf, type Value } from '../../ir/module.js';
import type { DType } from '../../ir/type.js';
import { madeBy, type Rule, rule } from '../rules/rule.js';
import { uniform } from './match.js';

const rankOf = (value: Value): number => value.type.shape.length;

function axisOf(axis: number, value: Value): number {
  return axis < 0 ? axis + rankOf(value) : axis;
}

function isOne(size: Dim | undefined): boolean {
  return size !== undefined && constantOf(size) === 1;
}

/** The dequantize of a matrix of integers. */
function integerMatrix(value: Value | undefined): OpOf<'dequantize'> | undefined {
  const made = madeBy(value, 'dequantize');
  const [w] = made?.operands ?? [];
  return w !== undefined && rankOf(w) === 2 ? made : undefined;
}

function isWeight(value: Value | undefined): boolean {
  return value !== undefined && defOf(value)?.name === 'param';
}

function transposedMatrix(made: OpOf<'dequantize'>, builder: FuncBuilder): Value {
  const [w, ...scales] = made.operands as readonly [Value, ...Value[]];
  const { axis, group } = made.attrs;
  const turn = (value: Value): Value => builder.one('transpose', [value], { perm: [1, 0] });
  const turned = scales.map((scale) => (rankOf(scale) === 2 ? turn(scale) : scale));
  return builder.one('dequantize', [turn(w), ...turned], { axis: 1 - axisOf(axis, w), group });
}

/** The scale of a row, or of all: what `quantized_linear` takes for its input. */
function inputScale(made: OpOf<'dequantize'>): boolean {
  const [x, scale] = made.operands as [Value, Value];
  if (scale.type.dtype !== 'f32' || (x.type.dtype !== 'i8' && x.type.dtype !== 'u8')) return false;
  if (rankOf(scale) === 0) return true;
  return rankOf(scale) === rankOf(x) && rankOf(x) > 1 && isOne(scale.type.shape.at(-1));
}

/** Scales or zero points of a weight [out, in] as [out], or [out, groups] with a group. */
function outputScale(made: OpOf<'dequantize'>, scale: Value, builder: FuncBuilder): Value | undefined {
  const [w] = made.operands as [Value];
  const [outputs] = w.type.shape as [Dim, Dim];
  const axis = axisOf(made.attrs.axis, w);
  if (made.attrs.group > 0) return axis === 1 && rankOf(scale) === 2 ? scale : undefined;
  const isVector = rankOf(scale) === 1 && axis === 0 && dimsEqual(scale.type.shape[0] as Dim, outputs);
  if (isVector) return scale;
  if (rankOf(scale) === 0) return builder.one('broadcast_to', [scale], { shape: [outputs] });
  const isColumn = rankOf(scale) === 2 && isOne(scale.type.shape[1]);
  return isColumn ? builder.one('reshape', [scale], { shape: [outputs] }) : undefined;
}

/** Products that a sum of integers may have, as `quantized_linear` says. */
const maxInner = 2 ** 15;

function quantizedLinear(
  x: OpOf<'dequantize'>,
  w: OpOf<'dequantize'>,
  bias: Value | undefined,
  builder: FuncBuilder,
): Value | undefined {
  const [q, xScale, xZero] = x.operands as [Value, Value, Value?];
  const [integers, scale, zero] = w.operands as [Value, Value, Value?];
  const { group } = w.attrs;
  const inner = constantOf(integers.type.shape[1] as Dim);
  if (integers.type.dtype === 'i32' || (group === 0 && (inner === undefined || inner > maxInner)))
    return undefined;
  const wScale = outputScale(w, scale, builder);
  const wZero = zero && outputScale(w, zero, builder);
  if (wScale === undefined || (zero !== undefined && wZero === undefined)) return undefined;
  const [outputs] = integers.type.shape as [Dim];
  const zeros = (dtype: DType, shape: readonly Dim[]): Value =>
    builder.one('full', [], { value: 0, dtype, shape });
  // Operands that are left out are the last ones.
  const needsZeros = wZero !== undefined || xZero !== undefined;
  const more = [
    bias ?? (needsZeros ? zeros('f32', [outputs]) : undefined),
    wZero ?? (xZero === undefined ? undefined : zeros(integers.type.dtype, wScale.type.shape)),
    xZero,
  ].filter((value) => value !== undefined);
  return builder.one('quantized_linear', [q, integers, xScale, wScale, ...more], { group });
}

/** Greatest values of the signed types, by which a symmetric range is divided. */
const symmetricTypes: Readonly<Record<number, 'i8' | 'i4'>> = { 127: 'i8', 7: 'i4' };

/** x and its type, for the scale of `dynamic_quantize` per row: max|x| / greatest, or 1 where that is 0. */
function dynamicRange(
  chosen: OpOf<'where'>,
): { readonly x: Value; readonly dtype: 'i8' | 'i4'; readonly granularity: 'row' | 'tensor' } | undefined {
  const [isZero, one, scale] = chosen.operands as [Value, Value, Value];
  const [compared, zero] = madeBy(isZero, 'eq')?.operands ?? [];
  if (compared !== scale || uniform(zero) !== 0 || uniform(one) !== 1) return undefined;
  const [highest, greatest] = madeBy(scale, 'div')?.operands ?? [];
  const dtype = symmetricTypes[uniform(greatest) ?? 0];
  const clipped = madeBy(highest, 'max')?.operands;
  const largest = clipped === undefined ? highest : clipped.find((value) => uniform(value) !== 0);
  const reduced = madeBy(largest, 'reduce_max');
  const x = madeBy(reduced?.operands[0], 'abs')?.operands[0];
  if (dtype === undefined || reduced === undefined || x?.type.dtype !== 'f32') return undefined;
  const { axes, keepdims } = reduced.attrs;
  const own = new Set(axes.map((axis) => axisOf(axis, x)));
  if (keepdims && own.size === 1 && own.has(rankOf(x) - 1)) return { x, dtype, granularity: 'row' };
  return !keepdims && own.size === rankOf(x) ? { x, dtype, granularity: 'tensor' } : undefined;
}

export const quantizationRules: readonly Rule[] = [
  rule(
    'matmul',
    'lift-integer-matrix',
    'x @ dequantize(w) == linear(x, dequantize(transpose(w))) for integers w',
    (_op, [x, y], builder) => {
      const made = integerMatrix(y);
      return made === undefined || !isWeight(made.operands[0]) || x?.type.dtype !== 'f32'
        ? undefined
        : builder.one('linear', [x, transposedMatrix(made, builder)]);
    },
  ),
  rule(
    'linear',
    'lift-quantized-linear',
    'linear(dequantize(x, s), dequantize(w, v), b) == quantized_linear(x, w, s, v, b): the scales leave the sum',
    (_op, [x, w, bias], builder) => {
      const [input, weight] = [madeBy(x, 'dequantize'), integerMatrix(w)];
      if (input === undefined || weight === undefined || !inputScale(input)) return undefined;
      return quantizedLinear(input, weight, bias, builder);
    },
  ),
  rule(
    'add',
    'lift-quantized-bias',
    'quantized_linear(x, w, s, v) + b == quantized_linear(x, w, s, v, b)',
    (op, operands, builder, uses) => {
      for (const i of [0, 1]) {
        const [layer, bias] = [madeBy(operands[i], 'quantized_linear'), operands[1 - i]];
        if (layer?.operands.length !== 4 || uses.get(op.operands[i] as Value) !== 1) continue;
        const [outputs] = (layer.operands[1] as Value).type.shape as [Dim];
        if (bias === undefined || rankOf(bias) !== 1 || !dimsEqual(bias.type.shape[0] as Dim, outputs))
          continue;
        return builder.one('quantized_linear', [...layer.operands, bias], layer.attrs);
      }
      return undefined;
    },
  ),
  rule(
    'where',
    'lift-dynamic-scale',
    'where(m == 0, 1, m) for m = max|x| / greatest == the scale of dynamic_quantize(x)',
    (op, operands, builder) => {
      const found = dynamicRange({ ...op, operands } as OpOf<'where'>);
      if (found === undefined) return undefined;
      const { x, dtype, granularity } = found;
      return builder.emit('dynamic_quantize', [x], { dtype, granularity, symmetric: true })[1];
    },
  ),
  rule(
    'quantize',
    'lift-dynamic-quantize',
    'quantize(x, s) == q for (q, s) = dynamic_quantize(x)',
    (op, [x, scale, zero]) => {
      const made = madeBy(scale, 'dynamic_quantize');
      const isOwn =
        made !== undefined &&
        made.operands[0] === x &&
        made.results[1] === scale &&
        made.results[2] === zero &&
        made.attrs.dtype === op.attrs.dtype &&
        op.attrs.group === 0;
      return isOwn ? made.results[0] : undefined;
    },
  ),
];
