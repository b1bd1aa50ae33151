/** cumsum: one running sum per lane along the axis, f64 for floats and wrapping for integers. */
import type { OpOf, Value } from '../../../ir/module.js';
import { isFloat } from '../../../ir/type.js';
import { f64, type Local } from './asm.js';
import { constantOfType } from './elementwise.js';
import { Expressions, type Index } from './expression.js';
import { overAxes } from './iteration.js';
import type { KernelEmitter } from './kernel.js';
import { registerType } from './memory.js';

export const emitCumsum: KernelEmitter = (context) => {
  const { asm, m, memory, root } = context;
  const [x] = root.operands as [Value];
  const [result] = root.results as [Value];
  const { dtype } = x.type;
  const rank = x.type.shape.length;
  const axis = ((root as OpOf<'cumsum'>).attrs.axis + rank) % rank;
  const sizes = context.sizes(x.type.shape);
  const wide = isFloat(dtype);
  const sum = asm.local(wide ? f64 : registerType(dtype));
  const expressions = new Expressions(context);
  const integers = dtype === 'i64' ? m.i64 : m.i32;
  const step = (index: Index) => {
    const element = expressions.scalar(x, index);
    const next = wide ? m.f64.add(sum.get(), m.f64.promote(element)) : integers.add(sum.get(), element);
    const value = wide ? m.f32.demote(sum.get()) : sum.get();
    return [sum.set(next), memory.store(dtype, expressions.address(result, index).address(), value)];
  };
  const others = sizes.flatMap((_, i) => (i === axis ? [] : [i]));
  return overAxes(context, sizes, others, (outer) => [
    sum.set(wide ? m.f64.const(0) : constantOfType(context, dtype, 0)),
    asm.loop(0, sizes[axis] ?? 1, (i: Local) => step(outer.with(axis, { at: i.get, lane: 0 }))),
  ]);
};
