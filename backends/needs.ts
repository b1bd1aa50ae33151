/** Which outputs of an entry need an op, so that a step that asks for some outputs does not compute the others. */
import type { Func, Op, Value } from '../ir/module.js';
import { opTable } from '../ir/ops/table.js';

/** The mask of an op that runs whatever is asked for. */
export const always = -1;

/** For each op of an entry, the outputs that need it as a bit mask; ops that change state are always needed. */
export function outputNeeds(func: Func): Map<Op, number> {
  const needs = new Map<Value, number>();
  const need = (value: Value, mask: number): void => {
    needs.set(value, (needs.get(value) ?? 0) | mask);
  };
  func.results.forEach((result, i) => {
    need(result, 1 << i);
  });
  const byOp = new Map<Op, number>();
  for (const op of [...func.body].reverse()) {
    const mask =
      opTable[op.name].effects === true
        ? always
        : op.results.reduce((all, r) => all | (needs.get(r) ?? 0), 0);
    byOp.set(op, mask);
    for (const operand of op.operands) need(operand, mask);
  }
  return byOp;
}
