/**
 * Row kernels: rms_norm, layer_norm and softmax over the last axis. Each row is reduced to one or two numbers in
 * f32x4 accumulators, then written once through the epilogue.
 */
import type { Value } from '../../../ir/module.js';
import { type Expr, f32, type Local, type Size, v128 } from './asm.js';
import { canVectorise, Expressions, type Index, type Known } from './expression.js';
import type { KernelContext, KernelEmitter } from './kernel.js';
import { overRows, storeElement, vectorLoop } from './pointwise.js';

/** Runs over a row: `vector` sees four elements, `scalar` one. */
interface RowPass {
  vector(x: Expr, at: Size): Expr;
  scalar(x: Expr, at: Size): Expr;
}

export class Row {
  readonly length: Size;
  private readonly expressions: Expressions;

  constructor(
    private readonly context: KernelContext,
    private readonly x: Value,
    private readonly outer: Index,
  ) {
    this.length = context.sizes(x.type.shape).at(-1) as Size;
    this.expressions = new Expressions(context);
  }

  element(at: Size, vector: boolean): Expr {
    const index = [...this.outer, { at, lane: vector ? 1 : 0 }];
    return vector ? this.expressions.vector(this.x, index) : this.expressions.scalar(this.x, index);
  }

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

function square(context: KernelContext, x: Expr, vector: boolean): Expr {
  const { asm, m } = context;
  const local = asm.local(vector ? v128 : f32);
  return m.block(
    null,
    [local.set(x), (vector ? m.f32x4 : m.f32).mul(local.get(), local.get())],
    vector ? v128 : f32,
  );
}

/** Writes the row: `finish` turns an element of x into the root's result, the epilogue does the rest. */
function writeRow(
  context: KernelContext,
  row: Row,
  outer: Index,
  finish: (x: Expr, at: Size, vector: boolean) => Expr,
): readonly Expr[] {
  const { asm, func, root } = context;
  const [result] = func.results as [Value];
  const vectors = canVectorise({ ...func, body: func.body.filter((op) => op !== root) });
  return vectorLoop(asm, row.length, vectors, (at, vector) => {
    // Kept in a local, because the epilogue may read it more than once.
    const finished = asm.local(vector ? v128 : f32);
    const known: Known = new Map([[root.results[0] as Value, finished.get]]);
    const index = [...outer, { at, lane: vector ? 1 : 0 }];
    return asm.block([
      finished.set(finish(row.element(at, vector), at, vector)),
      storeElement(context, result, index, vector, new Expressions(context, known)),
    ]);
  });
}

/** x * factor, then times gamma and plus beta where they are given. */
function affine(
  context: KernelContext,
  normalised: Expr,
  at: Size,
  vector: boolean,
  gamma?: Value,
  beta?: Value,
): Expr {
  const floats = vector ? context.m.f32x4 : context.m.f32;
  const expressions = new Expressions(context);
  const parameter = (value: Value): Expr => {
    const index = [{ at, lane: vector ? 1 : 0 }];
    return vector ? expressions.vector(value, index) : expressions.scalar(value, index);
  };
  const scaled = gamma === undefined ? normalised : floats.mul(normalised, parameter(gamma));
  return beta === undefined ? scaled : floats.add(scaled, parameter(beta));
}

export function spread(context: KernelContext, value: Local, vector: boolean): Expr {
  return vector ? context.m.f32x4.splat(value.get()) : value.get();
}

export const emitRmsNorm: KernelEmitter = (context) => {
  const { m, asm, root } = context;
  const [x, gamma] = root.operands as [Value, Value?];
  const { eps } = root.attrs as { eps: number };
  return overRows(context, x, (outer) => {
    const row = new Row(context, x, outer);
    const statements: Expr[] = [];
    const squares = row.sum((v, vector) => square(context, v, vector), statements);
    const factor = asm.local(f32);
    const mean = m.f32.div(squares.get(), row.lengthAsFloat());
    statements.push(factor.set(m.f32.div(m.f32.const(1), m.f32.sqrt(m.f32.add(mean, m.f32.const(eps))))));
    const finish = (v: Expr, at: Size, vector: boolean): Expr => {
      const floats = vector ? m.f32x4 : m.f32;
      return affine(context, floats.mul(v, spread(context, factor, vector)), at, vector, gamma);
    };
    return [...statements, ...writeRow(context, row, outer, finish)];
  });
};

export const emitLayerNorm: KernelEmitter = (context) => {
  const { m, asm, root } = context;
  const [x, gamma, beta] = root.operands as [Value, Value?, Value?];
  const { eps } = root.attrs as { eps: number };
  return overRows(context, x, (outer) => {
    const row = new Row(context, x, outer);
    const statements: Expr[] = [];
    const [mean, factor] = [asm.local(f32), asm.local(f32)];
    const centred = (v: Expr, vector: boolean): Expr =>
      (vector ? m.f32x4 : m.f32).sub(v, spread(context, mean, vector));
    const total = row.sum((v) => v, statements);
    statements.push(mean.set(m.f32.div(total.get(), row.lengthAsFloat())));
    const squares = row.sum((v, vector) => square(context, centred(v, vector), vector), statements);
    const variance = m.f32.div(squares.get(), row.lengthAsFloat());
    statements.push(factor.set(m.f32.div(m.f32.const(1), m.f32.sqrt(m.f32.add(variance, m.f32.const(eps))))));
    const finish = (v: Expr, at: Size, vector: boolean): Expr => {
      const floats = vector ? m.f32x4 : m.f32;
      return affine(
        context,
        floats.mul(centred(v, vector), spread(context, factor, vector)),
        at,
        vector,
        gamma,
        beta,
      );
    };
    return [...statements, ...writeRow(context, row, outer, finish)];
  });
};

/** e^(x - max) / sum; exponentials are computed twice, which costs less than holding a row. */
export const emitSoftmax: KernelEmitter = (context) => {
  const { m, asm, root, math } = context;
  const [x] = root.operands as [Value];
  return overRows(context, x, (outer) => {
    const row = new Row(context, x, outer);
    const statements: Expr[] = [];
    const greatest = row.max(statements);
    const exponential = (v: Expr, vector: boolean): Expr =>
      vector
        ? math.vector('exp', m.f32x4.sub(v, m.f32x4.splat(greatest.get())))
        : math.scalar('exp', m.f32.sub(v, greatest.get()));
    const total = row.sum(exponential, statements);
    const factor = asm.local(f32);
    statements.push(factor.set(m.f32.div(m.f32.const(1), total.get())));
    const finish = (v: Expr, _at: Size, vector: boolean): Expr =>
      (vector ? m.f32x4 : m.f32).mul(exponential(v, vector), spread(context, factor, vector));
    return [...statements, ...writeRow(context, row, outer, finish)];
  });
};
