/** dynamic_quantize of rows, with the pointwise ops that make them. */
import type { OpOf, Value } from '../../../ir/module.js';
import { canVectorise, Expressions } from './expression.js';
import type { KernelEmitter } from './kernel.js';
import { lastSize, overRows, vectorLoop } from './pointwise.js';
import { quantizeRow, rowQuantizer, scratchRow, storeInScratch } from './quantized-row.js';
import { rowOf } from './row-reader.js';

export const emitDynamicQuantize: KernelEmitter = (context) => {
  const { asm, func } = context;
  const root = context.root as OpOf<'dynamic_quantize'>;
  const [x] = root.operands as [Value];
  if (rowQuantizer(func) === undefined)
    return overRows(context, x, (outer) => quantizeRow(context, root, rowOf(context, x, outer), outer));
  const body = func.body.filter((op) => op !== root);
  const vectors = canVectorise({ ...func, body, results: [x] });
  const length = lastSize(context, x);
  return overRows(context, x, (outer) => [
    ...vectorLoop(asm, length, vectors, (at, vector) => {
      const index = [...outer, { at, lane: vector ? 1 : 0 }];
      return storeInScratch(context, x, index, vector, new Expressions(context));
    }),
    ...quantizeRow(context, root, scratchRow(context, length), outer),
  ]);
};
