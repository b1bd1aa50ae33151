/**
 * Cuts an entry at its loops, so that a model of any depth can be run with the weights of one turn in memory: the ops
 * in front of the first loop, the function of one turn, the ops behind it, and so on. Each stage is a module with one
 * straight-line entry. Ops are kept as they are, so a lowered entry that is run stage by stage gives the very bits that
 * it gives as a whole.
 *
 * An op stands in the first stage in which its operands are known. Parameters are read in every stage that uses them.
 * A state that is zero at the start may be read in one stage and written in a later one; `sharedStates` names those
 * with which that is so, because what one call writes there does not reach the next call in time.
 */
import { copyOp, FuncBuilder, moduleScope } from '../ir/builder.js';
import { calleesOf, defOf, type Func, type Module, type Op, type OpOf, type Value } from '../ir/module.js';

export const stageEntry = 'stage';

export interface Stage {
  /** Its entry is `stageEntry`; a parameter or state of `loop` is that of one turn. */
  readonly module: Module;
  /** The loop for each of whose turns the stage is run. */
  readonly loop: string | undefined;
  /** Names of the values that the entry's arguments take, in order. */
  readonly takes: readonly string[];
  /** Names of the values that the entry's outputs are. With a loop, the next turn takes them as its first arguments. */
  readonly gives: readonly string[];
}

export interface StagedEntry {
  readonly stages: readonly Stage[];
  /** The name of the value that each output of the entry is. */
  readonly outputs: ReadonlyMap<string, string>;
  /** The name of the value that each input of the entry is. */
  readonly inputs: ReadonlyMap<string, string>;
  /** States that more than one stage reads or writes. */
  readonly sharedStates: readonly string[];
}

export const argName = (index: number): string => `arg${index}`;
export const outName = (index: number): string => `out${index}`;

/** The stages of an entry. Loops inside of functions that a loop repeats stay whole. */
export function stagesOf(module: Module, entry: string): StagedEntry {
  const func = module.functions.get(entry) as Func;
  const names = new ValueNames();
  const plan = planOf(func);
  const stages = plan.levels.map((ops, level) =>
    level % 2 === 0
      ? straightStage(module, func, ops, crossing(func, plan, level), names)
      : turnStage(module, ops[0] as OpOf<'repeat'>, names),
  );
  const outputs = func.results.map((value, i) => [func.outputs?.[i] as string, names.of(value)] as const);
  const inputs = func.args.map((value) => [value.name as string, names.of(value)] as const);
  return {
    stages: stages.filter(({ gives, module: { states } }) => gives.length > 0 || states.size > 0),
    outputs: new Map(outputs),
    inputs: new Map(inputs),
    sharedStates: sharedStates(stages),
  };
}

class ValueNames {
  private readonly known = new Map<Value, string>();

  of(value: Value): string {
    const name = this.known.get(value) ?? `%${this.known.size}`;
    this.known.set(value, name);
    return name;
  }
}

// ---- which op stands in which stage

/** Ops by stage: straight ones at even levels, one `repeat` at each odd level. */
interface Plan {
  readonly levels: readonly (readonly Op[])[];
  readonly levelOf: ReadonlyMap<Op, number>;
}

function planOf(func: Func): Plan {
  const repeats = func.body.filter((op) => op.name === 'repeat');
  const levelOf = new Map<Op, number>();
  for (const op of func.body) levelOf.set(op, firstLevel(op, repeats, levelOf));
  for (const op of func.body) if (op.name === 'state_read') levelOf.set(op, readLevel(func, op, levelOf));
  const levels = Array.from({ length: 2 * repeats.length + 1 }, (_, level) =>
    func.body.filter((op) => levelOf.get(op) === level && !isCloned(func, op)),
  );
  return { levels, levelOf };
}

/** The level of the last operand; what a loop gives is known one level behind it. */
function firstLevel(op: Op, repeats: readonly Op[], levelOf: ReadonlyMap<Op, number>): number {
  const at = repeats.indexOf(op);
  if (at >= 0) return 2 * at + 1;
  const known = op.operands.map((operand) => {
    const made = defOf(operand);
    const level = made === undefined ? 0 : (levelOf.get(made) ?? 0);
    return made?.name === 'repeat' ? level + 1 : level;
  });
  return Math.max(0, ...known);
}

/** A state is read where it is first needed, and not behind its next value being written. */
function readLevel(func: Func, read: OpOf<'state_read'>, levelOf: ReadonlyMap<Op, number>): number {
  const [value] = read.results as [Value];
  const users = func.body.filter(
    (op) => op.operands.includes(value) || (op.name === 'state_write' && op.attrs.name === read.attrs.name),
  );
  const levels = users.map((op) => (levelOf.get(op) ?? 0) - (op.name === 'repeat' ? 1 : 0));
  return func.results.includes(value) ? 0 : Math.min(...levels);
}

/** Parameters that only straight ops read stand in each of their stages. */
function isCloned(func: Func, op: Op): boolean {
  const [value] = op.results;
  if (op.name !== 'param' || value === undefined || func.results.includes(value)) return false;
  return !func.body.some((user) => user.name === 'repeat' && user.operands.includes(value));
}

/** Values made at a level that are needed behind it. */
function crossing(func: Func, { levels, levelOf }: Plan, level: number): Value[] {
  const own = new Set((levels[level] ?? []).flatMap((op) => op.results));
  const later = func.body.filter((op) => (levelOf.get(op) ?? 0) > level).flatMap((op) => op.operands);
  const wanted = new Set([...later, ...func.results]);
  return [...own].filter((value) => wanted.has(value));
}

// ---- stages as modules

function straightStage(
  module: Module,
  entry: Func,
  ops: readonly Op[],
  given: readonly Value[],
  names: ValueNames,
): Stage {
  const builder = new FuncBuilder(stageEntry, moduleScope(module), {
    outputs: given.map((_, i) => outName(i)),
  });
  const placed = new Map<Value, Value>();
  const taken: string[] = [];
  const copy = (op: Op): void => {
    const made = builder.append(copyOp(builder.scope, op, op.operands.map(get)));
    op.results.forEach((result, i) => {
      placed.set(result, made[i] as Value);
    });
  };
  const get = (value: Value): Value => {
    const known = placed.get(value);
    if (known !== undefined) return known;
    const op = defOf(value);
    if (op !== undefined && isCloned(entry, op)) copy(op);
    else {
      placed.set(value, builder.arg(value.type, argName(taken.length)));
      taken.push(names.of(value));
    }
    return placed.get(value) as Value;
  };
  for (const op of ops) copy(op);
  const func = builder.finish(given.map(get));
  return {
    module: moduleOf(module, func, undefined),
    loop: undefined,
    takes: taken,
    gives: given.map((v) => names.of(v)),
  };
}

function turnStage(module: Module, repeat: OpOf<'repeat'>, names: ValueNames): Stage {
  const { callee, loop } = repeat.attrs;
  const turn = module.functions.get(callee) as Func;
  const single = oneTurn(module, loop);
  const builder = new FuncBuilder(stageEntry, moduleScope(single), {
    outputs: turn.results.map((_, i) => outName(i)),
  });
  const placed = new Map<Value, Value>();
  turn.args.forEach((arg, i) => {
    placed.set(arg, builder.arg(arg.type, argName(i)));
  });
  const get = (value: Value): Value => placed.get(value) as Value;
  for (const op of turn.body) {
    const made = builder.append(copyOp(builder.scope, op, op.operands.map(get)));
    op.results.forEach((result, i) => {
      placed.set(result, made[i] as Value);
    });
  }
  return {
    module: moduleOf(single, builder.finish(turn.results.map(get)), loop),
    loop,
    takes: repeat.operands.map((value) => names.of(value)),
    gives: repeat.results.map((value) => names.of(value)),
  };
}

/** The module with parameters and states of a loop as those of one turn. */
function oneTurn(module: Module, loop: string): Module {
  const single = <T extends { readonly loop?: string | undefined }>(decl: T): T =>
    decl.loop === loop ? { ...decl, loop: undefined } : decl;
  return {
    ...module,
    params: new Map([...module.params].map(([name, param]) => [name, single(param)])),
    states: new Map([...module.states].map(([name, state]) => [name, single(state)])),
  };
}

/** The module of one stage, with what its entry reaches. */
function moduleOf(module: Module, entry: Func, loop: string | undefined): Module {
  const functions = new Map<string, Func>();
  const visit = (func: Func): void => {
    if (functions.has(func.name)) return;
    for (const callee of func.body.flatMap(calleesOf)) visit(module.functions.get(callee) as Func);
    functions.set(func.name, func);
  };
  visit(entry);
  const ops = [...functions.values()].flatMap(({ body }) => body);
  const used = new Set(
    ops.flatMap((op) =>
      op.name === 'param' || op.name === 'state_read' || op.name === 'state_write' ? [op.attrs.name] : [],
    ),
  );
  const only = <T>(all: ReadonlyMap<string, T>): Map<string, T> =>
    new Map([...all].filter(([name]) => used.has(name)));
  return {
    name: module.name,
    dims: module.dims,
    loops: new Map([...module.loops].filter(([name]) => name !== loop)),
    params: only(module.params),
    states: only(module.states),
    functions,
  };
}

function sharedStates(stages: readonly Stage[]): string[] {
  const touched = stages.flatMap(({ module }) => [...module.states.keys()]);
  return [...new Set(touched.filter((name, i) => touched.indexOf(name) !== i))];
}
