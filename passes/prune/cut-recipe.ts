/**
 * Recipes of weights that keep some indices of an axis. Cuts go through stacks into their parts, so that what is
 * written to a checkpoint part by part stays that way.
 */
import { type Dim, dim, mulDims } from '../../ir/dim.js';
import type { Recipe } from '../../ir/recipe.js';
import { constantRecipe, opRecipe, perTurn } from '../recipes.js';

/** Positions along an axis: one list for all turns of a loop, or one for each. */
export type Positions = readonly (readonly number[])[];

/** `inner` with only the given positions along an axis, whose size becomes `size`. */
export function cutAxis(inner: Recipe, axis: number, size: Dim, positions: Positions): Recipe {
  const through = mapParts(inner, positions, (part, own) => cutAxis(part, axis, size, own));
  if (through !== undefined) return through;
  if (inner.kind === 'stack' && axis > 0)
    return { ...inner, parts: inner.parts.map((part) => cutAxis(part, axis - 1, size, positions)) };
  if (inner.kind === 'stack') {
    const kept = (list: readonly number[]): Recipe => ({
      kind: 'stack',
      count: size,
      parts: list.map((at) => inner.parts[at] as Recipe),
    });
    return perTurn(positions.map(kept), positions.length === 1);
  }
  const index = (list: readonly number[]): Recipe => constantRecipe('i32', [size], list);
  return opRecipe('gather', [inner, perTurn(positions.map(index), positions.length === 1)], { axis });
}

/** A recipe of stacks that differ by turn, each part changed with the positions of its turn. */
function mapParts<T>(
  inner: Recipe,
  byTurn: readonly T[],
  change: (part: Recipe, own: readonly T[]) => Recipe,
): Recipe | undefined {
  if (inner.kind !== 'per_index' || inner.parts.some(({ kind }) => kind !== 'stack')) return undefined;
  const own = (turn: number): readonly T[] => (byTurn.length === 1 ? byTurn : [byTurn[turn] as T]);
  return { ...inner, parts: inner.parts.map((part, turn) => change(part, own(turn))) };
}

export interface PairedAxes {
  /** The axis of owners, such as experts, and the axis that each of them cuts in its own way. */
  readonly owner: number;
  readonly axis: number;
  readonly shape: readonly Dim[];
  /** Indices per owner before the cut. */
  readonly before: number;
  /** The dimension after it. */
  readonly size: Dim;
}

/** Kept positions for each owner: one such list for all turns of a loop, or one for each. */
export type OwnedPositions = readonly (readonly (readonly number[])[])[];

/** The same with other positions for each index of an earlier axis. */
export function cutOwnedAxis(inner: Recipe, axes: PairedAxes, positions: OwnedPositions): Recipe {
  const through = mapParts(inner, positions, (part, own) => cutOwnedAxis(part, axes, own));
  if (through !== undefined) return through;
  const { axis, owner, size } = axes;
  if (inner.kind === 'stack' && owner === 0) {
    const cut = (lists: readonly (readonly number[])[]): Recipe => ({
      ...inner,
      parts: inner.parts.map((part, i) => cutAxis(part, axis - 1, size, [lists[i] as readonly number[]])),
    });
    return perTurn(positions.map(cut), positions.length === 1);
  }
  return cutFlattened(inner, axes, positions);
}

/** Both axes are moved to the front and flattened, so that one gather can cut them. */
function cutFlattened(
  inner: Recipe,
  { owner, axis, shape, before, size }: PairedAxes,
  positions: OwnedPositions,
): Recipe {
  const others = shape.map((_, at) => at).filter((at) => at !== owner && at !== axis);
  const perm = [owner, axis, ...others];
  const owners = shape[owner] as Dim;
  const tail = others.map((at) => shape[at] as Dim);
  const flat = opRecipe('reshape', [opRecipe('transpose', [inner], { perm })], {
    shape: [mulDims(owners, dim(before)), ...tail],
  });
  const joined = positions.map((lists) => lists.flatMap((list, i) => list.map((at) => i * before + at)));
  const cut = cutAxis(flat, 0, mulDims(owners, size), joined);
  const back = opRecipe('reshape', [cut], { shape: [owners, size, ...tail] });
  return opRecipe('transpose', [back], { perm: shape.map((_, at) => perm.indexOf(at)) });
}
