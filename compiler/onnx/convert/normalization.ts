/** Softmax and the norms. Statistics are computed in f32. */
import { type Dim, dimsEqual, divDims, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { add, asMatrix, cast, div, like, mul, rankOf, reshape, sizeAlong, sub, windowSum } from '../build.js';
import type { NodeContext, OperatorEntry, OperatorTable } from '../node.js';

/** Before opset 13, everything from `axis` on is one axis. */
function overAxis(compute: (c: NodeContext, x: Value, axis: number) => Value): OperatorEntry {
  return {
    since: 1,
    convert: (c) => {
      const x = c.input(0);
      const flattens = c.opset < 13;
      const axis = c.axis(c.int('axis', flattens ? 1 : -1), rankOf(x));
      if (!flattens || axis === rankOf(x) - 1) return compute(c, x, axis);
      return reshape(c.b, compute(c, asMatrix(c.b, x, axis), 1), x.type.shape);
    },
  };
}

export function softmax(c: NodeContext, x: Value, axis: number): Value {
  return c.b.one('softmax', [x], { axis });
}

/** x - max - log(sum(e^(x - max))) */
export function logSoftmax(c: NodeContext, x: Value, axis: number): Value {
  const attrs = { axes: [axis], keepdims: true };
  const shifted = sub(c.b, x, c.b.one('reduce_max', [x], attrs));
  const sum = c.b.one('reduce_sum', [c.b.one('exp', [shifted])], attrs);
  return sub(c.b, shifted, c.b.one('log', [sum]));
}

function allAxes(from: number, rank: number): number[] {
  return Array.from({ length: rank - from }, (_, i) => from + i);
}

interface Moments {
  readonly centred: Value;
  readonly mean: Value;
  readonly inverse: Value;
}

/** Mean and 1 / sqrt(variance + epsilon) over some axes, which stay with size 1. */
function moments(c: NodeContext, x: Value, axes: readonly number[], epsilon: number): Moments {
  const attrs = { axes, keepdims: true };
  const mean = c.b.one('reduce_mean', [x], attrs);
  const centred = sub(c.b, x, mean);
  const variance = c.b.one('reduce_mean', [mul(c.b, centred, centred)], attrs);
  return { centred, mean, inverse: c.b.one('rsqrt', [add(c.b, variance, like(c.b, variance, epsilon))]) };
}

/** The axes from `axis` on are what a weight has, so it may stand inside a norm over all of them. */
function fits(weight: Value | undefined, x: Value, axis: number): boolean {
  if (weight === undefined) return true;
  const own = x.type.shape.slice(axis);
  return (
    own.length === rankOf(weight) && own.every((size, i) => dimsEqual(size, weight.type.shape[i] as Dim))
  );
}

/** A norm over the axes from `axis` on; weights of their shape go into it, others broadcast afterwards. */
export function normFrom(
  c: NodeContext,
  name: 'layer_norm' | 'rms_norm',
  x: Value,
  axis: number,
  weights: readonly Value[],
  eps: number,
): Value {
  const width = productOfDims(x.type.shape.slice(axis));
  const isLast = axis === rankOf(x) - 1;
  const rows = isLast ? x : asMatrix(c.b, x, axis);
  const inside = weights.every((weight) => fits(weight, x, axis));
  const vectors = inside
    ? weights.map((weight) => (rankOf(weight) === 1 ? weight : reshape(c.b, weight, [width])))
    : [];
  const normed = c.b.one(name, [rows, ...vectors], { eps });
  const shaped = isLast ? normed : reshape(c.b, normed, x.type.shape);
  if (inside) return shaped;
  const [gamma, beta] = weights as [Value, Value?];
  const scaled = mul(c.b, shaped, cast(c.b, gamma, x.type.dtype));
  return beta === undefined ? scaled : add(c.b, scaled, cast(c.b, beta, x.type.dtype));
}

function layerNormalization(c: NodeContext): (Value | undefined)[] {
  const x = c.input(0);
  const axis = c.axis(c.int('axis', -1), rankOf(x));
  const eps = decimalEpsilon(c.float('epsilon', 1e-5));
  const weights = [c.input(1), ...(c.has(2) ? [c.input(2)] : [])];
  const normed = normFrom(c, 'layer_norm', x, axis, weights, eps);
  if (!c.wants(1) && !c.wants(2)) return [normed];
  const { mean, inverse } = moments(c, cast(c.b, x, 'f32'), allAxes(axis, rankOf(x)), eps);
  return [normed, mean, inverse];
}

/** Attributes are f32: 1e-5 arrives as 9.999999747378752e-06. */
export function decimalEpsilon(value: number): number {
  return Number(value.toPrecision(7));
}

function rmsNormalization(c: NodeContext): (Value | undefined)[] {
  const x = c.input(0);
  const axis = c.axis(c.int('axis', -1), rankOf(x));
  const eps = decimalEpsilon(c.float('epsilon', 1e-5));
  const normed = normFrom(c, 'rms_norm', x, axis, [c.input(1)], eps);
  if (!c.wants(1)) return [normed];
  const wide = cast(c.b, x, 'f32');
  const square = c.b.one('reduce_mean', [mul(c.b, wide, wide)], {
    axes: allAxes(axis, rankOf(x)),
    keepdims: true,
  });
  return [normed, c.b.one('rsqrt', [add(c.b, square, like(c.b, square, eps))])];
}

/** A vector of channels beside [N, C, …]. */
export function perChannel(c: NodeContext, vector: Value, rank: number): Value {
  return reshape(c.b, vector, [sizeAlong(vector, 0), ...new Array<number>(rank - 2).fill(1)]);
}

function instanceNormalization(c: NodeContext): Value {
  const x = c.input(0);
  const rank = rankOf(x);
  const { centred, inverse } = moments(c, x, allAxes(2, rank), decimalEpsilon(c.float('epsilon', 1e-5)));
  const normed = mul(c.b, centred, inverse);
  return add(c.b, mul(c.b, normed, perChannel(c, c.input(1), rank)), perChannel(c, c.input(2), rank));
}

/** Opset 18 has one scale per group, 21 one per channel. */
function groupNormalization(c: NodeContext): Value {
  const x = c.input(0);
  const [n, channels, ...spatial] = x.type.shape as [Dim, Dim, ...Dim[]];
  const groups = c.int('num_groups');
  const perGroup = divDims(channels, groups);
  const eps = decimalEpsilon(c.float('epsilon', 1e-5));
  const grouped = reshape(c.b, x, [n, groups, productOfDims([perGroup, ...spatial])]);
  const normed = c.b.one('layer_norm', [grouped], { eps });
  const scale = (vector: Value, value: Value, combine: typeof mul): Value => {
    const isPerGroup = c.opset < 21;
    const rank = isPerGroup ? 3 : rankOf(x);
    return combine(c.b, value, perChannel(c, vector, rank));
  };
  const base = c.opset < 21 ? normed : reshape(c.b, normed, x.type.shape);
  const result = scale(c.input(2), scale(c.input(1), base, mul), add);
  return reshape(c.b, result, x.type.shape);
}

function batchNormalization(c: NodeContext): (Value | undefined)[] {
  const x = c.input(0);
  const rank = rankOf(x);
  const { dtype } = x.type;
  const eps = decimalEpsilon(c.float('epsilon', 1e-5));
  const channel = (value: Value): Value => perChannel(c, value, rank);
  const affine = (centred: Value, inverse: Value): Value => {
    const normed = mul(c.b, centred, inverse);
    const [scale, bias] = [c.input(1), c.input(2)].map((value) => channel(cast(c.b, value, dtype))) as [
      Value,
      Value,
    ];
    return add(c.b, mul(c.b, normed, scale), bias);
  };
  if (c.opset >= 14 && c.int('training_mode', 0) === 1) return trainingBatch(c, x, eps, affine);
  const [mean, variance] = [c.input(3), c.input(4)].map((value) => channel(cast(c.b, value, dtype))) as [
    Value,
    Value,
  ];
  const inverse = c.b.one('rsqrt', [add(c.b, variance, like(c.b, variance, eps))]);
  return [affine(sub(c.b, x, mean), inverse)];
}

/** Statistics of the batch, and running ones moved towards them. */
function trainingBatch(
  c: NodeContext,
  x: Value,
  eps: number,
  affine: (centred: Value, inverse: Value) => Value,
): Value[] {
  const axes = [0, ...allAxes(2, rankOf(x))];
  const { centred, mean, inverse } = moments(c, x, axes, eps);
  const variance = c.b.one('reduce_mean', [mul(c.b, centred, centred)], { axes, keepdims: true });
  const momentum = c.float('momentum', 0.9);
  const running = (old: Value, now: Value): Value => {
    const current = cast(c.b, reshape(c.b, now, old.type.shape), old.type.dtype);
    return add(
      c.b,
      mul(c.b, old, like(c.b, old, momentum)),
      mul(c.b, current, like(c.b, current, 1 - momentum)),
    );
  };
  return [affine(centred, inverse), running(c.input(3), mean), running(c.input(4), variance)];
}

function lpNormalization(c: NodeContext): Value {
  const x = c.input(0);
  const axes = [c.axis(c.int('axis', -1), rankOf(x))];
  const size = c.int('p', 2) === 1 ? c.b.one('abs', [x]) : mul(c.b, x, x);
  const total = c.b.one('reduce_sum', [size], { axes, keepdims: true });
  const norm = c.int('p', 2) === 1 ? total : c.b.one('sqrt', [total]);
  const isZero = c.b.one('eq', [norm, like(c.b, norm, 0)]);
  return div(c.b, x, c.b.one('where', [isZero, like(c.b, norm, 1), norm]));
}

/** x / (bias + alpha/size * sum of squares of the channels around)^beta (Krizhevsky et al. 2012) */
function localResponse(c: NodeContext): Value {
  const x = c.input(0);
  const size = c.int('size');
  const sums = windowSum(c.b, mul(c.b, x, x), 1, Math.floor((size - 1) / 2), Math.ceil((size - 1) / 2));
  const scaled = mul(c.b, sums, like(c.b, x, c.float('alpha', 1e-4) / size));
  const base = add(c.b, scaled, like(c.b, x, c.float('bias', 1)));
  return div(c.b, x, c.b.one('pow', [base, like(c.b, x, c.float('beta', 0.75))]));
}

function meanVariance(c: NodeContext): Value {
  const axes = (c.intList('axes') ?? [0, 2, 3]).map((axis) => c.axis(axis, rankOf(c.input(0))));
  const { centred } = moments(c, c.input(0), axes, 0);
  const variance = c.b.one('reduce_mean', [mul(c.b, centred, centred)], { axes, keepdims: true });
  return div(c.b, centred, add(c.b, c.b.one('sqrt', [variance]), like(c.b, variance, 1e-9)));
}

export const normalizationOperators: OperatorTable = {
  Softmax: overAxis(softmax),
  LogSoftmax: overAxis(logSoftmax),
  LayerNormalization: { since: 1, convert: layerNormalization },
  RMSNormalization: { since: 23, convert: rmsNormalization },
  SimplifiedLayerNormalization: { since: 1, convert: rmsNormalization },
  InstanceNormalization: { since: 1, convert: instanceNormalization },
  GroupNormalization: { since: 18, convert: groupNormalization },
  BatchNormalization: { since: 1, convert: batchNormalization },
  LpNormalization: { since: 1, convert: lpNormalization },
  LRN: { since: 1, convert: localResponse },
  MeanVarianceNormalization: { since: 9, convert: meanVariance },
};
