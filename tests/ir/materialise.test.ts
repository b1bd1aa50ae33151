/** Recipes that are computed on bytes give what the declarations of their ops give. */
import { describe, expect, test } from 'vitest';
import { dim } from '../../ir/dim.js';
import { materialise, materialiseBytes, materialiseChunks, staticContext } from '../../ir/materialise.js';
import { emptyModule, type Module } from '../../ir/module.js';
import { encodeBytes } from '../../ir/numeric.js';
import type { Attrs } from '../../ir/op.js';
import { type OpName, opTable } from '../../ir/ops/table.js';
import type { Recipe } from '../../ir/recipe.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { type DType, dtypes, elementCount, tensorType } from '../../ir/type.js';

function constant({ dtype, shape, data }: Tensor, offset = 0): Recipe & { kind: 'constant' } {
  const encoded = encodeBytes(dtype, data);
  const bytes = new Uint8Array(encoded.length + offset);
  bytes.set(encoded, offset);
  return { kind: 'constant', type: tensorType(dtype, shape.map(dim)), bytes: bytes.subarray(offset) };
}

function gathered(x: Tensor, index: Tensor, axis: number, offset = 0): Module {
  const args = [constant(x, offset), constant(index)];
  const recipe: Recipe = { kind: 'op', op: 'gather', attrs: { axis }, args };
  const at = axis < 0 ? axis + x.shape.length : axis;
  const shape = [...x.shape.slice(0, at), ...index.shape, ...x.shape.slice(at + 1)];
  const params = new Map([['w', { type: tensorType(x.dtype, shape.map(dim)), recipe }]]);
  return { ...emptyModule('gather'), params };
}

describe('gather in a recipe', () => {
  const shapes: readonly (readonly [number[], number, number[]])[] = [
    [[5], 0, [4, 0, 0, 2]],
    [[3, 4], 0, [2, 1]],
    [[3, 5], 1, [0, 4, 3]],
    [[3, 5], -1, []],
    [[2, 3, 7], 1, [2, 0]],
    [[2, 3, 33], 1, [1]],
    [[3, 5], 1, [1, 2, 3]],
    [[6, 3], 0, [4, 5]],
    [[4, 60], -1, Array.from({ length: 40 }, (_, i) => i + 7)],
  ];
  const dtypesTried: readonly DType[] = ['f32', 'bf16', 'f16', 'i8', 'i64', 'i4', 'u4'];

  test.each(dtypesTried.flatMap((dtype) => shapes.map((shape) => [dtype, ...shape] as const)))(
    '%s %j along %i by %j',
    (dtype, shape, axis, chosen) => {
      const x = tensor(
        dtype,
        shape,
        Array.from({ length: elementCount(shape) }, (_, i) => i % 8),
      );
      const index = tensor('i32', [chosen.length], chosen);
      const [wanted] = opTable.gather.evaluate([x, index], { axis }, staticContext(new Map()));
      expect(materialise(gathered(x, index, axis), 'w', undefined)).toEqual(wanted);
      const odd = gathered(x, index, axis, dtypes[dtype].bits > 8 ? 1 : 0);
      expect(materialise(odd, 'w', undefined)).toEqual(wanted);
    },
  );

  test('with an index of several axes', () => {
    const x = tensor('f32', [3, 2], [1, 2, 3, 4, 5, 6]);
    const found = materialise(gathered(x, tensor('i64', [2, 1], [2, 0]), 0), 'w', undefined);
    expect(found).toEqual(tensor('f32', [2, 1, 2], [5, 6, 1, 2]));
  });

  test.each([-1, 3])('refuses the index %i', (i) => {
    const x = tensor('f32', [3], [1, 2, 3]);
    expect(() => materialise(gathered(x, tensor('i32', [1], [i]), 0), 'w', undefined)).toThrow(
      /HEW5003: gather in a recipe: index -?\d is out of range for an axis of size 3/,
    );
  });
});

const dtypesMoved: readonly DType[] = ['f32', 'bf16', 'i8', 'i64', 'bool', 'i4'];

function numbered(dtype: DType, shape: readonly number[]): Tensor {
  const modulo = dtype === 'bool' ? 2 : 8;
  return tensor(
    dtype,
    shape,
    Array.from({ length: elementCount(shape) }, (_, i) => i % modulo),
  );
}

function inner(op: string, attrs: Attrs, ...args: readonly Recipe[]): Recipe & { kind: 'op' } {
  return { kind: 'op', op, attrs, args };
}

/** The value of a recipe by the declarations of its ops. */
function declared(recipe: Recipe, values: ReadonlyMap<Recipe, Tensor>): Tensor {
  if (recipe.kind !== 'op') return values.get(recipe) as Tensor;
  const inputs = recipe.args.map((arg) => declared(arg, values));
  return opTable[recipe.op as OpName].evaluate(inputs, recipe.attrs, staticContext(new Map()))[0] as Tensor;
}

describe.each(dtypesMoved)('movement in a recipe, %s', (dtype) => {
  const values = new Map<Recipe, Tensor>();
  const source = (shape: readonly number[]): Recipe => {
    const value = numbered(dtype, shape);
    const recipe = constant(value, dtypes[dtype].bits > 8 ? 1 : 0);
    values.set(recipe, value);
    return recipe;
  };
  const to = (...sizes: number[]): Attrs => ({ shape: sizes.map(dim) });
  const cut = (axis: number, start: number, end: number, step = 1): Attrs => ({
    axis,
    start: dim(start),
    end: dim(end),
    step,
  });
  const matrix = source([37, 70]);
  const cube = source([3, 5, 18]);
  const cases: readonly (readonly [string, Recipe])[] = [
    ['reshape', inner('reshape', to(70, 37), matrix)],
    ['transpose', inner('transpose', { perm: [1, 0] }, matrix)],
    ['transpose of three axes', inner('transpose', { perm: [2, 0, 1] }, cube)],
    ['transpose that keeps the last axis', inner('transpose', { perm: [1, 0, 2] }, cube)],
    ['slice of rows', inner('slice', cut(0, 3, 30), matrix)],
    ['slice of columns with a step', inner('slice', cut(-1, 1, 69, 3), matrix)],
    [
      'slice of a transpose, reshaped',
      inner(
        'reshape',
        to(4, 9, 18),
        inner(
          'slice',
          cut(1, 1, 37),
          inner('transpose', { perm: [1, 0] }, inner('slice', cut(1, 2, 20), matrix)),
        ),
      ),
    ],
    ['concat', inner('concat', { axis: 1 }, matrix, inner('transpose', { perm: [1, 0] }, source([6, 37])))],
    ['concat of rows', inner('concat', { axis: -2 }, matrix, source([1, 70]))],
    [
      'an op that computes, then movement',
      inner('transpose', { perm: [1, 0] }, inner('add', {}, matrix, matrix)),
    ],
    ['nothing at all', inner('slice', cut(1, 4, 4), matrix)],
  ];

  test.each(cases)('%s', (_, recipe) => {
    const wanted = declared(recipe, values);
    const type = tensorType(dtype, wanted.shape.map(dim));
    const module: Module = { ...emptyModule('moved'), params: new Map([['w', { type, recipe }]]) };
    expect(materialise(module, 'w', undefined)).toEqual(wanted);
    const { bytes } = materialiseBytes(module, 'w', undefined);
    expect(Buffer.concat([...materialiseChunks(module, 'w', undefined)])).toEqual(Buffer.from(bytes));
  });
});

test('large transposes come in several pieces, stacks part by part', () => {
  const value = numbered('f32', [1500, 1000]);
  const turned = inner('transpose', { perm: [1, 0] }, constant(value));
  const type = tensorType('f32', [dim(2), dim(1000), dim(1500)]);
  const recipe: Recipe = { kind: 'stack', count: dim(2), parts: [turned, turned] };
  const module: Module = { ...emptyModule('large'), params: new Map([['w', { type, recipe }]]) };
  const chunks = [...materialiseChunks(module, 'w', undefined)];
  expect(chunks.length).toBeGreaterThan(2);
  expect(Buffer.concat(chunks).equals(materialiseBytes(module, 'w', undefined).bytes)).toBe(true);
});
