/**
 * slnp: stabilised LayerNorm pruning (Pangu Light, arXiv 2505.20155; §4 of the reference). Every gain γ that lost
 * channels is scaled by c = ‖γ_original‖₂ / ‖γ_pruned‖₂, so that its norm is what it was. The original is the recipe
 * below the gathers, so c is part of the recipe and no other record is needed; a gain that lost nothing stays as it is.
 */
import type { Module, Param } from '../ir/module.js';
import type { Recipe } from '../ir/recipe.js';
import { definePass } from './pass.js';
import { constantRecipe, normRecipe, opRecipe, scaleRecipe } from './recipes.js';
import { structureOf } from './structure.js';

export const slnp = definePass({
  name: 'slnp',
  kind: 'approximate',
  summary: 'Scales every norm gain that lost channels so that its length is that of the original gain.',
  notAfter: {
    'absorb-post-norm': 'an absorbed gain is gone: what must be folded is the scaled gain, not the cut one',
  },
  run(module) {
    const gains = gainsOf(module);
    const scaled = gains.filter((name) => isCut((module.params.get(name) as Param).recipe));
    const notes = scaled.length > 0 ? [] : ['no gain has lost channels: nothing to do'];
    if (scaled.length === 0) return { module, report: { counts: { scaled: 0, whole: gains.length }, notes } };
    const params = new Map(module.params);
    for (const name of scaled) {
      const param = module.params.get(name) as Param;
      params.set(name, { ...param, recipe: stabilise(param) });
    }
    const counts = { scaled: scaled.length, whole: gains.length - scaled.length };
    return { module: { ...module, params }, report: { counts, notes, details: { scaled } } };
  },
});

/** Parameters that are gains of norms. */
function gainsOf(module: Module): string[] {
  const names = structureOf(module).norms.flatMap(({ gamma }) => (gamma === undefined ? [] : [gamma]));
  return [...new Set(names)];
}

function isCut(recipe: Recipe): boolean {
  return recipe.kind === 'op' && recipe.op === 'gather';
}

/** The recipe below the gathers that cut it. */
function original(recipe: Recipe): Recipe {
  return recipe.kind === 'op' && recipe.op === 'gather' ? original(recipe.args[0] as Recipe) : recipe;
}

/** Gains of which only zeros are kept stay zeros. */
const leastNorm = 1e-30;

function stabilise({ recipe, type }: Param): Recipe {
  const rank = type.shape.length;
  const left = opRecipe('max', [normRecipe(recipe, rank), constantRecipe('f32', [], [leastNorm])]);
  const ratio = opRecipe('div', [normRecipe(original(recipe), rank), left]);
  return scaleRecipe(recipe, ratio, type.dtype);
}
