/**
 * Attention: for each head and query, scores against the visible keys in one scratch row, a stable softmax, and the
 * weighted sum of values. Memory is one row of scores, never queries x keys. Keys are taken four at a time, so that the
 * horizontal sums of four dot products become one vector.
 */
import { addDims, type Dim, mulDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { type Expr, f32, i32, type Local, type Size, v128 } from './asm.js';
import { OutputRow } from './attention-output.js';
import { AttentionRows, type Cursor } from './attention-rows.js';
import { Expressions } from './expression.js';
import type { KernelContext, KernelEmitter, ScratchSize } from './kernel.js';

/** Query vectors up to this head size are kept in registers (locals) while the keys pass. */
interface Head {
  /** Byte address of the query row. */
  readonly query: Local;
  readonly output: OutputRow;
  readonly keys: AttentionRows;
  readonly values: AttentionRows;
  /** Number of visible keys. */
  readonly visible: Local;
}

export const emitAttention: KernelEmitter = (context) => {
  const { asm, m, root } = context;
  const [q, k, v, offset] = root.operands as [Value, Value, Value, Value?];
  const { causal, window, scale } = root.attrs as { causal: boolean; window: number; scale: number };
  const [T, heads, hd] = context.sizes(q.type.shape.slice(-3)) as [Size, Size, Size];
  const [S, kv] = context.sizes(k.type.shape.slice(-3)) as [Size, Size];
  const hv = context.size(v.type.shape.at(-1) as Dim);
  const group = asm.div(heads, kv);
  const floats = (elements: Size): Size => asm.mul(elements, 4);
  const head: Head = {
    query: asm.local(i32),
    output: new OutputRow(context),
    keys: new AttentionRows(context, k),
    values: new AttentionRows(context, v),
    visible: asm.local(i32),
  };
  const rows = [head.keys, head.values];
  const first = window > 0 ? rows.map((of) => of.remember()) : [];
  const past = asm.local(i32);
  const readPast = offset === undefined ? asm.const(0) : new Expressions(context).scalar(offset, []);
  const setPast = past.set(offset?.type.dtype === 'i64' ? m.i32.wrap(readPast) : readPast);
  const at = (pointer: Local, elements: Size): Expr => asm.expr(asm.add(pointer.get, floats(elements)));
  const batches = context.sizes(q.type.shape.slice(0, -3)).reduce<Size>((n, size) => asm.mul(n, size), 1);

  const perQuery = (batch: Local, h: Local, t: Local): readonly Expr[] => {
    const row = asm.add(asm.mul(asm.add(asm.mul(batch.get, T), t.get), heads), h.get);
    const seen = causal ? asm.add(asm.add(past.get, t.get), 1) : S;
    return [
      head.query.set(at(context.pointer(q), asm.mul(row, hd))),
      ...head.output.begin(batch, t, h),
      head.visible.set(asm.expr(seen)),
      m.if(m.i32.gt_s(head.visible.get(), asm.expr(S)), head.visible.set(asm.expr(S))),
      ...first.flatMap(({ restore }) => restore()),
      ...(window > 0 ? dropOldKeys(context, head, asm.sub(seen, window)) : []),
      ...attendRow(context, head, hd, hv, scale),
    ];
  };
  return [
    setPast,
    asm.loop(0, batches, (batch) => [
      asm.loop(0, heads, (h) => {
        const kvHead = asm.div(h.get, group);
        const start = asm.add(asm.mul(asm.mul(batch.get, S), kv), kvHead);
        return [
          ...rows.flatMap((of) => of.begin(start)),
          ...first.flatMap(({ save }) => save),
          asm.loop(0, T, (t) => perQuery(batch, h, t)),
        ];
      }),
    ]),
  ];
};

/** Makes the keys begin at `oldest`, or at key 0 where that is negative. */
function dropOldKeys({ asm, m }: KernelContext, head: Head, oldest: Size): readonly Expr[] {
  const dropped = asm.local(i32);
  return [
    dropped.set(asm.expr(oldest)),
    m.if(m.i32.lt_s(dropped.get(), asm.const(0)), dropped.set(asm.const(0))),
    m.if(m.i32.gt_s(dropped.get(), head.visible.get()), dropped.set(head.visible.get())),
    ...head.keys.skip(dropped),
    ...head.values.skip(dropped),
    head.visible.set(m.i32.sub(head.visible.get(), dropped.get())),
  ];
}

/** One float per key, rounded up to a vector. */
export const attentionScratch: ScratchSize = (_func, root) => {
  const keys = (root.operands[1] as Value).type.shape.at(-3) as Dim;
  return mulDims(addDims(keys, 4), 4);
};

function attendRow(context: KernelContext, head: Head, hd: Size, hv: Size, scale: number): readonly Expr[] {
  const { asm, m } = context;
  const [greatest, total] = [asm.local(f32), asm.local(f32)];
  return [
    greatest.set(m.f32.const(Number.NEGATIVE_INFINITY)),
    ...scoreKeys(context, head, hd, scale, greatest),
    ...exponentials(context, head, greatest, total),
    ...weightedSum(context, head, hv, total),
  ];
}

function scoreAddress(context: KernelContext, key: Size): Expr {
  const { asm } = context;
  return asm.expr(asm.add(context.scratch.get, asm.mul(key, 4)));
}

/** scores[j] = scale * q · k_j, and their maximum. */
function scoreKeys(
  context: KernelContext,
  head: Head,
  hd: Size,
  scale: number,
  greatest: Local,
): readonly Expr[] {
  const { asm, m } = context;
  const { keys } = head;
  const whole = asm.local(i32);
  const scores = asm.local(v128);
  const lanesMax = asm.local(v128);
  const score = asm.local(f32);
  const canBlock = typeof hd === 'number' && hd % 4 === 0;
  const cursors = [0, 1, 2, 3].map(() => keys.cursor());
  const block = (key: Local): readonly Expr[] => [
    ...cursors.flatMap((cursor, r) => keys.open(cursor, asm.add(key.get, r))),
    ...dotFour(context, head, cursors, hd as number, scores),
    scores.set(m.f32x4.mul(scores.get(), asm.splat(scale))),
    ...cursors.flatMap((_, r) => {
      const own = keys.scale(asm.add(key.get, r));
      if (own === undefined) return [];
      const scaled = m.f32.mul(m.f32x4.extract_lane(scores.get(), r), own);
      return [scores.set(m.f32x4.replace_lane(scores.get(), r, scaled))];
    }),
    context.memory.storeVector(scoreAddress(context, key.get), scores.get()),
    lanesMax.set(m.f32x4.max(lanesMax.get(), scores.get())),
  ];
  const single = (key: Local): readonly Expr[] => {
    const own = keys.scale(key.get);
    const scaled = m.f32.mul(score.get(), m.f32.const(scale));
    return [
      ...dotOne(context, head, key, hd, score),
      score.set(own === undefined ? scaled : m.f32.mul(scaled, own)),
      m.f32.store(0, 4, scoreAddress(context, key.get), score.get()),
      greatest.set(m.f32.max(greatest.get(), score.get())),
    ];
  };
  if (!canBlock) return [asm.loop(0, head.visible.get, single)];
  return [
    whole.set(m.i32.and(head.visible.get(), asm.const(-4))),
    lanesMax.set(asm.splat(Number.NEGATIVE_INFINITY)),
    asm.loop(0, whole.get, block, 4),
    greatest.set(asm.horizontal('max', lanesMax)),
    asm.loop(whole.get, head.visible.get, single),
  ];
}

/** The query with four keys, as the lanes of `out`. */
function dotFour(
  context: KernelContext,
  { query, keys }: Head,
  cursors: readonly Cursor[],
  length: number,
  out: Local,
): readonly Expr[] {
  const { asm, m } = context;
  const sums = cursors.map(() => asm.local(v128));
  const chunk = keys.chunkOf(length);
  const xs = Array.from({ length: chunk / 4 }, () => asm.local(v128));
  const statements: Expr[] = sums.map((sum) => sum.set(asm.splat(0)));
  for (let i = 0; i < length; i += chunk) {
    statements.push(...xs.map((x, part) => x.set(m.v128.load((i + part * 4) * 4, 4, query.get()))));
    cursors.forEach((cursor, r) => {
      const sum = sums[r] as Local;
      const { before, vectors } = keys.load(cursor, i, chunk);
      const add = (vector: Expr, part: number): Expr =>
        sum.set(asm.multiplyAdd((xs[part] as Local).get(), vector, sum.get()));
      statements.push(...before, ...vectors.map(add));
    });
  }
  statements.push(out.set(transposedSum(context, sums as unknown as readonly [Local, Local, Local, Local])));
  return statements;
}

/** Lane r of the result is the sum of the lanes of vector r. */
function transposedSum({ m }: KernelContext, [a, b, c, d]: readonly [Local, Local, Local, Local]): Expr {
  const pick = (lanes: readonly number[]): number[] =>
    lanes.flatMap((lane) => [0, 1, 2, 3].map((byte) => lane * 4 + byte));
  const shuffle = (x: Expr, y: Expr, lanes: readonly number[]): Expr => m.i8x16.shuffle(x, y, pick(lanes));
  const halves = (x: Local, y: Local): Expr =>
    m.f32x4.add(shuffle(x.get(), y.get(), [0, 4, 1, 5]), shuffle(x.get(), y.get(), [2, 6, 3, 7]));
  return m.block(
    null,
    [
      a.set(halves(a, b)),
      c.set(halves(c, d)),
      m.f32x4.add(shuffle(a.get(), c.get(), [0, 1, 4, 5]), shuffle(a.get(), c.get(), [2, 3, 6, 7])),
    ],
    v128,
  );
}

function dotOne(
  context: KernelContext,
  { query, keys }: Head,
  key: Local,
  length: Size,
  out: Local,
): readonly Expr[] {
  const { asm, m } = context;
  const lanes = asm.local(v128);
  const cursor = keys.cursor();
  const whole = asm.floorTo(length, 4);
  const at = (i: Local): Expr => asm.expr(asm.add(query.get, asm.mul(i.get, 4)));
  return [
    ...keys.open(cursor, key.get),
    lanes.set(asm.splat(0)),
    asm.loop(
      0,
      whole,
      (i) => [lanes.set(asm.multiplyAdd(m.v128.load(0, 4, at(i)), keys.loadAt(cursor, i), lanes.get()))],
      4,
    ),
    out.set(asm.horizontal('add', lanes)),
    asm.loop(whole, length, (i) => [
      out.set(m.f32.add(out.get(), m.f32.mul(m.f32.load(0, 4, at(i)), keys.element(cursor, i)))),
    ]),
  ];
}

/** Replaces the scores by e^(score - max) and sums them; the row is padded with -infinity to whole vectors. */
function exponentials(context: KernelContext, head: Head, greatest: Local, total: Local): readonly Expr[] {
  const { asm, m, math } = context;
  const [lanes, weights] = [asm.local(v128), asm.local(v128)];
  const end = scoreAddress(context, head.visible.get);
  return [
    context.memory.storeVector(end, asm.splat(Number.NEGATIVE_INFINITY)),
    lanes.set(asm.splat(0)),
    asm.loop(
      0,
      head.visible.get,
      (key) => [
        weights.set(
          math.vector(
            'exp',
            m.f32x4.sub(m.v128.load(0, 4, scoreAddress(context, key.get)), m.f32x4.splat(greatest.get())),
          ),
        ),
        context.memory.storeVector(scoreAddress(context, key.get), weights.get()),
        lanes.set(m.f32x4.add(lanes.get(), weights.get())),
      ],
      4,
    ),
    total.set(asm.horizontal('add', lanes)),
    // Without any key the sum is 0, and so is the result.
    m.if(m.f32.ne(total.get(), m.f32.const(0)), total.set(m.f32.div(m.f32.const(1), total.get()))),
  ];
}

/** How many output vectors are accumulated in one pass over the values. */
const outputVectors = 16;

/** weight_j, times the scale of value j where it has one. */
function weightOf(context: KernelContext, { values }: Head, key: Local): Expr {
  const { m } = context;
  const weight = m.f32.load(0, 4, scoreAddress(context, key.get));
  const scale = values.scale(key.get);
  return scale === undefined ? weight : m.f32.mul(weight, scale);
}

/** output = sum_j weight_j v_j * factor, in column blocks that stay in registers. */
function weightedSum(context: KernelContext, head: Head, hv: Size, factor: Local): readonly Expr[] {
  const { asm, m } = context;
  const { values } = head;
  const weight = asm.local(v128);
  const cursor = values.cursor();
  const statements: Expr[] = [];
  const width = typeof hv === 'number' ? hv : 0;
  for (let start = 0; start + 4 <= width; start += outputVectors * 4) {
    const count = Math.min(outputVectors, Math.floor((width - start) / 4));
    const chunk = values.chunkOf(count * 4);
    const sums = Array.from({ length: count }, () => asm.local(v128));
    const chunks = Array.from({ length: (count * 4) / chunk }, (_, i) => i * chunk);
    const addChunk = (from: number): Expr[] => {
      const { before, vectors } = values.load(cursor, start + from, chunk);
      const add = (vector: Expr, part: number): Expr => {
        const sum = sums[from / 4 + part] as Local;
        return sum.set(asm.multiplyAdd(weight.get(), vector, sum.get()));
      };
      return [...before, ...vectors.map(add)];
    };
    statements.push(
      ...sums.map((sum) => sum.set(asm.splat(0))),
      asm.loop(0, head.visible.get, (key) => [
        ...values.open(cursor, key.get),
        weight.set(m.f32x4.splat(weightOf(context, head, key))),
        ...chunks.flatMap(addChunk),
      ]),
      ...sums.map((sum, i) =>
        head.output.store(start + i * 4, true, m.f32x4.mul(sum.get(), m.f32x4.splat(factor.get()))),
      ),
    );
  }
  const done = Math.floor(width / 4) * 4;
  if (done !== hv) statements.push(...scalarColumns(context, head, done, hv, factor));
  return statements;
}

function scalarColumns(
  context: KernelContext,
  head: Head,
  from: number,
  to: Size,
  factor: Local,
): readonly Expr[] {
  const { asm, m } = context;
  const sum = asm.local(f32);
  const cursor = head.values.cursor();
  return [
    asm.loop(from, to, (column) => [
      sum.set(m.f32.const(0)),
      asm.loop(0, head.visible.get, (key) => [
        ...head.values.open(cursor, key.get),
        sum.set(
          m.f32.add(sum.get(), m.f32.mul(weightOf(context, head, key), head.values.element(cursor, column))),
        ),
      ]),
      head.output.store(column.get, false, m.f32.mul(sum.get(), factor.get())),
    ]),
  ];
}
