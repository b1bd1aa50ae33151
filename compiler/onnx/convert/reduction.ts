/** Reductions, and the ordered operators along an axis. */
import { dim, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import type { OpName } from '../../../ir/ops/table.js';
import { isFloat } from '../../../ir/type.js';
import {
  add,
  asMatrix,
  cast,
  dimSize,
  div,
  full,
  inFloat,
  like,
  mul,
  rankOf,
  reshape,
  sizeAlong,
  slice,
  sub,
} from '../build.js';
import type { NodeContext, OperatorEntry, OperatorTable } from '../node.js';
import { axesOf, flip, padConstant } from './movement.js';

interface Reduced {
  readonly axes: readonly number[];
  readonly keepdims: boolean;
}

type Reduce = (c: NodeContext, x: Value, attrs: Reduced) => Value;

/** Axes are an attribute before `inputSince`, an input afterwards. Without axes, all are reduced. */
function reduction(reduce: Reduce, inputSince = 18): OperatorEntry {
  return {
    since: 1,
    convert: (c) => {
      const x = c.input(0);
      const given = axesOf(c, rankOf(x), inputSince);
      const none = given === undefined || given.length === 0;
      if (none && c.int('noop_with_empty_axes', 0) === 1) return reduce(c, x, { axes: [], keepdims: true });
      const axes = none ? Array.from({ length: rankOf(x) }, (_, i) => i) : given;
      return reduce(c, x, { axes, keepdims: c.int('keepdims', 1) === 1 });
    },
  };
}

/** bool goes through u8: the greatest of bools is "any". */
function direct(name: OpName): Reduce {
  return (c, x, attrs) => {
    if (x.type.dtype !== 'bool') return c.b.one(name, [x], { ...attrs });
    return cast(c.b, c.b.one(name, [cast(c.b, x, 'u8')], { ...attrs }), 'bool');
  };
}

const sum: Reduce = direct('reduce_sum');
const greatest: Reduce = direct('reduce_max');

const mean: Reduce = (c, x, attrs) => {
  if (isFloat(x.type.dtype)) return c.b.one('reduce_mean', [x], { ...attrs });
  const count = productOfDims(attrs.axes.map((axis) => sizeAlong(x, axis)));
  return div(c.b, sum(c, x, attrs), dimSize(c.b, count, x.type.dtype));
};

const log: Reduce = (c, x) => inFloat(c.b, x, (wide) => c.b.one('log', [wide]));

/** The greatest element is taken out first, so that no power overflows. */
const logSumExp: Reduce = (c, x, attrs) =>
  inFloat(c.b, x, (wide) => {
    const top = greatest(c, wide, { axes: attrs.axes, keepdims: true });
    const finite = c.b.one('where', [
      c.b.one('eq', [c.b.one('abs', [top]), like(c.b, top, Number.POSITIVE_INFINITY)]),
      like(c.b, top, 0),
      top,
    ]);
    const powers = c.b.one('exp', [sub(c.b, wide, finite)]);
    const total = c.b.one('log', [sum(c, powers, attrs)]);
    return add(c.b, total, attrs.keepdims ? finite : reshape(c.b, finite, total.type.shape));
  });

const square = (c: NodeContext, x: Value): Value => mul(c.b, x, x);

/** Index of the greatest or the least; the first of equals, or the last. */
function extremeIndex(sign: 1 | -1): OperatorEntry {
  return {
    since: 1,
    convert: (c) => {
      const given = c.input(0);
      const axis = c.axis(c.int('axis', 0), rankOf(given));
      const wide = isFloat(given.type.dtype)
        ? given
        : cast(c.b, given, given.type.dtype === 'i64' ? 'i64' : 'i32');
      const x = sign === 1 ? wide : c.b.one('neg', [wide]);
      const last = c.int('select_last_index', 0) === 1;
      const found = c.b.one('argmax', [last ? flip(c, x, axis) : x], { axis });
      const size = sizeAlong(x, axis);
      const index = last ? sub(c.b, full(c.b, c.size(size, 'the axis') - 1, 'i32'), found) : found;
      const wideIndex = cast(c.b, index, 'i64');
      if (c.int('keepdims', 1) !== 1) return wideIndex;
      return reshape(
        c.b,
        wideIndex,
        x.type.shape.map((own, i) => (i === axis ? 1 : own)),
      );
    },
  };
}

/** The axis exchanged with the last one. */
function swapped(rank: number, axis: number): number[] {
  return Array.from({ length: rank }, (_, i) => (i === axis ? rank - 1 : i === rank - 1 ? axis : i));
}

function topK(c: NodeContext): Value[] {
  const given = c.input(0);
  const axis = c.axis(c.int('axis', -1), rankOf(given));
  const k = c.opset >= 10 ? (c.known(1, 'k').data[0] as number) : c.int('k');
  const perm = swapped(rankOf(given), axis);
  const rows = c.b.one('transpose', [given], { perm });
  const largest = c.int('largest', 1) === 1;
  const [values, index] = c.b.emit('topk', [largest ? rows : c.b.one('neg', [rows])], { k }) as [
    Value,
    Value,
  ];
  const restored = [largest ? values : c.b.one('neg', [values]), cast(c.b, index, 'i64')];
  return restored.map((value) => c.b.one('transpose', [value], { perm }));
}

function cumSum(c: NodeContext): Value {
  const x = c.input(0);
  const rank = rankOf(x);
  const axis = c.axis(c.known(1, 'axis').data[0] as number, rank);
  const [exclusive, reverse] = [c.int('exclusive', 0) === 1, c.int('reverse', 0) === 1];
  const start = reverse ? flip(c, x, axis) : x;
  const summed = c.b.one('cumsum', [start], { axis });
  const shifted = exclusive ? shiftOne(c, summed, axis) : summed;
  return reverse ? flip(c, shifted, axis) : shifted;
}

/** The axis moved on by one, with a zero in front. */
function shiftOne(c: NodeContext, x: Value, axis: number): Value {
  const one = Array.from({ length: rankOf(x) }, (_, i) => Number(i === axis));
  const padded = padConstant(
    c,
    x,
    one,
    one.map(() => 0),
    0,
  );
  return slice(c.b, padded, axis, 0, sizeAlong(x, axis));
}

/** 1 at the first greatest element. */
function hardmax(c: NodeContext): Value {
  const given = c.input(0);
  const flattens = c.opset < 13;
  const axis = c.axis(c.int('axis', flattens ? 1 : -1), rankOf(given));
  const { shape } = given.type;
  const x = flattens ? asMatrix(c.b, given, axis) : given;
  const along = flattens ? 1 : axis;
  const best = c.b.one('argmax', [x], { axis: along });
  const kept = reshape(
    c.b,
    best,
    x.type.shape.map((own, i) => (i === along ? dim(1) : own)),
  );
  const at = c.b.one('iota', [], { length: sizeAlong(x, along), dtype: 'i32' });
  const lane = reshape(
    c.b,
    at,
    x.type.shape.map((own, i) => (i === along ? own : dim(1))),
  );
  return reshape(c.b, cast(c.b, c.b.one('eq', [kept, lane]), x.type.dtype), shape);
}

export const reductionOperators: OperatorTable = {
  ReduceSum: reduction(sum, 13),
  ReduceMean: reduction(mean),
  ReduceMax: reduction(greatest),
  ReduceMin: reduction(direct('reduce_min')),
  ReduceProd: reduction(direct('reduce_prod')),
  ReduceL1: reduction((c, x, attrs) => sum(c, c.b.one('abs', [x]), attrs)),
  ReduceL2: reduction((c, x, attrs) =>
    inFloat(c.b, x, (wide) => c.b.one('sqrt', [sum(c, square(c, wide), attrs)])),
  ),
  ReduceSumSquare: reduction((c, x, attrs) => sum(c, square(c, x), attrs)),
  ReduceLogSum: reduction((c, x, attrs) => log(c, sum(c, x, attrs), attrs)),
  ReduceLogSumExp: reduction(logSumExp),
  ArgMax: extremeIndex(1),
  ArgMin: extremeIndex(-1),
  TopK: { since: 1, limits: 'constant k', convert: topK },
  CumSum: { since: 11, limits: 'constant axis', convert: cumSum },
  Hardmax: { since: 1, convert: hardmax },
};
