/** Slices that a kernel reads its operands through: views of what its arguments point to. */
import { defOf, type OpOf, type Value } from '../../../ir/module.js';
import type { KernelContext } from './kernel.js';

/** The argument behind a value, and the index in it of what the value has at `index`. */
export function viewed(
  context: KernelContext,
  value: Value,
  index: readonly string[],
): { readonly source: Value; readonly index: readonly string[] } {
  const op = defOf(value);
  if (op?.name !== 'slice' || !context.func.body.includes(op)) return { source: value, index };
  const { attrs, operands } = op as OpOf<'slice'>;
  const source = operands[0] as Value;
  const axis = (attrs.axis + source.type.shape.length) % source.type.shape.length;
  const start = context.size(attrs.start);
  const at = index[axis] as string;
  const moved = start === '0' ? at : at === '0' ? start : `(${at} + ${start})`;
  return viewed(context, source, index.with(axis, moved));
}

/** The argument behind a value. */
export function sourceOf(context: KernelContext, value: Value): Value {
  return viewed(
    context,
    value,
    value.type.shape.map(() => '0'),
  ).source;
}
