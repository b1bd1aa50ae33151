/** The elementwise ops as C++ expressions over register values; functions are those of device/prelude.ts. */
import type { Op, OpOf, Value } from '../../../ir/module.js';
import { castTo } from '../../../ir/numeric.js';
import { type DType, isFloat } from '../../../ir/type.js';
import { registerType, storageType } from './size.js';

type Formula = (operands: readonly string[], op: Op) => string;

const call =
  (name: string): Formula =>
  (operands) =>
    `${name}(${operands.join(', ')})`;

const infix =
  (operator: string): Formula =>
  ([a, b]) =>
    `(${a} ${operator} ${b})`;

function dtypeOf(value: Value | undefined): DType {
  return (value as Value).type.dtype;
}

/** One function for floats, another for integers. */
const byKind =
  (floats: Formula, integers: Formula): Formula =>
  (operands, op) =>
    (isFloat(dtypeOf(op.operands[0])) ? floats : integers)(operands, op);

export const formulas = {
  neg: byKind(
    ([x]) => `(-(${x}))`,
    ([x], op) => `sub(${literal(dtypeOf(op.operands[0]), 0)}, ${x})`,
  ),
  abs: byKind(call('fabsf'), ([x]) => `(${x} < 0 ? sub(0 * ${x}, ${x}) : ${x})`),
  sign: call('sign'),
  sqrt: call('sqrtf'),
  rsqrt: ([x]) => `(1.0f / sqrtf(${x}))`,
  reciprocal: ([x]) => `(1.0f / ${x})`,
  exp: call('expf'),
  log: call('logf'),
  sin: call('sinf'),
  cos: call('cosf'),
  tanh: call('tanhf'),
  erf: call('erff'),
  floor: call('floorf'),
  ceil: call('ceilf'),
  round: call('rintf'),
  relu: call('relu'),
  sigmoid: call('sigmoid'),
  silu: call('silu'),
  softplus: call('softplus'),
  gelu: call('gelu'),
  gelu_tanh: call('gelu_tanh'),
  quick_gelu: call('quick_gelu'),
  add: call('add'),
  sub: call('sub'),
  mul: call('mul'),
  div: byKind(infix('/'), call('quotient')),
  pow: call('power'),
  min: call('minimum'),
  max: call('maximum'),
  eq: infix('=='),
  ne: infix('!='),
  lt: infix('<'),
  le: infix('<='),
  gt: infix('>'),
  ge: infix('>='),
  and: infix('&&'),
  or: infix('||'),
  xor: infix('!='),
  not: ([x]) => `(!${x})`,
  where: ([condition, a, b]) => `(${condition} ? ${a} : ${b})`,
  cast: ([x], op) => conversion(x as string, dtypeOf(op.operands[0]), (op as OpOf<'cast'>).attrs.dtype),
} as const satisfies Record<string, Formula>;

export type FormulaOp = keyof typeof formulas;

const integerRanges = { i32: '-2147483647 - 1, 2147483647', i8: '-128, 127', u8: '0, 255' } as const;

/** `cast` between registers; the caller rounds to narrow floats. */
function conversion(x: string, from: DType, to: DType): string {
  if (registerType[from] === 'bool') return to === 'bool' ? x : `${registerCast(to)}(${x} ? 1 : 0)`;
  if (to === 'bool') return `(${x} != 0)`;
  if (isFloat(to)) return isFloat(from) ? x : `static_cast<float>(${x})`;
  if (to === 'i64') return `to_long(${x})`;
  if (from === to) return x;
  return `to_int(${x}, ${integerRanges[to as keyof typeof integerRanges]})`;
}

function registerCast(dtype: DType): string {
  return `static_cast<${registerType[dtype]}>`;
}

/** The value as it is after a store to `dtype`: f32, i32, i64 and bool registers hold it exactly. */
export function roundedTo(dtype: DType, x: string): string {
  const exact = dtype === 'f32' || dtype === 'i32' || dtype === 'i64' || dtype === 'bool';
  return exact ? x : `rounded<${storageType[dtype]}>(${x})`;
}

/** A literal of a register, converted as `cast` converts. */
export function literal(dtype: DType, value: number): string {
  const exact = castTo[dtype](value);
  if (dtype === 'bool') return exact === 0 ? 'false' : 'true';
  if (isFloat(dtype)) return floatLiteral(exact);
  if (dtype === 'i64') return exact === -(2 ** 63) ? '(-9223372036854775807ll - 1)' : `${BigInt(exact)}ll`;
  return exact === -(2 ** 31) ? '(-2147483647 - 1)' : String(exact);
}

export function floatLiteral(value: number): string {
  if (Number.isNaN(value)) return 'not_a_number()';
  if (!Number.isFinite(value)) return value > 0 ? 'infinity()' : '-infinity()';
  const text = Object.is(value, -0) ? '-0' : String(Number(Math.fround(value).toPrecision(9)));
  return `${/[.e]/.test(text) ? text : `${text}.0`}f`;
}
