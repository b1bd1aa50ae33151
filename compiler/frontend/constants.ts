/** Arithmetic on compile-time constants. Whole numbers are exact dimensions; a float makes the result a float. */
import {
  addDims,
  type Dim,
  DimError,
  dim,
  dimsEqual,
  divDims,
  mulDims,
  printDim,
  subDims,
} from '../../ir/dim.js';
import type { BinaryOperator } from './ast.js';
import { bool, type Constant, describeValue, float, int } from './values.js';

/** A constant expression that has no value; the message says why. */
export class ConstantError extends Error {
  constructor(
    message: string,
    readonly help?: string,
  ) {
    super(message);
  }
}

/** Gives the values of model dimensions; undefined when a dimension has a run-time symbol in it. */
export type DimValue = (dim: Dim) => number | undefined;

export function binaryConstant(
  operator: BinaryOperator,
  a: Constant,
  b: Constant,
  sizeOf: DimValue,
): Constant {
  if (operator === 'and' || operator === 'or') return logical(operator, a, b);
  if (operator === '==' || operator === '!=') return bool(equal(a, b, sizeOf) === (operator === '=='));
  const compare = comparisons[operator];
  if (compare) return bool(compare(numberOf(a, sizeOf), numberOf(b, sizeOf)));
  if (operator === '@') throw new ConstantError('@ multiplies matrices', "use '*' for numbers");
  if (a.kind === 'int' && b.kind === 'int') {
    const exact = intOperators[operator]?.(a.dim, b.dim, sizeOf);
    if (exact !== undefined) return int(short(exact));
  }
  const real = realOperators[operator];
  if (real === undefined) throw new ConstantError(`'${operator}' does not apply to ${describeValue(a)}`);
  return float(real(numberOf(a, sizeOf), numberOf(b, sizeOf)));
}

const comparisons: Partial<Record<BinaryOperator, (a: number, b: number) => boolean>> = {
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
};

const realOperators: Partial<Record<BinaryOperator, (a: number, b: number) => number>> = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '/': (a, b) => a / b,
  '%': (a, b) => a % b,
  '**': (a, b) => a ** b,
};

type IntOperator = (a: Dim, b: Dim, sizeOf: DimValue) => Dim | undefined;

const intOperators: Partial<Record<BinaryOperator, IntOperator>> = {
  '+': addDims,
  '-': subDims,
  '*': mulDims,
  '/': divideInts,
  '%': (a, b, sizeOf) => dim(knownInt(a, sizeOf) % nonZero(knownInt(b, sizeOf))),
  '**': raise,
};

/** `d / 2` stays symbolic; `hidden / heads` is a number. A quotient of whole numbers must be whole. */
function divideInts(a: Dim, b: Dim, sizeOf: DimValue): Dim {
  try {
    const quotient = divDims(a, b);
    sizeOf(quotient);
    return quotient;
  } catch (error) {
    if (!(error instanceof DimError)) throw error;
    const [left, right] = [knownInt(a, sizeOf), nonZero(knownInt(b, sizeOf))];
    if (left % right === 0) return dim(left / right);
    throw new ConstantError(
      `${describeNumber(a, left)} is not a multiple of ${describeNumber(b, right)}`,
      `whole numbers divide exactly; write float(${printDim(a)}) / ${printDim(b)} for a real quotient`,
    );
  }
}

function describeNumber(symbolic: Dim, value: number): string {
  const text = printDim(symbolic);
  return text === String(value) ? text : `${text} (${value})`;
}

/** A sum of more terms is no dimension that a model has; powers of sums could grow without end. */
const termLimit = 32;

function short(value: Dim): Dim {
  if (value.terms.length <= termLimit) return value;
  throw new ConstantError(`this dimension is a sum of more than ${termLimit} terms`);
}

/** A power with a negative exponent is a float. */
function raise(a: Dim, b: Dim, sizeOf: DimValue): Dim | undefined {
  const exponent = knownInt(b, sizeOf);
  if (exponent < 0) return undefined;
  if (exponent > 8) return dim(knownInt(a, sizeOf) ** exponent);
  return Array.from({ length: exponent }, () => a).reduce(
    (power, factor) => short(mulDims(power, factor)),
    dim(1),
  );
}

export function knownInt(value: Dim, sizeOf: DimValue): number {
  const known = sizeOf(value);
  if (known !== undefined) return known;
  throw new ConstantError(
    `${printDim(value)} is known at run time only`,
    'compile-time arithmetic needs dimensions with values',
  );
}

function nonZero(value: number): number {
  if (value === 0) throw new ConstantError('division by zero');
  return value;
}

export function numberOf(value: Constant, sizeOf: DimValue): number {
  if (value.kind === 'float') return value.value;
  if (value.kind === 'int') return knownInt(value.dim, sizeOf);
  throw new ConstantError(`expected a number, found ${describeValue(value)}`);
}

export function boolOf(value: Constant): boolean {
  if (value.kind === 'bool') return value.value;
  throw new ConstantError(`expected true or false, found ${describeValue(value)}`);
}

function logical(operator: 'and' | 'or', a: Constant, b: Constant): Constant {
  const [left, right] = [boolOf(a), boolOf(b)];
  return bool(operator === 'and' ? left && right : left || right);
}

function equal(a: Constant, b: Constant, sizeOf: DimValue): boolean {
  if (a.kind === 'int' && b.kind === 'int' && dimsEqual(a.dim, b.dim)) return true;
  const isNumber = (value: Constant) => value.kind === 'int' || value.kind === 'float';
  if (isNumber(a) && isNumber(b)) return numberOf(a, sizeOf) === numberOf(b, sizeOf);
  if (a.kind === 'bool' && b.kind === 'bool') return a.value === b.value;
  if (a.kind === 'string' && b.kind === 'string') return a.value === b.value;
  throw new ConstantError(`${describeValue(a)} and ${describeValue(b)} cannot be compared`);
}

export function negate(value: Constant, sizeOf: DimValue): Constant {
  if (value.kind === 'int') return int(mulDims(value.dim, -1));
  return float(-numberOf(value, sizeOf));
}

type ConstantFunction = (values: readonly number[]) => number;

interface FunctionInfo {
  readonly arity: number | 'any';
  readonly compute: ConstantFunction;
  /** Whole numbers in, whole number out. */
  readonly keepsInt?: boolean;
  readonly makesInt?: boolean;
}

/** Functions of constants; most share their name with the operation that does the same to tensors. */
export const constantFunctions: Readonly<Record<string, FunctionInfo>> = {
  min: { arity: 'any', compute: (values) => Math.min(...values), keepsInt: true },
  max: { arity: 'any', compute: (values) => Math.max(...values), keepsInt: true },
  abs: { arity: 1, compute: ([x]) => Math.abs(x as number), keepsInt: true },
  int: { arity: 1, compute: ([x]) => Math.trunc(x as number), makesInt: true },
  floor: { arity: 1, compute: ([x]) => Math.floor(x as number), makesInt: true },
  ceil: { arity: 1, compute: ([x]) => Math.ceil(x as number), makesInt: true },
  float: { arity: 1, compute: ([x]) => x as number },
  sqrt: { arity: 1, compute: ([x]) => Math.sqrt(x as number) },
  exp: { arity: 1, compute: ([x]) => Math.exp(x as number) },
  log: { arity: 1, compute: ([x]) => Math.log(x as number) },
  sin: { arity: 1, compute: ([x]) => Math.sin(x as number) },
  cos: { arity: 1, compute: ([x]) => Math.cos(x as number) },
};

export function callConstantFunction(name: string, args: readonly Constant[], sizeOf: DimValue): Constant {
  const info = constantFunctions[name] as FunctionInfo;
  if (info.arity === 'any' ? args.length === 0 : args.length !== info.arity) {
    const wanted = info.arity === 'any' ? 'at least one argument' : `${info.arity} argument`;
    throw new ConstantError(`${name} takes ${wanted}, ${args.length} given`);
  }
  const result = info.compute(args.map((arg) => numberOf(arg, sizeOf)));
  const isInt = info.makesInt || (info.keepsInt && args.every((arg) => arg.kind === 'int'));
  return isInt ? int(result) : float(result);
}
