/**
 * dce: removes what no entry needs: ops whose results are not used, functions that nobody calls, and the weights,
 * states and loops that nothing is left to reach.
 */
import { mapFunctions } from '../ir/builder.js';
import { calleesOf, entriesOf, type Func, type Module, type Op, type Value } from '../ir/module.js';
import { opTable } from '../ir/ops/table.js';
import { definePass } from './pass.js';

export const dce = definePass({
  name: 'dce',
  summary: 'Removes unused ops, functions, parameters, states and loops.',
  run(module) {
    const result = dropUnreached(mapFunctions(module, (func) => eliminateDeadOps(module, func)));
    const ops = (m: Module): number => [...m.functions.values()].reduce((n, f) => n + f.body.length, 0);
    return {
      module: result,
      report: { counts: { ops: ops(module) - ops(result), params: module.params.size - result.params.size } },
    };
  },
});

/** The function without ops whose results are not used; itself when every op is needed. */
export function eliminateDeadOps(module: Module, func: Func): Func {
  const live = new Set<Value>(func.results);
  const body: Op[] = [];
  for (const op of func.body.toReversed()) {
    if (!op.results.some((r) => live.has(r)) && !writesState(module, op)) continue;
    for (const operand of op.operands) live.add(operand);
    body.push(op);
  }
  return body.length === func.body.length ? func : { ...func, body: body.reverse() };
}

/** Whether the op writes a state, itself or through the function that it repeats. */
function writesState(module: Module, op: Op): boolean {
  if (op.name !== 'repeat') return opTable[op.name].effects === true;
  return module.functions.get(op.attrs.callee)?.body.some((inner) => writesState(module, inner)) === true;
}

function dropUnreached(module: Module): Module {
  const reached = new Set<string>();
  const visit = (name: string): void => {
    if (reached.has(name)) return;
    reached.add(name);
    for (const op of module.functions.get(name)?.body ?? []) calleesOf(op).forEach(visit);
  };
  for (const entry of entriesOf(module)) visit(entry.name);
  const functions = keep(module.functions, reached);
  const ops = [...functions.values()].flatMap((f) => f.body);
  const named = (wanted: (op: Op) => string | undefined): Set<string | undefined> => new Set(ops.map(wanted));
  const params = keep(
    module.params,
    named((op) => (op.name === 'param' ? op.attrs.name : undefined)),
  );
  const states = keep(
    module.states,
    named((op) => (op.name === 'state_read' || op.name === 'state_write' ? op.attrs.name : undefined)),
  );
  const loops = keep(
    module.loops,
    named((op) => (op.name === 'repeat' ? op.attrs.loop : undefined)),
  );
  const same =
    functions === module.functions &&
    params === module.params &&
    states === module.states &&
    loops === module.loops;
  return same ? module : { ...module, functions, params, states, loops };
}

/** The part of a map under these names; the map itself when that is all of it. */
function keep<T>(
  map: ReadonlyMap<string, T>,
  names: ReadonlySet<string | undefined>,
): ReadonlyMap<string, T> {
  const kept = new Map([...map].filter(([name]) => names.has(name)));
  return kept.size === map.size ? map : kept;
}
