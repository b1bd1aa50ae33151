/**
 * Arguments of kernels that nothing writes while an entry runs: parameters and inputs of the entry, wherever the kernel is
 * called. A kernel may read them before the kernels before it have ended.
 */
import { defOf, type Func, type Module, type Value } from '../../ir/module.js';

export function constantArguments(module: Module): ReadonlyMap<string, ReadonlySet<number>> {
  const constant = new Map<string, Set<number>>();
  for (const func of module.functions.values()) {
    for (const op of func.body) {
      if (op.name !== 'kernel') continue;
      const here = new Set(op.operands.flatMap((value, i) => (isConstant(value, func) ? [i] : [])));
      const known = constant.get(op.attrs.callee);
      constant.set(op.attrs.callee, known === undefined ? here : known.intersection(here));
    }
  }
  return constant;
}

function isConstant(value: Value, func: Func): boolean {
  const op = defOf(value);
  if (op === undefined) return func.outputs !== undefined;
  if (op.name === 'reshape') return isConstant(op.operands[0] as Value, func);
  return op.name === 'param';
}
