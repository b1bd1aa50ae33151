/** Rotary positions: a thread per pair of channels. */
import { type Dim, divDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { Expressions, storeResult } from './expression.js';
import type { KernelEmitter } from './kernel.js';
import { threadPerElement } from './pointwise.js';

export const emitRope: KernelEmitter = (context) => {
  const { code, root } = context;
  const [x, cos, sin] = root.operands as [Value, Value, Value];
  const [result] = context.func.results as [Value];
  const { interleaved } = (root as OpOf<'rope'>).attrs;
  const half = divDims(x.type.shape.at(-1) as Dim, 2);
  const pairs = [...x.type.shape.slice(0, -1), half];
  return threadPerElement(context, pairs, context.indexType(x.type), (index) => {
    const expressions = new Expressions(context);
    const [outer, pair, token] = [index.slice(0, -1), index.at(-1) as string, index.at(-3) as string];
    const [first, second] = interleaved
      ? [`(2 * ${pair})`, `(2 * ${pair} + 1)`]
      : [pair, `(${pair} + ${context.size(half)})`];
    const [a, b] = [first, second].map((at) => expressions.value(x, [...outer, at]));
    const [c, s] = [cos, sin].map((table) => expressions.value(table, [token, pair]));
    const store = (at: string, value: string): void => {
      const rotated = code.fresh('v');
      code.line(`const float ${rotated} = ${value};`);
      storeResult(context, result, [...outer, at], new Map([[root.results[0] as Value, rotated]]));
    };
    store(first, `${a} * ${c} - ${b} * ${s}`);
    store(second, `${b} * ${c} + ${a} * ${s}`);
  });
};
