/**
 * Selection by value: argmax, topk and routing to experts. The best elements of a row are kept sorted where the
 * results will be, and each element is inserted from the end, so that equal elements stay in order of index.
 */
import type { OpOf, Value } from '../../../ir/module.js';
import { type DType, isFloat } from '../../../ir/type.js';
import { type Expr, f32, i32, type Local, type Make, type Size, v128 } from './asm.js';
import { constantOfType } from './elementwise.js';
import { type Coordinate, Expressions, type Index } from './expression.js';
import { overAxes } from './iteration.js';
import { bytesOf, type KernelContext, type KernelEmitter } from './kernel.js';
import { registerType } from './memory.js';
import { overRows, vectorLoop } from './pointwise.js';

/** Strictly greater; NaN counts as minus infinity. */
function greater(context: KernelContext, dtype: DType, a: Make, b: Make): Expr {
  const { m } = context;
  if (!isFloat(dtype)) return (dtype === 'i64' ? m.i64 : m.i32).gt_s(a(), b());
  const beatsNaN = m.i32.and(m.f32.ne(b(), b()), m.f32.gt(a(), m.f32.const(Number.NEGATIVE_INFINITY)));
  return m.i32.or(m.f32.gt(a(), b()), beatsNaN);
}

export const emitArgmax: KernelEmitter = (context) => {
  const { asm, root, memory } = context;
  const [x] = root.operands as [Value];
  const { dtype, shape } = x.type;
  const axis = ((root as OpOf<'argmax'>).attrs.axis + shape.length) % shape.length;
  const sizes = context.sizes(shape);
  const expressions = new Expressions(context);
  const type = registerType(dtype);
  const [best, greatest, element] = [asm.local(i32), asm.local(type), asm.local(type)];
  const visit = (index: Index, i: Local): readonly Expr[] => [
    element.set(expressions.scalar(x, index)),
    asm.if(greater(context, dtype, element.get, greatest.get), [
      greatest.set(element.get()),
      best.set(i.get()),
    ]),
  ];
  const others = sizes.flatMap((_, i) => (i === axis ? [] : [i]));
  return overAxes(context, sizes, others, (outer) => {
    const result = expressions.address(root.results[0] as Value, outer.toSpliced(axis, 1));
    return [
      best.set(asm.const(0)),
      greatest.set(constantOfType(context, dtype, Number.NEGATIVE_INFINITY)),
      asm.loop(0, sizes[axis] as Size, (i) => visit(outer.with(axis, { at: i.get, lane: 0 }), i)),
      memory.store('i32', result.address(), best.get()),
    ];
  });
};

/** The k best elements so far: values and indices, descending, at two addresses. */
class Best {
  private readonly values: Local;
  private readonly indices: Local;
  private readonly element: Local;
  private readonly slot: Local;

  constructor(
    private readonly context: KernelContext,
    private readonly dtype: DType,
    private readonly k: number,
  ) {
    const { asm } = context;
    [this.values, this.indices, this.slot] = [asm.local(i32), asm.local(i32), asm.local(i32)];
    this.element = asm.local(registerType(dtype));
  }

  /** Where the k values and indices go. */
  start(values: Expr, indices: Expr): readonly Expr[] {
    return [this.values.set(values), this.indices.set(indices)];
  }

  private address(base: Local, slot: Size, bytes: number): Expr {
    const { asm } = this.context;
    return asm.expr(asm.add(base.get, asm.mul(slot, bytes)));
  }

  valueAt(slot: Size): Expr {
    return this.context.memory.load(this.dtype, this.address(this.values, slot, bytesOf(this.dtype)));
  }

  setValue(slot: Size, value: Expr): Expr {
    return this.context.memory.store(this.dtype, this.address(this.values, slot, bytesOf(this.dtype)), value);
  }

  private indexAt(slot: Size): Expr {
    return this.context.memory.load('i32', this.address(this.indices, slot, 4));
  }

  private setIndex(slot: Size, index: Expr): Expr {
    return this.context.memory.store('i32', this.address(this.indices, slot, 4), index);
  }

  /** Inserts the element known as `index`, the `count`-th that is offered. */
  offer(value: Expr, index: Make, count: Make): readonly Expr[] {
    const { asm, m } = this.context;
    const { slot, element } = this;
    const before = asm.sub(slot.get, 1);
    const kept = (): Expr => m.i32.lt_s(slot.get(), asm.const(this.k));
    const beats = greater(this.context, this.dtype, element.get, () => this.valueAt(before));
    const moves = m.if(m.i32.gt_s(slot.get(), asm.const(0)), beats, asm.const(0));
    return [
      element.set(value),
      slot.set(m.select(m.i32.lt_s(count(), asm.const(this.k)), count(), asm.const(this.k))),
      asm.while(moves, [
        asm.if(kept(), [
          this.setValue(slot.get, this.valueAt(before)),
          this.setIndex(slot.get, this.indexAt(before)),
        ]),
        slot.set(asm.expr(before)),
      ]),
      asm.if(kept(), [this.setValue(slot.get, element.get()), this.setIndex(slot.get, index())]),
    ];
  }
}

export const emitTopk: KernelEmitter = (context) => {
  const { asm, root } = context;
  const [x] = root.operands as [Value];
  const [values, indices] = root.results as [Value, Value];
  const { k } = (root as OpOf<'topk'>).attrs;
  const length = context.sizes(x.type.shape).at(-1) as Size;
  const expressions = new Expressions(context);
  const best = new Best(context, x.type.dtype, k);
  return overRows(context, x, (outer) => {
    const first = [...outer, { at: 0, lane: 0 }];
    const element = (i: Local): Expr => expressions.scalar(x, [...outer, { at: i.get, lane: 0 }]);
    return [
      ...best.start(
        expressions.address(values, first).address(),
        expressions.address(indices, first).address(),
      ),
      asm.loop(0, length, (i) => best.offer(element(i), i.get, i.get)),
    ];
  });
};

/** Both scores grow with the logits, so experts are chosen by their logits, which are then replaced by scores. */
export const emitMoeRoute: KernelEmitter = (context) => {
  const { asm, root } = context;
  const [logits] = root.operands as [Value];
  const [weights, indices] = root.results as [Value, Value];
  const { num_groups: groups, topk_per_group: k } = (root as OpOf<'moe_route'>).attrs;
  const size = asm.div(context.sizes(logits.type.shape).at(-1) as Size, groups);
  const expressions = new Expressions(context);
  const best = new Best(context, 'f32', k);
  return overRows(context, logits, (outer) => [
    asm.loop(0, groups, (group) => {
      const first = [...outer, { at: asm.mul(group.get, k), lane: 0 }];
      const expert = asm.local(i32);
      return [
        ...best.start(
          expressions.address(weights, first).address(),
          expressions.address(indices, first).address(),
        ),
        asm.loop(0, size, (i) => [
          expert.set(asm.expr(asm.add(asm.mul(group.get, size), i.get))),
          ...best.offer(
            expressions.scalar(logits, [...outer, { at: expert.get, lane: 0 }]),
            expert.get,
            i.get,
          ),
        ]),
      ];
    }),
    ...scoreChosen(context, outer, groups * k),
  ]);
};

/** Replaces the chosen logits of a token by their scores. */
function scoreChosen(context: KernelContext, outer: readonly Coordinate[], chosen: number): readonly Expr[] {
  const { asm, m, math, memory, root } = context;
  const [weights] = root.results as [Value];
  const { score, renormalize } = (root as OpOf<'moe_route'>).attrs;
  const expressions = new Expressions(context);
  const address = (i: Local): Expr =>
    expressions.address(weights, [...outer, { at: i.get, lane: 0 }]).address();
  const weight = (i: Local): Expr => memory.load('f32', address(i));
  const [greatest, total, sum, value] = [asm.local(f32), asm.local(f32), asm.local(f32), asm.local(f32)];
  const scored = (i: Local): Expr =>
    score === 'sigmoid'
      ? math.scalar('sigmoid', weight(i))
      : m.f32.div(math.scalar('exp', m.f32.sub(weight(i), greatest.get())), total.get());
  return [
    ...(score === 'softmax' ? softmaxTotals(context, outer, greatest, total) : []),
    sum.set(m.f32.const(0)),
    asm.loop(0, chosen, (i) => [
      value.set(scored(i)),
      sum.set(m.f32.add(sum.get(), value.get())),
      memory.store('f32', address(i), value.get()),
    ]),
    ...(renormalize
      ? [asm.loop(0, chosen, (i) => [memory.store('f32', address(i), m.f32.div(weight(i), sum.get()))])]
      : []),
  ];
}

/** The greatest logit of a token, and the sum of e^(logit - greatest) over all experts. */
function softmaxTotals(
  context: KernelContext,
  outer: readonly Coordinate[],
  greatest: Local,
  total: Local,
): readonly Expr[] {
  const { asm, m, math, root } = context;
  const [logits] = root.operands as [Value];
  const experts = context.sizes(logits.type.shape).at(-1) as Size;
  const expressions = new Expressions(context);
  const lanes = asm.local(v128);
  const logit = (at: Size, vector: boolean): Expr => {
    const index = [...outer, { at, lane: vector ? 1 : 0 }];
    return vector ? expressions.vector(logits, index) : expressions.scalar(logits, index);
  };
  return [
    lanes.set(asm.splat(Number.NEGATIVE_INFINITY)),
    greatest.set(m.f32.const(Number.NEGATIVE_INFINITY)),
    ...vectorLoop(asm, experts, true, (at, vector) =>
      vector
        ? lanes.set(m.f32x4.max(lanes.get(), logit(at, true)))
        : greatest.set(m.f32.max(greatest.get(), logit(at, false))),
    ),
    greatest.set(m.f32.max(greatest.get(), asm.horizontal('max', lanes))),
    lanes.set(asm.splat(0)),
    total.set(m.f32.const(0)),
    ...vectorLoop(asm, experts, true, (at, vector) => {
      if (!vector) {
        const power = math.scalar('exp', m.f32.sub(logit(at, false), greatest.get()));
        return total.set(m.f32.add(total.get(), power));
      }
      const powers = math.vector('exp', m.f32x4.sub(logit(at, true), m.f32x4.splat(greatest.get())));
      return lanes.set(m.f32x4.add(lanes.get(), powers));
    }),
    total.set(m.f32.add(total.get(), asm.horizontal('add', lanes))),
  ];
}
