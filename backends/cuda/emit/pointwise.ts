/** Pointwise kernels: a thread per element of the result. */
import { type Dim, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import type { Grid } from '../../native/plan.js';
import { declareIndex, storeResult } from './expression.js';
import { type KernelContext, type KernelEmitter, threads } from './kernel.js';

/** A thread per element of `shape`; the body gets its index. */
export function threadPerElement(
  context: KernelContext,
  shape: readonly Dim[],
  indexType: 'int' | 'long long',
  body: (index: string[], linear: string) => void,
): Grid {
  const { code } = context;
  const count = productOfDims(shape);
  code.line('await_predecessor();');
  code.line(`const ${indexType} i = static_cast<${indexType}>(block) * kThreads + threadIdx.x;`);
  code.line(`if (i >= ${context.size(count)}) return;`);
  body(declareIndex(context, shape.map(context.size), 'i', indexType), 'i');
  return [{ count, per: threads }];
}

export const emitPointwise: KernelEmitter = (context) => {
  const [result] = context.func.results as [Value];
  const types = [...context.func.args, result].map((value) => value.type);
  return threadPerElement(context, result.type.shape, context.indexType(...types), (index) =>
    storeResult(context, result, index),
  );
};
