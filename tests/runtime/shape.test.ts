import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  elementCount,
  evaluateDimension,
  type GivenInput,
  inferSymbols,
  type Shape,
  showShape,
} from '../../backends/wasm/runtime/shape.js';

const bounds = { T: { min: 1, max: 512 }, B: { min: 0, max: 8 } };
const T: Shape[number] = [[1, 'T']];
const B: Shape[number] = [[1, 'B']];
const given = (shape: Shape, length: number, givenShape?: number[]): GivenInput => ({
  name: 'x',
  shape,
  length,
  ...(givenShape === undefined ? {} : { givenShape }),
});

describe('shapes', () => {
  it('evaluate and print polynomials', () => {
    const dimension: Shape[number] = [[2, 'T', 'T'], [1, 'B'], [3]];
    const values = new Map([
      ['T', 5],
      ['B', 7],
    ]);
    expect(evaluateDimension(dimension, values)).toBe(60);
    expect(showShape([T, dimension, 4])).toBe('[T, 2*T*T + B + 3, 4]');
  });

  it('count elements without overflow', () => {
    expect(elementCount([2, 3])).toBe(6);
    expect(elementCount([])).toBe(1);
    expect(elementCount([0, 2 ** 53 - 1, 2 ** 53 - 1])).toBe(0);
    expect(elementCount([2 ** 30, 2 ** 30])).toBeNaN();
    expect(elementCount([-1])).toBeNaN();
    expect(elementCount([0.5])).toBeNaN();
  });
});

describe('inference of symbols', () => {
  it('solves linear and square dimensions', () => {
    expect(inferSymbols(['T'], bounds, [given([T, 16], 48)])).toEqual(new Map([['T', 3]]));
    expect(inferSymbols(['T'], bounds, [given([[[1, 'T', 'T']]], 49)])).toEqual(new Map([['T', 7]]));
    expect(inferSymbols(['T'], bounds, [given([[[1, 'T'], [-1]]], 4)])).toEqual(new Map([['T', 5]]));
  });

  it('uses one input to solve another', () => {
    const inputs = [given([B, T], 15), given([T], 5)];
    expect(Object.fromEntries(inferSymbols(['B', 'T'], bounds, inputs))).toEqual({ B: 3, T: 5 });
  });

  it('asks for shapes where lengths are ambiguous', () => {
    expect(() => inferSymbols(['B', 'T'], bounds, [given([B, T], 15)])).toThrow(/cannot be inferred/);
    const withShape = [given([B, T], 15, [3, 5])];
    expect(Object.fromEntries(inferSymbols(['B', 'T'], bounds, withShape))).toEqual({ B: 3, T: 5 });
    const values = inferSymbols(['B', 'T'], bounds, [given([B, T], 15)], { B: 5 });
    expect(values.get('T')).toBe(3);
  });

  it('is not misled by empty tensors', () => {
    const inputs = [given([T, 0], 0), given([T], 5)];
    expect(inferSymbols(['T'], bounds, inputs).get('T')).toBe(5);
  });

  it('recovers any values within the bounds, and refuses any length that is one off', () => {
    const property = fc.property(
      fc.integer({ min: 1, max: 512 }),
      fc.integer({ min: 1, max: 64 }),
      (t, width) => {
        expect(inferSymbols(['T'], bounds, [given([T, width], t * width)]).get('T')).toBe(t);
        if (width > 1)
          expect(() => inferSymbols(['T'], bounds, [given([T, width], t * width + 1)])).toThrow();
      },
    );
    fc.assert(property, { numRuns: 200 });
  });
});
