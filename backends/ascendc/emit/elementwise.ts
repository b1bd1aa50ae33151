/**
 * The elementwise ops as instructions of the vector unit. Everything is computed in f32; integers are exact in it up to
 * 2^24, and a bool is 0 or 1. A value that is the same for all elements of a tile is a scalar expression.
 */
import type { Op, OpOf, Value } from '../../../ir/module.js';
import { isFloat } from '../../../ir/type.js';
import type { Register, VectorProgram } from './vector-program.js';

export type Operand =
  | { readonly kind: 'scalar'; readonly text: string }
  | { readonly kind: 'vector'; readonly register: Register };

export const scalar = (text: string): Operand => ({ kind: 'scalar', text });
export const vector = (register: Register): Operand => ({ kind: 'vector', register });

type Formula = (program: VectorProgram, operands: readonly Operand[], op: Op) => Operand;
/** Of operands alone, whatever their types. */
type Arithmetic = (program: VectorProgram, operands: readonly Operand[]) => Operand;

/** A literal of a float, which AscendC wants typed. */
export function floatLiteral(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return 'kInfinity';
  if (value === Number.NEGATIVE_INFINITY) return '-kInfinity';
  if (Number.isNaN(value)) return 'kNaN';
  const text = String(Number(Math.fround(value).toPrecision(9)));
  return `${/[.e]/.test(text) ? text : `${text}.0`}f`;
}

/** The operand as a register; a scalar is spread over the tile. */
export function spread(program: VectorProgram, operand: Operand): Register {
  if (operand.kind === 'vector') return operand.register;
  return program.emit([], 'float', false, (result) => `Duplicate(${result}, ${operand.text}, count);`);
}

const call = (program: VectorProgram, name: string, ...reads: Register[]): Register =>
  program.call(name, reads);

const withScalar = (program: VectorProgram, name: string, x: Register, value: string): Register =>
  program.call(name, [x], [value]);

const unary =
  (compute: (program: VectorProgram, x: Register) => Register): Formula =>
  (program, [x]) =>
    vector(compute(program, spread(program, x as Operand)));

const simple = (name: string): Formula => unary((program, x) => call(program, name, x));

/** Commutative: a scalar on either side becomes the scalar form. */
const commutative =
  (name: string, scalarName: string, fold: (a: string, b: string) => string): Arithmetic =>
  (program, [a, b]) => {
    if (a?.kind === 'scalar' && b?.kind === 'scalar') return scalar(fold(a.text, b.text));
    if (a?.kind === 'scalar')
      return vector(withScalar(program, scalarName, spread(program, b as Operand), a.text));
    if (b?.kind === 'scalar')
      return vector(withScalar(program, scalarName, spread(program, a as Operand), b.text));
    return vector(call(program, name, spread(program, a as Operand), spread(program, b as Operand)));
  };

export const add = commutative('Add', 'Adds', (a, b) => `(${a} + ${b})`);
export const mul = commutative('Mul', 'Muls', (a, b) => `(${a} * ${b})`);

export const sub: Arithmetic = (program, [a, b]) => {
  if (a?.kind === 'scalar' && b?.kind === 'scalar') return scalar(`(${a.text} - ${b.text})`);
  if (b?.kind === 'scalar') return add(program, [a as Operand, scalar(`-(${b.text})`)]);
  if (a?.kind === 'scalar') return add(program, [mul(program, [b as Operand, scalar('-1.0f')]), a]);
  return vector(call(program, 'Sub', spread(program, a as Operand), spread(program, b as Operand)));
};

/** Of integers: towards zero, and 0 where the divisor is 0. */
const div: Formula = (program, [a, b], op) => {
  if (isFloat(dtypeOf(op.operands[0]))) {
    if (a?.kind === 'scalar' && b?.kind === 'scalar') return scalar(`(${a.text} / ${b.text})`);
    return vector(call(program, 'Div', spread(program, a as Operand), spread(program, b as Operand)));
  }
  const quotient = call(program, 'Div', spread(program, a as Operand), spread(program, b as Operand));
  const divides = maskOf(program, b as Operand, scalar('0.0f'), 'NE');
  return vector(select(program, divides, vector(round(program, quotient, 'CAST_TRUNC')), scalar('0.0f')));
};

/** 1 / x by division: the unit's Reciprocal and Rsqrt are approximations. */
function reciprocal(program: VectorProgram, x: Register): Register {
  return call(program, 'Div', spread(program, scalar('1.0f')), x);
}

/** 1 / (1 + exp(-x)) */
function sigmoid(program: VectorProgram, x: Register): Register {
  const e = call(program, 'Exp', withScalar(program, 'Muls', x, '-1.0f'));
  return reciprocal(program, withScalar(program, 'Adds', e, '1.0f'));
}

/** 1 - 2 / (exp(2x) + 1), with |x| kept below 15, where the result is 1 to the last bit. */
function tanh(program: VectorProgram, x: Register): Register {
  const clamped = withScalar(program, 'Maxs', withScalar(program, 'Mins', x, '15.0f'), '-15.0f');
  const e = call(program, 'Exp', withScalar(program, 'Muls', clamped, '2.0f'));
  const quotient = call(
    program,
    'Div',
    spread(program, scalar('-2.0f')),
    withScalar(program, 'Adds', e, '1.0f'),
  );
  return withScalar(program, 'Adds', quotient, '1.0f');
}

/** x * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2 */
function geluTanh(program: VectorProgram, x: Register): Register {
  const square = call(program, 'Mul', x, x);
  const factor = withScalar(
    program,
    'Adds',
    withScalar(program, 'Muls', square, '0.0356774081f'),
    '0.797884561f',
  );
  const t = tanh(program, call(program, 'Mul', factor, x));
  return withScalar(program, 'Muls', call(program, 'Mul', withScalar(program, 'Adds', t, '1.0f'), x), '0.5f');
}

/** Sum of c[i] x^i by Horner. */
function polynomial(program: VectorProgram, x: Register, coefficients: readonly number[]): Register {
  const [highest, ...rest] = [...coefficients].reverse() as [number, ...number[]];
  let sum: Register = spread(program, scalar(floatLiteral(highest)));
  for (const c of rest) sum = withScalar(program, 'Adds', call(program, 'Mul', sum, x), floatLiteral(c));
  return sum;
}

/** erf by x P(x²) / Q(x²) with |x| below 4, where it is 1 to the last bit (the minimax rational of Eigen and XLA). */
function erf(program: VectorProgram, x: Register): Register {
  const clamped = withScalar(program, 'Maxs', withScalar(program, 'Mins', x, '4.0f'), '-4.0f');
  const square = call(program, 'Mul', clamped, clamped);
  const p = polynomial(
    program,
    square,
    [
      -1.60960333262415e-2, -2.95459980854025e-3, -7.34990630326855e-4, -5.69250639462346e-5,
      -2.10102402082508e-6, 2.77068142495902e-8, -2.72614225801306e-10,
    ],
  );
  const q = polynomial(
    program,
    square,
    [
      -1.42647390514189e-2, -7.37332916720468e-3, -1.68282697438203e-3, -2.13374055278905e-4,
      -1.45660718464996e-5,
    ],
  );
  return call(program, 'Div', call(program, 'Mul', clamped, p), q);
}

/**
 * sin(x + shift quarter turns): x is brought to [-pi/2, pi/2] by the nearest multiple of pi, in three parts so that the
 * difference is exact, then a polynomial; odd multiples change the sign.
 */
function sine(program: VectorProgram, x: Register, isCosine: boolean): Register {
  const turns = withScalar(program, 'Muls', x, '0.318309886f');
  const shifted = isCosine ? withScalar(program, 'Adds', turns, '0.5f') : turns;
  const nearest = round(program, shifted, 'CAST_RINT');
  // cos(x) = sin(x + pi/2): the half turn is taken off the multiple.
  const multiple = isCosine ? withScalar(program, 'Adds', nearest, '-0.5f') : nearest;
  let rest = x;
  for (const part of ['-3.140625f', '-0.000967502594f', '-1.50990698e-7f'])
    rest = call(program, 'Add', rest, withScalar(program, 'Muls', multiple, part));
  const square = call(program, 'Mul', rest, rest);
  const series = polynomial(program, square, [1, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800]);
  const half = round(program, withScalar(program, 'Muls', nearest, '0.5f'), 'CAST_FLOOR');
  const parity = call(program, 'Sub', nearest, withScalar(program, 'Muls', half, '2.0f'));
  const sign = withScalar(program, 'Adds', withScalar(program, 'Muls', parity, '-2.0f'), '1.0f');
  return call(program, 'Mul', call(program, 'Mul', series, rest), sign);
}

type Rounding = 'CAST_RINT' | 'CAST_FLOOR' | 'CAST_CEIL' | 'CAST_TRUNC';

/** Floats from here on are integers. */
const wholeFrom = '4194304.0f';
/** The sum with it has no room for a fraction: ties go to even. */
export const noFraction = '12582912.0f';

/** Rounding on chips whose casts do not round floats to floats: by a sum, and a correction of one. */
function roundBySums(program: VectorProgram, x: Register, mode: Rounding): Register {
  const up = withScalar(program, 'Adds', x, noFraction);
  const nearest = withScalar(program, 'Adds', up, `-${noFraction}`);
  const where = (a: Register, comparison: string): Register =>
    select(program, maskOf(program, vector(a), vector(x), comparison), scalar('1.0f'), scalar('0.0f'));
  const floor = (): Register => call(program, 'Sub', nearest, where(nearest, 'GT'));
  const ceil = (): Register => call(program, 'Add', nearest, where(nearest, 'LT'));
  const rounded = {
    CAST_RINT: () => nearest,
    CAST_FLOOR: floor,
    CAST_CEIL: ceil,
    CAST_TRUNC: () =>
      select(program, maskOf(program, vector(x), scalar('0.0f'), 'LT'), vector(ceil()), vector(floor())),
  }[mode]();
  const isSmall = maskOf(program, vector(call(program, 'Abs', x)), scalar(wholeFrom), 'LT');
  return select(program, isSmall, vector(rounded), vector(x));
}

/** To an integer that is a float again. */
export function round(program: VectorProgram, x: Register, mode: Rounding): Register {
  if (program.layout === 'fused') return roundBySums(program, x, mode);
  return program.emit(
    [x],
    'float',
    true,
    (result, [from]) => `Cast(${result}, ${from}, RoundMode::${mode}, count);`,
  );
}

/** exp(b log |a|), negative where a is and b is odd. */
const power: Arithmetic = (program, [a, b]) => {
  const base = a as Operand;
  // The logarithm of 0 is made finite, so that 0 to the 0 is 1.
  const finite = call(program, 'Ln', call(program, 'Abs', spread(program, base)));
  const logarithm = withScalar(program, 'Maxs', finite, '-30000.0f');
  const magnitude = call(program, 'Exp', spread(program, mul(program, [vector(logarithm), b as Operand])));
  if (base.kind === 'scalar' && !base.text.startsWith('-')) return vector(magnitude);
  const exponent = spread(program, b as Operand);
  const half = round(program, withScalar(program, 'Muls', exponent, '0.5f'), 'CAST_FLOOR');
  const parity = call(program, 'Sub', exponent, withScalar(program, 'Muls', half, '2.0f'));
  const sign = withScalar(program, 'Adds', withScalar(program, 'Muls', parity, '-2.0f'), '1.0f');
  const isNegative = maskOf(program, base, scalar('0.0f'), 'LT');
  return vector(
    select(program, isNegative, vector(call(program, 'Mul', sign, magnitude)), vector(magnitude)),
  );
};

const compareModes = { eq: 'EQ', ne: 'NE', lt: 'LT', le: 'LE', gt: 'GT', ge: 'GE' } as const;

/** A comparison takes whole repeats of 64 floats; what lies behind `count` is zero or older values. */
const wholeRepeats = 'WholeRepeats(count)';

/** Compare reads whole repeats, and tensors out of queues end before. */
function inWork(program: VectorProgram, x: Register): Register {
  return x.place === undefined ? x : withScalar(program, 'Adds', x, '0.0f');
}

export function maskOf(program: VectorProgram, a: Operand, b: Operand, mode: string): Register {
  const left = inWork(program, spread(program, a));
  if (b.kind === 'scalar') {
    return program.emit(
      [left],
      'mask',
      false,
      (result, [x]) => `CompareScalar(${result}, ${x}, ${b.text}, CMPMODE::${mode}, ${wholeRepeats});`,
    );
  }
  return program.emit(
    [left, inWork(program, b.register)],
    'mask',
    false,
    (result, [x, y]) => `Compare(${result}, ${x}, ${y}, CMPMODE::${mode}, ${wholeRepeats});`,
  );
}

export function select(program: VectorProgram, mask: Register, a: Operand, b: Operand): Register {
  const chosen = spread(program, a);
  if (b.kind === 'scalar') {
    return program.emit(
      [mask, chosen],
      'float',
      false,
      (result, [m, x]) =>
        `Select(${result}, ${m}, ${x}, ${b.text}, SELMODE::VSEL_TENSOR_SCALAR_MODE, count);`,
    );
  }
  return program.emit(
    [mask, chosen, b.register],
    'float',
    false,
    (result, [m, x, y]) => `Select(${result}, ${m}, ${x}, ${y}, SELMODE::VSEL_TENSOR_TENSOR_MODE, count);`,
  );
}

const compare =
  (mode: keyof typeof compareModes): Formula =>
  (program, [a, b]) => {
    const mask = maskOf(program, a as Operand, b as Operand, compareModes[mode]);
    return vector(select(program, mask, scalar('1.0f'), scalar('0.0f')));
  };

const dtypeOf = (value: Value | undefined): Value['type']['dtype'] => (value as Value).type.dtype;

export const formulas = {
  neg: (program, [x]) => mul(program, [x as Operand, scalar('-1.0f')]),
  abs: simple('Abs'),
  sign: unary((program, x) => {
    const positive = select(
      program,
      maskOf(program, vector(x), scalar('0.0f'), 'GT'),
      scalar('1.0f'),
      scalar('0.0f'),
    );
    const negative = select(
      program,
      maskOf(program, vector(x), scalar('0.0f'), 'LT'),
      scalar('1.0f'),
      scalar('0.0f'),
    );
    return call(program, 'Sub', positive, negative);
  }),
  sqrt: simple('Sqrt'),
  rsqrt: unary((program, x) => reciprocal(program, call(program, 'Sqrt', x))),
  reciprocal: unary(reciprocal),
  exp: simple('Exp'),
  log: simple('Ln'),
  sin: unary((program, x) => sine(program, x, false)),
  cos: unary((program, x) => sine(program, x, true)),
  tanh: unary(tanh),
  erf: unary(erf),
  floor: unary((program, x) => round(program, x, 'CAST_FLOOR')),
  ceil: unary((program, x) => round(program, x, 'CAST_CEIL')),
  round: unary((program, x) => round(program, x, 'CAST_RINT')),
  relu: simple('Relu'),
  sigmoid: unary(sigmoid),
  silu: unary((program, x) => call(program, 'Mul', sigmoid(program, x), x)),
  // max(x, 0) + log(1 + exp(-|x|))
  softplus: unary((program, x) => {
    const e = call(program, 'Exp', withScalar(program, 'Muls', call(program, 'Abs', x), '-1.0f'));
    return call(
      program,
      'Add',
      call(program, 'Ln', withScalar(program, 'Adds', e, '1.0f')),
      call(program, 'Relu', x),
    );
  }),
  gelu: unary((program, x) => {
    const e = erf(program, withScalar(program, 'Muls', x, '0.707106769f'));
    return withScalar(
      program,
      'Muls',
      call(program, 'Mul', withScalar(program, 'Adds', e, '1.0f'), x),
      '0.5f',
    );
  }),
  gelu_tanh: unary(geluTanh),
  quick_gelu: unary((program, x) =>
    call(program, 'Mul', sigmoid(program, withScalar(program, 'Muls', x, '1.702f')), x),
  ),
  add,
  sub,
  mul,
  div,
  pow: power,
  min: commutative('Min', 'Mins', (a, b) => `(${a} < ${b} ? ${a} : ${b})`),
  max: commutative('Max', 'Maxs', (a, b) => `(${a} > ${b} ? ${a} : ${b})`),
  eq: compare('eq'),
  ne: compare('ne'),
  lt: compare('lt'),
  le: compare('le'),
  gt: compare('gt'),
  ge: compare('ge'),
  and: mul,
  or: commutative('Max', 'Maxs', (a, b) => `(${a} > ${b} ? ${a} : ${b})`),
  xor: compare('ne'),
  not: (program, [x]) => sub(program, [scalar('1.0f'), x as Operand]),
  where: (program, [condition, a, b]) => {
    const mask = maskOf(program, condition as Operand, scalar('0.5f'), 'GT');
    return vector(select(program, mask, a as Operand, b as Operand));
  },
  cast: (program, [x], op) => {
    const [from, to] = [dtypeOf(op.operands[0]), (op as OpOf<'cast'>).attrs.dtype];
    if (to === 'bool') return compare('ne')(program, [x as Operand, scalar('0.0f')], op);
    const truncates = isFloat(from) && !isFloat(to);
    return truncates ? vector(round(program, spread(program, x as Operand), 'CAST_TRUNC')) : (x as Operand);
  },
} as const satisfies Readonly<Record<string, Formula>>;

export type FormulaOp = keyof typeof formulas;
