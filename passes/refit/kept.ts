/**
 * Which indices of an axis a recipe has kept, read off its gathers: nothing else records what pruning chose. Weights
 * that were solved say what they replace.
 */
import { evalDim, nameOf } from '../../ir/dim.js';
import { type Module, modelDims } from '../../ir/module.js';
import { decodeBytes } from '../../ir/numeric.js';
import type { Recipe } from '../../ir/recipe.js';
import { recipeAt, turnsOf } from '../recipes.js';
import type { Place } from './segment.js';

/** Source indices of an axis; undefined when the recipe does more than cut, cast and scale. */
function keptAlong(module: Module, recipe: Recipe, axis: number): readonly number[] | undefined {
  if ((recipe.kind === 'source' || recipe.kind === 'constant') && recipe.replaces !== undefined)
    return keptAlong(module, recipe.replaces, axis);
  if (recipe.kind === 'source') {
    const size = evalDim(recipe.type.shape[axis] ?? fallThrough(), modelDims(module));
    return Array.from({ length: size }, (_, i) => i);
  }
  if (recipe.kind !== 'op') return undefined;
  const [inner, index] = recipe.args as [Recipe, Recipe];
  if (recipe.op === 'cast' || recipe.op === 'mul') return keptAlong(module, inner, axis);
  if (recipe.op !== 'gather') return undefined;
  const kept = keptAlong(module, inner, axis);
  if (kept === undefined || recipe.attrs.axis !== axis) return kept;
  if (index.kind !== 'constant') return undefined;
  return Array.from(decodeBytes(index.type.dtype, index.bytes), (i) => kept[i] as number);
}

function fallThrough(): never {
  throw new RangeError('a source has fewer axes than its parameter');
}

/** The tensor that a recipe cuts, casts and scales. */
function sourceOf(recipe: Recipe): string | undefined {
  if (recipe.kind === 'source')
    return recipe.replaces === undefined ? recipe.name : sourceOf(recipe.replaces);
  if (recipe.kind === 'constant') return recipe.replaces && sourceOf(recipe.replaces);
  return recipe.kind === 'op' ? sourceOf(recipe.args[0] as Recipe) : undefined;
}

/** What a parameter is in one turn of its loop. */
function recipeOf({ module, turn = 0 }: Pick<Place, 'module' | 'turn'>, name: string): Recipe | undefined {
  const param = module.params.get(name);
  return param && recipeAt(param, turn, turnsOf(module, param.loop)?.[turn] ?? 0);
}

/**
 * Which indices of an axis of the original's parameter are left of it in a turn; undefined when what is there comes
 * from elsewhere as well.
 */
export function keptOfParam(
  place: Place,
  original: Place,
  name: string,
  axis: number,
  originalName = name,
): readonly number[] | undefined {
  const [recipe, before] = [recipeOf(place, name), recipeOf(original, originalName)];
  if (recipe === undefined || before === undefined || sourceOf(recipe) !== sourceOf(before)) return undefined;
  return keptAlong(place.module, recipe, axis);
}

/** Kept indices of a dimension that is cut alike everywhere, such as the channels of a stream. */
export function keptOfDim(module: Module, dimension: string): readonly number[] | undefined {
  for (const [name, { type }] of module.params) {
    const axis = type.shape.findIndex((d) => nameOf(d) === dimension);
    const recipe = axis < 0 ? undefined : recipeOf({ module }, name);
    const kept = recipe && keptAlong(module, recipe, axis);
    if (kept !== undefined) return kept;
  }
  return undefined;
}
