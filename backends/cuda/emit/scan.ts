/** cumsum: a thread per lane of the axis. */
import type { Dim } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { isFloat } from '../../../ir/type.js';
import { literal, roundedTo } from './elementwise.js';
import { Expressions } from './expression.js';
import type { KernelEmitter } from './kernel.js';
import { threadPerElement } from './pointwise.js';
import { registerType, storageType } from './size.js';

export const emitCumsum: KernelEmitter = (context) => {
  const { code, root } = context;
  const [x] = root.operands as [Value];
  const [result] = context.func.results as [Value];
  const { dtype, shape } = x.type;
  const axis = ((root.attrs as { axis: number }).axis + shape.length) % shape.length;
  const kept = shape.filter((_, a) => a !== axis);
  return threadPerElement(context, kept, context.indexType(x.type), (outer) => {
    const index = outer.toSpliced(axis, 0, 'step');
    code.line(`${registerType[dtype]} total = ${literal(dtype, 0)};`);
    code.block(`for (int step = 0; step < ${context.size(shape[axis] as Dim)}; step++)`, () => {
      const expressions = new Expressions(context);
      const next = `add(total, ${expressions.value(x, index)})`;
      code.line(`total = ${isFloat(dtype) ? next : roundedTo(dtype, next)};`);
      code.line(`${expressions.element(result, index)} = convert<${storageType[dtype]}>(total);`);
    });
  });
};
