/** Row normalizations and the small gates around them: norms, softmax, adaLN modulation and SwiGLU. */
import type { Dim } from '../dim.js';
import {
  attr,
  defineOp,
  type Emitter,
  type InferContext,
  InferError,
  operand,
  optional,
  type Value,
  weight,
} from '../op.js';
import { emptyTensor, type Tensor } from '../tensor.js';
import { elementCount, type TensorType } from '../type.js';
import { constant, inF32, reduceLast, reshape, toDType } from './decompose.js';
import {
  axisOf,
  dimAt,
  expectDType,
  expectFloat,
  expectMinRank,
  expectRank,
  lanesOf,
  normalAxis,
  unify,
} from './shared.js';

/** Type of a norm over the last axis of x, whose vectors (gamma, beta) range over that axis. */
function inferNorm(
  op: string,
  types: readonly TensorType[],
  names: readonly string[],
  context: InferContext,
): TensorType {
  const [x, ...vectors] = types as [TensorType, ...TensorType[]];
  expectFloat(x, 0);
  expectMinRank(x, 1, 'x', 0);
  const last = vectors.reduce<Dim>(
    (axis, vector, i) => {
      const name = names[i] as string;
      expectFloat(vector, i + 1);
      expectRank(vector, [1], name, i + 1);
      return unify(axis, dimAt(vector, 0), context, `${op}: last axis of x and axis of ${name}`, i + 1);
    },
    dimAt(x, -1),
  );
  return { dtype: x.dtype, shape: [...x.shape.slice(0, -1), last] };
}

/** Row by row over the last axis: `shift` and `factor` of a row, then `(x - shift) * factor * gamma + beta`. */
function evaluateNorm(
  [x, gamma, beta]: readonly (Tensor | undefined)[],
  round: (value: number) => number,
  statistics: (row: Float64Array) => { shift: number; factor: number },
): Tensor {
  const from = x as Tensor;
  const width = from.shape.at(-1) as number;
  const out = emptyTensor(from.dtype, from.shape);
  for (let start = 0; start < from.data.length; start += width) {
    const row = from.data.subarray(start, start + width);
    const { shift, factor } = statistics(row);
    row.forEach((value, i) => {
      const scaled = (value - shift) * factor * (gamma?.data[i] ?? 1);
      out.data[start + i] = round(scaled + (beta?.data[i] ?? 0));
    });
  }
  return out;
}

function mean(row: Float64Array, of: (value: number) => number): number {
  return row.reduce((sum, value) => sum + of(value), 0) / row.length;
}

/** x / sqrt(mean(x^2) + eps), without a weight. */
function normalised(b: Emitter, x: Value, eps: number): Value {
  const square = reduceLast(b, 'reduce_mean', b.one('mul', [x, x]));
  return b.one('mul', [x, b.one('rsqrt', [b.one('add', [square, constant(b, eps, 'f32')])])]);
}

/** gamma * x + beta where they are given, in f32. */
function affine(b: Emitter, x: Value, gamma: Value | undefined, beta: Value | undefined): Value {
  const scaled = gamma === undefined ? x : b.one('mul', [x, toDType(b, gamma, 'f32')]);
  return beta === undefined ? scaled : b.one('add', [scaled, toDType(b, beta, 'f32')]);
}

export const normalizationOps = {
  rms_norm: defineOp({
    doc: 'gamma * x / sqrt(mean(x^2) + eps) over the last axis (Zhang and Sennrich 2019); gamma is 1 when absent',
    category: 'normalization',
    operands: [operand('x', '[.., n], float'), optional(weight('gamma', '[n], any float dtype'))],
    attrs: { eps: attr('float', 'added to the mean of the squares', 1e-5) },
    infer: (types, _attrs, context) => [inferNorm('rms_norm', types, ['gamma'], context)],
    evaluate: (inputs, { eps }, context) => {
      const statistics = (row: Float64Array) => ({
        shift: 0,
        factor: 1 / Math.sqrt(mean(row, (v) => v * v) + eps),
      });
      return [evaluateNorm(inputs, context.round((inputs[0] as Tensor).dtype), statistics)];
    },
    decompose: (b, [x, gamma], { eps }) => [
      inF32(b, x as Value, (row) => affine(b, normalised(b, row, eps), gamma, undefined)),
    ],
    flops: ({ results: [shape] }) => 4 * elementCount(shape as number[]),
  }),

  layer_norm: defineOp({
    doc: 'gamma * (x - mean(x)) / sqrt(variance(x) + eps) + beta over the last axis; the variance is biased',
    category: 'normalization',
    operands: [
      operand('x', '[.., n], float'),
      optional(weight('gamma', '[n], any float dtype; 1 when absent')),
      optional(weight('beta', '[n], any float dtype; 0 when absent')),
    ],
    attrs: { eps: attr('float', 'added to the variance', 1e-5) },
    infer: (types, _attrs, context) => [inferNorm('layer_norm', types, ['gamma', 'beta'], context)],
    evaluate: (inputs, { eps }, context) => {
      const statistics = (row: Float64Array) => {
        const shift = mean(row, (v) => v);
        return { shift, factor: 1 / Math.sqrt(mean(row, (v) => (v - shift) ** 2) + eps) };
      };
      return [evaluateNorm(inputs, context.round((inputs[0] as Tensor).dtype), statistics)];
    },
    decompose: (b, [x, gamma, beta], { eps }) => [
      inF32(b, x as Value, (row) => {
        const centred = b.one('sub', [row, reduceLast(b, 'reduce_mean', row)]);
        return affine(b, normalised(b, centred, eps), gamma, beta);
      }),
    ],
    flops: ({ results: [shape] }) => 8 * elementCount(shape as number[]),
  }),

  softmax: defineOp({
    doc: 'e^x / sum(e^x) over one axis, computed after subtracting the greatest element',
    category: 'normalization',
    operands: [operand('x', 'rank 1 or more, float')],
    attrs: { axis: attr('int', 'the axis; negative counts from the end', -1) },
    infer: ([x], { axis }) => {
      const given = x as TensorType;
      expectFloat(given, 0);
      normalAxis(axis, given.shape.length);
      return [given];
    },
    evaluate: ([x], { axis }, context) => {
      const from = x as Tensor;
      const out = emptyTensor(from.dtype, from.shape);
      const round = context.round(from.dtype);
      const { starts, steps } = lanesOf(from.shape, [axisOf(axis, from.shape)]);
      for (const start of starts) {
        const values = steps.map((step) => from.data[start + step] as number);
        const greatest = values.reduce((a, v) => Math.max(a, v), Number.NEGATIVE_INFINITY);
        const powers = values.map((v) => Math.exp(v - greatest));
        const sum = powers.reduce((a, v) => a + v, 0);
        steps.forEach((step, i) => {
          out.data[start + step] = round((powers[i] as number) / sum);
        });
      }
      return [out];
    },
    decompose: (b, [x], { axis }) => [
      inF32(b, x as Value, (lane) => {
        const reduce = { axes: [axis], keepdims: true };
        const powers = b.one('exp', [b.one('sub', [lane, b.one('reduce_max', [lane], reduce)])]);
        return b.one('div', [powers, b.one('reduce_sum', [powers], reduce)]);
      }),
    ],
    flops: ({ results: [shape] }) => 5 * elementCount(shape as number[]),
  }),

  modulate: defineOp({
    doc: 'x * (1 + scale) + shift with one shift and scale per batch item: adaptive layer norm of DiT (Peebles and Xie 2023)',
    category: 'normalization',
    operands: [
      operand('x', '[B, .., d], float'),
      operand('shift', '[B, d], same dtype'),
      operand('scale', '[B, d], same dtype'),
    ],
    attrs: {},
    infer: (types, _attrs, context) => {
      const [x, shift, scale] = types as [TensorType, TensorType, TensorType];
      expectFloat(x, 0);
      expectMinRank(x, 2, 'x', 0);
      let [batch, channels] = [dimAt(x, 0), dimAt(x, -1)];
      for (const [i, type] of [shift, scale].entries()) {
        const name = i === 0 ? 'shift' : 'scale';
        expectDType(type, (t) => t === x.dtype, x.dtype, i + 1);
        expectRank(type, [2], name, i + 1);
        batch = unify(batch, dimAt(type, 0), context, `modulate: first axis of x and ${name}`, i + 1);
        channels = unify(channels, dimAt(type, 1), context, `modulate: last axis of x and ${name}`, i + 1);
      }
      return [{ dtype: x.dtype, shape: [batch, ...x.shape.slice(1, -1), channels] }];
    },
    evaluate: ([x, shift, scale], _attrs, context) => {
      const [from, add, multiply] = [x as Tensor, shift as Tensor, scale as Tensor];
      const out = emptyTensor(from.dtype, from.shape);
      const round = context.round(from.dtype);
      const width = from.shape.at(-1) as number;
      const perItem = elementCount(from.shape.slice(1));
      for (let i = 0; i < from.data.length; i++) {
        const at = Math.floor(i / perItem) * width + (i % width);
        out.data[i] = round(
          (from.data[i] as number) * (1 + (multiply.data[at] as number)) + (add.data[at] as number),
        );
      }
      return [out];
    },
    decompose: (b, operands) => {
      const [x, shift, scale] = operands as [Value, Value, Value];
      const inner = x.type.shape.slice(1, -1).map(() => 1);
      const spread = (value: Value) => {
        const wide = toDType(b, value, 'f32');
        return inner.length === 0
          ? wide
          : reshape(b, wide, [dimAt(value.type, 0), ...inner, dimAt(value.type, 1)]);
      };
      return [
        inF32(b, x, (wide) => {
          const factor = b.one('add', [spread(scale), constant(b, 1, 'f32')]);
          return b.one('add', [b.one('mul', [wide, factor]), spread(shift)]);
        }),
      ];
    },
    flops: ({ results: [shape] }) => 3 * elementCount(shape as number[]),
  }),

  swiglu: defineOp({
    doc: 'silu(gate) * up: the gated activation of SwiGLU layers (Shazeer 2020)',
    category: 'normalization',
    operands: [operand('gate', 'any shape, float'), operand('up', 'same shape and dtype')],
    attrs: {},
    infer: (types, _attrs, context) => {
      const [gate, up] = types as [TensorType, TensorType];
      expectFloat(gate, 0);
      expectDType(up, (t) => t === gate.dtype, gate.dtype, 1);
      if (up.shape.length !== gate.shape.length) {
        throw new InferError(
          `swiglu: gate has rank ${gate.shape.length} and up has rank ${up.shape.length}; they must have one shape`,
          { kind: 'shape', operand: 1 },
        );
      }
      const shape = gate.shape.map((axis, i) =>
        unify(axis, up.shape[i] as Dim, context, `swiglu: axis ${i} of gate and up`, 1),
      );
      return [{ dtype: gate.dtype, shape }];
    },
    evaluate: ([gate, up], _attrs, context) => {
      const [from, factor] = [gate as Tensor, up as Tensor];
      const out = emptyTensor(from.dtype, from.shape);
      const round = context.round(from.dtype);
      from.data.forEach((v, i) => {
        out.data[i] = round((v / (1 + Math.exp(-v))) * (factor.data[i] as number));
      });
      return [out];
    },
    decompose: (b, [gate, up]) => [
      inF32(b, gate as Value, (wide) =>
        b.one('mul', [b.one('silu', [wide]), toDType(b, up as Value, 'f32')]),
      ),
    ],
    flops: ({ results: [shape] }) => 6 * elementCount(shape as number[]),
  }),
};
