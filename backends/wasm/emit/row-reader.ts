/** A row of numbers that a kernel reads several times: loops over it, and what it adds up to. */
import type { Value } from '../../../ir/module.js';
import { type Expr, f32, type Local, type Size, v128 } from './asm.js';
import { Expressions, type Index } from './expression.js';
import type { KernelContext } from './kernel.js';
import { lastSize, vectorLoop } from './pointwise.js';

/** Runs over a row: `vector` sees four elements, `scalar` one. */
interface RowPass {
  vector(x: Expr, at: Size): Expr;
  scalar(x: Expr, at: Size): Expr;
}

/** An element of a row, or four where `vector` says so. */
type RowElement = (at: Size, vector: boolean) => Expr;

/** The last axis of x at the given outer coordinates. */
export function rowOf(context: KernelContext, x: Value, outer: Index): Row {
  const expressions = new Expressions(context);
  return new Row(context, lastSize(context, x), (at, vector) => {
    const index = [...outer, { at, lane: vector ? 1 : 0 }];
    return vector ? expressions.vector(x, index) : expressions.scalar(x, index);
  });
}

export class Row {
  constructor(
    private readonly context: KernelContext,
    readonly length: Size,
    readonly element: RowElement,
  ) {}

  pass({ vector, scalar }: RowPass): readonly Expr[] {
    return vectorLoop(this.context.asm, this.length, true, (at, wide) =>
      wide ? vector(this.element(at, true), at) : scalar(this.element(at, false), at),
    );
  }

  /** Sum of `term` over the row, left in the f32 local that is returned. */
  sum(term: (x: Expr, vector: boolean) => Expr, statements: Expr[]): Local {
    const { asm, m } = this.context;
    const [lanes, total] = [asm.local(v128), asm.local(f32)];
    statements.push(
      lanes.set(asm.splat(0)),
      total.set(m.f32.const(0)),
      ...this.pass({
        vector: (x) => lanes.set(m.f32x4.add(lanes.get(), term(x, true))),
        scalar: (x) => total.set(m.f32.add(total.get(), term(x, false))),
      }),
      total.set(m.f32.add(total.get(), asm.horizontal('add', lanes))),
    );
    return total;
  }

  /** Greatest `term` of the row, left in the f32 local that is returned; -infinity for an empty row. */
  max(statements: Expr[], term: (x: Expr, vector: boolean) => Expr = (x) => x): Local {
    const { asm, m } = this.context;
    const [lanes, total] = [asm.local(v128), asm.local(f32)];
    statements.push(
      lanes.set(asm.splat(Number.NEGATIVE_INFINITY)),
      total.set(m.f32.const(Number.NEGATIVE_INFINITY)),
      ...this.pass({
        vector: (x) => lanes.set(m.f32x4.max(lanes.get(), term(x, true))),
        scalar: (x) => total.set(m.f32.max(total.get(), term(x, false))),
      }),
      total.set(m.f32.max(total.get(), asm.horizontal('max', lanes))),
    );
    return total;
  }

  lengthAsFloat(): Expr {
    return this.context.m.f32.convert_s.i32(this.context.asm.expr(this.length));
  }
}

/** A number of the row, or four copies of it. */
export function spread(context: KernelContext, value: Local, vector: boolean): Expr {
  return vector ? context.m.f32x4.splat(value.get()) : value.get();
}
