/** What all kernels of linear layers share: their sums, the epilogue, and the weights. */
import type { Dim } from '../../../ir/dim.js';
import type { Op, OpOf, Value } from '../../../ir/module.js';
import { roundedTo } from './elementwise.js';
import { declareIndex, Expressions } from './expression.js';
import type { KernelContext } from './kernel.js';
import { storageType } from './size.js';

/** Declares the C++ function `element(row, column, sums)`: what is stored at [row, column] of the result. */
export function declareElement(
  context: KernelContext,
  roots: readonly Op[],
  result: Value,
  index: (row: string) => string[],
): void {
  const { code } = context;
  const sums = `const float (&sums)[${roots.length}]`;
  code.block(
    `const auto element = [&](int row, int column, ${sums})`,
    () => {
      const at = [...index('row'), 'column'];
      const expressions = new Expressions(context);
      const known = new Map<Value, string>();
      roots.forEach((root, i) => {
        const value = root.results[0] as Value;
        const bias = root.name === 'linear' ? root.operands[2] : undefined;
        const total =
          bias === undefined ? `sums[${i}]` : `sums[${i}] + ${expressions.value(bias, ['column'])}`;
        const name = code.fresh('v');
        code.line(`const float ${name} = ${roundedTo(value.type.dtype, total)};`);
        known.set(value, name);
      });
      code.line(`return ${new Expressions(context, known).value(result, at)};`);
    },
    '};',
  );
}

/** Index of the leading axes of a result from its row number. */
export function leadIndex(context: KernelContext, shape: readonly Dim[]): (row: string) => string[] {
  return (row) => declareIndex(context, shape.slice(0, -1).map(context.size), row, 'int');
}

/** All linear layers of the kernel; they read one input. */
export function linearRoots(context: KernelContext): OpOf<'linear'>[] {
  return context.func.body.filter((op) => op.name === 'linear') as OpOf<'linear'>[];
}

/** Declares the array `weights`, which may be read at once: what other kernels write is waited for. */
export function declareWeights(context: KernelContext, roots: readonly OpOf<'linear'>[]): void {
  const values = roots.map((root) => root.operands[1] as Value);
  if (!values.every(context.isConstant)) context.code.line('await_predecessor();');
  const pointers = values.map(context.pointer).join(', ');
  context.code.line(
    `const ${storageType[(values[0] as Value).type.dtype]}* const weights[] = {${pointers}};`,
  );
}
