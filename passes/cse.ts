/** cse: computes equal expressions once. */
import { copyOp, mapFunctions, rewriteFunc, type Scope } from '../ir/builder.js';
import type { Func, Op, Value } from '../ir/module.js';
import { opTable } from '../ir/ops/table.js';
import { definePass, Tally } from './pass.js';

export const cse = definePass({
  name: 'cse',
  summary: 'Merges ops of one function that compute the same value.',
  run(module) {
    const tally = new Tally();
    const result = mapFunctions(module, (func, scope) => {
      const before = tally.total;
      const merged = mergeEqualOps(func, scope, tally);
      return tally.total > before ? merged : func;
    });
    return { module: result, report: tally.report() };
  },
});

function mergeEqualOps(func: Func, scope: Scope, tally: Tally): Func {
  const seen = new Map<string, readonly Value[]>();
  const numbers = new Map<Value, number>();
  const numberOf = (value: Value): number => {
    const known = numbers.get(value) ?? numbers.size;
    numbers.set(value, known);
    return known;
  };
  return rewriteFunc(func, scope, (op, operands, builder) => {
    if (opTable[op.name].effects === true) return undefined;
    const key = `${op.name}(${operands.map(numberOf).join(',')})${attrKey(op)}`;
    const earlier = seen.get(key);
    if (earlier !== undefined) {
      tally.add(op.name);
      return earlier;
    }
    const values = builder.append(copyOp(scope, op, operands));
    seen.set(key, values);
    return values;
  });
}

/** Attributes as text; unlike plain JSON it tells -0, infinities and NaN apart. */
export function attrKey(op: Op): string {
  return JSON.stringify(op.attrs, (_key, value: unknown) => {
    if (typeof value !== 'number') return value;
    return Object.is(value, -0) ? '-0' : Number.isFinite(value) ? value : String(value);
  });
}
