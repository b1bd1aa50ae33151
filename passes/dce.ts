/**
 * dce: removes what no entry needs: ops whose results are not used, what repetitions carry or read for nothing, functions
 * that nobody calls, and the weights, states and loops that nothing is left to reach.
 */
import { mapFunctions, rewriteFunc } from '../ir/builder.js';
import {
  calleesOf,
  entriesOf,
  type Func,
  type Module,
  type Op,
  type OpOf,
  type Value,
  withFunctions,
} from '../ir/module.js';
import { opTable } from '../ir/ops/table.js';
import { definePass } from './pass.js';

export const dce = definePass({
  name: 'dce',
  summary: 'Removes unused ops, functions, parameters, states and loops.',
  run(module) {
    const live = mapFunctions(module, (func) => eliminateDeadOps(module, func));
    const result = dropUnreached(dropDeadArguments(live));
    const ops = (m: Module): number => [...m.functions.values()].reduce((n, f) => n + f.body.length, 0);
    return {
      module: result,
      report: { counts: { ops: ops(module) - ops(result), params: module.params.size - result.params.size } },
    };
  },
});

/** The function without ops whose results are not used; itself when every op is needed. */
export function eliminateDeadOps(module: Module, func: Func): Func {
  const { body } = liveOf(module, func, func.results);
  return body.length === func.body.length ? func : { ...func, body };
}

/** The ops that these results and the states need, and the values that those ops read. */
function liveOf(
  module: Module,
  func: Func,
  results: readonly Value[],
): { readonly body: Op[]; readonly values: ReadonlySet<Value> } {
  const values = new Set<Value>(results);
  const body: Op[] = [];
  for (const op of func.body.toReversed()) {
    if (!op.results.some((r) => values.has(r)) && !writesState(module, op)) continue;
    for (const operand of op.operands) values.add(operand);
    body.push(op);
  }
  return { body: body.reverse(), values };
}

/** Without what repetitions carry from turn to turn, or read in every turn, although no state or result needs it. */
function dropDeadArguments(module: Module): Module {
  let result = module;
  for (const { name } of module.functions.values()) result = withoutDeadArguments(result, name);
  return result;
}

function withoutDeadArguments(module: Module, name: string): Module {
  const func = module.functions.get(name) as Func;
  const isCall = (op: Op): op is OpOf<'repeat'> => op.name === 'repeat' && op.attrs.callee === name;
  const callers = [...module.functions.values()].filter(({ body }) => body.some(isCall));
  if (callers.length === 0) return module;
  const { body, carried, args } = neededOf(module, func, (i) =>
    callers.some((caller) => {
      const used = new Set([...caller.body.flatMap(({ operands }) => operands), ...caller.results]);
      return caller.body.some((op) => isCall(op) && used.has(op.results[i] as Value));
    }),
  );
  if (args.length === func.args.length) return module;
  const pick = <T>(all: readonly T[], chosen: readonly number[]): T[] => chosen.map((i) => all[i] as T);
  const smaller = { ...func, args: pick(func.args, args), results: pick(func.results, carried), body };
  const changed = withFunctions(
    module,
    [...module.functions.values()].map((other) => (other === func ? smaller : other)),
  );
  return mapFunctions(changed, (caller, scope) => {
    if (!callers.includes(caller)) return caller;
    const rewritten = rewriteFunc(caller, scope, (op, operands, builder) => {
      if (!isCall(op)) return undefined;
      const attrs = { ...op.attrs, carried: carried.length };
      const results = builder.emit('repeat', pick(operands, args), attrs);
      // Nothing reads the results that are left out.
      return op.results.map((_, i) => results[carried.indexOf(i)] ?? (operands[i] as Value));
    });
    return eliminateDeadOps(changed, rewritten);
  });
}

/** What a repeated function needs if its callers use the results that `isUsed` names: places of results and arguments. */
function neededOf(
  module: Module,
  func: Func,
  isUsed: (result: number) => boolean,
): { readonly body: Op[]; readonly carried: number[]; readonly args: number[] } {
  const all = func.results.map((_, i) => i);
  let carried = all.filter(isUsed);
  for (;;) {
    const live = liveOf(
      module,
      func,
      carried.map((i) => func.results[i] as Value),
    );
    const isRead = (i: number): boolean => live.values.has(func.args[i] as Value);
    const more = all.filter((i) => carried.includes(i) || isRead(i));
    if (more.length === carried.length) {
      const args = func.args.map((_, i) => i).filter((i) => carried.includes(i) || isRead(i));
      return { body: live.body, carried, args };
    }
    carried = more;
  }
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
