/** Dimensions: ring laws against numbers, exact division, text, bounds and the errors of each operation. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  addDims,
  constantOf,
  type Dim,
  DimError,
  dim,
  dimBounds,
  dimKey,
  dimsEqual,
  divDims,
  evalDim,
  isConstantDim,
  mulDims,
  nameOf,
  printDim,
  productOfDims,
  subDims,
  substituteDim,
  tryEvalDim,
} from '../../ir/dim.js';
import { parseModule } from '../../ir/parse.js';

const names = ['T', 'd', 'heads', 'hd'];
const small = fc.integer({ min: -4, max: 4 });

/** Sums of products of a few names. */
const polynomials: fc.Arbitrary<Dim> = fc
  .array(fc.tuple(small, fc.array(fc.constantFrom(...names), { maxLength: 2 })), { maxLength: 3 })
  .map((terms) => terms.map(([c, factors]) => productOfDims([c, ...factors])).reduce(addDims, dim(0)));

/** With a divisor too; it has a value where all names are multiples of 12. */
const dims = fc.tuple(polynomials, fc.constantFrom(1, 1, 2, 3)).map(([d, by]) => divDims(d, by));
const values = fc
  .tuple(fc.nat(9), fc.nat(9), fc.nat(9), fc.nat(9))
  .map((v) => new Map(names.map((n, i) => [n, 12 * (v[i] as number)])));

function value(d: Dim, env: ReadonlyMap<string, number>): number {
  return evalDim(mulDims(d, 6), env) / 6;
}

/** Reads a dimension back through the parser of the IR text. */
function parseDim(text: string): Dim {
  const declared = names.map((name) => `dim ${name} in 1..8`).join(' ');
  const module = parseModule(`module @m { ${declared} loop layer over ${text} = [] }`);
  return module.loops.get('layer')?.count as Dim;
}

describe('algebra', () => {
  test('sums and products evaluate as numbers do', () => {
    fc.assert(
      fc.property(dims, dims, values, (a, b, env) => {
        expect(value(addDims(a, b), env)).toBeCloseTo(value(a, env) + value(b, env), 6);
        expect(value(subDims(a, b), env)).toBeCloseTo(value(a, env) - value(b, env), 6);
        expect(evalDim(mulDims(mulDims(a, b), 36), env)).toBeCloseTo(36 * value(a, env) * value(b, env), 4);
      }),
    );
  });

  test('is a commutative ring', () => {
    fc.assert(
      fc.property(dims, dims, dims, (a, b, c) => {
        expect(addDims(a, b)).toEqual(addDims(b, a));
        expect(mulDims(a, b)).toEqual(mulDims(b, a));
        expect(addDims(addDims(a, b), c)).toEqual(addDims(a, addDims(b, c)));
        expect(mulDims(mulDims(a, b), c)).toEqual(mulDims(a, mulDims(b, c)));
        expect(mulDims(a, addDims(b, c))).toEqual(addDims(mulDims(a, b), mulDims(a, c)));
        expect(addDims(a, 0)).toEqual(a);
        expect(mulDims(a, 1)).toEqual(a);
        expect(subDims(a, a)).toEqual(dim(0));
      }),
    );
  });

  test('equal polynomials have equal text, and the text reads back', () => {
    fc.assert(
      fc.property(dims, dims, (a, b) => {
        expect(dimsEqual(a, b)).toBe(dimKey(a) === dimKey(b));
        expect(parseDim(printDim(a))).toEqual(a);
      }),
    );
  });

  test('division undoes multiplication', () => {
    const divisors = fc.tuple(
      fc.constantFrom(1, -2, 3),
      fc.array(fc.constantFrom(...names), { maxLength: 2 }),
    );
    fc.assert(
      fc.property(dims, divisors, (a, [c, factors]) => {
        const by = productOfDims([c, ...factors]);
        expect(divDims(mulDims(a, by), by)).toEqual(a);
      }),
    );
  });

  test('substitution evaluates as the replaced names do', () => {
    fc.assert(
      fc.property(dims, polynomials, values, (a, b, env) => {
        const inner = value(b, env);
        fc.pre(inner >= 0);
        const replaced = substituteDim(a, new Map([['T', b]]));
        expect(value(replaced, env)).toBeCloseTo(value(a, new Map([...env, ['T', inner]])), 4);
      }),
    );
  });

  test('bounds hold for every value in range', () => {
    fc.assert(
      fc.property(dims, values, (a, env) => {
        const { min, max } = dimBounds(a, () => ({ min: 0, max: 108 }));
        expect(value(a, env)).toBeGreaterThanOrEqual(min);
        expect(value(a, env)).toBeLessThanOrEqual(max);
      }),
    );
  });
});

describe('text', () => {
  const d = dim('d');
  test.each<[Dim, string]>([
    [dim(0), '0'],
    [dim(-3), '-3'],
    [mulDims('heads', 'hd'), 'hd*heads'],
    [subDims('T', 1), 'T - 1'],
    [subDims(1, 'T'), '-T + 1'],
    [divDims('hd', 2), 'hd/2'],
    [addDims(divDims('hd', 2), 1), '(hd + 2)/2'],
    [mulDims(d, d), 'd*d'],
    [subDims(mulDims(3, d), mulDims(2, mulDims(d, 'T'))), '-2*T*d + 3*d'],
    [divDims(dim(5), 2), '5/2'],
  ])('%#', (value, text) => {
    expect(printDim(value)).toBe(text);
    expect(parseDim(text)).toEqual(value);
  });
});

describe('parts', () => {
  test('a bare name has a name', () => {
    expect(nameOf(dim('T'))).toBe('T');
    for (const other of [
      dim(3),
      addDims('T', 1),
      mulDims('T', 2),
      mulDims('T', 'T'),
      divDims('T', 2),
      dim(0),
    ]) {
      expect(nameOf(other)).toBeUndefined();
    }
  });

  test('an integer is constant, half of one is not', () => {
    expect(constantOf(dim(7))).toBe(7);
    expect(constantOf(subDims('T', 'T'))).toBe(0);
    expect(isConstantDim(divDims(dim(7), 2))).toBe(false);
    expect(isConstantDim(dim('T'))).toBe(false);
  });

  test('a name without a value leaves the value unknown', () => {
    expect(tryEvalDim(addDims('T', 1), new Map())).toBeUndefined();
  });
});

describe('errors', () => {
  const huge = dim(2 ** 52);
  test.each<[string, () => unknown, string]>([
    ['a fraction', () => dim(1.5), 'dimension 1.5 is not an exact integer'],
    ['division by zero', () => divDims('T', 0), 'division of a dimension by zero'],
    ['division by a sum', () => divDims('T', addDims('d', 1)), 'cannot divide T by d + 1'],
    ['an inexact division', () => divDims(addDims('T', 1), 'T'), 'T + 1 is not a multiple of T'],
    ['overflow', () => mulDims(huge, 4), 'dimension is too large'],
    [
      'overflow that would cancel',
      () => divDims(mulDims(dim(2 ** 30), dim(2 ** 30)), 2 ** 30),
      'dimension is too large',
    ],
    ['overflow of the divisor', () => divDims(divDims('T', 2 ** 40), 2 ** 40), 'dimension is too large'],
    [
      'a value that is not an integer',
      () => evalDim(divDims('T', 2), new Map([['T', 3]])),
      'T/2 is 1.5, which is not an exact integer',
    ],
    [
      'a value that is not exact',
      () => evalDim(mulDims('T', 'T'), new Map([['T', 2 ** 40]])),
      'T*T is 1.2089258196146292e+24, which is not an exact integer',
    ],
    ['an unknown value', () => evalDim(dim('T'), new Map()), 'the value of T is not known'],
  ])('%s', (_, run, message) => {
    expect(run).toThrow(new DimError(message));
  });

  test('too many terms', () => {
    const sum = Array.from({ length: 40 }, (_, i) => dim(`n${i}`)).reduce(addDims);
    expect(() => mulDims(mulDims(sum, sum), sum)).toThrow(new DimError('dimension has too many terms'));
  });
});
