/** Pruning of named dimensions as a rewrite: what is cut, what it computes, and what is refused. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Module } from '../../ir/module.js';
import { parseModule } from '../../ir/parse.js';
import { printModule } from '../../ir/print.js';
import type { Tensor } from '../../ir/tensor.js';
import { assertValid } from '../../ir/verify.js';
import { type Kept, keepLoopTurns, pruneDim, sizeOfDim } from '../../passes/prune/prune-dim.js';
import { largestDifference, logitsOf, tinyModel, weightsOf } from './tiny-model.js';

const tiny = tinyModel();

/** How each weight of the tiny model is cut by hand: per axis, the dimension and the block length of one index. */
const axes: Readonly<Record<string, readonly (readonly [dim: string, block: number] | undefined)[]>> = {
  embed_tokens: [
    ['vocab', 1],
    ['d', 1],
  ],
  lm_head: [
    ['vocab', 1],
    ['d', 1],
  ],
  norm: [['d', 1]],
  layernorm: [['d', 1]],
  q_proj: [
    ['heads', 4],
    ['d', 1],
  ],
  k_proj: [
    ['kv', 4],
    ['d', 1],
  ],
  v_proj: [
    ['kv', 4],
    ['d', 1],
  ],
  o_proj: [
    ['d', 1],
    ['heads', 4],
  ],
  gate_proj: [
    ['ffn', 1],
    ['d', 1],
  ],
  up_proj: [
    ['ffn', 1],
    ['d', 1],
  ],
  down_proj: [
    ['d', 1],
    ['ffn', 1],
  ],
};

function axesOf(name: string): (typeof axes)[string] {
  const key = Object.keys(axes)
    .toSorted((a, b) => b.length - a.length)
    .find((k) => name.includes(k));
  return axes[key as string] ?? [];
}

/** A tensor without the indices that are not kept, element by element. */
function sliced(from: Tensor, name: string, dim: string, kept: readonly number[]): number[] {
  const rows = axesOf(name).map((axis, i) => {
    const [owner, block] = axis ?? ['', 1];
    const all = Array.from({ length: from.shape[i] as number }, (_, at) => at);
    return owner === dim
      ? kept.flatMap((index) => Array.from({ length: block }, (_, b) => index * block + b))
      : all;
  });
  const [first = [], second] = rows;
  const width = from.shape[1] ?? 1;
  return first.flatMap((r) => (second ?? [0]).map((c) => from.data[r * width + c] as number));
}

const indexSet = (size: number): fc.Arbitrary<number[]> =>
  fc
    .uniqueArray(fc.integer({ min: 0, max: size - 1 }), { minLength: 1, maxLength: size })
    .map((list) => list.sort((a, b) => a - b));

const anyKept = fc
  .constantFrom('d', 'ffn', 'heads', 'kv')
  .chain((dim) => fc.record({ dim: fc.constant(dim), indices: indexSet(sizeOfDim(tiny.module, dim)) }));

describe('pruning', () => {
  test.each(['d', 'ffn', 'heads', 'kv'])('%s to its full size is the identity', (dim) => {
    const indices = Array.from({ length: sizeOfDim(tiny.module, dim) }, (_, i) => i);
    expect(pruneDim(tiny.module, { dim, indices })).toBe(tiny.module);
  });

  test('and materialising equals slicing by hand', () => {
    const before = weightsOf(tiny);
    const property = fc.property(anyKept, (kept) => {
      const module = pruneDim(tiny.module, kept);
      for (const [name, after] of weightsOf({ ...tiny, module })) {
        expect(Array.from(after.data), name).toEqual(
          sliced(before.get(name) as Tensor, name, kept.dim, kept.indices),
        );
      }
    });
    fc.assert(property, { numRuns: 30 });
  });

  test('leaves a sound module whose text reads back', () => {
    const property = fc.property(anyKept, (kept) => {
      fc.pre(kept.dim !== 'heads' || kept.indices.length % 2 === 0);
      fc.pre(kept.dim !== 'kv' || 4 % kept.indices.length === 0);
      const module = pruneDim(tiny.module, kept);
      assertValid(module, 'the prune');
      const text = printModule(module);
      expect(printModule(parseModule(text))).toBe(text);
    });
    fc.assert(property, { numRuns: 30 });
  });

  test('in another order of the kept indices changes no output', () => {
    const shuffled = (dim: string, indices: readonly number[]): fc.Arbitrary<readonly Kept[]> =>
      fc.shuffledSubarray([...indices], { minLength: indices.length }).map((order) => [
        { dim, indices },
        { dim, indices: order },
      ]);
    const cases = fc.oneof(shuffled('d', [0, 1, 4, 5, 7, 9, 12, 15]), shuffled('ffn', [2, 3, 5, 8, 13, 21]));
    const property = fc.property(cases, (both) => {
      const [a, b] = both.map((kept) => logitsOf({ ...tiny, module: pruneDim(tiny.module, kept) }));
      expect(largestDifference(a as Float64Array, b as Float64Array)).toBeLessThan(1e-9);
    });
    fc.assert(property, { numRuns: 10 });
  });

  test('of two dimensions commutes', () => {
    const [ffn, d]: Kept[] = [
      {
        dim: 'ffn',
        loop: 'layer',
        perTurn: [
          [0, 1],
          [2, 3],
          [4, 5],
          [6, 7],
        ],
      },
      { dim: 'd', indices: [0, 2, 4, 6, 8, 9] },
    ];
    const cut = (...list: Kept[]): Module => list.reduce(pruneDim, tiny.module);
    const [a, b] = [cut(ffn as Kept, d as Kept), cut(d as Kept, ffn as Kept)].map((module) =>
      weightsOf({ ...tiny, module }),
    );
    expect(a).toEqual(b);
  });

  test('in two steps equals pruning in one', () => {
    const twice = pruneDim(pruneDim(tiny.module, { dim: 'd', indices: [1, 3, 5, 7, 9, 11] }), {
      dim: 'd',
      indices: [0, 2, 5],
    });
    const once = pruneDim(tiny.module, { dim: 'd', indices: [1, 5, 11] });
    expect(weightsOf({ ...tiny, module: twice })).toEqual(weightsOf({ ...tiny, module: once }));
  });

  test('of a neuron that is silent changes nothing', () => {
    // The last neurons of every layer are kept out by weights of zero.
    const { module, source } = tiny;
    const silent = {
      read: (name: string) => {
        const { dtype, bytes } = source.read(name);
        if (!name.includes('up_proj')) return { dtype, bytes };
        return { dtype, bytes: bytes.fill(0, 20 * 16 * 4) };
      },
    };
    const kept: Kept = { dim: 'ffn', indices: Array.from({ length: 20 }, (_, i) => i) };
    const [whole, cut] = [module, pruneDim(module, kept)].map((m) => logitsOf({ module: m, source: silent }));
    expect(largestDifference(whole as Float64Array, cut as Float64Array)).toBeLessThan(1e-12);
  });
});

describe('removing turns', () => {
  test('keeps the weights of the turns that stay', () => {
    const module = keepLoopTurns(tiny.module, 'layer', [0, 3]);
    assertValid(module, 'the removal');
    const [before, after] = [weightsOf(tiny), weightsOf({ ...tiny, module })];
    const name = 'model.layers.{layer}.mlp.up_proj.weight';
    expect(after.get(`${name}#1`)).toEqual(before.get(`${name}#3`));
    expect(module.dims.get('layers')).toEqual({ value: 2 });
  });

  test('after a cut by layer drops the parts of the turns that go', () => {
    const kept: Kept = {
      dim: 'ffn',
      loop: 'layer',
      perTurn: [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
      ],
    };
    const module = keepLoopTurns(pruneDim(tiny.module, kept), 'layer', [1, 2]);
    assertValid(module, 'the removal');
    const other = pruneDim(keepLoopTurns(tiny.module, 'layer', [1, 2]), {
      ...kept,
      perTurn: [
        [2, 3],
        [4, 5],
      ],
    });
    expect(weightsOf({ ...tiny, module })).toEqual(weightsOf({ ...tiny, module: other }));
  });
});

describe('what cannot be cut', () => {
  const all = (body: string, params = ''): Module =>
    parseModule(`module @m { dim n = 4
      dim m = 6
      ${params}
      entry @main(%x: f32[2]) -> (y: f32[2]) { ${body} return %x } }`);
  const cut = (module: Module, dim: string) => () => pruneDim(module, { dim, indices: [0, 2] });

  test.each([
    ['iota', '%i = iota(length=n) : i32[n]', /HEW6007.*iota in @main counts along it/],
    [
      'slice',
      '%a = full(value=1, shape=[n]) : f32[n]\n%b = slice(%a, start=0, end=2) : f32[2]',
      /slice in @main cuts it at fixed places/,
    ],
    ['half', '%a = full(value=1, shape=[n/2]) : f32[n/2]', /full in @main has an axis of n\/2 of it/],
    ['square', '%a = full(value=1, shape=[n*n]) : f32[n*n]', /has an axis of n\*n of it/],
  ])('%s', (_name, body, message) => {
    expect(cut(all(body), 'n')).toThrow(message);
  });

  test('an axis of two dimensions that nothing splits names the weight', () => {
    const module = all('%w = param(name=@w) : f32[m*n]', 'param @w : f32[m*n] = source("w", f32[m*n])');
    expect(cut(module, 'n')).toThrow(
      /HEW6007: axis 0 of weight w has the size m\*n, and nothing in the model shows how it is laid out/,
    );
  });

  test('a table that ids look up names the weight', () => {
    expect(cut(tiny.module, 'vocab')).toThrow(
      /gather on weight model.embed_tokens.weight in @prefill looks up positions in it/,
    );
  });

  test('a dimension that does not exist, or has no value', () => {
    expect(cut(tiny.module, 'dd')).toThrow(/HEW6007: 'dd' is not a dimension/);
    expect(cut(tiny.module, 'T')).toThrow(/HEW6007: 'T' is a run-time symbol/);
  });

  test('an input', () => {
    const module = parseModule(
      'module @m { dim n = 4\n entry @main(%x: f32[n]) -> (y: f32[n]) { return %x } }',
    );
    expect(cut(module, 'n')).toThrow(/it is an axis of the input x/);
  });

  test('nothing left, and indices that are not there', () => {
    expect(() => pruneDim(tiny.module, { dim: 'd', indices: [] })).toThrow(/HEW6008.*would leave nothing/);
    expect(() => pruneDim(tiny.module, { dim: 'd', indices: [16] })).toThrow(/HEW6008/);
    expect(() => pruneDim(tiny.module, { dim: 'd', indices: [1, 1] })).toThrow(/HEW6008/);
  });

  test('layers that keep different amounts, and shared weights that layers cut differently', () => {
    const perTurn = (lists: number[][], dim: string): Kept => ({ dim, loop: 'layer', perTurn: lists });
    expect(() => pruneDim(tiny.module, perTurn([[0], [0, 1], [0], [0]], 'ffn'))).toThrow(/HEW6008.*as much/);
    expect(() => pruneDim(tiny.module, perTurn([[0], [1], [0], [0]], 'd'))).toThrow(
      /HEW6007.*shared by all turns/,
    );
  });
});
