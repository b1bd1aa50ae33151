/** Pointwise kernels: a thread per element of the result. */
import { constantOf, type Dim, dim, divDims, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import type { Grid } from '../../native/plan.js';
import type { Code } from './code.js';
import { declareIndex, Expressions, isUnconditional, type Levels, storeResult } from './expression.js';
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
    return fourPerThread(context, last);
  return threadPerElement(context, result.type.shape, context.indexType(...types), (index) =>
    storeResult(context, result, index),
  );
};

/**
 * Computes the column `at`, the j-th of the four from `column` on, by `body`; what they have in common and reads of four at once
 * come before, behind what `declare` writes.
 */
export function eachOfFour(
  { code }: KernelContext,
  indexType: string,
  declare: () => void,
  body: (each: Code, levels: Levels) => void,
): void {
  const [row, reads, each] = [code.part(0), code.part(0), code.part(1)];
  body(each, { row, reads, place: 'at', first: 'column', lane: 'j' });
  declare();
  code.add(row);
  code.add(reads);
  code.line('#pragma unroll');
  code.block('for (int j = 0; j < 4; j++)', () => {
    code.line(`const ${indexType} at = column + j;`);
    code.add(each);
  });
}

/**
 * Four elements of a row per thread, where rows are multiples of four, once or in several turns: what they have in common is made
 * once. All turns are computed before the first is stored, so that all that they read is requested at once.
 */
function fourPerThread(context: KernelContext, columns: number): Grid {
  const { code, func } = context;
  const [result] = func.results as [Value];
  const { shape, dtype } = result.type;
  const { turns } = context.parameters('pointwise', {
    ops: func.body.map(({ name }) => name).join('+'),
    columns,
    elements: constantOf(context.resolve(productOfDims(shape))) ?? 0,
    reads: func.args.length,
    result: dtype,
  });
  const indexType = context.indexType(...[...func.args, result].map(({ type }) => type));
  const count = divDims(productOfDims(shape), dim(4));
  const quads = shape.with(-1, divDims(shape.at(-1) as Dim, dim(4)));
  const wide = `static_cast<${indexType}>(block)`;
  const [first, leave, values] =
    turns === 1 ? [wide, 'return', 'values'] : [`(${wide} * ${turns} + turn)`, 'continue', 'values[turn]'];
  const overTurns = (each: () => void): void => {
    code.line('#pragma unroll');
    code.block(`for (int turn = 0; turn < ${turns}; turn++)`, each);
  };
  const place = (): string[] => {
    code.line(`const ${indexType} quad = ${first} * kThreads + threadIdx.x;`);
    code.line(`if (quad >= ${context.size(count)}) ${leave};`);
    const index = declareIndex(
      context,
      quads.map((d) => context.size(d)),
      'quad',
      indexType,
    );
    code.line(`const ${indexType} column = ${index.at(-1)} * 4;`);
    return index;
  };
  const declareValues = (): void =>
    code.line(`${registerType[dtype]} values${turns === 1 ? '' : `[${turns}]`}[4];`);
  const declareValuesOnce = (): void => {
    if (turns === 1) declareValues();
  };
  const compute = (index: readonly string[]): void => {
    eachOfFour(context, indexType, declareValuesOnce, (each, levels) => {
      const value = new Expressions({ ...context, code: each }, new Map(), levels).value(
        result,
        index.with(-1, 'at'),
      );
      each.line(`${values}[j] = ${value};`);
    });
  };
  const store = (index: readonly string[]): void => {
    const to = new Expressions(context).element(result, index.with(-1, 'column'));
    code.line(`store_four(&${to}, ${values});`);
  };
  code.line('await_predecessor();');
  if (turns === 1) {
    const index = place();
    compute(index);
    store(index);
  } else {
    declareValues();
    overTurns(() => compute(place()));
    overTurns(() => store(place()));
  }
  return [{ count, per: turns * threads }];
}
