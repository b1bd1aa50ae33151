/** Rotary positions: a thread per pair of channels, or per four pairs of which the first lie side by side, and the second too. */
import { constantOf, type Dim, divDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { Expressions, isUnconditional, storeResult } from './expression.js';
import type { KernelContext, KernelEmitter } from './kernel.js';
import { eachOfFour, threadPerElement } from './pointwise.js';
import { registerType } from './size.js';

interface Rotation {
  readonly x: Value;
  readonly cos: Value;
  readonly sin: Value;
  readonly rotated: Value;
  readonly result: Value;
  readonly half: Dim;
}

export const emitRope: KernelEmitter = (context) => {
  const { root, func, resolve } = context;
  const [x, cos, sin] = root.operands as [Value, Value, Value];
  const half = divDims(x.type.shape.at(-1) as Dim, 2);
  const [result] = func.results as [Value];
  const rotation = { x, cos, sin, rotated: root.results[0] as Value, result, half };
  const size = constantOf(resolve(half)) ?? 0;
  const { interleaved } = (root as OpOf<'rope'>).attrs;
  return !interleaved && size > 0 && size % 4 === 0 && isUnconditional(func)
    ? emitFour(context, rotation)
    : emitPair(context, rotation);
};

/** Both channels of a pair, from what they are before. */
const rotate = (a: string, b: string, c: string, s: string): [string, string] => [
  `${a} * ${c} - ${b} * ${s}`,
  `${b} * ${c} + ${a} * ${s}`,
];

function emitPair(context: KernelContext, { x, cos, sin, rotated, result, half }: Rotation) {
  const { code, root } = context;
  const { interleaved } = (root as OpOf<'rope'>).attrs;
  const pairs = x.type.shape.with(-1, half);
  return threadPerElement(context, pairs, context.indexType(x.type), (index) => {
    const expressions = new Expressions(context);
    const [outer, pair, token] = [index.slice(0, -1), index.at(-1) as string, index.at(-3) as string];
    const places: [string, string] = interleaved
      ? [`(2 * ${pair})`, `(2 * ${pair} + 1)`]
      : [pair, `(${pair} + ${context.size(half)})`];
    const [a, b] = places.map((at) => expressions.value(x, [...outer, at])) as [string, string];
    const [c, s] = [cos, sin].map((table) => expressions.value(table, [token, pair])) as [string, string];
    rotate(a, b, c, s).forEach((value, i) => {
      const name = code.fresh('v');
      code.line(`const float ${name} = ${value};`);
      storeResult(context, result, [...outer, places[i] as string], new Map([[rotated, name]]));
    });
  });
}

function emitFour(context: KernelContext, { x, cos, sin, rotated, result, half }: Rotation) {
  const { code } = context;
  const quads = x.type.shape.with(-1, divDims(half, 4));
  const type = context.indexType(x.type);
  return threadPerElement(context, quads, type, (index) => {
    const [outer, token] = [index.slice(0, -1), index.at(-3) as string];
    const second = (place: string): string => `(${place} + ${context.size(half)})`;
    const values = ['low', 'high'];
    code.line(`const ${type} column = ${index.at(-1)} * 4;`);
    const declare = (): void =>
      code.line(`${registerType[result.type.dtype]} ${values.map((name) => `${name}[4]`).join(', ')};`);
    eachOfFour(context, type, declare, (each, levels) => {
      const own = { ...context, code: each };
      const expressions = new Expressions(own, new Map(), levels);
      const places = ['at', second('at')];
      const [a, b] = places.map((at) => expressions.value(x, [...outer, at])) as [string, string];
      const [c, s] = [cos, sin].map((table) => expressions.value(table, [token, 'at'])) as [string, string];
      rotate(a, b, c, s).forEach((value, i) => {
        const name = each.fresh('v');
        each.line(`const float ${name} = ${value};`);
        const after = new Expressions(own, new Map([[rotated, name]]), levels);
        each.line(`${values[i]}[j] = ${after.value(result, [...outer, places[i] as string])};`);
      });
    });
    ['column', second('column')].forEach((at, i) => {
      code.line(`store_four(&${new Expressions(context).element(result, [...outer, at])}, ${values[i]});`);
    });
  });
}
