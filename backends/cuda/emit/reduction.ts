/** Reductions over axes: a warp or more per element of the result, whose lanes share the elements that are reduced. */
import { constantOf, type Dim, productOfDims } from '../../../ir/dim.js';
import type { Op, Value } from '../../../ir/module.js';
import { castTo } from '../../../ir/numeric.js';
import { type DType, isFloat } from '../../../ir/type.js';
import type { Grid } from '../../native/plan.js';
import { floatLiteral, literal } from './elementwise.js';
import { declareIndex, Expressions } from './expression.js';
import { type KernelContext, type KernelEmitter, warps } from './kernel.js';
import { sharedBy } from './row-body.js';
import { registerType, storageType } from './size.js';

interface Fold {
  start(dtype: DType): string;
  combine(a: string, b: string, dtype: DType): string;
  finish?(total: string, count: string): string;
}

const extreme = (sign: 1 | -1) => (dtype: DType) => {
  const infinite = sign * Number.POSITIVE_INFINITY;
  return isFloat(dtype) ? floatLiteral(infinite) : literal(dtype, castTo[dtype](infinite));
};

const sum: Fold = {
  start: (dtype) => literal(dtype, 0),
  combine: (a, b) => `add(${a}, ${b})`,
};

const folds: Readonly<Record<string, Fold>> = {
  reduce_sum: sum,
  reduce_mean: { ...sum, finish: (total, count) => `${total} / static_cast<float>(${count})` },
  reduce_prod: { start: (dtype) => literal(dtype, 1), combine: (a, b) => `mul(${a}, ${b})` },
  reduce_max: { start: extreme(-1), combine: (a, b) => `maximum(${a}, ${b})` },
  reduce_min: { start: extreme(1), combine: (a, b) => `minimum(${a}, ${b})` },
};

function reducedAxes(op: Op): number[] {
  const rank = (op.operands[0] as Value).type.shape.length;
  return (op.attrs as unknown as { axes: readonly number[] }).axes.map((axis) => (axis + rank) % rank);
}

/** A warp per element of `shape`, or several of a block, with `output` and its index declared. */
export function warpPerElement(
  context: KernelContext,
  shape: Value['type']['shape'],
  indexType: 'int' | 'long long',
  body: (index: string[]) => void,
  sharing = 1,
): Grid {
  const { code } = context;
  const count = productOfDims(shape);
  code.line('await_predecessor();');
  const each = sharing === 1 ? 'kWarps' : warps / sharing;
  code.line(`const int lane = ${sharedBy(sharing).start};`);
  code.line(
    `const ${indexType} output = static_cast<${indexType}>(block) * ${each} + threadIdx.x / ${32 * sharing};`,
  );
  code.line(`if (output >= ${context.size(count)}) return;`);
  body(declareIndex(context, shape.map(context.size), 'output', indexType));
  return [{ count, per: warps / sharing }];
}

export const emitReduction: KernelEmitter = (context) => {
  const { code, root } = context;
  const [x] = root.operands as [Value];
  const [result] = context.func.results as [Value];
  const fold = folds[root.name] as Fold;
  const axes = reducedAxes(root);
  const { dtype, shape } = x.type;
  const kept = shape.filter((_, axis) => !axes.includes(axis));
  const reduced = axes.toSorted((a, b) => a - b).map((axis) => shape[axis] as (typeof shape)[number]);
  const indexType = context.indexType(x.type);
  const register = registerType[dtype];
  const sizeOf = (dims: readonly Dim[]): number => constantOf(context.resolve(productOfDims(dims))) ?? 0;
  const { warps: sharing } = context.parameters('reduce', {
    op: root.name,
    inner: sizeOf(reduced),
    outputs: sizeOf(kept),
    reads: context.func.args.length,
    dtype,
  });
  const reduce = (outer: string[]): void => {
    const count = context.size(productOfDims(reduced));
    code.line(`${register} total = ${fold.start(dtype)};`);
    code.block(`for (${indexType} element = lane; element < ${count}; element += ${32 * sharing})`, () => {
      const inner = declareIndex(context, reduced.map(context.size), 'element', indexType);
      const [fromOuter, fromInner] = [[...outer], [...inner]];
      const index = shape.map(
        (_, axis) => (axes.includes(axis) ? fromInner.shift() : fromOuter.shift()) as string,
      );
      const value = new Expressions(context).value(x, index);
      code.line(`total = ${fold.combine('total', value, dtype)};`);
    });
    const combine = `[](${register} a, ${register} b) { return ${fold.combine('a', 'b', dtype)}; }`;
    const neutral = `, ${fold.start(dtype)}`;
    const by = sharing === 1 ? 'warp_reduce(total' : `group_reduce<${sharing}>(total${neutral}`;
    code.line(`total = ${by}, ${combine});`);
    const finished = fold.finish?.('total', count) ?? 'total';
    code.line(
      `if (lane == 0) ${context.pointer(result)}[output] = convert<${storageType[result.type.dtype]}>(${finished});`,
    );
  };
  return warpPerElement(context, kept, indexType, reduce, sharing);
};
