/** Gathers, scatters and masks. Hew gathers rows only, so the others compute positions in the flattened tensor. */
import { constantOf, type Dim, dim, productOfDims } from '../../../ir/dim.js';
import { defOf, type Value } from '../../../ir/module.js';
import { isFloat } from '../../../ir/type.js';
import {
  add,
  broadcast,
  cast,
  dimSize,
  full,
  gather,
  like,
  mul,
  positions,
  rankOf,
  reshape,
  sizeAlong,
  slice,
} from '../build.js';
import type { NodeContext, OperatorTable } from '../node.js';

/** Indices counted from the front, as i32; constants are computed, others get a test at run time. */
export function frontIndex(c: NodeContext, index: Value, size: Dim): Value {
  const known = c.valueOf(index);
  const n = known?.data.some((i) => i < 0) ? c.size(size, 'an axis with negative indices') : 0;
  if (known !== undefined)
    return c.constant(
      'i32',
      known.shape,
      known.data.map((i) => (i < 0 ? i + n : i)),
    );
  const narrow = cast(c.b, index, 'i32');
  const wrapped = add(c.b, narrow, dimSize(c.b, size, 'i32'));
  return c.b.one('where', [c.b.one('lt', [narrow, full(c.b, 0, 'i32')]), wrapped, narrow]);
}

function strideOf(shape: readonly Dim[], axis: number): Dim {
  return productOfDims(shape.slice(axis + 1));
}

function flat(c: NodeContext, x: Value): Value {
  return reshape(c.b, x, [productOfDims(x.type.shape)]);
}

/** Position in the flattened `shape` of each element of an index along `axis`; its other axes are its own. */
function elementPositions(c: NodeContext, index: Value, shape: readonly Dim[], axis: number): Value {
  const rank = shape.length;
  return shape.reduce<Value | undefined>((sum, _, k) => {
    const own = k === axis ? index : positions(c.b, sizeAlong(index, k), k, rank);
    const step = strideOf(shape, k);
    const scaled = mul(c.b, own, dimSize(c.b, step, 'i32'));
    return sum === undefined ? scaled : add(c.b, sum, scaled);
  }, undefined) as Value;
}

/** x with `index` in place of one axis: numpy's take_along_axis. */
export function gatherElements(c: NodeContext, x: Value, index: Value, axis: number): Value {
  const at = elementPositions(c, frontIndex(c, index, sizeAlong(x, axis)), x.type.shape, axis);
  return gather(c.b, flat(c, x), at);
}

/** Position of the first element of each slice that a row of `indices` names, in units of slices. */
function slicePositions(c: NodeContext, indices: Value, shape: readonly Dim[], batch: number): Value {
  const rank = rankOf(indices);
  const depth = c.size(sizeAlong(indices, -1), 'the last axis of the indices');
  const outer = indices.type.shape.slice(0, -1);
  const indexed = shape.slice(0, batch + depth);
  const parts: Value[] = [];
  for (let k = 0; k < batch; k++) {
    const step = dimSize(c.b, strideOf(indexed, k), 'i32');
    parts.push(mul(c.b, positions(c.b, outer[k] as Dim, k, rank - 1), step));
  }
  for (let j = 0; j < depth; j++) {
    const column = reshape(c.b, slice(c.b, indices, rank - 1, j, j + 1), outer);
    const front = frontIndex(c, column, shape[batch + j] as Dim);
    parts.push(mul(c.b, front, dimSize(c.b, strideOf(indexed, batch + j), 'i32')));
  }
  const [first, ...rest] = parts;
  const zero = full(c.b, 0, 'i32', outer);
  return first === undefined ? zero : rest.reduce((a, b) => add(c.b, a, b), first);
}

function gatherNd(c: NodeContext): Value {
  const [x, indices] = [c.input(0), c.input(1)];
  const batch = c.int('batch_dims', 0);
  const depth = c.size(sizeAlong(indices, -1), 'the last axis of the indices');
  const { shape } = x.type;
  const rows = reshape(c.b, x, [
    productOfDims(shape.slice(0, batch + depth)),
    productOfDims(shape.slice(batch + depth)),
  ]);
  const at = slicePositions(c, indices, shape, batch);
  return reshape(c.b, gather(c.b, rows, at), [...at.type.shape, ...shape.slice(batch + depth)]);
}

// ---- scatter

/** Most comparisons of positions that a scatter with run-time indices may make. */
const maxComparisons = 1 << 24;

interface Updates {
  /** [N, D]: the rows that are updated. */
  readonly rows: Value;
  /** [M]: which row each update goes to. */
  readonly at: Value;
  /** [M, D]. */
  readonly updates: Value;
}

/** For each row the updates that name it are combined: the last one wins, or all are reduced with the row. */
function scatterRows(c: NodeContext, { rows, at, updates }: Updates, reduction: string): Value {
  const [n, width] = c.sizes(rows, 'the data') as [number, number];
  const m = c.size(sizeAlong(updates, 0), 'the number of updates');
  if (m === 0) return rows;
  if (n * m > maxComparisons) {
    return c.unsupported(
      `${m} updates of ${n} rows at positions that are not constant`,
      'constant positions, or fewer rows',
    );
  }
  if (reduction === 'none') return lastUpdate(c, { rows, at, updates }, n, m);
  const mine = c.b.one('eq', [reshape(c.b, cast(c.b, at, 'i32'), [1, m]), positions(c.b, dim(n), 0, 2)]);
  if (reduction === 'add' && isFloat(rows.type.dtype)) {
    return add(c.b, rows, c.b.one('matmul', [cast(c.b, mine, rows.type.dtype), updates]));
  }
  const combine = { add: 'reduce_sum', mul: 'reduce_prod', max: 'reduce_max', min: 'reduce_min' } as const;
  const kind = reduction as keyof typeof combine;
  const neutral = { add: 0, mul: 1, max: Number.NEGATIVE_INFINITY, min: Number.POSITIVE_INFINITY }[kind];
  if (neutral === undefined) return c.unsupported(`reduction '${reduction}'`, 'none, add, mul, max or min');
  if (n * m * width > maxComparisons)
    return c.unsupported(`a scatter of ${n} x ${m} x ${width} comparisons`, 'fewer updates');
  const spread = c.b.one('where', [
    reshape(c.b, mine, [n, m, 1]),
    reshape(c.b, updates, [1, m, width]),
    like(c.b, rows, neutral),
  ]);
  const reduced = c.b.one(combine[kind], [spread], { axes: [1], keepdims: false });
  const pairwise = { add: 'add', mul: 'mul', max: 'max', min: 'min' } as const;
  return c.b.one(pairwise[kind], [rows, reduced]);
}

/** Each row is itself or an update, chosen from both stacked on one another. */
function lastUpdate(c: NodeContext, { rows, at, updates }: Updates, n: number, m: number): Value {
  const both = c.b.one('concat', [rows, updates], { axis: 0 });
  const known = c.valueOf(at);
  if (known !== undefined) {
    const source = Array.from({ length: n }, (_, i) => i);
    known.data.forEach((row, k) => {
      source[row] = n + k;
    });
    return gather(c.b, both, c.indices(source));
  }
  const own = positions(c.b, dim(n), 0, 2);
  const mine = c.b.one('eq', [reshape(c.b, cast(c.b, at, 'i32'), [1, m]), own]);
  const candidates = c.b.one('where', [
    mine,
    add(c.b, positions(c.b, dim(m), 1, 2), full(c.b, n, 'i32')),
    own,
  ]);
  return gather(c.b, both, c.b.one('reduce_max', [candidates], { axes: [1], keepdims: false }));
}

function scatterElements(c: NodeContext): Value {
  const [x, index, updates] = [c.input(0), c.input(1), c.input(2)];
  const axis = c.axis(c.int('axis', 0), rankOf(x));
  const at = elementPositions(c, frontIndex(c, index, sizeAlong(x, axis)), x.type.shape, axis);
  const column = (value: Value): Value => reshape(c.b, value, [productOfDims(value.type.shape), 1]);
  const rows = scatterRows(
    c,
    { rows: column(x), at: flat(c, at), updates: column(updates) },
    c.string('reduction', 'none'),
  );
  return reshape(c.b, rows, x.type.shape);
}

/** The first of row numbers that follow one another, as an i32 scalar; undefined when they may not. */
function firstRow(c: NodeContext, rows: Value): Value | undefined {
  const known = c.valueOf(rows)?.data;
  if (known !== undefined) {
    const start = known[0] ?? -1;
    return start >= 0 && known.every((row, i) => row === start + i) ? full(c.b, start, 'i32') : undefined;
  }
  const op = defOf(rows);
  if (op?.name === 'iota') return full(c.b, 0, 'i32');
  if (op?.name === 'reshape' || op?.name === 'cast') return firstRow(c, op.operands[0] as Value);
  if (op?.name !== 'add') return undefined;
  const [a, b] = op.operands as [Value, Value];
  for (const [count, start] of [
    [a, b],
    [b, a],
  ] as const) {
    const zero = constantOf(productOfDims(start.type.shape)) === 1 ? firstRow(c, count) : undefined;
    if (zero === undefined || c.valueOf(zero)?.data[0] !== 0) continue;
    return reshape(c.b, cast(c.b, start, 'i32'), []);
  }
  return undefined;
}

/** Rows in order are what caches are written with. */
function scatterNd(c: NodeContext): Value {
  const [x, indices, updates] = [c.input(0), c.input(1), c.input(2)];
  const areRows = constantOf(sizeAlong(indices, -1)) === 1 && rankOf(indices) === 2;
  const start = areRows && c.string('reduction', 'none') === 'none' ? firstRow(c, indices) : undefined;
  if (start !== undefined) return c.b.one('cache_append', [x, updates, start]);
  const depth = c.size(sizeAlong(indices, -1), 'the last axis of the indices');
  const { shape } = x.type;
  const width = productOfDims(shape.slice(depth));
  const at = flat(c, slicePositions(c, indices, shape, 0));
  const rows = scatterRows(
    c,
    {
      rows: reshape(c.b, x, [productOfDims(shape.slice(0, depth)), width]),
      at,
      updates: reshape(c.b, updates, [sizeAlong(at, 0), width]),
    },
    c.string('reduction', 'none'),
  );
  return reshape(c.b, rows, shape);
}

/** Rows of a cache replaced from a position of each batch item on; `circular` wraps around its end. */
function tensorScatter(c: NodeContext): Value {
  const [cache, update] = [c.input(0), c.input(1)];
  const axis = c.axis(c.int('axis', -2), rankOf(cache));
  const rank = rankOf(cache);
  const [capacity, count] = [sizeAlong(cache, axis), sizeAlong(update, axis)];
  const batch = sizeAlong(cache, 0);
  const first = c.has(2)
    ? reshape(c.b, cast(c.b, c.input(2), 'i32'), [batch, ...new Array<number>(rank - 1).fill(1)])
    : full(c.b, 0, 'i32', new Array<number>(rank).fill(1));
  const behind = c.b.one('sub', [positions(c.b, capacity, axis, rank), first]);
  const size = dimSize(c.b, capacity, 'i32');
  const zero = full(c.b, 0, 'i32');
  const isNegative = c.b.one('lt', [behind, zero]);
  const offset =
    c.string('mode', 'linear') === 'circular'
      ? c.b.one('where', [isNegative, add(c.b, behind, size), behind])
      : behind;
  const length = dimSize(c.b, count, 'i32');
  const inside = c.b.one('and', [c.b.one('ge', [offset, zero]), c.b.one('lt', [offset, length])]);
  const at = c.b.one('where', [inside, offset, zero]);
  const shape = cache.type.shape;
  const rows = gatherElements(c, update, broadcast(c.b, at, shape), axis);
  return c.b.one('where', [inside, rows, cache]);
}

// ---- masks

function oneHot(c: NodeContext): Value {
  const [indices, values] = [c.input(0), c.input(2)];
  const depth = c.known(1, 'depth').data[0] as number;
  const rank = rankOf(indices) + 1;
  const axis = c.axis(c.int('axis', -1), rank);
  const shape = [...indices.type.shape];
  const spread = reshape(c.b, cast(c.b, indices, 'i32'), [
    ...shape.slice(0, axis),
    dim(1),
    ...shape.slice(axis),
  ]);
  const at = c.b.one('where', [
    c.b.one('lt', [spread, full(c.b, 0, 'i32')]),
    add(c.b, spread, full(c.b, depth, 'i32')),
    spread,
  ]);
  const hot = c.b.one('eq', [at, positions(c.b, dim(depth), axis, rank)]);
  const choice = (i: number): Value => reshape(c.b, slice(c.b, values, 0, i, i + 1), []);
  return c.b.one('where', [hot, choice(1), choice(0)]);
}

/** The upper or lower triangle of the last two axes. */
function trilu(c: NodeContext): Value {
  const x = c.input(0);
  const rank = rankOf(x);
  const k = c.has(1) ? reshape(c.b, cast(c.b, c.input(1), 'i32'), []) : full(c.b, 0, 'i32');
  const rows = positions(c.b, sizeAlong(x, -2), rank - 2, rank);
  const columns = positions(c.b, sizeAlong(x, -1), rank - 1, rank);
  const diagonal = add(c.b, rows, k);
  const keeps = c.b.one(c.int('upper', 1) === 1 ? 'ge' : 'le', [columns, diagonal]);
  return c.b.one('where', [keeps, x, like(c.b, x, 0)]);
}

/** The first elements of each sequence in reverse. */
function reverseSequence(c: NodeContext): Value {
  const x = c.input(0);
  const [time, batch] = [c.int('time_axis', 0), c.int('batch_axis', 1)];
  const rank = rankOf(x);
  const lengths = reshape(
    c.b,
    cast(c.b, c.input(1), 'i32'),
    x.type.shape.map((size, axis) => (axis === batch ? size : 1)),
  );
  const at = positions(c.b, sizeAlong(x, time), time, rank);
  const mirrored = c.b.one('sub', [c.b.one('sub', [lengths, full(c.b, 1, 'i32')]), at]);
  const source = c.b.one('where', [c.b.one('lt', [at, lengths]), mirrored, at]);
  return gatherElements(c, x, broadcast(c.b, source, x.type.shape), time);
}

/** Chosen rows; which ones must be known, since they decide the shape. */
function compress(c: NodeContext): Value {
  const condition = c.knownInts(1, 'condition');
  const chosen = condition.flatMap((value, i) => (value !== 0 ? [i] : []));
  if (!c.hasAttribute('axis')) return gather(c.b, flat(c, c.input(0)), c.indices(chosen));
  return gather(c.b, c.input(0), c.indices(chosen), c.axis(c.int('axis'), rankOf(c.input(0))));
}

function nonZero(c: NodeContext): Value {
  const x = c.known(0, 'the tensor');
  const found = Array.from(x.data).flatMap((value, i) => (value !== 0 ? [i] : []));
  const rows = x.shape.map((size, axis) => {
    const below = x.shape.slice(axis + 1).reduce((product, n) => product * n, 1);
    return found.map((i) => Math.floor(i / below) % size);
  });
  return c.constant('i64', [x.shape.length, found.length], rows.flat());
}

export const indexingOperators: OperatorTable = {
  Gather: {
    since: 1,
    limits: 'tables of weights are not read from the end',
    convert: (c) => {
      const x = c.input(0);
      const axis = c.axis(c.int('axis', 0), rankOf(x));
      const index = c.input(1);
      // Rows of a table by numbers from outside: a negative number is an error at run time, as any other outside is.
      const isLookup = defOf(x)?.name === 'param' && axis === 0 && c.valueOf(index) === undefined;
      const chosen = isLookup ? cast(c.b, index, 'i32') : frontIndex(c, index, sizeAlong(x, axis));
      return gather(c.b, x, chosen, axis);
    },
  },
  GatherElements: {
    since: 11,
    convert: (c) => gatherElements(c, c.input(0), c.input(1), c.axis(c.int('axis', 0), rankOf(c.input(0)))),
  },
  GatherND: { since: 11, convert: gatherNd },
  ScatterElements: { since: 11, limits: 'known sizes', convert: scatterElements },
  Scatter: { since: 9, limits: 'known sizes', convert: scatterElements },
  ScatterND: { since: 11, limits: 'known sizes', convert: scatterNd },
  TensorScatter: { since: 24, convert: tensorScatter },
  OneHot: { since: 9, limits: 'constant depth', convert: oneHot },
  Trilu: { since: 14, convert: trilu },
  ReverseSequence: { since: 10, convert: reverseSequence },
  Compress: { since: 9, limits: 'constant condition', convert: compress },
  NonZero: { since: 9, limits: 'constant tensor', convert: nonZero },
};
