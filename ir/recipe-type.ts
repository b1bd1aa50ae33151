/** The type a recipe makes, inferred through the ops it uses. */

import { makeOp, moduleScope } from './builder.js';
import { printDim, productOfDims, tryEvalDim } from './dim.js';
import { type Module, modelDims } from './module.js';
import { InferError } from './op.js';
import { isOpName, opTable } from './ops/table.js';
import type { Recipe } from './recipe.js';
import { printType, storedBytes, type TensorType, typesEqual } from './type.js';

/** Type of one instance; throws InferError or DimError when the recipe does not make sense. */
export function recipeType(module: Module, recipe: Recipe): TensorType {
  switch (recipe.kind) {
    case 'source':
      return recipe.type;
    case 'constant':
      return checkedConstant(module, recipe);
    case 'per_index':
      return commonType(module, recipe.parts);
    case 'stack': {
      const part = commonType(module, recipe.parts);
      const count = tryEvalDim(recipe.count, modelDims(module));
      if (count !== recipe.parts.length)
        throw new InferError(
          `${recipe.parts.length} parts are stacked, ${printDim(recipe.count)} is ${count}`,
        );
      return { dtype: part.dtype, shape: [recipe.count, ...part.shape] };
    }
    case 'op': {
      if (isOpName(recipe.op) && opTable[recipe.op].category === 'structure')
        throw new InferError(`${recipe.op} cannot stand in a recipe`);
      const operands = recipe.args.map((arg) => ({ type: recipeType(module, arg) }));
      const [result, ...more] = makeOp(moduleScope(module), recipe.op, operands, recipe.attrs).results;
      if (result === undefined || more.length > 0)
        throw new InferError(`${recipe.op} does not have exactly one result`);
      return result.type;
    }
  }
}

function checkedConstant(module: Module, { type, bytes }: Recipe & { kind: 'constant' }): TensorType {
  const size = tryEvalDim(productOfDims(type.shape), modelDims(module));
  const wanted = size === undefined ? undefined : storedBytes(type.dtype, size);
  if (wanted === bytes.length) return type;
  throw new InferError(
    `the constant has ${bytes.length} bytes, ${printType(type)} has ${wanted ?? 'no fixed number'}`,
  );
}

function commonType(module: Module, parts: readonly Recipe[]): TensorType {
  const [first, ...others] = parts.map((part) => recipeType(module, part));
  if (first === undefined) throw new InferError('a recipe needs at least one part');
  const different = others.find((type) => !typesEqual(type, first));
  if (different !== undefined)
    throw new InferError(`parts are ${printType(first)} and ${printType(different)}`);
  return first;
}
