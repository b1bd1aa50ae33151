/**
 * Dimensions: exact polynomials over named dimensions, such as `heads*hd`, `T + 1` or `hd/2`.
 *
 * A name is either a model dimension (it has a value, but types carry the name, so that passes can prune by it)
 * or a run-time symbol with bounds. Invariants: terms are sorted, have nonzero integer coefficients and distinct
 * factor lists; the divisor is positive and shares no factor with all coefficients. Equal polynomials therefore
 * have equal text, and `dimKey` is an identity.
 */

interface Term {
  readonly coefficient: number;
  /** Names in sorted order, repeated for powers. */
  readonly factors: readonly string[];
}

export interface Dim {
  readonly terms: readonly Term[];
  readonly divisor: number;
}

/** Anything that converts to a Dim: an integer, a name, or a Dim. */
export type DimLike = Dim | number | string;

/** Values of names; a name that is missing has no known value. */
export type DimEnv = ReadonlyMap<string, number>;

export class DimError extends Error {}

export function dim(value: DimLike): Dim {
  if (typeof value === 'number') return constantDim(value);
  if (typeof value === 'string') return { terms: [{ coefficient: 1, factors: [value] }], divisor: 1 };
  return value;
}

function constantDim(value: number): Dim {
  if (!Number.isSafeInteger(value)) throw new DimError(`dimension ${value} is not an exact integer`);
  return { terms: value === 0 ? [] : [{ coefficient: value, factors: [] }], divisor: 1 };
}

export function addDims(a: DimLike, b: DimLike): Dim {
  const left = dim(a);
  const right = dim(b);
  const scaled = [
    ...left.terms.map((t) => ({ ...t, coefficient: t.coefficient * right.divisor })),
    ...right.terms.map((t) => ({ ...t, coefficient: t.coefficient * left.divisor })),
  ];
  return normalise(scaled, left.divisor * right.divisor);
}

export function mulDims(a: DimLike, b: DimLike): Dim {
  const left = dim(a);
  const right = dim(b);
  const products = left.terms.flatMap((x) =>
    right.terms.map((y) => ({
      coefficient: x.coefficient * y.coefficient,
      factors: [...x.factors, ...y.factors].sort(),
    })),
  );
  return normalise(products, left.divisor * right.divisor);
}

export function subDims(a: DimLike, b: DimLike): Dim {
  return addDims(a, mulDims(b, -1));
}

/** Exact quotient by an integer or by a product of names that divides every term; otherwise a DimError. */
export function divDims(a: DimLike, b: DimLike): Dim {
  const left = dim(a);
  const right = dim(b);
  const [by, ...rest] = right.terms;
  if (by === undefined) throw new DimError('division of a dimension by zero');
  if (rest.length > 0) throw new DimError(`cannot divide ${printDim(left)} by ${printDim(right)}`);
  const sign = Math.sign(by.coefficient);
  const quotients = left.terms.map((term) => {
    const factors = removeFactors(term.factors, by.factors);
    if (factors === undefined)
      throw new DimError(`${printDim(left)} is not a multiple of ${printDim(right)}`);
    return { coefficient: sign * term.coefficient * right.divisor, factors };
  });
  return normalise(quotients, left.divisor * Math.abs(by.coefficient));
}

export function productOfDims(dims: readonly DimLike[]): Dim {
  return dims.reduce<Dim>((product, d) => mulDims(product, d), constantDim(1));
}

function removeFactors(factors: readonly string[], remove: readonly string[]): string[] | undefined {
  const kept = [...factors];
  for (const name of remove) {
    const at = kept.indexOf(name);
    if (at < 0) return undefined;
    kept.splice(at, 1);
  }
  return kept;
}

/** No shape needs more; a bound, so that hostile text cannot make polynomials explode. */
const maxTerms = 1024;

function normalise(terms: readonly Term[], divisor: number): Dim {
  const byKey = new Map<string, Term>();
  const exact = Number.isSafeInteger(divisor) && terms.every((t) => Number.isSafeInteger(t.coefficient));
  if (!exact) throw new DimError('dimension is too large');
  for (const term of terms) {
    const key = term.factors.join('*');
    const sum = (byKey.get(key)?.coefficient ?? 0) + term.coefficient;
    byKey.set(key, { coefficient: sum, factors: term.factors });
  }
  const kept = [...byKey.entries()].filter(([, term]) => term.coefficient !== 0);
  if (kept.length > maxTerms) throw new DimError('dimension has too many terms');
  kept.sort(([a, x], [b, y]) => y.factors.length - x.factors.length || (a < b ? -1 : 1));
  const common = kept.reduce((g, [, term]) => gcd(g, Math.abs(term.coefficient)), divisor);
  const result = {
    terms: kept.map(([, t]) => ({ ...t, coefficient: t.coefficient / common })),
    divisor: divisor / common,
  };
  for (const term of result.terms) {
    if (!Number.isSafeInteger(term.coefficient)) throw new DimError('dimension is too large');
  }
  return result;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

export function printDim(value: Dim): string {
  const sum = value.terms.map(printTerm).join(' + ').replaceAll('+ -', '- ') || '0';
  if (value.divisor === 1) return sum;
  return value.terms.length > 1 ? `(${sum})/${value.divisor}` : `${sum}/${value.divisor}`;
}

function printTerm(term: Term): string {
  const names = term.factors.join('*');
  if (names === '') return String(term.coefficient);
  if (term.coefficient === 1) return names;
  return term.coefficient === -1 ? `-${names}` : `${term.coefficient}*${names}`;
}

export const dimKey = printDim;

export function dimsEqual(a: Dim, b: Dim): boolean {
  return (
    a === b ||
    (a.divisor === b.divisor &&
      a.terms.length === b.terms.length &&
      a.terms.every((t, i) => sameTerm(t, b.terms[i] as Term)))
  );
}

function sameTerm(a: Term, b: Term): boolean {
  return (
    a.coefficient === b.coefficient &&
    a.factors.length === b.factors.length &&
    a.factors.every((name, i) => name === b.factors[i])
  );
}

/** The name a dimension consists of, undefined when it is anything else than a bare name. */
export function nameOf(value: Dim): string | undefined {
  const [only, ...rest] = value.terms;
  const bare =
    rest.length === 0 && only?.coefficient === 1 && only.factors.length === 1 && value.divisor === 1;
  return bare ? only?.factors[0] : undefined;
}

/** The integer a dimension is written as, or undefined when it mentions a name. */
export function constantOf(value: Dim): number | undefined {
  if (value.terms.length === 0) return 0;
  const [only, ...rest] = value.terms;
  if (only === undefined || rest.length > 0 || only.factors.length > 0 || value.divisor !== 1)
    return undefined;
  return only.coefficient;
}

export function isConstantDim(value: Dim): boolean {
  return constantOf(value) !== undefined;
}

/** Value under `env`, or undefined when a name has no value. A value that is not an integer is a DimError. */
export function tryEvalDim(value: Dim, env: DimEnv): number | undefined {
  let sum = 0;
  for (const term of value.terms) {
    let product = term.coefficient;
    for (const name of term.factors) {
      const factor = env.get(name);
      if (factor === undefined) return undefined;
      product *= factor;
    }
    sum += product;
  }
  const quotient = sum / value.divisor;
  if (!Number.isSafeInteger(sum) || !Number.isSafeInteger(quotient)) {
    throw new DimError(`${printDim(value)} is ${quotient}, which is not an exact integer`);
  }
  return quotient;
}

export function evalDim(value: Dim, env: DimEnv): number {
  const result = tryEvalDim(value, env);
  if (result === undefined) throw new DimError(`the value of ${printDim(value)} is not known`);
  return result;
}

export function dimNames(value: Dim): Set<string> {
  return new Set(value.terms.flatMap((term) => term.factors));
}

/** Replaces names by dimensions; names without a replacement stay. */
export function substituteDim(value: Dim, replacements: ReadonlyMap<string, Dim>): Dim {
  const terms = value.terms.map((term) =>
    productOfDims([term.coefficient, ...term.factors.map((name) => replacements.get(name) ?? name)]),
  );
  const sum = terms.reduce<Dim>((total, term) => addDims(total, term), constantDim(0));
  return divDims(sum, value.divisor);
}

/** Least and greatest value when every name ranges over its interval (names are nonnegative). */
export function dimBounds(
  value: Dim,
  range: (name: string) => { readonly min: number; readonly max: number },
): { min: number; max: number } {
  let min = 0;
  let max = 0;
  for (const term of value.terms) {
    let low = 1;
    let high = 1;
    for (const name of term.factors) {
      const bounds = range(name);
      low *= bounds.min;
      high *= bounds.max;
    }
    const ends = [term.coefficient * low, term.coefficient * high];
    min += Math.min(...ends);
    max += Math.max(...ends);
  }
  return { min: min / value.divisor, max: max / value.divisor };
}
