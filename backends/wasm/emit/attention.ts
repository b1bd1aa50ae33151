/**
 * Attention: for each head and query, scores against the visible keys in one scratch row, a stable softmax, and the
 * weighted sum of values. Memory is one row of scores, never queries x keys. Keys are taken four at a time, so that the
 * horizontal sums of four dot products become one vector.
 */
import { addDims, type Dim, mulDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { type Expr, f32, i32, type Local, type Make, type Size, v128 } from './asm.js';
import { Expressions } from './expression.js';
import type { KernelContext, KernelEmitter, ScratchSize } from './kernel.js';

/** Query vectors up to this head size are kept in registers (locals) while the keys pass. */
interface Head {
  /** Byte address of the query row and of the output row. */
  readonly query: Local;
  readonly output: Local;
  /** Byte addresses of key 0 and value 0 of the head, and the step from one key to the next. */
  readonly keys: Local;
  readonly values: Local;
  readonly keyStep: Size;
  readonly valueStep: Size;
  /** Number of visible keys. */
  readonly visible: Local;
}

export const emitAttention: KernelEmitter = (context) => {
  const { asm, m, root } = context;
  const [q, k, v, offset] = root.operands as [Value, Value, Value, Value?];
  const result = root.results[0] as Value;
  const { causal, window, scale } = root.attrs as { causal: boolean; window: number; scale: number };
  const [T, heads, hd] = context.sizes(q.type.shape.slice(-3)) as [Size, Size, Size];
  const [S, kv] = context.sizes(k.type.shape.slice(-3)) as [Size, Size];
  const hv = context.size(v.type.shape.at(-1) as Dim);
  const group = asm.div(heads, kv);
  const floats = (elements: Size): Size => asm.mul(elements, 4);
  const locals = {
    query: asm.local(i32),
    output: asm.local(i32),
    keys: asm.local(i32),
    values: asm.local(i32),
    visible: asm.local(i32),
  };
  const head: Head = { ...locals, keyStep: floats(asm.mul(kv, hd)), valueStep: floats(asm.mul(kv, hv)) };
  const first = { keys: asm.local(i32), values: asm.local(i32) };
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
      head.output.set(at(context.pointer(result), asm.mul(row, hv))),
      head.visible.set(asm.expr(seen)),
      m.if(m.i32.gt_s(head.visible.get(), asm.expr(S)), head.visible.set(asm.expr(S))),
      ...(window > 0 ? dropOldKeys(context, head, first, asm.sub(seen, window)) : []),
      ...attendRow(context, head, hd, hv, scale),
    ];
  };
  return [
    setPast,
    asm.loop(0, batches, (batch) => [
      asm.loop(0, heads, (h) => {
        const kvHead = asm.div(h.get, group);
        const start = asm.mul(asm.mul(batch.get, S), kv);
        const { keys, values } = window > 0 ? first : head;
        return [
          keys.set(at(context.pointer(k), asm.mul(asm.add(start, kvHead), hd))),
          values.set(at(context.pointer(v), asm.mul(asm.add(start, kvHead), hv))),
          asm.loop(0, T, (t) => perQuery(batch, h, t)),
        ];
      }),
    ]),
  ];
};

/** Makes the keys begin at `oldest`, or at key 0 where that is negative; `first` are the addresses of key and value 0. */
function dropOldKeys(
  { asm, m }: KernelContext,
  head: Head,
  first: { readonly keys: Local; readonly values: Local },
  oldest: Size,
): readonly Expr[] {
  const dropped = asm.local(i32);
  return [
    dropped.set(asm.expr(oldest)),
    m.if(m.i32.lt_s(dropped.get(), asm.const(0)), dropped.set(asm.const(0))),
    m.if(m.i32.gt_s(dropped.get(), head.visible.get()), dropped.set(head.visible.get())),
    head.keys.set(asm.expr(asm.add(first.keys.get, asm.mul(dropped.get, head.keyStep)))),
    head.values.set(asm.expr(asm.add(first.values.get, asm.mul(dropped.get, head.valueStep)))),
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
  const keyAddress = (key: Local, r: number): Size =>
    asm.add(head.keys.get, asm.mul(asm.add(key.get, r), head.keyStep));
  const whole = asm.local(i32);
  const scores = asm.local(v128);
  const lanesMax = asm.local(v128);
  const score = asm.local(f32);
  const canBlock = typeof hd === 'number' && hd % 4 === 0;
  const block = (key: Local): readonly Expr[] => {
    const keys = [0, 1, 2, 3].map((r) => ({ set: asm.local(i32), address: keyAddress(key, r) }));
    return [
      ...keys.map(({ set, address }) => set.set(asm.expr(address))),
      ...dotFour(
        context,
        head.query,
        keys.map(({ set }) => set),
        hd as number,
        scores,
      ),
      scores.set(m.f32x4.mul(scores.get(), asm.splat(scale))),
      context.memory.storeVector(scoreAddress(context, key.get), scores.get()),
      lanesMax.set(m.f32x4.max(lanesMax.get(), scores.get())),
    ];
  };
  const single = (key: Local): readonly Expr[] => [
    ...dotOne(context, head.query, asm.expr(keyAddress(key, 0)), hd, score),
    score.set(m.f32.mul(score.get(), m.f32.const(scale))),
    m.f32.store(0, 4, scoreAddress(context, key.get), score.get()),
    greatest.set(m.f32.max(greatest.get(), score.get())),
  ];
  if (!canBlock) return [asm.loop(0, head.visible.get, single)];
  return [
    whole.set(m.i32.and(head.visible.get(), asm.const(-4))),
    lanesMax.set(asm.splat(Number.NEGATIVE_INFINITY)),
    asm.loop(0, whole.get, block, 4),
    greatest.set(asm.horizontal('max', lanesMax)),
    asm.loop(whole.get, head.visible.get, single),
  ];
}

/** Four dot products with one row, as the lanes of `out`. */
function dotFour(
  context: KernelContext,
  row: Local,
  others: readonly Local[],
  length: number,
  out: Local,
): readonly Expr[] {
  const { asm, m } = context;
  const sums = others.map(() => asm.local(v128));
  const x = asm.local(v128);
  const statements: Expr[] = sums.map((sum) => sum.set(asm.splat(0)));
  for (let i = 0; i < length; i += 4) {
    statements.push(x.set(m.v128.load(i * 4, 4, row.get())));
    others.forEach((other, r) => {
      const sum = sums[r] as Local;
      statements.push(sum.set(asm.multiplyAdd(x.get(), m.v128.load(i * 4, 4, other.get()), sum.get())));
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

function dotOne(context: KernelContext, row: Local, other: Expr, length: Size, out: Local): readonly Expr[] {
  const { asm, m } = context;
  const [lanes, pointer] = [asm.local(v128), asm.local(i32)];
  const whole = asm.floorTo(length, 4);
  const at = (base: Make, i: Local): Expr => asm.expr(asm.add(base, asm.mul(i.get, 4)));
  return [
    pointer.set(other),
    lanes.set(asm.splat(0)),
    asm.loop(
      0,
      whole,
      (i) => [
        lanes.set(
          asm.multiplyAdd(
            m.v128.load(0, 4, at(row.get, i)),
            m.v128.load(0, 4, at(pointer.get, i)),
            lanes.get(),
          ),
        ),
      ],
      4,
    ),
    out.set(asm.horizontal('add', lanes)),
    asm.loop(whole, length, (i) => [
      out.set(
        m.f32.add(
          out.get(),
          m.f32.mul(m.f32.load(0, 4, at(row.get, i)), m.f32.load(0, 4, at(pointer.get, i))),
        ),
      ),
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

/** output = sum_j weight_j v_j * factor, in column blocks that stay in registers. */
function weightedSum(context: KernelContext, head: Head, hv: Size, factor: Local): readonly Expr[] {
  const { asm, m } = context;
  const [value, weight] = [asm.local(i32), asm.local(v128)];
  const statements: Expr[] = [];
  const width = typeof hv === 'number' ? hv : 0;
  for (let start = 0; start + 4 <= width; start += outputVectors * 4) {
    const count = Math.min(outputVectors, Math.floor((width - start) / 4));
    const sums = Array.from({ length: count }, () => asm.local(v128));
    statements.push(
      ...sums.map((sum) => sum.set(asm.splat(0))),
      value.set(head.values.get()),
      asm.loop(0, head.visible.get, (key) => [
        weight.set(m.v128.load32_splat(0, 4, scoreAddress(context, key.get))),
        ...sums.map((sum, i) =>
          sum.set(asm.multiplyAdd(weight.get(), m.v128.load((start + i * 4) * 4, 4, value.get()), sum.get())),
        ),
        value.set(asm.expr(asm.add(value.get, head.valueStep))),
      ]),
      ...sums.map((sum, i) =>
        context.memory.storeVector(
          head.output.get(),
          m.f32x4.mul(sum.get(), m.f32x4.splat(factor.get())),
          (start + i * 4) * 4,
        ),
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
  const [sum, value] = [asm.local(f32), asm.local(i32)];
  return [
    asm.loop(from, to, (column) => [
      sum.set(m.f32.const(0)),
      value.set(asm.expr(asm.add(head.values.get, asm.mul(column.get, 4)))),
      asm.loop(0, head.visible.get, (key) => [
        sum.set(
          m.f32.add(
            sum.get(),
            m.f32.mul(m.f32.load(0, 4, scoreAddress(context, key.get)), m.f32.load(0, 4, value.get())),
          ),
        ),
        value.set(asm.expr(asm.add(value.get, head.valueStep))),
      ]),
      m.f32.store(
        0,
        4,
        asm.expr(asm.add(head.output.get, asm.mul(column.get, 4))),
        m.f32.mul(sum.get(), factor.get()),
      ),
    ]),
  ];
}
