/** Attention over keys and values, rotary positions and the key/value cache. Layout is token-major throughout. */
import { type Dim, divDims, mulDims } from '../dim.js';
import {
  attr,
  defineOp,
  type Emitter,
  type InferContext,
  InferError,
  operand,
  optional,
  type Value,
} from '../op.js';
import { emptyTensor, type Tensor } from '../tensor.js';
import { elementCount, type TensorType } from '../type.js';
import { constant, inF32, reshape, sliceLast, toDType, transpose } from './decompose.js';
import {
  describeDim,
  dimAt,
  dimsAgree,
  expectDType,
  expectFloat,
  expectMinRank,
  expectRank,
  unify,
} from './shared.js';

function expectPosition(type: TensorType, name: string, index: number): void {
  expectRank(type, [0], name, index);
  expectDType(type, (t) => t === 'i32', 'i32', index);
}

/** Rotates the pairs (x[first], x[second]) of every head by the angle of the token and the pair. */
function evaluateRope(
  x: Tensor,
  cos: Tensor,
  sin: Tensor,
  interleaved: boolean,
  round: (v: number) => number,
): Tensor {
  const [tokens, heads, width] = x.shape.slice(-3) as [number, number, number];
  const half = width / 2;
  const out = emptyTensor(x.dtype, x.shape);
  const rows = elementCount(x.shape.slice(0, -1));
  for (let row = 0; row < rows; row++) {
    const token = Math.floor(row / heads) % tokens;
    for (let i = 0; i < half; i++) {
      const first = row * width + (interleaved ? 2 * i : i);
      const second = interleaved ? first + 1 : first + half;
      const [a, b] = [x.data[first] as number, x.data[second] as number];
      const [c, s] = [cos.data[token * half + i] as number, sin.data[token * half + i] as number];
      out.data[first] = round(a * c - b * s);
      out.data[second] = round(b * c + a * s);
    }
  }
  return out;
}

/** The two members of each pair after rotation. */
function rotate(b: Emitter, first: Value, second: Value, cos: Value, sin: Value): [Value, Value] {
  const product = (x: Value, y: Value) => b.one('mul', [x, y]);
  return [
    b.one('sub', [product(first, cos), product(second, sin)]),
    b.one('add', [product(second, cos), product(first, sin)]),
  ];
}

function decomposeRope(b: Emitter, x: Value, cos: Value, sin: Value, interleaved: boolean): Value {
  const shape = x.type.shape;
  const half = divDims(dimAt(x.type, -1), 2);
  const last = shape.length - 1;
  const angle = (table: Value) => {
    const [tokens, pairs] = table.type.shape as [Dim, Dim];
    return reshape(b, table, interleaved ? [tokens, 1, pairs, 1] : [tokens, 1, pairs]);
  };
  if (!interleaved) {
    const parts = [sliceLast(b, x, 0, half), sliceLast(b, x, half, dimAt(x.type, -1))] as const;
    return b.one('concat', rotate(b, ...parts, angle(cos), angle(sin)), { axis: last });
  }
  const pairs = reshape(b, x, [...shape.slice(0, -1), half, 2]);
  const parts = [sliceLast(b, pairs, 0, 1), sliceLast(b, pairs, 1, 2)] as const;
  const turned = b.one('concat', rotate(b, ...parts, angle(cos), angle(sin)), { axis: last + 1 });
  const [...outer] = turned.type.shape.slice(0, -2);
  return reshape(b, turned, [...outer, mulDims(dimAt(turned.type, -2), 2)]);
}

/** Query heads must be a whole multiple of key/value heads. */
function checkGroups(heads: Dim, kv: Dim, context: InferContext): void {
  if (dimsAgree(heads, kv, context)) return;
  const [queries, keys] = [context.valueOf(heads), context.valueOf(kv)];
  if (queries !== undefined && keys !== undefined && keys > 0 && queries % keys === 0) return;
  throw new InferError(
    `attention: ${describeDim(heads, context)} query heads are not a multiple of ${describeDim(kv, context)} key heads`,
    { kind: 'shape', operand: 1, help: 'each key head serves the same number of query heads' },
  );
}

/** A window is counted back from the query, which full attention does not do. */
function checkWindow(causal: boolean, window: number): void {
  if (window === 0 || (causal && window > 0)) return;
  throw new InferError(`attention: a window of ${window} keys needs causal attention and at least one key`, {
    kind: 'attr',
    help: 'write causal = true, window = 4096; window = 0 is no window',
  });
}

function inferAttention(types: readonly TensorType[], context: InferContext): TensorType {
  const [q, k, v, offset] = types as [TensorType, TensorType, TensorType, TensorType?];
  [q, k, v].forEach((type, i) => {
    const name = 'qkv'[i] as string;
    expectMinRank(type, 3, name, i);
    expectDType(type, (t) => t === q.dtype, q.dtype, i);
    if (type.shape.length !== q.shape.length) {
      throw new InferError(`attention: q has rank ${q.shape.length}, ${name} has rank ${type.shape.length}`, {
        kind: 'shape',
        operand: i,
        help: 'q is [.., T, heads, hd], k is [.., S, kv, hd], v is [.., S, kv, hv] with the same leading axes',
      });
    }
  });
  expectFloat(q, 0);
  unify(dimAt(q, -1), dimAt(k, -1), context, 'attention: head size of q and k', 1);
  unify(dimAt(k, -3), dimAt(v, -3), context, 'attention: length of k and v', 2);
  unify(dimAt(k, -2), dimAt(v, -2), context, 'attention: heads of k and v', 2);
  checkGroups(dimAt(q, -2), dimAt(k, -2), context);
  if (offset !== undefined) expectPosition(offset, 'offset', 3);
  const leading = q.shape.slice(0, -3).map((axis, i) => {
    const withKeys = unify(axis, dimAt(k, i), context, `attention: axis ${i} of q and k`, 1);
    return unify(withKeys, dimAt(v, i), context, `attention: axis ${i} of q and v`, 2);
  });
  return { dtype: q.dtype, shape: [...leading, dimAt(q, -3), dimAt(q, -2), dimAt(v, -1)] };
}

interface AttentionAttrs {
  readonly causal: boolean;
  readonly window: number;
  readonly scale: number;
}

function evaluateAttention(
  [q, k, v, offset]: readonly (Tensor | undefined)[],
  { causal, window, scale }: AttentionAttrs,
  round: (value: number) => number,
): Tensor {
  const [queries, keys, values] = [q as Tensor, k as Tensor, v as Tensor];
  const [tokens, heads, width] = queries.shape.slice(-3) as [number, number, number];
  const [length, kv] = keys.shape.slice(-3) as [number, number];
  const valueWidth = values.shape.at(-1) as number;
  const group = heads / kv;
  const first = offset?.data[0] ?? 0;
  const out = emptyTensor(queries.dtype, [...queries.shape.slice(0, -1), valueWidth]);
  const rows = elementCount(queries.shape.slice(0, -1));
  for (let row = 0; row < rows; row++) {
    const head = row % heads;
    const token = Math.floor(row / heads) % tokens;
    const batch = Math.floor(row / (heads * tokens));
    const visible = causal ? Math.min(length, first + token + 1) : length;
    const oldest = window > 0 ? Math.max(0, first + token + 1 - window) : 0;
    const keyRow = (j: number) => (batch * length + j) * kv + Math.floor(head / group);
    const scores: number[] = [];
    for (let j = oldest; j < visible; j++) {
      let sum = 0;
      for (let i = 0; i < width; i++) {
        sum += (queries.data[row * width + i] as number) * (keys.data[keyRow(j) * width + i] as number);
      }
      scores.push(sum * scale);
    }
    const greatest = scores.reduce((a, s) => Math.max(a, s), Number.NEGATIVE_INFINITY);
    const powers = scores.map((s) => Math.exp(s - greatest));
    const total = powers.reduce((a, p) => a + p, 0);
    for (let i = 0; i < valueWidth; i++) {
      const sum = powers.reduce(
        (a, p, j) => a + (p / total) * (values.data[keyRow(oldest + j) * valueWidth + i] as number),
        0,
      );
      out.data[row * valueWidth + i] = round(sum);
    }
  }
  return out;
}

/** [.., tokens, heads, width] to [.., heads, tokens, width], or with the last two swapped as well. */
function headMajor(b: Emitter, x: Value, order: readonly [number, number, number]): Value {
  const lead = x.type.shape.length - 3;
  const outer = Array.from({ length: lead }, (_, axis) => axis);
  return transpose(b, x, [...outer, ...order.map((axis) => lead + axis)]);
}

/** Repeats every key/value head for the query heads of its group: head h reads head floor(h * kv / heads). */
function repeatHeads(b: Emitter, x: Value, heads: Dim): Value {
  const kv = dimAt(x.type, -2);
  const scaled = b.one('mul', [
    b.one('iota', [], { length: heads, dtype: 'i32' }),
    b.one('dim_size', [], { dim: kv }),
  ]);
  const index = b.one('div', [scaled, b.one('dim_size', [], { dim: heads })]);
  return b.one('gather', [x, index], { axis: x.type.shape.length - 2 });
}

/** bool [tokens, length]: whether the key is at or before the query, and within its window if there is one. */
function causalMask(b: Emitter, tokens: Dim, length: Dim, offset: Value | undefined, window: number): Value {
  const positions = b.one('iota', [], { length: tokens, dtype: 'i32' });
  const moved = offset === undefined ? positions : b.one('add', [positions, offset]);
  const queries = reshape(b, moved, [tokens, 1]);
  const keys = b.one('iota', [], { length, dtype: 'i32' });
  const past = b.one('le', [keys, queries]);
  if (window === 0) return past;
  const oldest = b.one('sub', [queries, constant(b, window, 'i32')]);
  return b.one('and', [past, b.one('gt', [keys, oldest])]);
}

export const attentionOps = {
  rope: defineOp({
    doc: 'rotary position embedding (Su et al. 2021): rotates the pairs (i, i + hd/2) of each head, or (2i, 2i + 1) when interleaved',
    category: 'attention',
    operands: [
      operand('x', '[.., T, heads, hd], float'),
      operand('cos', '[T, hd/2], same dtype'),
      operand('sin', '[T, hd/2], same dtype'),
    ],
    attrs: { interleaved: attr('bool', 'pairs are neighbours instead of halves', false) },
    infer: (types, _attrs, context) => {
      const x = types[0] as TensorType;
      expectFloat(x, 0);
      expectMinRank(x, 3, 'x', 0);
      let [tokens, width] = [dimAt(x, -3), dimAt(x, -1)];
      for (const [name, i] of [
        ['cos', 1],
        ['sin', 2],
      ] as const) {
        const table = types[i] as TensorType;
        expectRank(table, [2], name, i);
        expectDType(table, (t) => t === x.dtype, x.dtype, i);
        tokens = unify(tokens, dimAt(table, 0), context, `rope: tokens of x and ${name}`, i);
        const pairs = mulDims(dimAt(table, 1), 2);
        width = unify(width, pairs, context, `rope: head size of x and twice the width of ${name}`, i);
      }
      return [{ dtype: x.dtype, shape: [...x.shape.slice(0, -3), tokens, dimAt(x, -2), width] }];
    },
    evaluate: ([x, cos, sin], { interleaved }, context) => [
      evaluateRope(
        x as Tensor,
        cos as Tensor,
        sin as Tensor,
        interleaved,
        context.round((x as Tensor).dtype),
      ),
    ],
    decompose: (b, operands, { interleaved }) => {
      const [x, cos, sin] = operands as [Value, Value, Value];
      const [c, s] = [toDType(b, cos, 'f32'), toDType(b, sin, 'f32')];
      return [inF32(b, x, (wide) => decomposeRope(b, wide, c, s, interleaved))];
    },
    flops: ({ results: [shape] }) => 3 * elementCount(shape as number[]),
  }),

  attention: defineOp({
    doc: 'softmax(q k^T * scale) v per head; query head h reads key head floor(h / (heads / kv)); causal: key j is visible to query t iff j <= offset + t, and j > offset + t - window where there is a window',
    category: 'attention',
    operands: [
      operand('q', '[.., T, heads, hd], float'),
      operand('k', '[.., S, kv, hd], same dtype; kv divides heads'),
      operand('v', '[.., S, kv, hv], same dtype'),
      optional(operand('offset', 'i32 scalar >= 0: position of the first query; 0 when absent')),
    ],
    attrs: {
      causal: attr('bool', 'queries see only keys at or before their own position', false),
      window: attr('int', 'with causal: only this many keys, the latest; 0 is all of them', 0),
      scale: attr('float', 'factor of the scores, usually hd ** -0.5'),
    },
    infer: (types, { causal, window }, context) => {
      checkWindow(causal, window);
      return [inferAttention(types, context)];
    },
    evaluate: (inputs, attrs, context) => [
      evaluateAttention(inputs, attrs, context.round((inputs[0] as Tensor).dtype)),
    ],
    decompose: (b, operands, { causal, window, scale }) => {
      const [q, k, v, offset] = operands as [Value, Value, Value, Value?];
      const heads = dimAt(q.type, -2);
      const [keys, values] = [k, v].map((x) => repeatHeads(b, toDType(b, x, 'f32'), heads)) as [Value, Value];
      return [
        inF32(b, q, (queries) => {
          const product = b.one('matmul', [headMajor(b, queries, [1, 0, 2]), headMajor(b, keys, [1, 2, 0])]);
          const scores = b.one('mul', [product, constant(b, scale, 'f32')]);
          const hidden = constant(b, Number.NEGATIVE_INFINITY, 'f32');
          const masked = causal
            ? b.one('where', [
                causalMask(b, dimAt(q.type, -3), dimAt(k.type, -3), offset, window),
                scores,
                hidden,
              ])
            : scores;
          const weights = b.one('softmax', [masked]);
          return headMajor(b, b.one('matmul', [weights, headMajor(b, values, [1, 0, 2])]), [1, 0, 2]);
        }),
      ];
    },
    flops: ({ operands: [q, k], results: [out] }) => {
      const length = (k as number[]).at(-3) as number;
      return 2 * length * (elementCount(q as number[]) + elementCount(out as number[]));
    },
  }),

  cache_append: defineOp({
    doc: 'the cache with rows position .. position + T - 1 replaced by x; fails when they do not lie inside the cache',
    category: 'attention',
    operands: [
      operand('cache', '[C, ..rest], any dtype'),
      operand('x', '[T, ..rest], same dtype'),
      operand('position', 'i32 scalar: the first row to replace'),
    ],
    attrs: {},
    infer: (types, _attrs, context) => {
      const [cache, x, position] = types as [TensorType, TensorType, TensorType];
      expectMinRank(cache, 1, 'cache', 0);
      expectRank(x, [cache.shape.length], 'x', 1);
      expectDType(x, (t) => t === cache.dtype, cache.dtype, 1);
      expectPosition(position, 'position', 2);
      const rest = cache.shape
        .slice(1)
        .map((axis, i) =>
          unify(axis, dimAt(x, i + 1), context, `cache_append: axis ${i + 1} of cache and x`, 1),
        );
      return [{ dtype: cache.dtype, shape: [dimAt(cache, 0), ...rest] }];
    },
    evaluate: ([cache, x, position]) => {
      const [from, rows] = [cache as Tensor, x as Tensor];
      const start = (position as Tensor).data[0] as number;
      const [capacity, count] = [from.shape[0] as number, rows.shape[0] as number];
      if (start < 0 || start + count > capacity) {
        throw new RangeError(
          `the cache holds ${capacity} rows; rows ${start} to ${start + count} do not fit`,
        );
      }
      const out = emptyTensor(from.dtype, from.shape);
      out.data.set(from.data);
      out.data.set(rows.data, start * elementCount(from.shape.slice(1)));
      return [out];
    },
    flops: () => 0,
  }),
};
