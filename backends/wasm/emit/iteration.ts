/** Loop nests over some axes of a shape. */
import type { Expr, Local, Size } from './asm.js';
import type { Coordinate, Index } from './expression.js';
import type { KernelContext } from './kernel.js';

const origin: Coordinate = { at: 0, lane: 0 };

/** Loops over the axes listed, outermost first; the body gets an index with the other axes as in `start` (default 0). */
export function overAxes(
  context: KernelContext,
  sizes: readonly Size[],
  [axis, ...rest]: readonly number[],
  body: (index: Index) => readonly Expr[],
  start: Index = sizes.map(() => origin),
): readonly Expr[] {
  if (axis === undefined) return body(start);
  const inside = (i: Local): readonly Expr[] =>
    overAxes(context, sizes, rest, body, start.with(axis, { at: i.get, lane: 0 }));
  return [context.asm.loop(0, sizes[axis] as Size, inside)];
}
