/**
 * Shapes of a bundle's inputs and outputs: each dimension is a number or a polynomial in the run-time
 * symbols, `[[coefficient, "T", "T"], [3]]` being coefficient * T * T + 3. The values of the symbols are
 * inferred from the inputs given to a call.
 */
import { refuse } from './errors.js';

export type ShapeTerm = readonly [coefficient: number, ...symbols: string[]];
export type Dimension = number | readonly ShapeTerm[];
export type Shape = readonly Dimension[];

export interface SymbolBounds {
  readonly min: number;
  readonly max: number;
}

export type SymbolTable = Readonly<Record<string, SymbolBounds>>;
export type SymbolValues = ReadonlyMap<string, number>;

export function evaluateDimension(dimension: Dimension, values: SymbolValues): number {
  if (typeof dimension === 'number') return dimension;
  let sum = 0;
  for (const [coefficient, ...symbols] of dimension) {
    sum += symbols.reduce((product, symbol) => product * (values.get(symbol) ?? Number.NaN), coefficient);
  }
  return sum;
}

export function evaluateShape(shape: Shape, values: SymbolValues): number[] {
  return shape.map((dimension) => evaluateDimension(dimension, values));
}

/** Number of elements, or NaN when it is negative, not an integer or beyond 2^53. */
export function elementCount(dimensions: readonly number[]): number {
  if (dimensions.some((dimension) => !Number.isSafeInteger(dimension) || dimension < 0)) return Number.NaN;
  if (dimensions.includes(0)) return 0;
  const count = dimensions.reduce((product, dimension) => product * dimension, 1);
  return Number.isSafeInteger(count) ? count : Number.NaN;
}

export function symbolsOf(shape: Shape): Set<string> {
  const symbols = new Set<string>();
  for (const dimension of shape) {
    if (typeof dimension === 'number') continue;
    for (const [, ...names] of dimension) for (const name of names) symbols.add(name);
  }
  return symbols;
}

/** `[T, 2*T + 1, 128]`, for messages. */
export function showShape(shape: Shape): string {
  return `[${shape.map(showDimension).join(', ')}]`;
}

function showDimension(dimension: Dimension): string {
  if (typeof dimension === 'number') return String(dimension);
  const terms = dimension.map(([coefficient, ...symbols]) =>
    symbols.length === 0
      ? String(coefficient)
      : [...(coefficient === 1 ? [] : [coefficient]), ...symbols].join('*'),
  );
  return terms.length === 0 ? '0' : terms.join(' + ');
}

/** What a caller gave for one input: its full shape, or only its number of elements. */
export interface GivenInput {
  readonly name: string;
  readonly shape: Shape;
  readonly length: number;
  readonly givenShape?: readonly number[];
}

/** `shape` (a product of dimensions) has to have `value` elements. */
interface Equation {
  readonly input: GivenInput;
  readonly shape: Shape;
  readonly value: number;
}

/**
 * The values of `symbols` that make every input's shape fit what was given. Each equation with one unknown
 * is solved in turn, starting from `fixed`; then all are checked.
 * @throws LoadError HEW7005 when shapes do not fit, a value is out of bounds or cannot be inferred.
 */
export function inferSymbols(
  symbols: readonly string[],
  bounds: SymbolTable,
  inputs: readonly GivenInput[],
  fixed: Readonly<Record<string, number>> = {},
): SymbolValues {
  const values = new Map(Object.entries(fixed).filter(([name]) => symbols.includes(name)));
  const equations = inputs.flatMap(equationsOf);
  solveInTurn(equations, bounds, values);
  for (const symbol of symbols) checkBound(symbol, values.get(symbol), bounds[symbol]);
  for (const equation of equations) checkEquation(equation, values, bounds);
  return values;
}

function equationsOf(input: GivenInput): Equation[] {
  const { shape, length, givenShape } = input;
  if (givenShape === undefined) return [{ input, shape, value: length }];
  if (givenShape.length !== shape.length) {
    refuse(
      'HEW7005',
      `input '${input.name}' has ${givenShape.length} dimensions [${givenShape.join(', ')}], but ${showShape(shape)} is expected`,
    );
  }
  if (elementCount(givenShape) !== length) {
    refuse(
      'HEW7005',
      `input '${input.name}' has ${length} elements, which do not fill its shape [${givenShape.join(', ')}]`,
    );
  }
  return shape.map((dimension, axis) => ({ input, shape: [dimension], value: givenShape[axis] ?? 0 }));
}

function solveInTurn(equations: readonly Equation[], bounds: SymbolTable, values: Map<string, number>): void {
  for (let progress = true; progress; ) {
    progress = false;
    for (const equation of equations) {
      const unknown = [...symbolsOf(equation.shape)].filter((symbol) => !values.has(symbol));
      const [symbol] = unknown;
      const range = symbol === undefined ? undefined : bounds[symbol];
      if (symbol === undefined || range === undefined || unknown.length > 1) continue;
      const value = solve(equation, symbol, range, values);
      if (value === undefined) continue;
      values.set(symbol, value);
      progress = true;
    }
  }
}

/**
 * The smallest value of `symbol` for which the shape has at least the wanted number of elements: the
 * solution when there is one, since element counts grow with their symbols; otherwise a near miss, which
 * the checks refuse. The search goes past the bound so that the message can name the value that was meant.
 * Undefined when the count does not depend on the symbol (a dimension is 0).
 */
function solve(
  { shape, value }: Equation,
  symbol: string,
  range: SymbolBounds,
  values: SymbolValues,
): number | undefined {
  const attempt = new Map(values);
  const countAt = (candidate: number): number => {
    attempt.set(symbol, candidate);
    return evaluateShape(shape, attempt).reduce((product, dimension) => product * dimension, 1);
  };
  if (countAt(0) === countAt(range.max + 1)) return undefined;
  let low = 0;
  let high = Math.max(range.max, value) + 1;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (countAt(middle) >= value) high = middle;
    else low = middle + 1;
  }
  return low;
}

function checkBound(symbol: string, value: number | undefined, range: SymbolBounds | undefined): void {
  if (value === undefined || range === undefined) {
    refuse(
      'HEW7005',
      `the value of ${symbol} cannot be inferred from the inputs`,
      `give inputs as { data, shape }, or pass { symbols: { ${symbol}: … } }`,
    );
  }
  if (!Number.isSafeInteger(value) || value < range.min || value > range.max) {
    refuse('HEW7005', `${symbol} = ${value} is not within ${range.min}..${range.max}`);
  }
}

function checkEquation({ input, shape, value }: Equation, values: SymbolValues, bounds: SymbolTable): void {
  const expected = elementCount(evaluateShape(shape, values));
  if (expected === value) return;
  const symbols = [...symbolsOf(input.shape)];
  const where = symbols
    .map((symbol) => `${symbol} in ${bounds[symbol]?.min}..${bounds[symbol]?.max}`)
    .join(', ');
  const given =
    input.givenShape === undefined ? `${input.length} elements` : `shape [${input.givenShape.join(', ')}]`;
  const known = symbols.map((symbol) => `${symbol} = ${values.get(symbol)}`).join(', ');
  refuse(
    'HEW7005',
    `input '${input.name}' has ${given}, which does not fit ${showShape(input.shape)}${where === '' ? '' : ` with ${where}`}`,
    known === '' ? undefined : `the other inputs give ${known}`,
  );
}
