/** Pointwise kernels: a thread per element of the result. */
import { constantOf, type Dim, dim, divDims, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import type { Grid } from '../../native/plan.js';
import { declareIndex, Expressions, isUnconditional, storeResult } from './expression.js';
import { type KernelContext, type KernelEmitter, threads } from './kernel.js';
import { registerType } from './size.js';

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
  const last = constantOf(context.resolve(result.type.shape.at(-1) ?? dim(1)));
  if (last !== undefined && last > 0 && last % 4 === 0 && isUnconditional(context.func))
    return fourPerThread(context);
  return threadPerElement(context, result.type.shape, context.indexType(...types), (index) =>
    storeResult(context, result, index),
  );
};

/** Four elements of a row per thread, where rows are multiples of four: what they have in common is made once. */
function fourPerThread(context: KernelContext): Grid {
  const { code } = context;
  const [result] = context.func.results as [Value];
  const { shape, dtype } = result.type;
  const indexType = context.indexType(...[...context.func.args, result].map(({ type }) => type));
  const count = divDims(productOfDims(shape), dim(4));
  const quads = shape.with(-1, divDims(shape.at(-1) as Dim, dim(4)));
  code.line('await_predecessor();');
  code.line(`const ${indexType} quad = static_cast<${indexType}>(block) * kThreads + threadIdx.x;`);
  code.line(`if (quad >= ${context.size(count)}) return;`);
  const index = declareIndex(
    context,
    quads.map((d) => context.size(d)),
    'quad',
    indexType,
  );
  code.line(`const ${indexType} column = ${index.at(-1)} * 4;`);
  const [row, reads, each] = [code.part(0), code.part(0), code.part(1)];
  const levels = { row, reads, place: 'at', first: 'column', lane: 'j' };
  const expressions = new Expressions({ ...context, code: each }, new Map(), levels);
  const value = expressions.value(result, index.with(-1, 'at'));
  each.line(`values[j] = ${value};`);
  code.line(`${registerType[dtype]} values[4];`);
  code.add(row);
  code.add(reads);
  code.line('#pragma unroll');
  code.block('for (int j = 0; j < 4; j++)', () => {
    code.line(`const ${indexType} at = column + j;`);
    code.add(each);
  });
  code.line(`store_four(&${new Expressions(context).element(result, index.with(-1, 'column'))}, values);`);
  return [{ count, per: threads }];
}
