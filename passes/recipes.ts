/**
 * Algebra on recipes: how passes cut, move and scale weights without touching their bytes. Every function returns a
 * recipe whose type follows from ir/recipe-type.ts. What differs from turn to turn of a loop is a `per_index` node.
 */

import { completeAttrs } from '../ir/builder.js';
import { type Dim, dim, substituteDim } from '../ir/dim.js';
import type { Module, Param } from '../ir/module.js';
import { encodeBytes } from '../ir/numeric.js';
import type { Attrs, AttrValue } from '../ir/op.js';
import { type OpName, opTable } from '../ir/ops/table.js';
import { fillName, type Recipe } from '../ir/recipe.js';
import { type DType, substituteType, tensorType } from '../ir/type.js';

export function opRecipe(op: OpName, args: readonly Recipe[], attrs: Attrs = {}): Recipe {
  return { kind: 'op', op, attrs: completeAttrs(op, opTable[op], attrs), args };
}

export function constantRecipe(
  dtype: DType,
  shape: readonly Dim[],
  values: ArrayLike<number>,
): Extract<Recipe, { kind: 'constant' }> {
  return { kind: 'constant', type: tensorType(dtype, shape), bytes: encodeBytes(dtype, values) };
}

/** One value when all turns agree, otherwise one per turn. */
export function perTurn(parts: readonly Recipe[], equal: boolean): Recipe {
  return equal ? (parts[0] as Recipe) : { kind: 'per_index', parts };
}

/** A copy in which `change` has replaced the nodes it returns something for; it is not asked about their parts. */
export function mapRecipe(recipe: Recipe, change: (node: Recipe) => Recipe | undefined): Recipe {
  const changed = change(recipe);
  if (changed !== undefined) return changed;
  const inner = (parts: readonly Recipe[]): readonly Recipe[] => {
    const mapped = parts.map((part) => mapRecipe(part, change));
    return mapped.some((part, i) => part !== parts[i]) ? mapped : parts;
  };
  if (recipe.kind === 'stack' || recipe.kind === 'per_index') {
    const parts = inner(recipe.parts);
    return parts === recipe.parts ? recipe : { ...recipe, parts };
  }
  if (recipe.kind !== 'op') return recipe;
  const args = inner(recipe.args);
  return args === recipe.args ? recipe : { ...recipe, args };
}

/** The recipe with a dimension's name replaced by the value it had, so that the name is free for a new value. */
export function freezeDim(recipe: Recipe, name: string, value: number): Recipe {
  const frozen = new Map([[name, dim(value)]]);
  const freeze = (node: Recipe): Recipe => {
    const inner = (parts: readonly Recipe[]): readonly Recipe[] => parts.map(freeze);
    switch (node.kind) {
      case 'source':
      case 'constant': {
        const type = substituteType(node.type, frozen);
        return node.replaces === undefined
          ? { ...node, type }
          : { ...node, type, replaces: freeze(node.replaces) };
      }
      case 'stack':
        return { ...node, count: substituteDim(node.count, frozen), parts: inner(node.parts) };
      case 'per_index':
        return { ...node, parts: inner(node.parts) };
      case 'op':
        return { ...node, attrs: freezeAttrs(node.attrs, frozen), args: inner(node.args) };
    }
  };
  return freeze(recipe);
}

/** Attributes with names of dimensions replaced. */
export function freezeAttrs(attrs: Attrs, frozen: ReadonlyMap<string, Dim>): Attrs {
  const isDim = (value: unknown): value is Dim =>
    typeof value === 'object' && value !== null && 'terms' in value;
  const freeze = (value: AttrValue): AttrValue => {
    if (isDim(value)) return substituteDim(value, frozen);
    if (Array.isArray(value) && value.some(isDim))
      return (value as Dim[]).map((d) => substituteDim(d, frozen));
    return value;
  };
  return Object.fromEntries(Object.entries(attrs).map(([key, value]) => [key, freeze(value)]));
}

/** The recipe of a loop with fewer turns: parts by turn of the dropped ones are left out. */
export function keepTurns(recipe: Recipe, kept: readonly number[]): Recipe {
  return mapRecipe(recipe, (node) =>
    node.kind === 'per_index'
      ? { ...node, parts: kept.map((turn) => node.parts[turn] as Recipe) }
      : undefined,
  );
}

/** What a parameter is in one turn of its loop, as a recipe that no longer depends on the turn. */
export function recipeAt({ recipe, loop }: Param, turn: number, index: number): Recipe {
  return mapRecipe(recipe, (node) => {
    if (node.kind === 'per_index')
      return recipeAt({ recipe: node.parts[turn] as Recipe, loop } as Param, turn, index);
    if (node.kind !== 'source' || loop === undefined) return undefined;
    return { ...node, name: fillName(node.name, { loop, value: index }) };
  });
}

export const widen = (recipe: Recipe): Recipe => opRecipe('cast', [recipe], { dtype: 'f32' });
export const narrow = (recipe: Recipe, dtype: DType): Recipe =>
  dtype === 'f32' ? recipe : opRecipe('cast', [recipe], { dtype });

/** `recipe · factor` computed in f32 and rounded once to `dtype`; the factor broadcasts as numpy does. */
export function scaleRecipe(recipe: Recipe, factor: Recipe, dtype: DType): Recipe {
  const wide = dtype === 'f32' ? recipe : widen(recipe);
  return narrow(opRecipe('mul', [wide, factor]), dtype);
}

/** ‖x‖₂ as a scalar recipe. */
export function normRecipe(recipe: Recipe, rank: number): Recipe {
  const wide = widen(recipe);
  const axes = Array.from({ length: rank }, (_, i) => i);
  return opRecipe('sqrt', [opRecipe('reduce_sum', [opRecipe('mul', [wide, wide])], { axes })]);
}

/** The source index of each turn of a parameter's loop; one turn without a loop. */
export function turnsOf(module: Module, loop: string | undefined): readonly number[] | undefined {
  return loop === undefined ? undefined : module.loops.get(loop)?.indices;
}
