/**
 * Reductions over any axes: loops over the kept axes outside, over the reduced axes inside. Floats are summed and
 * multiplied in f64 and rounded once, integers wrap. When the last axis of f32 is reduced, it is read four at a time.
 */
import type binaryen from 'binaryen';
import type { OpOf, Value } from '../../../ir/module.js';
import { type DType, isFloat } from '../../../ir/type.js';
import { type Expr, f64, type Local, type Size, v128 } from './asm.js';
import { constantOfType } from './elementwise.js';
import { Expressions, type Index } from './expression.js';
import { overAxes } from './iteration.js';
import type { KernelContext, KernelEmitter } from './kernel.js';
import { registerType } from './memory.js';
import { vectorLoop } from './pointwise.js';

/** How the elements of a lane are folded into an accumulator. */
interface Folding {
  type(dtype: DType): binaryen.Type;
  start(context: KernelContext, dtype: DType): Expr;
  /** The accumulator with one more element, which is in a register. */
  step(context: KernelContext, dtype: DType, accumulator: Local, element: Local): Expr;
  /** The result in the register type of `dtype`, after `count` elements. */
  finish(context: KernelContext, dtype: DType, accumulator: Local, count: Size): Expr;
  /** The same for four f32 at once. */
  readonly lanes?: LaneFolding;
}

interface LaneFolding {
  start(context: KernelContext): Expr;
  step(context: KernelContext, lanes: Local, elements: Local): Expr;
  /** The accumulator with all lanes folded in. */
  merge(context: KernelContext, accumulator: Local, lanes: Local): Expr;
}

/** Sums in two f64 lanes, each fed by one half of the vector. */
const sumLanes: LaneFolding = {
  start: ({ m }) => m.f64x2.splat(m.f64.const(0)),
  step: ({ m }, lanes, elements) => {
    const upper = [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15];
    const low = m.f64x2.promote_low_f32x4(elements.get());
    const high = m.f64x2.promote_low_f32x4(m.i8x16.shuffle(elements.get(), elements.get(), upper));
    return m.f64x2.add(lanes.get(), m.f64x2.add(low, high));
  },
  merge: ({ m }, accumulator, lanes) => {
    const lane = (i: number): Expr => m.f64x2.extract_lane(lanes.get(), i);
    return m.f64.add(accumulator.get(), m.f64.add(lane(0), lane(1)));
  },
};

function extremeLanes(name: 'min' | 'max', start: number): LaneFolding {
  return {
    start: ({ asm }) => asm.splat(start),
    step: ({ m }, lanes, elements) => m.f32x4[name](lanes.get(), elements.get()),
    merge: ({ m }, accumulator, lanes) =>
      [0, 1, 2, 3].reduce<Expr>(
        (value, i) => m.f32[name](value, m.f32x4.extract_lane(lanes.get(), i)),
        accumulator.get(),
      ),
  };
}

function integers({ m }: KernelContext, dtype: DType): binaryen.Module['i32'] | binaryen.Module['i64'] {
  return dtype === 'i64' ? m.i64 : m.i32;
}

/** Sums and products; `start` is the neutral element. */
function exactFolding(combine: 'add' | 'mul', start: number): Folding {
  return {
    type: (dtype) => (isFloat(dtype) ? f64 : registerType(dtype)),
    start: (context, dtype) =>
      isFloat(dtype) ? context.m.f64.const(start) : constantOfType(context, dtype, start),
    step: (context, dtype, accumulator, element) =>
      isFloat(dtype)
        ? context.m.f64[combine](accumulator.get(), context.m.f64.promote(element.get()))
        : integers(context, dtype)[combine](accumulator.get(), element.get()),
    finish: ({ m }, dtype, accumulator) =>
      isFloat(dtype) ? m.f32.demote(accumulator.get()) : accumulator.get(),
  };
}

/** The lesser or the greater; `start` loses every comparison, NaN wins. */
function extremeFolding(name: 'min' | 'max'): Folding {
  const start = name === 'min' ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
  return {
    type: registerType,
    start: (context, dtype) => constantOfType(context, dtype, start),
    step: (context, dtype, accumulator, element) => {
      const { m } = context;
      if (isFloat(dtype)) return m.f32[name](accumulator.get(), element.get());
      const compare = integers(context, dtype)[name === 'min' ? 'lt_s' : 'gt_s'];
      return m.select(compare(element.get(), accumulator.get()), element.get(), accumulator.get());
    },
    finish: (_context, _dtype, accumulator) => accumulator.get(),
    lanes: extremeLanes(name, start),
  };
}

const sum: Folding = { ...exactFolding('add', 0), lanes: sumLanes };

const foldings = {
  reduce_sum: sum,
  reduce_mean: {
    ...sum,
    finish: ({ m, asm }, _dtype, accumulator, count) =>
      m.f32.demote(m.f64.div(accumulator.get(), m.f64.convert_s.i32(asm.expr(count)))),
  },
  reduce_prod: exactFolding('mul', 1),
  reduce_max: extremeFolding('max'),
  reduce_min: extremeFolding('min'),
} as const satisfies Record<string, Folding>;

export const emitReduction: KernelEmitter = (context) => {
  const { root, asm } = context;
  const { axes, keepdims } = (root as OpOf<'reduce_sum'>).attrs;
  const [x] = root.operands as [Value];
  const rank = x.type.shape.length;
  const sizes = context.sizes(x.type.shape);
  const reduced = sizes.flatMap((_, axis) =>
    axes.includes(axis) || axes.includes(axis - rank) ? [axis] : [],
  );
  const kept = sizes.flatMap((_, axis) => (reduced.includes(axis) ? [] : [axis]));
  const lane = new Lane(context, foldings[root.name as keyof typeof foldings], x, sizes, reduced);
  return overAxes(context, sizes, kept, (index) => {
    const result = index.filter((_, axis) => keepdims || !reduced.includes(axis));
    const count = reduced.reduce<Size>((product, axis) => asm.mul(product, sizes[axis] as Size), 1);
    return [...lane.fold(index), lane.store(result, count)];
  });
};

/** Folds the elements of x along the reduced axes. */
class Lane {
  private readonly dtype: DType;
  private readonly accumulator: Local;
  private readonly expressions: Expressions;

  constructor(
    private readonly context: KernelContext,
    private readonly folding: Folding,
    private readonly x: Value,
    private readonly sizes: readonly Size[],
    private readonly reduced: readonly number[],
  ) {
    this.dtype = x.type.dtype;
    this.accumulator = context.asm.local(folding.type(this.dtype));
    this.expressions = new Expressions(context);
  }

  fold(index: Index): readonly Expr[] {
    const { context, folding, accumulator } = this;
    const { lanes } = folding;
    const start = accumulator.set(folding.start(context, this.dtype));
    const lastAxis = this.sizes.length - 1;
    if (lanes === undefined || this.dtype !== 'f32' || !this.reduced.includes(lastAxis)) {
      return [start, ...overAxes(context, this.sizes, this.reduced, (at) => [this.step(at)], index)];
    }
    const folded = context.asm.local(v128);
    const row = (outer: Index): readonly Expr[] =>
      vectorLoop(context.asm, this.sizes[lastAxis] as Size, true, (at, vector) => {
        const inner = outer.with(lastAxis, { at, lane: vector ? 1 : 0 });
        return vector ? this.stepLanes(lanes, folded, inner) : this.step(inner);
      });
    const rows = overAxes(context, this.sizes, this.reduced.slice(0, -1), row, index);
    return [
      start,
      folded.set(lanes.start(context)),
      ...rows,
      accumulator.set(lanes.merge(context, accumulator, folded)),
    ];
  }

  private step(index: Index): Expr {
    const { context, accumulator, dtype } = this;
    const element = context.asm.local(registerType(dtype));
    return context.asm.block([
      element.set(this.expressions.scalar(this.x, index)),
      accumulator.set(this.folding.step(context, dtype, accumulator, element)),
    ]);
  }

  private stepLanes(lanes: LaneFolding, folded: Local, index: Index): Expr {
    const elements = this.context.asm.local(v128);
    return this.context.asm.block([
      elements.set(this.expressions.vector(this.x, index)),
      folded.set(lanes.step(this.context, folded, elements)),
    ]);
  }

  store(index: Index, count: Size): Expr {
    const { context, dtype } = this;
    const { address } = this.expressions.address(context.func.results[0] as Value, index);
    return context.memory.store(
      dtype,
      address(),
      this.folding.finish(context, dtype, this.accumulator, count),
    );
  }
}
