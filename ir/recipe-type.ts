/** The type a recipe makes, inferred through the ops it uses. */
import { printDim, tryEvalDim } from './dim.js';
import { makeOp, moduleScope } from './builder.js';
import { type Module, modelDims } from './module.js';
import { InferError } from './op.js';
import type { Recipe } from './recipe.js';
import { printType, type TensorType, typesEqual } from './type.js';

/** Type of one instance; throws InferError or DimError when the recipe does not make sense. */
export function recipeType(module: Module, recipe: Recipe): TensorType {
  switch (recipe.kind) {
    case 'source':
    case 'constant':
      return recipe.type;
    case 'per_index':
      return commonType(module, recipe.parts);
    case 'stack': {
      const part = commonType(module, recipe.parts);
      const count = tryEvalDim(recipe.count, modelDims(module));
      if (count !== recipe.parts.length) throw new InferError(`${recipe.parts.length} parts are stacked, ${printDim(recipe.count)} is ${count}`);
      return { dtype: part.dtype, shape: [recipe.count, ...part.shape] };
    }
    case 'op': {
      const operands = recipe.args.map((arg) => ({ type: recipeType(module, arg) }));
      const [result] = makeOp(moduleScope(module), recipe.op, operands, recipe.attrs).results;
      if (result === undefined) throw new InferError(`${recipe.op} has no result`);
      return result.type;
    }
  }
}

function commonType(module: Module, parts: readonly Recipe[]): TensorType {
  const [first, ...others] = parts.map((part) => recipeType(module, part));
  if (first === undefined) throw new InferError('a recipe needs at least one part');
  const different = others.find((type) => !typesEqual(type, first));
  if (different !== undefined) throw new InferError(`parts are ${printType(first)} and ${printType(different)}`);
  return first;
}
