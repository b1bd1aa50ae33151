/** dce: removes ops whose results are not used, functions that nobody calls, and weights and states nobody reads. */
import { calleesOf, entriesOf, type Func, type Module, type Op, type Value } from '../ir/module.js';
import { opTable } from '../ir/ops/table.js';
import { definePass } from './pass.js';

export const dce = definePass({
  name: 'dce',
  summary: 'Removes unused ops, functions, parameters, states and loops.',
  run(module) {
    const cleaned = { ...module, functions: new Map([...module.functions].map(([name, f]) => [name, eliminateDeadOps(f)])) };
    const result = dropUnreached(cleaned);
    const ops = (m: Module): number => [...m.functions.values()].reduce((n, f) => n + f.body.length, 0);
    return { module: result, report: { counts: { ops: ops(module) - ops(result), params: module.params.size - result.params.size } } };
  },
});

export function eliminateDeadOps(func: Func): Func {
  const live = new Set<Value>(func.results);
  const body: Op[] = [];
  for (const op of [...func.body].reverse()) {
    if (opTable[op.name].effects !== true && !op.results.some((r) => live.has(r))) continue;
    for (const operand of op.operands) live.add(operand);
    body.push(op);
  }
  return body.length === func.body.length ? func : { ...func, body: body.reverse() };
}

function dropUnreached(module: Module): Module {
  const reached = new Set<string>();
  const visit = (name: string): void => {
    if (reached.has(name)) return;
    reached.add(name);
    for (const op of module.functions.get(name)?.body ?? []) calleesOf(op).forEach(visit);
  };
  for (const entry of entriesOf(module)) visit(entry.name);
  const functions = new Map([...module.functions].filter(([name]) => reached.has(name)));
  const ops = [...functions.values()].flatMap((f) => f.body);
  const named = (kind: 'param' | 'state'): Set<string> => {
    const names = ops.flatMap((op) =>
      (kind === 'param' ? op.name === 'param' : op.name === 'state_read' || op.name === 'state_write') ? [String(op.attrs['name' as never])] : [],
    );
    return new Set(names);
  };
  const keep = <T>(map: ReadonlyMap<string, T>, names: ReadonlySet<string>): Map<string, T> =>
    new Map([...map].filter(([name]) => names.has(name)));
  const loops = new Set(ops.flatMap((op) => (op.name === 'repeat' ? [op.attrs.loop] : [])));
  return {
    ...module,
    functions,
    params: keep(module.params, named('param')),
    states: keep(module.states, named('state')),
    loops: keep(module.loops, loops),
  };
}
