/** Recipes that are computed on bytes give what the declarations of their ops give. */
import { describe, expect, test } from 'vitest';
import { dim } from '../../ir/dim.js';
import { materialise, staticContext } from '../../ir/materialise.js';
import { emptyModule, type Module } from '../../ir/module.js';
import { encodeBytes } from '../../ir/numeric.js';
import { opTable } from '../../ir/ops/table.js';
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
