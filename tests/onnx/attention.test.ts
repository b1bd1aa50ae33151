/**
 * Attention and rotary positions of ONNX and of ONNX Runtime, against loops written from their published formulas:
 * softmax(scale q k + bias) v per head, where a cache is put before the new keys.
 */
import { describe, expect, test } from 'vitest';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { elementCount } from '../../ir/type.js';
import { type NodeCase, randomTensors, runNode } from './run-node.js';

type Read = (...index: number[]) => number;

function reader({ shape, data }: Tensor): Read {
  return (...index) => data[index.reduce((at, i, axis) => at * (shape[axis] as number) + i, 0)] as number;
}

/** A tensor from a function of its index. */
function filled(shape: readonly number[], value: Read): Tensor {
  const at = (linear: number): number[] =>
    shape.map((size, axis) => Math.floor(linear / elementCount(shape.slice(axis + 1))) % size);
  return tensor(
    'f32',
    shape,
    Array.from({ length: elementCount(shape) }, (_, i) => value(...at(i))),
  );
}

interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly kv: number;
  readonly tokens: number;
  readonly past: number;
  readonly size: number;
  readonly valueSize: number;
}

interface Parts {
  /** By batch, head, token, channel; keys and values with those of the past. */
  readonly q: Read;
  readonly k: Read;
  readonly v: Read;
  readonly scale: number;
  readonly softcap?: number;
  /** By batch, head, query, key; minus infinity hides a key. */
  readonly bias: Read;
}

/** [B, T, heads * valueSize]. */
function attended(sizes: Sizes, { q, k, v, scale, softcap, bias }: Parts): Tensor {
  const { batch, heads, kv, tokens, past, size, valueSize } = sizes;
  const total = past + tokens;
  const weightsOf = (b: number, h: number, t: number): number[] => {
    const scores = Array.from({ length: total }, (_, s) => {
      let sum = 0;
      for (let c = 0; c < size; c++) sum += q(b, h, t, c) * k(b, Math.floor((h * kv) / heads), s, c);
      const scaled = sum * scale;
      return (softcap === undefined ? scaled : softcap * Math.tanh(scaled / softcap)) + bias(b, h, t, s);
    });
    const highest = Math.max(...scores);
    if (highest === Number.NEGATIVE_INFINITY) return scores.map(() => 0);
    const exps = scores.map((score) => Math.exp(score - highest));
    const sum = exps.reduce((a, e) => a + e, 0);
    return exps.map((e) => e / sum);
  };
  return filled([batch, tokens, heads * valueSize], (b = 0, t = 0, column = 0) => {
    const h = Math.floor(column / valueSize);
    return weightsOf(b, h, t).reduce(
      (sum, weight, s) => sum + weight * v(b, Math.floor((h * kv) / heads), s, column % valueSize),
      0,
    );
  });
}

/** Keys or values of the past [B, kv, P, C], then new ones [B, T, kv * C]. */
function afterPast({ past }: Sizes, cache: Tensor | undefined, fresh: Read): Read {
  const old = cache && reader(cache);
  return (b = 0, h = 0, s = 0, c = 0) => (s < past ? (old as Read)(b, h, s, c) : fresh(b, h, s - past, c));
}

/** Channels of a head in [B, T, heads * size]. */
function headsOf(x: Tensor, size: number, first = 0): Read {
  const read = reader(x);
  return (b = 0, h = 0, t = 0, c = 0) => read(b, t, (first + h) * size + c);
}

/** [B, T, heads * C] as [B, heads, T, C]. */
function headsFirst({ shape, data }: Tensor, heads: number): Tensor {
  const [batch = 1, tokens = 1, width = 1] = shape;
  const read = reader({ dtype: 'f32', shape, data });
  const size = width / heads;
  return filled([batch, heads, tokens, size], (b = 0, h = 0, t = 0, c = 0) => read(b, t, h * size + c));
}

function expectClose(found: Tensor | undefined, wanted: Tensor, tolerance = 1e-5): void {
  expect(found?.shape).toEqual(wanted.shape);
  const worst = wanted.data.reduce(
    (max, value, i) => Math.max(max, Math.abs(value - (found?.data[i] ?? Number.NaN))),
    0,
  );
  expect(worst).toBeLessThan(tolerance);
}

const hidden = Number.NEGATIVE_INFINITY;
const causal =
  (offset: number): Read =>
  (_b, _h, t = 0, s = 0) =>
    s <= t + offset ? 0 : hidden;

const plain: Sizes = { batch: 2, heads: 6, kv: 2, tokens: 3, past: 4, size: 8, valueSize: 5 };

function inputsOf(sizes: Sizes, seed: number) {
  const { batch, heads, kv, tokens, past, size, valueSize } = sizes;
  const random = randomTensors(seed);
  const cached = (width: number): Tensor | undefined =>
    past > 0 ? random(batch, kv, past, width) : undefined;
  return {
    random,
    q: random(batch, tokens, heads * size),
    k: random(batch, tokens, kv * size),
    v: random(batch, tokens, kv * valueSize),
    pastKey: cached(size),
    pastValue: cached(valueSize),
  };
}

describe('Attention of opset 23 and 24', () => {
  const headCounts = { q_num_heads: plain.heads, kv_num_heads: plain.kv };

  test.each([true, false])(
    'heads within the width, with a past, causal, soft-capped: heads first %s',
    (isFirst) => {
      const { random, q, k, v, pastKey, pastValue } = inputsOf(plain, 1);
      const mask = random(plain.tokens, plain.past + plain.tokens);
      const given = isFirst
        ? [headsFirst(q, plain.heads), headsFirst(k, plain.kv), headsFirst(v, plain.kv)]
        : [q, k, v];
      const [y, presentKey, presentValue] = runNode({
        op: 'Attention',
        inputs: [...given, mask, pastKey, pastValue],
        outputs: 3,
        attributes: {
          ...(isFirst ? {} : headCounts),
          is_causal: 1,
          softcap: { float: 1.5 },
          scale: { float: 0.25 },
        },
        opset: 23,
      });
      const keys = afterPast(plain, pastKey, headsOf(k, plain.size));
      const values = afterPast(plain, pastValue, headsOf(v, plain.valueSize));
      const after = causal(plain.past);
      const wanted = attended(plain, {
        q: headsOf(q, plain.size),
        k: keys,
        v: values,
        scale: 0.25,
        softcap: 1.5,
        bias: (b, h, t = 0, s = 0) => after(b as number, h as number, t, s) + reader(mask)(t, s),
      });
      expectClose(y, isFirst ? headsFirst(wanted, plain.heads) : wanted);
      const total = plain.past + plain.tokens;
      expectClose(presentKey, filled([plain.batch, plain.kv, total, plain.size], keys));
      expectClose(presentValue, filled([plain.batch, plain.kv, total, plain.valueSize], values));
    },
  );

  test('a boolean mask that ends early, and a query that sees nothing', () => {
    const sizes = { ...plain, past: 0 };
    const { q, k, v } = inputsOf(sizes, 2);
    const mask = tensor('bool', [3, 2], [1, 0, 0, 0, 1, 1]);
    const [y] = runNode({ op: 'Attention', inputs: [q, k, v, mask], outputs: 1, attributes: headCounts });
    const wanted = attended(sizes, {
      q: headsOf(q, sizes.size),
      k: headsOf(k, sizes.size),
      v: headsOf(v, sizes.valueSize),
      scale: 1 / Math.sqrt(sizes.size),
      bias: (_b, _h, t = 0, s = 0) => (s < 2 && reader(mask)(t, s) === 1 ? 0 : hidden),
    });
    expect(wanted.data.subarray(30, 60).every((value) => value === 0)).toBe(true);
    expectClose(y, wanted);
  });

  test('a cache of fixed size: causal masks end at the valid keys of each sequence', () => {
    const sizes = { ...plain, tokens: 2, past: 5 };
    const random = randomTensors(3);
    const total = sizes.past + sizes.tokens;
    const q = random(2, sizes.heads, sizes.tokens, sizes.size);
    const [k, v] = [random(2, sizes.kv, total, sizes.size), random(2, sizes.kv, total, sizes.valueSize)];
    const valid = [6, 3];
    const [y] = runNode({
      op: 'Attention',
      inputs: [q, k, v, undefined, undefined, undefined, tensor('i64', [2], valid)],
      outputs: 1,
      attributes: { is_causal: 1 },
    });
    const wanted = attended(sizes, {
      q: reader(q),
      k: reader(k),
      v: reader(v),
      scale: 1 / Math.sqrt(sizes.size),
      bias: (b = 0, _h, t = 0, s = 0) => (s <= t + (valid[b] as number) - sizes.tokens ? 0 : hidden),
    });
    expectClose(y, headsFirst(wanted, sizes.heads));
  });
});

/** Turned by the angles of each position: the two halves of a head, or neighbours. */
function turned(x: Read, size: number, angle: (t: number, i: number) => number, interleaved: boolean): Read {
  return (b = 0, h = 0, t = 0, c = 0) => {
    const half = size / 2;
    const [i, isSecond] = interleaved ? [c >> 1, c % 2 === 1] : [c % half, c >= half];
    const [first, second] = interleaved ? [2 * i, 2 * i + 1] : [i, i + half];
    const [a, d] = [x(b, h, t, first), x(b, h, t, second)];
    const [cos, sin] = [Math.cos(angle(t, i)), Math.sin(angle(t, i))];
    return isSecond ? d * cos + a * sin : a * cos - d * sin;
  };
}

const angleOf = (position: number, i: number): number => position * 0.3 ** i;

function angleTables(count: number, half: number): [Tensor, Tensor] {
  return [Math.cos, Math.sin].map((f) => filled([count, half], (p = 0, i = 0) => f(angleOf(p, i)))) as [
    Tensor,
    Tensor,
  ];
}

describe('GroupQueryAttention', () => {
  interface Form {
    readonly sizes: Sizes;
    readonly packed: boolean;
    readonly rotary: 'none' | 'halves' | 'interleaved';
    readonly window?: number;
    readonly softcap?: number;
    /** Keys of each sequence, with those of the call; default all. */
    readonly lengths?: readonly number[];
  }
  const square = { ...plain, valueSize: plain.size };
  const forms: readonly (readonly [string, Form])[] = [
    ['a prompt', { sizes: { ...square, past: 0 }, packed: false, rotary: 'halves' }],
    ['a prompt, packed', { sizes: { ...square, past: 0 }, packed: true, rotary: 'interleaved' }],
    ['one token behind a past', { sizes: { ...square, tokens: 1 }, packed: false, rotary: 'halves' }],
    [
      'one token, packed, one sequence',
      { sizes: { ...square, batch: 1, tokens: 1 }, packed: true, rotary: 'halves' },
    ],
    ['some tokens, a window', { sizes: { ...square, batch: 1 }, packed: false, rotary: 'none', window: 3 }],
    ['a soft cap', { sizes: square, packed: true, rotary: 'halves', softcap: 0.7 }],
    [
      'prompts of different lengths',
      { sizes: { ...square, past: 0, tokens: 4 }, packed: false, rotary: 'halves', lengths: [4, 2] },
    ],
  ];

  test.each(forms)('%s', (_, { sizes, packed, rotary, window, softcap, lengths }) => {
    const { batch, heads, kv, tokens, past, size } = sizes;
    const random = randomTensors(heads + tokens);
    const total = past + tokens;
    const all = random(batch, tokens, (heads + 2 * kv) * size);
    const part = (first: number, count: number): Tensor =>
      filled([batch, tokens, count * size], (b = 0, t = 0, c = 0) => reader(all)(b, t, first * size + c));
    const [q, k, v] = [part(0, heads), part(heads, kv), part(heads + kv, kv)];
    const cache = (): Tensor => random(batch, kv, past, size);
    const [pastKey, pastValue] = past > 0 ? [cache(), cache()] : [];
    const [cos, sin] = rotary === 'none' ? [] : angleTables(16, size / 2);
    const [y, presentKey, presentValue] = runNode({
      op: 'GroupQueryAttention',
      domain: 'com.microsoft',
      inputs: [
        ...(packed ? [all, undefined, undefined] : [q, k, v]),
        pastKey,
        pastValue,
        tensor(
          'i32',
          [batch],
          (lengths ?? new Array<number>(batch).fill(total)).map((n) => n - 1),
        ),
        tensor('i32', [], [total]),
        cos,
        sin,
      ],
      outputs: 3,
      attributes: {
        num_heads: heads,
        kv_num_heads: kv,
        do_rotary: rotary === 'none' ? 0 : 1,
        rotary_interleaved: rotary === 'interleaved' ? 1 : 0,
        ...(window !== undefined && { local_window_size: window }),
        ...(softcap !== undefined && { softcap: { float: softcap } }),
      },
    });
    const turn = (x: Read): Read =>
      rotary === 'none' ? x : turned(x, size, (t, i) => angleOf(past + t, i), rotary === 'interleaved');
    const keys = afterPast(sizes, pastKey, turn(headsOf(k, size)));
    const values = afterPast(sizes, pastValue, headsOf(v, size));
    const wanted = attended(sizes, {
      q: turn(headsOf(q, size)),
      k: keys,
      v: values,
      scale: 1 / Math.sqrt(size),
      ...(softcap !== undefined && { softcap }),
      bias: (_b, _h, t = 0, s = 0) =>
        s <= past + t && (window === undefined || s > past + t - window) ? 0 : hidden,
    });
    // What a sequence computes behind its own end is nobody's.
    const valid = (b: number, t: number): boolean => past + t < (lengths?.[b] ?? total);
    const masked = (x: Tensor | undefined): Tensor =>
      filled([batch, tokens, heads * size], (b = 0, t = 0, c = 0) =>
        valid(b, t) ? reader(x as Tensor)(b, t, c) : 0,
      );
    expectClose(masked(y), masked(wanted));
    expectClose(presentKey, filled([batch, kv, total, size], keys));
    expectClose(presentValue, filled([batch, kv, total, size], values));
  });
});

describe('MultiHeadAttention', () => {
  const sizes: Sizes = { batch: 2, heads: 3, kv: 3, tokens: 4, past: 0, size: 6, valueSize: 5 };
  const attention = (rest: Omit<NodeCase, 'op' | 'domain'>): (Tensor | undefined)[] =>
    runNode({ op: 'MultiHeadAttention', domain: 'com.microsoft', ...rest });

  test('biases of the projections, padding, an added bias', () => {
    const { random, q, k, v } = inputsOf(sizes, 5);
    const { heads, size, valueSize, tokens } = sizes;
    const bias = random(heads * (2 * size + valueSize));
    const padding = tensor('i32', [2, tokens], [1, 1, 1, 0, 1, 1, 0, 0]);
    const added = random(1, heads, tokens, tokens);
    const [y] = attention({
      inputs: [q, k, v, bias, padding, added],
      outputs: 1,
      attributes: { num_heads: heads },
    });
    const shifted = (x: Tensor, width: number, first: number): Read => {
      const read = headsOf(x, width);
      return (b = 0, h = 0, t = 0, c = 0) => read(b, h, t, c) + reader(bias)(first + h * width + c);
    };
    const wanted = attended(sizes, {
      q: shifted(q, size, 0),
      k: shifted(k, size, heads * size),
      v: shifted(v, valueSize, 2 * heads * size),
      scale: 1 / Math.sqrt(size),
      bias: (b = 0, h = 0, t = 0, s = 0) =>
        reader(added)(0, h, t, s) + (reader(padding)(b, s) === 0 ? -10000 : 0),
    });
    expectClose(y, wanted);
  });

  test('a sequence that is all padding is attended evenly', () => {
    const { q, k, v } = inputsOf(sizes, 6);
    const padding = tensor('i32', [2, sizes.tokens], [1, 1, 1, 1, 0, 0, 0, 0]);
    const [y] = attention({
      inputs: [q, k, v, undefined, padding],
      outputs: 1,
      attributes: { num_heads: sizes.heads },
    });
    const wanted = attended(sizes, {
      q: headsOf(q, sizes.size),
      k: headsOf(k, sizes.size),
      v: headsOf(v, sizes.valueSize),
      scale: 1 / Math.sqrt(sizes.size),
      bias: () => 0,
    });
    expectClose(y, wanted);
  });

  test('a past, one direction', () => {
    const own = { ...sizes, past: 3, valueSize: sizes.size };
    const { q, k, v, pastKey, pastValue } = inputsOf(own, 7);
    const [y, presentKey] = attention({
      inputs: [q, k, v, undefined, undefined, undefined, pastKey, pastValue],
      outputs: 3,
      attributes: { num_heads: own.heads, unidirectional: 1, scale: { float: 0.5 } },
    });
    const keys = afterPast(own, pastKey, headsOf(k, own.size));
    const wanted = attended(own, {
      q: headsOf(q, own.size),
      k: keys,
      v: afterPast(own, pastValue, headsOf(v, own.size)),
      scale: 0.5,
      bias: causal(own.past),
    });
    expectClose(y, wanted);
    expectClose(presentKey, filled([own.batch, own.kv, own.past + own.tokens, own.size], keys));
  });

  test('queries, keys and values in one input', () => {
    const own = { ...sizes, valueSize: sizes.size };
    const { batch, tokens, heads, size } = own;
    const all = randomTensors(8)(batch, tokens, heads, 3, size);
    const [y] = attention({ inputs: [all], outputs: 1, attributes: { num_heads: heads } });
    const member =
      (i: number): Read =>
      (b = 0, h = 0, t = 0, c = 0) =>
        reader(all)(b, t, h, i, c);
    const bias: Read = () => 0;
    expectClose(
      y,
      attended(own, { q: member(0), k: member(1), v: member(2), scale: 1 / Math.sqrt(size), bias }),
    );
  });
});

describe('RotaryEmbedding', () => {
  const [batch, heads, tokens, size] = [2, 3, 4, 8];
  const tables = angleTables(20, size / 2);

  test.each([
    [0, 'positions of each token', tensor('i64', [batch, tokens], [0, 1, 2, 3, 7, 3, 0, 11])],
    [1, 'positions of each token', tensor('i64', [batch, tokens], [0, 1, 2, 3, 7, 3, 0, 11])],
    [0, 'an offset', tensor('i64', [1], [5])],
  ] as const)('of ONNX Runtime, interleaved %i, %s', (interleaved, _, ids) => {
    const x = randomTensors(9)(batch, heads, tokens, size);
    const [y] = runNode({
      op: 'RotaryEmbedding',
      domain: 'com.microsoft',
      inputs: [x, ids, ...tables],
      outputs: 1,
      attributes: { interleaved },
    });
    const positionOf = (b: number, t: number): number => (ids.shape.length === 1 ? 5 + t : reader(ids)(b, t));
    const wanted = filled([batch, heads, tokens, size], (b = 0, h = 0, t = 0, c = 0) =>
      turned(reader(x), size, (_t, i) => angleOf(positionOf(b, t), i), interleaved === 1)(b, h, t, c),
    );
    expectClose(y, wanted);
  });

  test('of opset 23, in a part of the channels', () => {
    const x = randomTensors(10)(batch, tokens, heads * size);
    const part = size / 2;
    const [cos, sin] = angleTables(20, part / 2);
    const ids = tensor('i64', [batch, tokens], [4, 5, 6, 7, 1, 2, 3, 4]);
    const [y] = runNode({
      op: 'RotaryEmbedding',
      inputs: [x, cos, sin, ids],
      outputs: 1,
      attributes: { num_heads: heads, rotary_embedding_dim: part },
    });
    const own = headsOf(x, size);
    const wanted = filled(x.shape, (b = 0, t = 0, column = 0) => {
      const [h, c] = [Math.floor(column / size), column % size];
      if (c >= part) return own(b, h, t, c);
      return turned(own, part, (_t, i) => angleOf(reader(ids)(b, t), i), false)(b, h, t, c);
    });
    expectClose(y, wanted);
  });
});
