/**
 * Weights are not in the graph: a parameter holds a recipe, an expression over checkpoint tensors whose inner nodes
 * are IR ops. Passes compose recipes; `materialise` computes one parameter at a time, so that peak memory is a few
 * tensors whatever the checkpoint's size.
 *
 * A source name may contain `{layer}` placeholders of the parameter's loop; they are filled with the loop's source
 * indices. `per_index` holds one recipe per loop index where they differ by more than the name.
 */
import type { Dim } from './dim.js';
import type { Attrs } from './op.js';
import type { TensorType } from './type.js';

export type Recipe =
  /** `replaces` as with a constant: on a weight that was computed, and put aside under a name of its own. */
  | {
      readonly kind: 'source';
      readonly name: string;
      readonly type: TensorType;
      readonly replaces?: Recipe | undefined;
    }
  /**
   * Little-endian bytes in row-major order. `replaces` is what stood there before a pass computed them: it takes no
   * part in the value, but still says which indices of the source are left.
   */
  | {
      readonly kind: 'constant';
      readonly type: TensorType;
      readonly bytes: Uint8Array;
      readonly replaces?: Recipe;
    }
  /** Parts of one type, stacked on a new leading axis of size `count`. */
  | { readonly kind: 'stack'; readonly count: Dim; readonly parts: readonly Recipe[] }
  | { readonly kind: 'per_index'; readonly parts: readonly Recipe[] }
  /** `op` is an effect-free op with one result. */
  | { readonly kind: 'op'; readonly op: string; readonly attrs: Attrs; readonly args: readonly Recipe[] };

export function sourceRecipe(name: string, type: TensorType): Recipe {
  return { kind: 'source', name, type };
}

/** Fills `{layer}` style placeholders of a source name. */
export function fillName(
  name: string,
  index: { readonly loop: string; readonly value: number } | undefined,
): string {
  return index === undefined ? name : name.replaceAll(`{${index.loop}}`, String(index.value));
}

/** The recipes a recipe is made of. */
export function recipeParts(recipe: Recipe): readonly Recipe[] {
  if (recipe.kind === 'stack' || recipe.kind === 'per_index') return recipe.parts;
  return recipe.kind === 'op' ? recipe.args : [];
}
