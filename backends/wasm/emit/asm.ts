/**
 * A thin layer over Binaryen for writing one function at a time.
 *
 * An expression node may stand in one place of the tree only, so anything used twice is kept in a `Local` or passed as
 * a thunk (`Make`). Integer helpers fold constants, which keeps emitted code readable before the optimiser runs.
 */
import binaryen from 'binaryen';
import { constantOf, type Dim } from '../../../ir/dim.js';

export type Expr = binaryen.ExpressionRef;
/** Makes a fresh copy of an expression each time it is called. */
export type Make = () => Expr;

export const { i32, i64, f32, f64, v128, none } = binaryen;

export class Local {
  constructor(
    private readonly m: binaryen.Module,
    readonly index: number,
    readonly type: binaryen.Type,
  ) {}

  readonly get = (): Expr => this.m.local.get(this.index, this.type);
  set(value: Expr): Expr {
    return this.m.local.set(this.index, value);
  }
  tee(value: Expr): Expr {
    return this.m.local.tee(this.index, value, this.type);
  }
}

/** An i32 known at compile time, or code that computes it. */
export type Size = number | Make;

export interface AsmOptions {
  /** Use fused multiply-add, of relaxed SIMD. */
  readonly relaxed: boolean;
  /** Multiply integers with dot products of bytes; the module then imports `dotOffset`. */
  readonly byteDots?: boolean | undefined;
}

/** Name of the global, and of its import, that says how the engine reads bytes (see ../runtime/byte-dot.ts). */
export const dotOffset = 'dot_offset';

/** Code of one function. `symbols` are the locals that hold run-time dimensions. */
export class Asm {
  private readonly locals: binaryen.Type[] = [];
  private labels = 0;
  readonly params: readonly Local[];
  readonly symbols = new Map<string, Local>();

  constructor(
    readonly m: binaryen.Module,
    readonly options: AsmOptions,
    private readonly paramTypes: readonly binaryen.Type[],
  ) {
    this.params = paramTypes.map((type, i) => new Local(m, i, type));
  }

  local(type: binaryen.Type): Local {
    this.locals.push(type);
    return new Local(this.m, this.paramTypes.length + this.locals.length - 1, type);
  }

  /** Adds the function to the module. */
  define(name: string, result: binaryen.Type, body: readonly Expr[]): void {
    const block = this.m.block(null, body, result);
    this.m.addFunction(name, binaryen.createType(this.paramTypes), result, this.locals, block);
  }

  const(value: number): Expr {
    return this.m.i32.const(value);
  }

  expr(size: Size): Expr {
    return typeof size === 'number' ? this.const(size) : size();
  }

  /** A dimension whose only names are run-time symbols. */
  dim(value: Dim): Size {
    const constant = constantOf(value);
    if (constant !== undefined) return constant;
    const sum = value.terms
      .map((term) =>
        term.factors.reduce<Size>((product, name) => this.mul(product, this.symbol(name)), term.coefficient),
      )
      .reduce<Size>((total, term) => this.add(total, term), 0);
    return value.divisor === 1 ? sum : this.div(sum, value.divisor);
  }

  private symbol(name: string): Make {
    const local = this.symbols.get(name);
    if (local === undefined) throw new Error(`symbol ${name} is not known in this function`);
    return local.get;
  }

  add(a: Size, b: Size): Size {
    if (typeof a === 'number' && typeof b === 'number') return a + b;
    if (a === 0) return b;
    if (b === 0) return a;
    return () => this.m.i32.add(this.expr(a), this.expr(b));
  }

  sub(a: Size, b: Size): Size {
    if (typeof a === 'number' && typeof b === 'number') return a - b;
    if (b === 0) return a;
    return () => this.m.i32.sub(this.expr(a), this.expr(b));
  }

  mul(a: Size, b: Size): Size {
    if (typeof a === 'number' && typeof b === 'number') return a * b;
    if (a === 0 || b === 0) return 0;
    if (a === 1) return b;
    if (b === 1) return a;
    return () => this.m.i32.mul(this.expr(a), this.expr(b));
  }

  /** Unsigned quotient rounded down. */
  div(a: Size, b: Size): Size {
    if (typeof a === 'number' && typeof b === 'number') return Math.floor(a / b);
    if (b === 1) return a;
    return () => this.m.i32.div_u(this.expr(a), this.expr(b));
  }

  rem(a: Size, b: Size): Size {
    if (typeof a === 'number' && typeof b === 'number') return a % b;
    if (b === 1) return 0;
    return () => this.m.i32.rem_u(this.expr(a), this.expr(b));
  }

  /** a rounded down to a multiple of a power of two or of any integer. */
  floorTo(a: Size, multiple: number): Size {
    return this.mul(this.div(a, multiple), multiple);
  }

  /** Keeps a size in a local when it is not a constant, so that it is computed once. */
  hoist(size: Size, statements: Expr[]): Size {
    if (typeof size === 'number') return size;
    const local = this.local(i32);
    statements.push(local.set(size()));
    return local.get;
  }

  block(statements: readonly Expr[]): Expr {
    return this.m.block(null, statements, none);
  }

  /** for (i = start; i < end; i += step) body(i); bounds are signed. */
  loop(start: Size, end: Size, body: (i: Local) => readonly Expr[], step: Size = 1): Expr {
    if (typeof start === 'number' && typeof end === 'number' && start >= end) return this.m.nop();
    const { m } = this;
    const i = this.local(i32);
    const label = `loop${this.labels++}`;
    const statements: Expr[] = [i.set(this.expr(start))];
    const limit = this.hoist(end, statements);
    const again = m.br_if(label, m.i32.lt_s(i.tee(m.i32.add(i.get(), this.expr(step))), this.expr(limit)));
    const loop = m.loop(label, this.block([...body(i), again]));
    const runs =
      typeof start === 'number' && typeof limit === 'number'
        ? undefined
        : m.i32.lt_s(i.get(), this.expr(limit));
    statements.push(runs === undefined ? loop : m.if(runs, loop));
    return this.block(statements);
  }

  /** while (condition) body */
  while(condition: Expr, body: readonly Expr[]): Expr {
    const label = `while${this.labels++}`;
    return this.m.loop(label, this.if(condition, [...body, this.m.br(label)]));
  }

  if(condition: Expr, then: readonly Expr[], otherwise: readonly Expr[] = []): Expr {
    return otherwise.length > 0
      ? this.m.if(condition, this.block(then), this.block(otherwise))
      : this.m.if(condition, this.block(then));
  }

  /** acc + a * b on four lanes; one rounding with relaxed SIMD. */
  multiplyAdd(a: Expr, b: Expr, acc: Expr): Expr {
    if (!this.options.relaxed) return this.m.f32x4.add(acc, this.m.f32x4.mul(a, b));
    return simdTernary(this.m, binaryen.RelaxedMaddVecF32x4, a, b, acc);
  }

  /** sum + w[4i..4i+3] · x[4i..4i+3] in each lane i: w is signed, x as the engine reads it. */
  dotBytes(w: Expr, x: Expr, sum: Expr): Expr {
    return simdTernary(this.m, binaryen.RelaxedDotI8x16I7x16AddSToVecI32x4, w, x, sum);
  }

  splat(value: number): Expr {
    return this.m.f32x4.splat(this.m.f32.const(value));
  }

  splatInt(value: number): Expr {
    return this.m.i32x4.splat(this.const(value));
  }

  /** Sum of the four lanes, pairwise. */
  horizontal(combine: 'add' | 'max', vector: Local): Expr {
    const { m } = this;
    const op = combine === 'add' ? m.f32.add : m.f32.max;
    const lane = (i: number): Expr => m.f32x4.extract_lane(vector.get(), i);
    return op(op(lane(0), lane(2)), op(lane(1), lane(3)));
  }
}

/** Binaryen's object API has no relaxed operations; its C API, which the package exposes with a leading underscore, does. */
function simdTernary(m: binaryen.Module, operation: number, a: Expr, b: Expr, c: Expr): Expr {
  const raw = binaryen as unknown as {
    _BinaryenSIMDTernary(module: number, op: number, a: Expr, b: Expr, c: Expr): Expr;
  };
  return raw._BinaryenSIMDTernary(m.ptr, operation, a, b, c);
}
