/** Arithmetic, comparison, logic, casts and activations. */
import type { Value } from '../../../ir/module.js';
import type { OpName } from '../../../ir/ops/table.js';
import { type DType, isFloat } from '../../../ir/type.js';
import { add, cast, div, full, inFloat, like, mul, rankOf, reshape, sub } from '../build.js';
import type { NodeContext, OperatorEntry, OperatorTable } from '../node.js';

type Formula = (c: NodeContext, x: Value) => Value;

function unary(formula: Formula, since = 1): OperatorEntry {
  return { since, convert: (c) => formula(c, c.input(0)) };
}

function direct(name: OpName, since = 1): OperatorEntry {
  return unary((c, x) => c.b.one(name, [x]), since);
}

/** Functions of floats; integers go through f32. */
function floating(name: OpName, since = 1): OperatorEntry {
  return unary((c, x) => inFloat(c.b, x, (wide) => c.b.one(name, [wide])), since);
}

/** Operands of a binary operator. Before opset 7, `axis` says where b meets a; afterwards they align at the end. */
function pair(c: NodeContext): [Value, Value] {
  const [a, b] = [c.input(0), c.input(1)];
  if (c.opset >= 7 || !c.hasAttribute('axis')) return [a, b];
  const after = rankOf(a) - c.int('axis') - rankOf(b);
  const ones = new Array<number>(Math.max(0, after)).fill(1);
  return [a, reshape(c.b, b, [...b.type.shape, ...ones])];
}

function binary(name: OpName, since = 1): OperatorEntry {
  return { since, convert: (c) => c.b.one(name, pair(c)) };
}

/** Any number of operands, combined from the left. */
function variadic(name: OpName, since = 1): OperatorEntry {
  return { since, convert: (c) => c.inputs().reduce((a, b) => c.b.one(name, [a, b])) };
}

const scaled = (c: NodeContext, x: Value, factor: number): Value => mul(c.b, x, like(c.b, x, factor));
const shifted = (c: NodeContext, x: Value, offset: number): Value => add(c.b, x, like(c.b, x, offset));
const op = (c: NodeContext, name: OpName, ...operands: Value[]): Value => c.b.one(name, operands);

/** x where it is positive, `below(x)` elsewhere. */
function piecewise(c: NodeContext, x: Value, below: Value): Value {
  return op(c, 'where', op(c, 'gt', x, like(c.b, x, 0)), x, below);
}

function clamp(c: NodeContext, x: Value, low: Value | undefined, high: Value | undefined): Value {
  const raised = low === undefined ? x : op(c, 'max', x, low);
  return high === undefined ? raised : op(c, 'min', raised, high);
}

function clip(c: NodeContext): Value {
  const x = c.input(0);
  const bound = (index: number, name: string): Value | undefined => {
    if (c.opset >= 11) {
      const given = c.optional(index);
      return given === undefined ? undefined : reshape(c.b, given, []);
    }
    return c.hasAttribute(name) ? like(c.b, x, c.float(name)) : undefined;
  };
  return clamp(c, x, bound(1, 'min'), bound(2, 'max'));
}

/** Powers of integers are computed in f32, which is exact up to 2^24, and rounded. */
function power(c: NodeContext): Value {
  const [a, b] = pair(c);
  const { dtype } = a.type;
  if (isFloat(dtype)) return op(c, 'pow', a, cast(c.b, b, dtype));
  const result = op(c, 'pow', cast(c.b, a, 'f32'), cast(c.b, b, 'f32'));
  return cast(c.b, op(c, 'round', result), dtype);
}

/** Remainder with the sign of the divisor, or with that of the dividend if `fmod`. */
function modulo(c: NodeContext): Value {
  const [a, b] = pair(c);
  const isFloating = isFloat(a.type.dtype);
  const quotient = isFloating ? truncated(c, div(c.b, a, b)) : div(c.b, a, b);
  const plain = sub(c.b, a, mul(c.b, quotient, b));
  // An infinite divisor leaves finite dividends as they are, and 0 times infinity is no number.
  const remainder = isFloating ? op(c, 'where', isInfinite(c, b), finiteOrNaN(c, a), plain) : plain;
  if (c.int('fmod', 0) === 1) return remainder;
  const zero = like(c.b, a, 0);
  const signsDiffer = op(c, 'xor', op(c, 'lt', remainder, zero), op(c, 'lt', b, zero));
  const wraps = op(c, 'and', op(c, 'ne', remainder, zero), signsDiffer);
  return op(c, 'where', wraps, add(c.b, remainder, b), remainder);
}

function finiteOrNaN(c: NodeContext, x: Value): Value {
  return add(c.b, x, sub(c.b, x, x));
}

function truncated(c: NodeContext, x: Value): Value {
  return op(c, 'where', op(c, 'lt', x, like(c.b, x, 0)), op(c, 'ceil', x), op(c, 'floor', x));
}

/**
 * Floats that stand outside an integer type wrap or saturate as they like: ONNX leaves it open. Those of four bits wrap,
 * as in its reference.
 */
function convertTo(c: NodeContext, dtype: DType): Value {
  const x = c.input(0);
  if ((dtype !== 'i4' && dtype !== 'u4') || !isFloat(x.type.dtype)) return cast(c.b, x, dtype);
  const whole = truncated(c, cast(c.b, x, 'f32'));
  const lowest = dtype === 'i4' ? -8 : 0;
  const turns = op(c, 'floor', scaled(c, shifted(c, whole, -lowest), 1 / 16));
  return cast(c.b, sub(c.b, whole, scaled(c, turns, 16)), dtype);
}

/** Before opset 6, the type is a name. */
const typeNames: Readonly<Record<string, number>> = {
  FLOAT: 1,
  UINT8: 2,
  INT8: 3,
  INT32: 6,
  INT64: 7,
  BOOL: 9,
  FLOAT16: 10,
  DOUBLE: 11,
};

function isInfinite(c: NodeContext, x: Value): Value {
  return op(c, 'eq', op(c, 'abs', x), like(c.b, x, Number.POSITIVE_INFINITY));
}

function isChosenInfinity(c: NodeContext, x: Value): Value {
  const of = (value: number): Value => op(c, 'eq', x, like(c.b, x, value));
  const [negative, positive] = [c.int('detect_negative', 1) === 1, c.int('detect_positive', 1) === 1];
  if (negative && positive) return isInfinite(c, x);
  if (positive) return of(Number.POSITIVE_INFINITY);
  if (negative) return of(Number.NEGATIVE_INFINITY);
  return op(c, 'ne', x, x);
}

const exp = (c: NodeContext, x: Value): Value => op(c, 'exp', x);

function elu(c: NodeContext, x: Value, alpha: number): Value {
  // The exponent of what is not needed must not overflow.
  const power = exp(c, op(c, 'min', x, like(c.b, x, 0)));
  return piecewise(c, x, scaled(c, shifted(c, power, -1), alpha));
}

function hardSigmoid(c: NodeContext, x: Value, alpha: number, beta: number): Value {
  return clamp(c, shifted(c, scaled(c, x, alpha), beta), like(c.b, x, 0), like(c.b, x, 1));
}

/** log(x + sqrt(x^2 + 1)), from |x| so that nothing cancels. */
function asinh(c: NodeContext, x: Value): Value {
  const size = op(c, 'abs', x);
  const root = op(c, 'sqrt', shifted(c, mul(c.b, size, size), 1));
  return mul(c.b, op(c, 'sign', x), op(c, 'log', add(c.b, size, root)));
}

/**
 * arctan by Cephes' atanf (Moshier 1992): the argument is brought below tan(pi/8), where a polynomial of degree 9 is
 * exact to f32.
 */
function atan(c: NodeContext, x: Value): Value {
  const [eighth, threeEighths] = [Math.tan(Math.PI / 8), Math.tan((3 * Math.PI) / 8)];
  const size = op(c, 'abs', x);
  const [large, medium] = [threeEighths, eighth].map((limit) => op(c, 'gt', size, like(c.b, x, limit))) as [
    Value,
    Value,
  ];
  const inverse = op(c, 'neg', op(c, 'reciprocal', size));
  const turned = div(c.b, shifted(c, size, -1), shifted(c, size, 1));
  const choose = (a: Value, b: Value, z: Value): Value =>
    op(c, 'where', large, a, op(c, 'where', medium, b, z));
  const y = choose(inverse, turned, size);
  const offset = choose(like(c.b, x, Math.PI / 2), like(c.b, x, Math.PI / 4), like(c.b, x, 0));
  const z = mul(c.b, y, y);
  const coefficients = [8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1];
  const polynomial = coefficients
    .slice(1)
    .reduce(
      (sum, coefficient) => shifted(c, mul(c.b, sum, z), coefficient),
      like(c.b, x, coefficients[0] as number),
    );
  const angle = add(c.b, add(c.b, mul(c.b, mul(c.b, polynomial, z), y), y), offset);
  return op(c, 'where', op(c, 'lt', x, like(c.b, x, 0)), op(c, 'neg', angle), angle);
}

/** asin(x) = atan(x / sqrt((1 - x)(1 + x))); infinite quotients give pi/2. */
function asin(c: NodeContext, x: Value): Value {
  const one = like(c.b, x, 1);
  const root = op(c, 'sqrt', mul(c.b, sub(c.b, one, x), add(c.b, one, x)));
  return atan(c, div(c.b, x, root));
}

const sinh = (c: NodeContext, x: Value): Value =>
  scaled(c, sub(c.b, exp(c, x), exp(c, op(c, 'neg', x))), 0.5);
const cosh = (c: NodeContext, x: Value): Value =>
  scaled(c, add(c.b, exp(c, x), exp(c, op(c, 'neg', x))), 0.5);

/** Functions that are computed in f32 whatever the type. */
function inF32(formula: Formula, since = 1): OperatorEntry {
  return unary((c, x) => cast(c.b, formula(c, cast(c.b, x, 'f32')), x.type.dtype), since);
}

export function swish(c: NodeContext, x: Value, alpha: number): Value {
  if (alpha === 1) return op(c, 'silu', x);
  if (alpha === 1.702) return op(c, 'quick_gelu', x);
  return mul(c.b, x, op(c, 'sigmoid', scaled(c, x, alpha)));
}

/** Attributes are 32-bit floats: 1.702 arrives as 1.7020000219345093. */
export function decimal(value: number): number {
  return Number(value.toPrecision(7));
}

function shrink(c: NodeContext, x: Value): Value {
  const [lambda, bias] = [c.float('lambd', 0.5), c.float('bias', 0)];
  const zero = like(c.b, x, 0);
  const low = op(c, 'where', op(c, 'lt', x, like(c.b, x, -lambda)), shifted(c, x, bias), zero);
  return op(c, 'where', op(c, 'gt', x, like(c.b, x, lambda)), shifted(c, x, -bias), low);
}

/** At inference, dropout passes its input on and keeps everything. */
function dropout(c: NodeContext): Value[] {
  const x = c.input(0);
  if (c.opset >= 12 && c.has(2) && c.known(2, 'training_mode').data[0] !== 0) {
    const ratio = c.has(1) ? (c.known(1, 'ratio').data[0] as number) : 0.5;
    if (ratio !== 0) return c.unsupported('training mode, which is random', 'ratio 0, or inference');
  }
  const mask = full(c.b, 1, c.opset >= 10 ? 'bool' : x.type.dtype, x.type.shape);
  return [x, mask];
}

/** Slopes of PRelu before opset 7 belong to the channels; afterwards they broadcast. */
function prelu(c: NodeContext): Value {
  const [x, given] = [c.input(0), c.input(1)];
  const isVector = c.opset < 7 && rankOf(given) === 1 && rankOf(x) > 2;
  const slope = isVector
    ? reshape(c.b, given, [given.type.shape[0] as never, ...new Array<number>(rankOf(x) - 2).fill(1)])
    : given;
  return op(c, 'where', op(c, 'lt', x, like(c.b, x, 0)), mul(c.b, x, slope), x);
}

export const elementwiseOperators: OperatorTable = {
  Abs: direct('abs'),
  Neg: direct('neg'),
  Sign: direct('sign'),
  Sqrt: floating('sqrt'),
  Reciprocal: floating('reciprocal'),
  Exp: floating('exp'),
  Log: floating('log'),
  Sin: floating('sin'),
  Cos: floating('cos'),
  Tanh: floating('tanh'),
  Erf: floating('erf'),
  Floor: direct('floor'),
  Ceil: direct('ceil'),
  Round: direct('round'),
  Relu: direct('relu'),
  Sigmoid: floating('sigmoid'),
  Softplus: floating('softplus'),
  Not: direct('not'),
  Tan: inF32((c, x) => div(c.b, op(c, 'sin', x), op(c, 'cos', x))),
  Sinh: inF32(sinh),
  Cosh: inF32(cosh),
  Asinh: inF32(asinh),
  Acosh: inF32((c, x) =>
    op(c, 'log', add(c.b, x, op(c, 'sqrt', mul(c.b, shifted(c, x, -1), shifted(c, x, 1))))),
  ),
  Atanh: inF32((c, x) => {
    const one = like(c.b, x, 1);
    return scaled(c, op(c, 'log', div(c.b, add(c.b, one, x), sub(c.b, one, x))), 0.5);
  }),
  Atan: inF32(atan),
  Asin: inF32(asin),
  Acos: inF32((c, x) => sub(c.b, like(c.b, x, Math.PI / 2), asin(c, x))),

  Add: binary('add'),
  Sub: binary('sub'),
  Mul: binary('mul'),
  Div: binary('div'),
  Pow: { since: 1, convert: power },
  Mod: { since: 10, convert: modulo },
  Min: variadic('min'),
  Max: variadic('max'),
  Sum: variadic('add'),
  Mean: {
    since: 1,
    convert: (c) => {
      const sum = c.inputs().reduce((a, b) => add(c.b, a, b));
      return div(c.b, sum, like(c.b, sum, c.count));
    },
  },
  Equal: binary('eq'),
  Less: binary('lt'),
  LessOrEqual: binary('le', 12),
  Greater: binary('gt'),
  GreaterOrEqual: binary('ge', 12),
  And: binary('and'),
  Or: binary('or'),
  Xor: binary('xor'),
  Where: { since: 9, convert: (c) => op(c, 'where', c.input(0), c.input(1), c.input(2)) },
  Clip: { since: 1, convert: clip },
  Cast: {
    since: 1,
    limits: 'types that Hew has; doubles become f32',
    convert: (c) => {
      if (c.opset >= 6) return convertTo(c, c.dtype(c.int('to')));
      const name = c.string('to');
      const code = typeNames[name] ?? c.fail('HEW3109', `${name} is no type that Hew computes with`);
      return convertTo(c, c.dtype(code));
    },
  },
  CastLike: { since: 15, convert: (c) => convertTo(c, c.input(1).type.dtype) },
  IsNaN: unary((c, x) => op(c, 'ne', x, x), 9),
  IsInf: unary(isChosenInfinity, 10),
  Identity: { since: 1, convert: (c) => [c.item(0)] },
  Dropout: { since: 1, limits: 'inference, or ratio 0', convert: dropout },

  LeakyRelu: unary((c, x) => piecewise(c, x, scaled(c, x, c.float('alpha', 0.01)))),
  PRelu: { since: 1, convert: prelu },
  Elu: unary((c, x) => elu(c, x, c.float('alpha', 1))),
  Selu: unary((c, x) => {
    const [alpha, gamma] = [c.float('alpha', 1.6732632423543772), c.float('gamma', 1.0507009873554805)];
    return scaled(c, elu(c, x, alpha), gamma);
  }),
  Celu: unary((c, x) => {
    const alpha = c.float('alpha', 1);
    const power = exp(c, scaled(c, op(c, 'min', x, like(c.b, x, 0)), 1 / alpha));
    return piecewise(c, x, scaled(c, shifted(c, power, -1), alpha));
  }, 12),
  ThresholdedRelu: unary((c, x) => {
    const passes = op(c, 'gt', x, like(c.b, x, c.float('alpha', 1)));
    return op(c, 'where', passes, x, like(c.b, x, 0));
  }, 10),
  HardSigmoid: unary((c, x) => hardSigmoid(c, x, c.float('alpha', 0.2), c.float('beta', 0.5))),
  HardSwish: unary((c, x) => mul(c.b, x, hardSigmoid(c, x, 1 / 6, 0.5)), 14),
  Softsign: unary((c, x) => div(c.b, x, shifted(c, op(c, 'abs', x), 1))),
  Shrink: unary(shrink, 9),
  Mish: unary((c, x) => mul(c.b, x, op(c, 'tanh', op(c, 'softplus', x))), 18),
  Gelu: unary((c, x) => op(c, c.string('approximate', 'none') === 'tanh' ? 'gelu_tanh' : 'gelu', x), 20),
  Swish: unary((c, x) => swish(c, x, decimal(c.float('alpha', 1))), 24),
  SwiGLU: {
    since: 28,
    convert: (c) => mul(c.b, swish(c, c.input(0), decimal(c.float('alpha', 1))), c.input(1)),
  },
};
