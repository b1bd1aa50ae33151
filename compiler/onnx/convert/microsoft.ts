/** Operators of ONNX Runtime: the domain com.microsoft. */
import { addDims, constantOf, type Dim, dim, mulDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { add, cast, dimSize, full, like, mul, rankOf, reshape, sizeAlong, sub } from '../build.js';
import type { Item, NodeContext, OperatorTable } from '../node.js';
import {
  attend,
  exchangeHeads,
  joinHeads,
  rotaryEmbedding,
  rotate,
  shorterThan,
  splitHeads,
} from './attention.js';
import { matmul } from './contraction.js';
import { decimal, swish } from './elementwise.js';
import { decimalEpsilon, normFrom } from './normalization.js';
import { dequantizeLinear, quantizeLinear } from './quantization.js';

// ---- norms

/** The norm of input + skip (+ bias), and that sum, which is the next residual. */
function skipNorm(name: 'layer_norm' | 'rms_norm'): (c: NodeContext) => (Item | undefined)[] {
  return (c) => {
    const hasBeta = name === 'layer_norm';
    const joined = add(c.b, c.input(0), c.input(1));
    const bias = c.optional(hasBeta ? 4 : 3);
    const sum = bias === undefined ? joined : add(c.b, joined, bias);
    const weights = [c.input(2), ...(hasBeta && c.has(3) ? [c.input(3)] : [])];
    const eps = decimalEpsilon(c.float('epsilon', 1e-12));
    const normed = normFrom(c, name, sum, rankOf(sum) - 1, weights, eps);
    if (c.wants(1) || c.wants(2)) return c.unsupported('the outputs mean and inv_std_var', 'outputs 0 and 3');
    return [normed, undefined, undefined, sum];
  };
}

function biased(c: NodeContext, name: 'gelu' | 'gelu_tanh'): Value {
  const bias = c.optional(1);
  return c.b.one(name, [bias === undefined ? c.input(0) : add(c.b, c.input(0), bias)]);
}

function fusedMatMul(c: NodeContext): Value {
  if (c.int('transBatchA', 0) === 1 || c.int('transBatchB', 0) === 1) {
    return c.unsupported('transBatchA and transBatchB', 'transA and transB');
  }
  const side = (index: number, flag: string): Value => {
    const x = c.input(index);
    if (c.int(flag, 0) === 0 || rankOf(x) < 2) return x;
    const rank = rankOf(x);
    return c.b.one('transpose', [x], {
      perm: Array.from({ length: rank }, (_, i) => (i < rank - 2 ? i : 2 * rank - 3 - i)),
    });
  };
  const product = matmul(c, side(0, 'transA'), side(1, 'transB'));
  const alpha = decimal(c.float('alpha', 1));
  return alpha === 1 ? product : mul(c.b, product, like(c.b, product, alpha));
}

// ---- weights in blocks

/** The low bits first: bytes [.., n] as elements [.., n * 8 / bits] of 0 .. 2^bits - 1, in i32. */
function unpack(c: NodeContext, bytes: Value, bits: number): Value {
  const wide = cast(c.b, bytes, 'i32');
  if (bits === 8) return wide;
  const count = 8 / bits;
  const { shape } = wide.type;
  const column = reshape(c.b, wide, [...shape, 1]);
  const divisors = c.constant(
    'i32',
    [count],
    Array.from({ length: count }, (_, i) => 2 ** (bits * i)),
  );
  const shifted = c.b.one('div', [column, divisors]);
  const base = full(c.b, 2 ** bits, 'i32');
  const low = sub(c.b, shifted, mul(c.b, c.b.one('div', [shifted, base]), base));
  return reshape(c.b, low, [...shape.slice(0, -1), mulDims(shape.at(-1) as Dim, count)]);
}

/** The weight [N, K] of MatMulNBits: (q - zero point) * scale, per block of a row. */
function nbitsWeight(c: NodeContext): Value {
  const [inner, outputs, bits, block] = ['K', 'N', 'bits', 'block_size'].map((name) => c.int(name)) as [
    number,
    number,
    number,
    number,
  ];
  if (![2, 4, 8].includes(bits)) return c.unsupported(`${bits} bits`, '2, 4 or 8 bits');
  if (c.has(4)) return c.unsupported('g_idx', 'weights in order, without act-order');
  const blocks = Math.ceil(inner / block);
  const q = reshape(c.b, unpack(c, c.input(1), bits), [outputs, blocks, block]);
  const scale = reshape(c.b, c.input(2), [outputs, blocks, 1]);
  const { dtype } = scale.type;
  const centred = sub(c.b, cast(c.b, q, dtype), zeroPoints(c, outputs, blocks, bits, dtype));
  const whole = reshape(c.b, mul(c.b, centred, scale), [outputs, blocks * block]);
  return blocks * block === inner
    ? whole
    : c.b.one('slice', [whole], { axis: 1, start: dim(0), end: dim(inner) });
}

function zeroPoints(
  c: NodeContext,
  outputs: number,
  blocks: number,
  bits: number,
  dtype: Value['type']['dtype'],
): Value {
  const given = c.optional(3);
  if (given === undefined) return full(c.b, 2 ** (bits - 1), dtype);
  if (given.type.dtype !== 'u8') return cast(c.b, reshape(c.b, given, [outputs, blocks, 1]), dtype);
  const rowBytes = Math.ceil((blocks * bits) / 8);
  const all = unpack(c, reshape(c.b, given, [outputs, rowBytes]), bits);
  const own = c.b.one('slice', [all], { axis: 1, start: dim(0), end: dim(blocks) });
  return cast(c.b, reshape(c.b, own, [outputs, blocks, 1]), dtype);
}

function matMulNBits(c: NodeContext): Value {
  const x = c.input(0);
  const w = cast(c.b, nbitsWeight(c), x.type.dtype);
  const bias = c.optional(5);
  return c.b.one('linear', bias === undefined ? [x, w] : [x, w, bias]);
}

// ---- attention

/** Queries, keys and values [B, T, heads, hd], from three inputs or packed in the first. */
function projections(c: NodeContext, heads: number, kv: number): [Value, Value, Value] {
  const query = c.input(0);
  if (c.has(1))
    return [splitHeads(c, query, heads), splitHeads(c, c.input(1), kv), splitHeads(c, c.input(2), kv)];
  const all = splitHeads(c, query, heads + 2 * kv);
  const sizes = [heads, kv, kv].map((n) => dim(n));
  return [...c.b.emit('split', [all], { sizes, axis: 2 })] as [Value, Value, Value];
}

function scaleOf(c: NodeContext, q: Value): number {
  const given = c.hasAttribute('scale') ? c.float('scale') : 0;
  return given !== 0 ? given : 1 / Math.sqrt(c.size(sizeAlong(q, -1), 'the head size'));
}

/**
 * Causal attention with a cache of its own size: past and present are separate, and all of the past is valid. With
 * several sequences in a batch, `seqlens_k` hides what lies behind the end of each.
 */
function groupQueryAttention(c: NodeContext): (Item | undefined)[] {
  const [heads, kv] = [c.int('num_heads'), c.int('kv_num_heads')];
  const [query, key, value] = projections(c, heads, kv);
  const past = c.has(3) ? sizeAlong(c.input(3), 2) : dim(0);
  const [q, fresh] = c.int('do_rotary', 0) === 1 ? rotated(c, query, key, past) : [query, key];
  const joined = (index: number, now: Value): Value =>
    c.has(index) ? c.b.one('concat', [exchangeHeads(c, c.input(index)), now], { axis: 1 }) : now;
  const [k, v] = [joined(3, fresh), joined(4, value)];
  if (c.has(11)) return c.unsupported('head_sink', 'attention without sinks');
  const masks = c.has(10) ? [c.input(10)] : [];
  const isSingle = constantOf(sizeAlong(q, 0)) === 1;
  if (!isSingle && c.has(5)) {
    const lengths = reshape(c.b, add(c.b, cast(c.b, c.input(5), 'i32'), full(c.b, 1, 'i32')), [
      sizeAlong(q, 0),
    ]);
    masks.push(shorterThan(c, lengths, sizeAlong(k, 1)));
  }
  const window = c.int('local_window_size', -1);
  const { output } = attend(c, {
    q,
    k,
    v,
    scale: scaleOf(c, q),
    causal: true,
    offset: past,
    masks,
    softcap: c.float('softcap', 0),
    ...(window > 0 && { window: { left: window - 1 } }),
  });
  return [joinHeads(c, output), exchangeHeads(c, k), exchangeHeads(c, v)];
}

/** Positions follow the past, or are given for each token. */
function rotated(c: NodeContext, query: Value, key: Value, past: Dim): [Value, Value] {
  const tokens = sizeAlong(query, 1);
  const own = add(c.b, c.b.one('iota', [], { length: tokens, dtype: 'i32' }), dimSize(c.b, past, 'i32'));
  const ids = c.has(9) ? cast(c.b, c.input(9), 'i32') : own;
  const [cos, sin] = [7, 8].map((index) => c.b.one('gather', [c.input(index), ids], { axis: 0 })) as [
    Value,
    Value,
  ];
  const interleaved = c.int('rotary_interleaved', 0) === 1;
  return [query, key].map((x) => rotate(c, x, cos, sin, interleaved)) as [Value, Value];
}

function multiHeadAttention(c: NodeContext): (Item | undefined)[] {
  const heads = c.int('num_heads');
  const [query, key, value] = attentionInputs(c, heads);
  const joined = (index: number, now: Value): Value =>
    c.has(index) ? c.b.one('concat', [exchangeHeads(c, c.input(index)), now], { axis: 1 }) : now;
  const [k, v] = [joined(6, key), joined(7, value)];
  const masks = c.has(5) ? [c.input(5)] : [];
  if (c.has(4)) masks.push(paddingMask(c, c.input(4), sizeAlong(k, 1)));
  const causal = c.int('unidirectional', 0) === 1;
  const offset = addDims(sizeAlong(k, 1), mulDims(sizeAlong(query, 1), -1));
  const { output } = attend(c, { q: query, k, v, scale: scaleOf(c, query), causal, offset, masks });
  return [joinHeads(c, output), exchangeHeads(c, k), exchangeHeads(c, v)];
}

/** Separate inputs, keys packed with values [B, L, N, 2, H], or all packed [B, S, N, 3, H]; then the bias of the projection. */
function attentionInputs(c: NodeContext, heads: number): [Value, Value, Value] {
  const bias = c.optional(3);
  const query = c.input(0);
  if (rankOf(query) === 5) return unpacked(c, query, 3) as [Value, Value, Value];
  const width = c.size(sizeAlong(query, -1), 'the width');
  const part = (x: Value, i: number): Value => {
    if (bias === undefined) return x;
    const total = c.size(sizeAlong(bias, 0), 'the bias');
    const [start, end] = i === 2 ? [2 * width, total] : [i * width, (i + 1) * width];
    return add(c.b, x, c.b.one('slice', [bias], { axis: 0, start: dim(start), end: dim(end) }));
  };
  const q = splitHeads(c, part(query, 0), heads);
  const key = c.input(1);
  if (rankOf(key) === 5) return [q, ...(unpacked(c, key, 2) as [Value, Value])];
  if (rankOf(key) === 4) return [q, exchangeHeads(c, key), exchangeHeads(c, c.input(2))];
  return [q, splitHeads(c, part(key, 1), heads), splitHeads(c, part(c.input(2), 2), heads)];
}

function unpacked(c: NodeContext, x: Value, count: number): Value[] {
  const { shape } = x.type;
  const sizes = new Array<Dim>(count).fill(dim(1));
  const parts = c.b.emit('split', [x], { sizes, axis: 3 });
  return parts.map((part) => reshape(c.b, part, [...shape.slice(0, 3), shape[4] as Dim]));
}

/** What is added to the scores where `mask` is padding: 0 of [B, S] keys or [B, T, S]; or behind [B] lengths. */
function paddingMask(c: NodeContext, mask: Value, length: Dim): Value {
  const isSeen = keysSeen(c, mask, length);
  const filter = full(c.b, c.float('mask_filter_value', -10000), 'f32');
  return c.b.one('where', [isSeen, like(c.b, filter, 0), filter]);
}

function keysSeen(c: NodeContext, mask: Value, length: Dim): Value {
  const [batch, ...rest] = mask.type.shape as [Dim, ...Dim[]];
  if (rest.length === 0) return shorterThan(c, mask, length);
  const flag = c.b.one('ne', [mask, like(c.b, mask, 0)]);
  return reshape(c.b, flag, rest.length === 1 ? [batch, 1, 1, ...rest] : [batch, 1, ...rest]);
}

/** One weight for queries, keys and values; past and present hold keys and values [2, B, N, S, H]. */
function packedAttention(c: NodeContext): (Item | undefined)[] {
  const heads = c.int('num_heads');
  const given = c.intList('qkv_hidden_sizes') ?? [];
  const [x, w] = [c.input(0), c.input(1)];
  const product = matmul(c, x, w);
  const all = c.has(2) ? add(c.b, product, c.input(2)) : product;
  const third = c.size(sizeAlong(all, -1), 'the width') / 3;
  const sizes = (given.length === 3 ? given : [third, third, third]).map((n) => dim(n));
  const [q, key, value] = c.b
    .emit('split', [all], { sizes, axis: 2 })
    .map((part) => splitHeads(c, part, heads)) as [Value, Value, Value];
  if (c.has(4)) return c.unsupported('past', 'MultiHeadAttention or GroupQueryAttention with past');
  const masks = c.has(3) ? [paddingMask(c, c.input(3), sizeAlong(key, 1))] : [];
  if (c.has(5)) masks.push(c.input(5));
  const causal = c.int('unidirectional', 0) === 1;
  const { output } = attend(c, { q, k: key, v: value, scale: scaleOf(c, q), causal, masks });
  if (c.wants(1)) return c.unsupported('present', 'MultiHeadAttention or GroupQueryAttention with present');
  return [joinHeads(c, output)];
}

/** Rows of a table in blocks, dequantized after they are gathered. */
function gatherBlocks(c: NodeContext): Value {
  const data = c.input(0);
  const [bits, block] = [c.int('bits', 4), c.int('block_size', 128)];
  if (c.int('gather_axis', 0) !== 0 || data.type.dtype !== 'u8') {
    return c.unsupported(
      `gather_axis ${c.int('gather_axis', 0)} of ${data.type.dtype}`,
      'rows (gather_axis 0) of uint8',
    );
  }
  const index = cast(c.b, c.input(1), 'i32');
  const rows = unpack(c, c.b.one('gather', [data, index], { axis: 0 }), bits);
  const scales = c.b.one('gather', [c.input(2), index], { axis: 0 });
  const outer = rows.type.shape.slice(0, -1);
  const count = sizeAlong(scales, -1);
  const q = cast(c.b, reshape(c.b, rows, [...outer, count, block]), scales.type.dtype);
  const points = c.has(3)
    ? cast(
        c.b,
        reshape(c.b, unpack(c, c.b.one('gather', [c.input(3), index], { axis: 0 }), bits), [
          ...outer,
          count,
          1,
        ]),
        scales.type.dtype,
      )
    : full(c.b, 2 ** (bits - 1), scales.type.dtype);
  const centred = sub(c.b, q, points);
  return reshape(c.b, mul(c.b, centred, reshape(c.b, scales, [...outer, count, 1])), rows.type.shape);
}

export const microsoftOperators: OperatorTable = {
  SkipLayerNormalization: { since: 1, limits: 'outputs 0 and 3', convert: skipNorm('layer_norm') },
  SkipSimplifiedLayerNormalization: { since: 1, limits: 'outputs 0 and 3', convert: skipNorm('rms_norm') },
  SimplifiedLayerNormalization: {
    since: 1,
    convert: (c) => {
      const x = c.input(0);
      const axis = c.axis(c.int('axis', -1), rankOf(x));
      return normFrom(c, 'rms_norm', x, axis, [c.input(1)], decimalEpsilon(c.float('epsilon', 1e-5)));
    },
  },
  Gelu: { since: 1, convert: (c) => biased(c, 'gelu') },
  BiasGelu: { since: 1, convert: (c) => biased(c, 'gelu') },
  FastGelu: { since: 1, convert: (c) => biased(c, 'gelu_tanh') },
  QuickGelu: { since: 1, convert: (c) => swish(c, c.input(0), decimal(c.float('alpha', 1.702))) },
  FusedMatMul: { since: 1, limits: 'without transBatchA and transBatchB', convert: fusedMatMul },
  MatMulNBits: { since: 1, limits: '2, 4 and 8 bits, without g_idx', convert: matMulNBits },
  GatherBlockQuantized: { since: 1, limits: 'rows of uint8', convert: gatherBlocks },
  GroupQueryAttention: {
    since: 1,
    limits: 'past and present in buffers of their own; without sinks',
    convert: groupQueryAttention,
  },
  MultiHeadAttention: { since: 1, convert: multiHeadAttention },
  Attention: { since: 1, limits: 'without past and present', convert: packedAttention },
  RotaryEmbedding: {
    since: 1,
    convert: (c) => rotaryEmbedding(c, { ids: c.input(1), cos: c.input(2), sin: c.input(3) }),
  },
  QuantizeLinear: { since: 1, limits: 'int8 and uint8', convert: quantizeLinear },
  DequantizeLinear: { since: 1, limits: 'int8, uint8 and int32', convert: dequantizeLinear },
};
