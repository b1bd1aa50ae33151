/** Attention and rotary embeddings, as ONNX and ONNX Runtime have them: heads before tokens, masks of every kind. */
import { addDims, constantOf, type Dim, dim, dimsEqual, divDims, mulDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
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
  sub,
  transpose,
} from '../build.js';
import type { NodeContext, OperatorTable } from '../node.js';

/** [B, heads, T, hd] and back from [B, T, heads, hd]; its own inverse. */
export function exchangeHeads(c: NodeContext, x: Value): Value {
  return transpose(c.b, x, [0, 2, 1, 3]);
}

/** [B, T, heads * hd] as [B, T, heads, hd]. */
export function splitHeads(c: NodeContext, x: Value, heads: number): Value {
  const [batch, tokens, width] = x.type.shape as [Dim, Dim, Dim];
  return reshape(c.b, x, [batch, tokens, heads, divDims(width, heads)]);
}

export function joinHeads(c: NodeContext, x: Value): Value {
  const [batch, tokens, heads, size] = x.type.shape as [Dim, Dim, Dim, Dim];
  return reshape(c.b, x, [batch, tokens, mulDims(heads, size)]);
}

export interface AttentionParts {
  /** [B, T, heads, hd]. */
  readonly q: Value;
  /** [B, S, kv, hd]. */
  readonly k: Value;
  /** [B, S, kv, hv]. */
  readonly v: Value;
  readonly scale: number;
  readonly causal: boolean;
  /** Tokens before the first query, which is the position of query t less t; one for all, or [B] of i32. */
  readonly offset?: Dim | Value | undefined;
  /** How many keys before its own position a query sees, and how many after it. */
  readonly window?: { readonly left?: number | undefined; readonly right?: number | undefined } | undefined;
  /** Bool (true is attended) or float (added); broadcasts against [B, heads, T, S]. */
  readonly masks: readonly Value[];
  readonly softcap?: number | undefined;
}

export interface Attended {
  /** [B, T, heads, hv]. */
  readonly output: Value;
  /** Scores after each step, when they are wanted: products, soft-capped, masked, softmax. */
  readonly scores?: readonly [Value, Value, Value, Value];
}

/** Plain attention is one op; masks and soft caps are computed around a softmax. */
export function attend(c: NodeContext, parts: AttentionParts, wantsScores = false): Attended {
  const { q, k, v, scale, causal, offset, masks, softcap, window } = parts;
  const isPlain = masks.length === 0 && (softcap ?? 0) === 0 && window === undefined && !wantsScores;
  if (isPlain && !(causal && isValue(offset))) {
    const start =
      causal && offset !== undefined && constantOf(offset as Dim) !== 0
        ? [dimSize(c.b, offset as Dim, 'i32')]
        : [];
    return { output: c.b.one('attention', [q, k, v, ...start], { causal, scale }) };
  }
  return attendByParts(c, parts);
}

function isValue(offset: Dim | Value | undefined): offset is Value {
  return offset !== undefined && 'type' in offset;
}

function attendByParts(c: NodeContext, parts: AttentionParts): Attended {
  const { q, k, v, scale, causal, window, masks, softcap } = parts;
  const heads = sizeAlong(q, 2);
  const [queries, keys, values] = [q, repeatHeads(c, k, heads), repeatHeads(c, v, heads)].map((x) =>
    exchangeHeads(c, x),
  ) as [Value, Value, Value];
  const root = like(c.b, queries, Math.sqrt(scale));
  const turned = transpose(c.b, keys, [0, 1, 3, 2]);
  const products = c.b.one('matmul', [mul(c.b, queries, root), mul(c.b, turned, root)]);
  const capped = (softcap ?? 0) === 0 ? products : softCapped(c, products, softcap as number);
  const visible = causal || window !== undefined ? [visibleKeys(c, parts)] : [];
  const all = [...masks, ...visible];
  const masked = all.reduce((scores, mask) => applyMask(c, scores, mask), capped);
  const softmax = c.b.one('softmax', [masked], { axis: -1 });
  const hidesRows = masks.length > 0 || window !== undefined || isValue(parts.offset);
  const weights = hidesRows ? withoutHiddenRows(c, softmax, all) : softmax;
  const output = exchangeHeads(c, c.b.one('matmul', [weights, values]));
  return { output, scores: [products, capped, masked, weights] };
}

/** A query that may not see any key gets zeros, also where its scores are no numbers. */
function withoutHiddenRows(c: NodeContext, weights: Value, masks: readonly Value[]): Value {
  const { dtype } = weights.type;
  const added = masks
    .map((mask) => applyMask(c, full(c.b, 0, dtype), mask))
    .reduce((sum, mask) => add(c.b, sum, mask));
  const highest = c.b.one('reduce_max', [added], { axes: [rankOf(added) - 1], keepdims: true });
  const isHidden = c.b.one('eq', [highest, like(c.b, highest, Number.NEGATIVE_INFINITY)]);
  return c.b.one('where', [isHidden, like(c.b, weights, 0), weights]);
}

function softCapped(c: NodeContext, x: Value, cap: number): Value {
  const inner = c.b.one('tanh', [c.b.one('div', [x, like(c.b, x, cap)])]);
  return mul(c.b, inner, like(c.b, x, cap));
}

function applyMask(c: NodeContext, scores: Value, mask: Value): Value {
  if (mask.type.dtype !== 'bool') return add(c.b, scores, cast(c.b, mask, scores.type.dtype));
  return c.b.one('where', [mask, scores, like(c.b, scores, Number.NEGATIVE_INFINITY)]);
}

/** [T, S], or [B, 1, T, S]: which keys each query sees by their distance. */
function visibleKeys(c: NodeContext, { q, k, causal, offset, window }: AttentionParts): Value {
  const [tokens, length] = [sizeAlong(q, 1), sizeAlong(k, 1)];
  const keys = positions(c.b, length, 1, 2);
  const row = positions(c.b, tokens, 0, 2);
  const before = isValue(offset)
    ? reshape(c.b, offset, [sizeAlong(offset, 0), 1, 1, 1])
    : dimSize(c.b, offset ?? dim(0), 'i32');
  const own = add(c.b, row, before);
  const { left, right } = window ?? {};
  const bounds = [
    ...(causal ? [c.b.one('le', [keys, own])] : []),
    ...(left === undefined ? [] : [c.b.one('ge', [keys, sub(c.b, own, full(c.b, left, 'i32'))])]),
    ...(right === undefined ? [] : [c.b.one('le', [keys, add(c.b, own, full(c.b, right, 'i32'))])]),
  ];
  return bounds.reduce((all, bound) => c.b.one('and', [all, bound]));
}

/** Key head floor(h / group) for query head h. */
function repeatHeads(c: NodeContext, x: Value, heads: Dim): Value {
  const [batch, length, kv, size] = x.type.shape as [Dim, Dim, Dim, Dim];
  if (dimsEqual(kv, heads)) return x;
  const group = divDims(heads, kv);
  const column = reshape(c.b, x, [batch, length, kv, 1, size]);
  return reshape(c.b, broadcast(c.b, column, [batch, length, kv, group, size]), [batch, length, heads, size]);
}

/** Bool, or what is added to the scores, for [B, heads, T, S]; shorter masks end early, the rest is hidden. */
function maskInput(c: NodeContext, mask: Value, length: Dim): Value {
  const own = sizeAlong(mask, -1);
  const [given, wanted] = [constantOf(own), constantOf(length)];
  if (given === undefined || wanted === undefined || given >= wanted || given === 1) return mask;
  const after = mask.type.shape.map((_, i) => (i === rankOf(mask) - 1 ? wanted - given : 0));
  const before = after.map(() => 0);
  if (mask.type.dtype !== 'bool')
    return c.b.one('pad', [mask], { before, after, value: Number.NEGATIVE_INFINITY });
  return cast(c.b, c.b.one('pad', [cast(c.b, mask, 'u8')], { before, after, value: 0 }), 'bool');
}

function attention(c: NodeContext): (Value | undefined)[] {
  const isFlat = rankOf(c.input(0)) === 3;
  const read = (index: number, heads: string): Value => {
    const x = c.input(index);
    return isFlat ? splitHeads(c, x, c.int(heads)) : exchangeHeads(c, x);
  };
  const q = read(0, 'q_num_heads');
  const withPast = (fresh: Value, past: number): Value =>
    c.has(past) ? c.b.one('concat', [exchangeHeads(c, c.input(past)), fresh], { axis: 1 }) : fresh;
  const [k, v] = [withPast(read(1, 'kv_num_heads'), 4), withPast(read(2, 'kv_num_heads'), 5)];
  const size = c.hasAttribute('scale') ? undefined : c.size(sizeAlong(q, -1), 'the head size');
  const scale = size === undefined ? c.float('scale') : 1 / Math.sqrt(size);
  const length = sizeAlong(k, 1);
  const masks = c.has(3) ? [maskInput(c, c.input(3), length)] : [];
  if (c.has(6)) masks.push(shorterThan(c, c.input(6), length));
  const wide = (x: Value): Value => (c.int('softmax_precision', 0) === 1 ? cast(c.b, x, 'f32') : x);
  const [left, right] = ['left_window_size', 'right_window_size'].map((name) => {
    const size = c.int(name, -1);
    return size < 0 ? undefined : size;
  });
  const { output, scores } = attend(
    c,
    {
      q: wide(q),
      k: wide(k),
      v: wide(v),
      scale,
      causal: c.int('is_causal', 0) === 1,
      offset: offsetOf(c, sizeAlong(q, 1)),
      ...((left ?? right) !== undefined && { window: { left, right } }),
      masks,
      softcap: c.float('softcap', 0),
    },
    c.wants(3),
  );
  const narrow = cast(c.b, output, q.type.dtype);
  const y = isFlat ? joinHeads(c, narrow) : exchangeHeads(c, narrow);
  const asked = c.wants(3) ? scores?.[c.int('qk_matmul_output_mode', 0)] : undefined;
  return [y, exchangeHeads(c, k), exchangeHeads(c, v), asked && cast(c.b, asked, q.type.dtype)];
}

/** Valid keys before the queries: the past, or those of a cache of fixed size that are not of this call. */
function offsetOf(c: NodeContext, tokens: Dim): Dim | Value | undefined {
  if (c.has(4)) return sizeAlong(c.input(4), 2);
  if (!c.has(6)) return undefined;
  return sub(c.b, cast(c.b, c.input(6), 'i32'), dimSize(c.b, tokens, 'i32'));
}

/** [B, 1, 1, S]: keys before the length of each batch item. */
export function shorterThan(c: NodeContext, lengths: Value, length: Dim): Value {
  const batch = sizeAlong(lengths, 0);
  const limit = reshape(c.b, cast(c.b, lengths, 'i32'), [batch, 1, 1, 1]);
  return c.b.one('lt', [positions(c.b, length, 3, 4), limit]);
}

// ---- rotary positions

/**
 * Turns x [B, T, heads, hd] by tables [T, n] or [B, T, n], n half of the rotary size; channels behind it stay. Tables
 * without a batch make it one op.
 */
export function rotate(c: NodeContext, x: Value, cos: Value, sin: Value, interleaved: boolean): Value {
  const table = (value: Value): Value =>
    rankOf(value) === 3 && constantOf(sizeAlong(value, 0)) === 1
      ? reshape(c.b, value, value.type.shape.slice(1))
      : value;
  const [cosine, sine] = [table(cos), table(sin)];
  const width = mulDims(sizeAlong(cos, -1), 2);
  const whole = sizeAlong(x, -1);
  if (dimsEqual(width, whole)) return rotateAll(c, x, cosine, sine, interleaved);
  const [turned, rest] = c.b.emit('split', [x], { sizes: [width, restOf(whole, width)], axis: 3 }) as [
    Value,
    Value,
  ];
  return c.b.one('concat', [rotateAll(c, turned, cosine, sine, interleaved), rest], { axis: 3 });
}

function restOf(whole: Dim, part: Dim): Dim {
  return addDims(whole, mulDims(part, -1));
}

function rotateAll(c: NodeContext, x: Value, cos: Value, sin: Value, interleaved: boolean): Value {
  if (rankOf(cos) === 2) return c.b.one('rope', [x, cos, sin], { interleaved });
  const [batch, tokens, heads, width] = x.type.shape as [Dim, Dim, Dim, Dim];
  const half = divDims(width, 2);
  const pairs = reshape(
    c.b,
    x,
    interleaved ? [batch, tokens, heads, half, 2] : [batch, tokens, heads, 2, half],
  );
  const axis = interleaved ? 4 : 3;
  const member = (i: number): Value =>
    reshape(c.b, slice(c.b, pairs, axis, i, i + 1), [batch, tokens, heads, half]);
  const angle = (table: Value): Value =>
    reshape(c.b, table, [sizeAlong(table, 0), sizeAlong(table, 1), 1, half]);
  const [first, second, cosine, sine] = [member(0), member(1), angle(cos), angle(sin)];
  const turned = [
    sub(c.b, mul(c.b, first, cosine), mul(c.b, second, sine)),
    add(c.b, mul(c.b, second, cosine), mul(c.b, first, sine)),
  ].map((part) =>
    reshape(c.b, part, interleaved ? [batch, tokens, heads, half, 1] : [batch, tokens, heads, 1, half]),
  );
  return reshape(c.b, c.b.one('concat', turned, { axis }), x.type.shape);
}

/** Rows of a table at the positions of each token; one position for all batch items keeps no batch. */
export function tableRows(c: NodeContext, table: Value, ids: Value | undefined, tokens: Dim): Value {
  if (ids === undefined) return table;
  if (rankOf(ids) === 2) return gather(c.b, table, cast(c.b, ids, 'i32'));
  const own = add(
    c.b,
    cast(c.b, reshape(c.b, ids, []), 'i32'),
    c.b.one('iota', [], { length: tokens, dtype: 'i32' }),
  );
  return gather(c.b, table, own);
}

export interface RotaryInputs {
  readonly ids: Value | undefined;
  readonly cos: Value;
  readonly sin: Value;
}

/** From the attribute, or because the tables hold half of a head. */
function headCount(c: NodeContext, x: Value, cos: Value): number {
  const given = c.int('num_heads', 0);
  if (given > 0) return given;
  return c.size(sizeAlong(x, -1), 'the width') / (2 * c.size(sizeAlong(cos, -1), 'the width of the tables'));
}

export function rotaryEmbedding(c: NodeContext, { ids, cos, sin }: RotaryInputs): Value {
  const x = c.input(0);
  const isFlat = rankOf(x) === 3;
  const size = c.int('rotary_embedding_dim', 0);
  const tokenMajor = isFlat ? splitHeads(c, x, headCount(c, x, cos)) : exchangeHeads(c, x);
  const tokens = sizeAlong(tokenMajor, 1);
  const half = size > 0 ? size / 2 : undefined;
  const rows = (table: Value): Value => {
    const chosen = tableRows(c, table, ids, tokens);
    const own = constantOf(sizeAlong(chosen, -1));
    return half === undefined || own === half ? chosen : slice(c.b, chosen, rankOf(chosen) - 1, 0, half);
  };
  const turned = rotate(c, tokenMajor, rows(cos), rows(sin), c.int('interleaved', 0) === 1);
  return isFlat ? reshape(c.b, turned, x.type.shape) : exchangeHeads(c, turned);
}

export const attentionOperators: OperatorTable = {
  Attention: { since: 23, convert: attention },
  RotaryEmbedding: {
    since: 23,
    convert: (c) => rotaryEmbedding(c, { cos: c.input(1), sin: c.input(2), ids: c.optional(3) }),
  },
};
