/**
 * Where the output channels of a linear layer go: through ops that only move elements (reshape, slice, split,
 * transpose) to the ops that compute with them. The index of each channel is carried along by the ops' own
 * declarations, so any layout of q, k, v or of modulation vectors is understood.
 */
import { staticContext } from '../../ir/materialise.js';
import { defOf, type Func, type Module, modelDims, type Op, type OpOf, type Value } from '../../ir/module.js';
import type { Attrs } from '../../ir/op.js';
import { type OpName, opTable } from '../../ir/ops/table.js';
import type { Tensor } from '../../ir/tensor.js';
import { elementCount, evalShape } from '../../ir/type.js';
import { symbolsOf } from '../../ir/verify.js';

/** Ops that only move elements. */
export const movement: ReadonlySet<string> = new Set(['reshape', 'slice', 'split', 'transpose']);

/** A place where moved channels are computed with: operand `operand` of an op, or a result of the function. */
export interface Landing {
  readonly op: Op | undefined;
  readonly operand: number;
  /** Which output channel of the linear layer each element is; batch axes have their size 1. */
  readonly channel: Tensor;
}

/** The linear layer whose moved output a value is. */
export function movedFrom(value: Value): OpOf<'linear'> | undefined {
  const op = defOf(value);
  if (op?.name === 'linear') return op;
  return op !== undefined && movement.has(op.name) ? movedFrom(op.operands[0] as Value) : undefined;
}

/** All landings of the output of a linear layer. Run-time symbols are taken as 1. */
export function landingsOf(module: Module, func: Func, linear: OpOf<'linear'>): Landing[] {
  const env = new Map([...[...symbolsOf(module, func)].map((s) => [s, 1] as const), ...modelDims(module)]);
  const context = staticContext(env);
  const [output] = linear.results as [Value];
  const shape = evalShape(output.type.shape, env);
  const channels = shape.at(-1) as number;
  const data = Float64Array.from({ length: elementCount(shape) }, (_, i) => i % channels);
  const found: Landing[] = [];
  const visit = (value: Value, channel: Tensor): void => {
    if (func.results.includes(value)) found.push({ op: undefined, operand: 0, channel });
    for (const op of func.body) {
      const operand = op.operands.indexOf(value);
      if (operand < 0) continue;
      if (!movement.has(op.name)) {
        op.operands.forEach((other, i) => {
          if (other === value) found.push({ op, operand: i, channel });
        });
        continue;
      }
      const moved = opTable[op.name as OpName].evaluate([channel], op.attrs as Attrs as never, context);
      op.results.forEach((result, i) => {
        visit(result, moved[i] as Tensor);
      });
    }
  };
  visit(output, { dtype: 'i32', shape, data });
  return found;
}

/** The channels that a landing's trailing `count` elements are, the same for every row; undefined when rows differ. */
export function channelsOfRow({ channel }: Pick<Landing, 'channel'>, count: number): Int32Array | undefined {
  const { data } = channel;
  for (let i = count; i < data.length; i++) if (data[i] !== data[i % count]) return undefined;
  return Int32Array.from(data.subarray(0, count));
}

/** Whether any element of a landing is one of these channels. */
export function touches({ channel }: Landing, channels: ReadonlySet<number>): boolean {
  return channel.data.some((c) => channels.has(c));
}
