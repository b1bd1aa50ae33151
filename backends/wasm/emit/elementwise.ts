/** Code of the elementwise ops, per element and for four floats at once. Formulas are written once, over `Floats`. */
import type { Op, OpOf, Value } from '../../../ir/module.js';
import { castTo } from '../../../ir/numeric.js';
import type { OpName } from '../../../ir/ops/table.js';
import { type DType, isFloat } from '../../../ir/type.js';
import { type Expr, f32, type Local, type Make, v128 } from './asm.js';
import type { KernelContext } from './kernel.js';
import type { VectorFunction } from './math.js';
import { registerType } from './memory.js';

/** f32 arithmetic on one or four elements. */
interface Floats {
  add(a: Expr, b: Expr): Expr;
  sub(a: Expr, b: Expr): Expr;
  mul(a: Expr, b: Expr): Expr;
  div(a: Expr, b: Expr): Expr;
  max(a: Expr, b: Expr): Expr;
  neg(a: Expr): Expr;
  abs(a: Expr): Expr;
  sqrt(a: Expr): Expr;
  constant(value: number): Expr;
  call(name: VectorFunction, x: Expr): Expr;
}

function scalarFloats({ m, math }: KernelContext): Floats {
  return { ...m.f32, constant: (v) => m.f32.const(v), call: (name, x) => math.scalar(name, x) };
}

function vectorFloats({ m, math, asm }: KernelContext): Floats {
  return { ...m.f32x4, constant: (v) => asm.splat(v), call: (name, x) => math.vector(name, x) };
}

type FormulaOp =
  | 'sqrt'
  | 'rsqrt'
  | 'reciprocal'
  | 'exp'
  | 'log'
  | 'sin'
  | 'cos'
  | 'tanh'
  | 'erf'
  | 'sigmoid'
  | 'silu'
  | 'softplus'
  | 'gelu'
  | 'gelu_tanh'
  | 'quick_gelu';

/** Formulas of the float ops; see the declarations in ir/ops/elementwise.ts. */
const formulas: Readonly<Record<FormulaOp, (f: Floats, x: Make) => Expr>> = {
  sqrt: (f, x) => f.sqrt(x()),
  rsqrt: (f, x) => f.div(f.constant(1), f.sqrt(x())),
  reciprocal: (f, x) => f.div(f.constant(1), x()),
  exp: (f, x) => f.call('exp', x()),
  log: (f, x) => f.call('log', x()),
  sin: (f, x) => f.call('sin', x()),
  cos: (f, x) => f.call('cos', x()),
  tanh: (f, x) => f.call('tanh', x()),
  erf: (f, x) => f.call('erf', x()),
  sigmoid: (f, x) => f.call('sigmoid', x()),
  silu: (f, x) => f.mul(x(), f.call('sigmoid', x())),
  quick_gelu: (f, x) => f.mul(x(), f.call('sigmoid', f.mul(x(), f.constant(1.702)))),
  softplus: (f, x) =>
    f.add(f.max(x(), f.constant(0)), f.call('log', f.add(f.constant(1), f.call('exp', f.neg(f.abs(x())))))),
  gelu: (f, x) =>
    f.mul(
      f.mul(f.constant(0.5), x()),
      f.add(f.constant(1), f.call('erf', f.mul(x(), f.constant(Math.SQRT1_2)))),
    ),
  /** x/2 (1 + tanh u) == x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3) */
  gelu_tanh: (f, x) => {
    const scale = 2 * Math.sqrt(2 / Math.PI);
    const cubic = f.mul(f.mul(x(), x()), f.constant(0.044715 * scale));
    return f.mul(x(), f.call('sigmoid', f.mul(x(), f.add(f.constant(scale), cubic))));
  },
};

type Emit = (context: KernelContext, operands: readonly Expr[], op: Op) => Expr;

/** Keeps an operand in a local, so that a formula may use it more than once. */
function shared(context: KernelContext, type: number, value: Expr, use: (local: Local) => Expr): Expr {
  const local = context.asm.local(type);
  return context.m.block(null, [local.set(value), use(local)], type);
}

const formulaNames = Object.keys(formulas) as FormulaOp[];

function formulaTable(floats: (context: KernelContext) => Floats, type: number): Record<FormulaOp, Emit> {
  const entries = formulaNames.map((name): [FormulaOp, Emit] => [
    name,
    (context, [x]) => shared(context, type, x as Expr, (local) => formulas[name](floats(context), local.get)),
  ]);
  return Object.fromEntries(entries) as Record<FormulaOp, Emit>;
}

type NumberKind = 'f32' | 'i32' | 'i64';

function kindOf(value: Value | undefined): NumberKind {
  const dtype = (value as Value).type.dtype;
  if (isFloat(dtype)) return 'f32';
  return dtype === 'i64' ? 'i64' : 'i32';
}

type Comparison = 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge';

function compare(name: Comparison): Emit {
  return ({ m }, [a, b], op) => {
    const kind = kindOf(op.operands[0]);
    if (kind === 'f32') return m.f32[name](a as Expr, b as Expr);
    const signed = name === 'eq' || name === 'ne' ? name : (`${name}_s` as const);
    return m[kind][signed](a as Expr, b as Expr);
  };
}

function arithmetic(name: 'add' | 'sub' | 'mul'): Emit {
  return ({ m }, [a, b], op) => m[kindOf(op.operands[0])][name](a as Expr, b as Expr);
}

/** `choose(a, b)` on integers by a signed comparison. */
function select(name: 'min' | 'max'): Emit {
  return (context, [a, b], op) => {
    const { m, asm } = context;
    const kind = kindOf(op.operands[0]);
    if (kind === 'f32') return m.f32[name](a as Expr, b as Expr);
    const type = registerType((op.operands[0] as Value).type.dtype);
    const [left, right] = [asm.local(type), asm.local(type)];
    const first =
      name === 'min' ? m[kind].lt_s(left.get(), right.get()) : m[kind].gt_s(left.get(), right.get());
    return m.block(
      null,
      [left.set(a as Expr), right.set(b as Expr), m.select(first, left.get(), right.get())],
      type,
    );
  };
}

/** Truncating division; a divisor of 0 gives 0, and -1 negates, which cannot overflow into a trap. */
const divide: Emit = (context, [a, b], op) => {
  const { m, asm } = context;
  const kind = kindOf(op.operands[0]);
  if (kind === 'f32') return m.f32.div(a as Expr, b as Expr);
  const type = registerType((op.operands[0] as Value).type.dtype);
  const [left, right] = [asm.local(type), asm.local(type)];
  const constant = (v: number): Expr => (kind === 'i64' ? m.i64.const(BigInt(v)) : m.i32.const(v));
  const quotient = m.if(
    m[kind].eq(right.get(), constant(-1)),
    m[kind].sub(constant(0), left.get()),
    m[kind].div_s(left.get(), right.get()),
  );
  const guarded = m.if(m[kind].eqz(right.get()), constant(0), quotient);
  return m.block(null, [left.set(a as Expr), right.set(b as Expr), guarded], type);
};

function integerUnary(
  forFloat: (m: KernelContext['m'], x: Expr) => Expr,
  forInt: (context: KernelContext, kind: 'i32' | 'i64', x: Local) => Expr,
): Emit {
  return (context, [x], op) => {
    const kind = kindOf(op.operands[0]);
    if (kind === 'f32') return forFloat(context.m, x as Expr);
    return shared(context, registerType((op.operands[0] as Value).type.dtype), x as Expr, (local) =>
      forInt(context, kind, local),
    );
  };
}

function zero(m: KernelContext['m'], kind: 'i32' | 'i64'): Expr {
  return kind === 'i64' ? m.i64.const(0n) : m.i32.const(0);
}

const negate = ({ m }: KernelContext, kind: 'i32' | 'i64', x: Local): Expr =>
  m[kind].sub(zero(m, kind), x.get());

/** Sign of a float: NaN and zeros stay. */
const signFloat: Emit = (context, [x]) =>
  shared(context, f32, x as Expr, (local) => {
    const { m } = context;
    const ordinary = m.f32.gt(m.f32.abs(local.get()), m.f32.const(0));
    return m.select(ordinary, m.f32.copysign(m.f32.const(1), local.get()), local.get());
  });

const sign: Emit = (context, operands, op) => {
  const { m } = context;
  const kind = kindOf(op.operands[0]);
  if (kind === 'f32') return signFloat(context, operands, op);
  return shared(context, registerType((op.operands[0] as Value).type.dtype), operands[0] as Expr, (x) => {
    const positive = m[kind].gt_s(x.get(), zero(m, kind));
    const negative = m[kind].lt_s(x.get(), zero(m, kind));
    const difference = m.i32.sub(positive, negative);
    return kind === 'i64' ? m.i64.extend_s(difference) : difference;
  });
};

const relu: Emit = (context, [x], op) => {
  const { m } = context;
  const kind = kindOf(op.operands[0]);
  return shared(context, registerType((op.operands[0] as Value).type.dtype), x as Expr, (local) => {
    if (kind === 'f32') return m.select(m.f32.lt(local.get(), m.f32.const(0)), m.f32.const(0), local.get());
    return m.select(m[kind].lt_s(local.get(), zero(m, kind)), zero(m, kind), local.get());
  });
};

/** The range of `cast` to i64: its upper end is the greatest float64 below 2^63. */
const bounds64 = [castTo.i64(Number.NEGATIVE_INFINITY), castTo.i64(Number.POSITIVE_INFINITY)] as const;

/** Converts between registers; conversions to integers saturate, NaN becomes 0. */
export function convertRegister(context: KernelContext, from: DType, to: DType, value: Expr): Expr {
  const { m } = context;
  const source: NumberKind = isFloat(from) ? 'f32' : from === 'i64' ? 'i64' : 'i32';
  if (to === 'bool') {
    if (source === 'f32') return m.f32.ne(value, m.f32.const(0));
    return source === 'i64' ? m.i64.ne(value, m.i64.const(0n)) : m.i32.ne(value, m.i32.const(0));
  }
  if (isFloat(to)) {
    if (source === 'f32') return value;
    return source === 'i64' ? m.f32.convert_s.i64(value) : m.f32.convert_s.i32(value);
  }
  if (to === 'i64') {
    if (source === 'i64') return value;
    return source === 'f32'
      ? clamp(context, 'i64', m.i64.trunc_s_sat.f32(value), ...bounds64)
      : m.i64.extend_s(value);
  }
  const bounds: Record<'i32' | 'i8' | 'u8' | 'i4' | 'u4', readonly [number, number]> = {
    i32: [-(2 ** 31), 2 ** 31 - 1],
    i8: [-128, 127],
    u8: [0, 255],
    i4: [-8, 7],
    u4: [0, 15],
  };
  const [low, high] = bounds[to as keyof typeof bounds];
  if (source === 'i64') return m.i32.wrap(clamp(context, 'i64', value, low, high));
  const whole = source === 'f32' ? m.i32.trunc_s_sat.f32(value) : value;
  return to === 'i32' ? whole : clamp(context, 'i32', whole, low, high);
}

function clamp(context: KernelContext, kind: 'i32' | 'i64', value: Expr, low: number, high: number): Expr {
  const { m, asm } = context;
  const type = registerType(kind);
  const constant = (v: number): Expr => (kind === 'i64' ? m.i64.const(BigInt(v)) : m.i32.const(v));
  const local = asm.local(type);
  return m.block(
    null,
    [
      local.set(value),
      local.set(m.select(m[kind].lt_s(local.get(), constant(low)), constant(low), local.get())),
      m.select(m[kind].gt_s(local.get(), constant(high)), constant(high), local.get()),
    ],
    type,
  );
}

/** A literal in the register of a dtype, converted as `cast` converts. */
export function constantOfType({ m }: KernelContext, dtype: DType, value: number): Expr {
  const exact = castTo[dtype](value);
  if (isFloat(dtype)) return m.f32.const(exact);
  return dtype === 'i64' ? m.i64.const(BigInt(exact)) : m.i32.const(exact);
}

/** The same in four lanes: a float, or a mask for bool. */
export function constantVector({ asm }: KernelContext, dtype: DType, value: number): Expr {
  const exact = castTo[dtype](value);
  return dtype === 'bool' ? asm.splatInt(exact === 0 ? 0 : -1) : asm.splat(exact);
}

type ElementwiseName =
  | FormulaOp
  | Comparison
  | 'neg'
  | 'abs'
  | 'sign'
  | 'floor'
  | 'ceil'
  | 'round'
  | 'relu'
  | 'add'
  | 'sub'
  | 'mul'
  | 'div'
  | 'pow'
  | 'min'
  | 'max'
  | 'and'
  | 'or'
  | 'xor'
  | 'not'
  | 'where'
  | 'cast';

export const scalarOps: Readonly<Record<ElementwiseName & OpName, Emit>> = {
  ...formulaTable(scalarFloats, f32),
  neg: integerUnary((m, x) => m.f32.neg(x), negate),
  abs: integerUnary(
    (m, x) => m.f32.abs(x),
    (context, kind, x) => {
      const { m } = context;
      return m.select(m[kind].lt_s(x.get(), zero(m, kind)), negate(context, kind, x), x.get());
    },
  ),
  sign,
  floor: ({ m }, [x]) => m.f32.floor(x as Expr),
  ceil: ({ m }, [x]) => m.f32.ceil(x as Expr),
  round: ({ m }, [x]) => m.f32.nearest(x as Expr),
  relu,
  add: arithmetic('add'),
  sub: arithmetic('sub'),
  mul: arithmetic('mul'),
  div: divide,
  pow: ({ math }, [a, b]) => math.pow(a as Expr, b as Expr),
  min: select('min'),
  max: select('max'),
  eq: compare('eq'),
  ne: compare('ne'),
  lt: compare('lt'),
  le: compare('le'),
  gt: compare('gt'),
  ge: compare('ge'),
  and: ({ m }, [a, b]) => m.i32.and(a as Expr, b as Expr),
  or: ({ m }, [a, b]) => m.i32.or(a as Expr, b as Expr),
  xor: ({ m }, [a, b]) => m.i32.xor(a as Expr, b as Expr),
  not: ({ m }, [x]) => m.i32.eqz(x as Expr),
  where: ({ m }, [condition, a, b]) => m.select(condition as Expr, a as Expr, b as Expr),
  cast: (context, [x], op) =>
    convertRegister(
      context,
      (op.operands[0] as Value).type.dtype,
      (op as unknown as OpOf<'cast'>).attrs.dtype,
      x as Expr,
    ),
};

/** Lane masks as a comparison of the operands: of floats, or of the masks of bools as unsigned integers. */
function compareLanes(name: Comparison): Emit {
  return ({ m }, [a, b], op) => {
    if ((op.operands[0] as Value).type.dtype !== 'bool') return m.f32x4[name](a as Expr, b as Expr);
    const unsigned = name === 'eq' || name === 'ne' ? name : (`${name}_u` as const);
    return m.i32x4[unsigned](a as Expr, b as Expr);
  };
}

type VectorName = Exclude<keyof typeof scalarOps, 'pow'>;

/** The same on f32x4; conditions are lane masks. */
export const vectorOps: Readonly<Record<VectorName, Emit>> = {
  ...formulaTable(vectorFloats, v128),
  neg: ({ m }, [x]) => m.f32x4.neg(x as Expr),
  abs: ({ m }, [x]) => m.f32x4.abs(x as Expr),
  sign: (context, [x]) =>
    shared(context, v128, x as Expr, (local) => {
      const { m, asm } = context;
      const one = m.v128.or(m.v128.and(local.get(), asm.splatInt(-0x80000000)), asm.splat(1));
      return m.v128.bitselect(one, local.get(), m.f32x4.gt(m.f32x4.abs(local.get()), asm.splat(0)));
    }),
  floor: ({ m }, [x]) => m.f32x4.floor(x as Expr),
  ceil: ({ m }, [x]) => m.f32x4.ceil(x as Expr),
  round: ({ m }, [x]) => m.f32x4.nearest(x as Expr),
  relu: ({ m, asm }, [x]) => m.f32x4.pmax(x as Expr, asm.splat(0)),
  add: ({ m }, [a, b]) => m.f32x4.add(a as Expr, b as Expr),
  sub: ({ m }, [a, b]) => m.f32x4.sub(a as Expr, b as Expr),
  mul: ({ m }, [a, b]) => m.f32x4.mul(a as Expr, b as Expr),
  div: ({ m }, [a, b]) => m.f32x4.div(a as Expr, b as Expr),
  min: ({ m }, [a, b]) => m.f32x4.min(a as Expr, b as Expr),
  max: ({ m }, [a, b]) => m.f32x4.max(a as Expr, b as Expr),
  eq: compareLanes('eq'),
  ne: compareLanes('ne'),
  lt: compareLanes('lt'),
  le: compareLanes('le'),
  gt: compareLanes('gt'),
  ge: compareLanes('ge'),
  and: ({ m }, [a, b]) => m.v128.and(a as Expr, b as Expr),
  or: ({ m }, [a, b]) => m.v128.or(a as Expr, b as Expr),
  xor: ({ m }, [a, b]) => m.v128.xor(a as Expr, b as Expr),
  not: ({ m }, [x]) => m.v128.not(x as Expr),
  where: ({ m }, [condition, a, b]) => m.v128.bitselect(a as Expr, b as Expr, condition as Expr),
  cast: ({ m, asm }, [x], op) => {
    const [from, to] = [(op.operands[0] as Value).type.dtype, (op as unknown as OpOf<'cast'>).attrs.dtype];
    if (from === 'bool') return to === 'bool' ? (x as Expr) : m.v128.and(x as Expr, asm.splat(1));
    return to === 'bool' ? m.f32x4.ne(x as Expr, asm.splat(0)) : (x as Expr);
  },
};
