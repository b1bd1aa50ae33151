/**
 * The verifier. It runs after every pass. Invariants of a module:
 *
 *  1. Every value is defined once, before its uses, in the function that uses it.
 *  2. Result types are what the op's declaration infers from its operands and attributes.
 *  3. Every dimension name in a type or attribute is declared; symbols have 0 <= min <= max.
 *  4. Functions stand after the functions they call, so nothing recurses; a function of a loop is called by `repeat` of
 *     that loop only, a kernel function by `kernel` only; kernels touch neither parameters nor states and call nothing.
 *  5. A loop has as many indices as its count says, and begins at a number; parameters and states name loops that exist and have sizes that
 *     are known at compile time; a parameter's recipe has the parameter's type and one part per turn where it differs
 *     by turn.
 *  6. A state is written at most once per function, and not read after the write; `repeat` reads and writes what the
 *     function it calls does.
 *  7. An entry has distinct named inputs and outputs, no loop, and every run-time symbol its body uses is an axis of
 *     some input, so that its value can be found from the inputs.
 *  8. Dimensions, loops, inputs and outputs are named by identifiers, so that the text form can be read back.
 */
import { makeOp, moduleScope, type Scope } from './builder.js';
import { type Diagnostic, diagnostic, HewError } from './diagnostics.js';
import { type Dim, DimError, dimNames, nameOf, tryEvalDim } from './dim.js';
import {
  calleesOf,
  entriesOf,
  type Func,
  type Loop,
  type Module,
  modelDims,
  type Op,
  type Value,
} from './module.js';
import { attrDims, InferError } from './op.js';
import { isOpName, opTable } from './ops/table.js';
import { printFuncMarking, symbol } from './print.js';
import { type Recipe, recipeParts } from './recipe.js';
import { recipeType } from './recipe-type.js';
import { printType, type TensorType, typesEqual } from './type.js';

/** All broken invariants of a module; empty when it is sound. */
export function verifyModule(module: Module): Diagnostic[] {
  const checks = [checkNames, checkDims, checkLoops, checkOwned, checkRecipes, checkCalls, checkEntries];
  const general = checks.flatMap((check) => check(module)).map((message) => diagnostic('HEW5002', message));
  const effects = new Effects(module);
  return [...general, ...[...module.functions.values()].flatMap((f) => verifyFunc(module, f, effects))];
}

/** Throws HewError when an invariant is broken; `after` names what ran before, for the message. */
export function assertValid(module: Module, after: string): void {
  const found = verifyModule(module);
  if (found.length === 0) return;
  throw new HewError(found.map((d) => ({ ...d, message: `after ${after}: ${d.message}` })));
}

function checkNames(module: Module): string[] {
  const entries = entriesOf(module);
  const named: [string, string][] = [
    ...[...module.dims.keys()].map((name): [string, string] => ['dimension', name]),
    ...[...module.loops.keys()].map((name): [string, string] => ['loop', name]),
    ...entries.flatMap((e) => e.args.map((arg): [string, string] => [`input of @${e.name}`, arg.name ?? ''])),
    ...entries.flatMap((e) =>
      (e.outputs ?? []).map((name): [string, string] => [`output of @${e.name}`, name]),
    ),
  ];
  return named.flatMap(([kind, name]) =>
    /^[A-Za-z_]\w*$/.test(name) ? [] : [`${kind} '${name}' is not named by an identifier`],
  );
}

function checkDims(module: Module): string[] {
  return [...module.dims].flatMap(([name, decl]) => {
    const { min, max } = 'value' in decl ? { min: decl.value, max: decl.value } : decl;
    const sound = Number.isSafeInteger(min) && Number.isSafeInteger(max) && min >= 0 && min <= max;
    return sound ? [] : [`dimension ${name} has the bounds ${min}..${max}`];
  });
}

function checkLoops(module: Module): string[] {
  const values = modelDims(module);
  return [...module.loops].flatMap(([name, loop]) =>
    problemsOf(`loop ${name}`, () => {
      const count = tryEvalDim(loop.count, values);
      const first = loop.first === undefined ? 0 : tryEvalDim(loop.first, values);
      return [
        ...(count === loop.indices.length
          ? []
          : [`loop ${name} has ${loop.indices.length} indices, its count is ${count}`]),
        ...(first !== undefined && first >= 0 ? [] : [`loop ${name} begins at no number`]),
      ];
    }),
  );
}

/** The problems that `check` finds, where errors of IR construction are problems too. */
function problemsOf(what: string, check: () => string[]): string[] {
  try {
    return check();
  } catch (error) {
    if (error instanceof InferError || error instanceof DimError) return [`${what}: ${error.message}`];
    throw error;
  }
}

function checkOwned(module: Module): string[] {
  const values = modelDims(module);
  return [...module.params, ...module.states].flatMap(([name, { type, loop }]) => {
    const text = symbol(name);
    if (loop !== undefined && !module.loops.has(loop))
      return [`${text} belongs to loop ${loop}, which does not exist`];
    const unknown = undeclared(module, type.shape);
    if (unknown.length > 0) return unknown.map((d) => `${text} uses the undeclared dimension ${d}`);
    return problemsOf(text, () => {
      const known = type.shape.every((d) => tryEvalDim(d, values) !== undefined);
      return known ? [] : [`the size of ${text} is not known at compile time: ${printType(type)}`];
    });
  });
}

function checkRecipes(module: Module): string[] {
  return [...module.params].flatMap(([name, param]) =>
    problemsOf(`recipe of ${symbol(name)}`, () => {
      const loop = param.loop === undefined ? undefined : module.loops.get(param.loop);
      const type = recipeType(module, param.recipe);
      const agrees = typesEqual(type, param.type);
      const wrongType = agrees
        ? []
        : [`recipe of ${symbol(name)} makes ${printType(type)}, not ${printType(param.type)}`];
      return [...wrongType, ...turnProblems(name, param.recipe, loop)];
    }),
  );
}

function turnProblems(name: string, recipe: Recipe, loop: Loop | undefined): string[] {
  const turns = loop?.indices.length ?? 0;
  const inner = recipeParts(recipe).flatMap((part) => turnProblems(name, part, loop));
  if (recipe.kind !== 'per_index' || recipe.parts.length === turns) return inner;
  return [
    ...inner,
    `recipe of ${symbol(name)} has ${recipe.parts.length} parts by turn, its loop has ${turns} turns`,
  ];
}

function undeclared(module: Module, dims: readonly Dim[]): string[] {
  return dims.flatMap((d) => [...dimNames(d)]).filter((name) => !module.dims.has(name));
}

function checkCalls(module: Module): string[] {
  const earlier = new Set<string>();
  return [...module.functions].flatMap(([name, func]) => {
    const called = new Set(func.body.flatMap(calleesOf));
    const late = [...called].filter(
      (callee) => !earlier.has(callee) && callee !== name && module.functions.has(callee),
    );
    earlier.add(name);
    return [
      ...(called.has(name) ? [`@${name} calls itself`] : []),
      ...late.map((callee) => `@${name} calls @${callee}, which stands after it`),
      ...(name === func.name ? [] : [`function @${func.name} is filed under @${name}`]),
      ...(func.kernel !== undefined && func.loop !== undefined
        ? [`kernel function @${name} belongs to a loop`]
        : []),
      ...(func.loop === undefined || module.loops.has(func.loop)
        ? []
        : [`@${name} belongs to loop ${func.loop}, which does not exist`]),
    ];
  });
}

function checkEntries(module: Module): string[] {
  return entriesOf(module).flatMap((entry) => {
    const inputs = entry.args.map((a) => a.name);
    const outputs = entry.outputs ?? [];
    const problems: string[] = [];
    if (entry.loop !== undefined) problems.push(`entry @${entry.name} belongs to a loop`);
    if (entry.kernel !== undefined) problems.push(`entry @${entry.name} is a kernel function`);
    if (new Set(inputs).size !== inputs.length) problems.push(`inputs of @${entry.name} need distinct names`);
    if (new Set(outputs).size !== outputs.length)
      problems.push(`outputs of @${entry.name} need distinct names`);
    if (outputs.length !== entry.results.length)
      problems.push(`@${entry.name} names ${outputs.length} outputs and returns ${entry.results.length}`);
    for (const name of unboundSymbols(module, entry)) {
      problems.push(`symbol ${name} of @${entry.name} is not an axis of any input`);
    }
    return problems;
  });
}

/** Run-time symbols that a function and its callees use, directly or in attributes. */
export function symbolsOf(module: Module, func: Func): Set<string> {
  const found = new Set<string>();
  const seen = new Set<string>();
  const addDim = (d: Dim): void => {
    for (const name of dimNames(d)) {
      const decl = module.dims.get(name);
      if (decl !== undefined && !('value' in decl)) found.add(name);
    }
  };
  const visit = ({ name, args, body }: Func): void => {
    if (seen.has(name)) return;
    seen.add(name);
    for (const arg of args) arg.type.shape.forEach(addDim);
    for (const op of body) {
      for (const result of op.results) result.type.shape.forEach(addDim);
      attrDims(op.attrs).forEach(addDim);
      for (const callee of calleesOf(op)) {
        const target = module.functions.get(callee);
        if (target !== undefined) visit(target);
      }
    }
  };
  visit(func);
  return found;
}

function unboundSymbols(module: Module, entry: Func): string[] {
  const axes = new Set(entry.args.flatMap((arg) => arg.type.shape.map(nameOf)));
  return [...symbolsOf(module, entry)].filter((name) => !axes.has(name));
}

/** Names of the states that something reads and writes. */
interface StateUse {
  readonly reads: ReadonlySet<string>;
  readonly writes: ReadonlySet<string>;
}

const noStates: StateUse = { reads: new Set(), writes: new Set() };

/** What ops and functions do to states, through all calls. */
class Effects {
  private readonly known = new Map<string, StateUse>();

  constructor(private readonly module: Module) {}

  ofOp(op: Op): StateUse {
    if (op.name === 'state_read') return { reads: new Set([op.attrs.name]), writes: noStates.writes };
    if (op.name === 'state_write') return { reads: noStates.reads, writes: new Set([op.attrs.name]) };
    return op.name === 'repeat' ? this.ofFunction(op.attrs.callee) : noStates;
  }

  private ofFunction(name: string): StateUse {
    const known = this.known.get(name);
    if (known !== undefined) return known;
    this.known.set(name, noStates);
    const parts = this.module.functions.get(name)?.body.map((op) => this.ofOp(op)) ?? [];
    const use = {
      reads: new Set(parts.flatMap((p) => [...p.reads])),
      writes: new Set(parts.flatMap((p) => [...p.writes])),
    };
    this.known.set(name, use);
    return use;
  }
}

function verifyFunc(module: Module, func: Func, effects: Effects): Diagnostic[] {
  const scope = moduleScope(module, func.loop);
  const defined = new Set<Value>(func.args);
  const written = new Set<string>();
  const found: Diagnostic[] = [];
  if (defined.size !== func.args.length) found.push(blame(func, 0, 'an argument is listed twice'));
  for (const name of undeclared(
    module,
    func.args.flatMap((arg) => arg.type.shape),
  )) {
    found.push(blame(func, 0, `an argument uses the undeclared dimension ${name}`));
  }
  func.body.forEach((op, index) => {
    const problems = isOpName(op.name)
      ? [
          ...opProblems(module, scope, op, defined),
          ...placeProblems(module, func, op),
          ...stateProblems(effects.ofOp(op), written),
        ]
      : [`there is no operation '${String((op as Op).name)}'`];
    for (const message of problems) found.push(blame(func, index, message));
    for (const result of op.results) defined.add(result);
  });
  for (const result of func.results) {
    if (!defined.has(result))
      found.push(blame(func, func.body.length, 'this returns a value that is not defined here'));
  }
  return found;
}

function blame(func: Func, index: number, message: string): Diagnostic {
  const op = func.body[index];
  const notes = [printFuncMarking(func, index, message)];
  return diagnostic('HEW5002', `@${func.name}: ${message}`, { notes, span: op?.span });
}

function opProblems(module: Module, scope: Scope, op: Op, defined: ReadonlySet<Value>): string[] {
  const missing = op.operands.findIndex((o) => !defined.has(o));
  if (missing >= 0) return [`operand ${missing} of ${op.name} is not defined before it`];
  if (op.results.some((r) => r.def !== op)) return [`a result of ${op.name} does not point back to it`];
  if (op.results.some((r) => defined.has(r))) return [`a result of ${op.name} is defined twice`];
  const unknown = undeclared(module, attrDims(op.attrs));
  if (unknown.length > 0) return unknown.map((name) => `${op.name} uses the undeclared dimension ${name}`);
  try {
    const wanted = makeOp(scope, op.name, op.operands, op.attrs).results.map((r) => r.type);
    const actual = op.results.map((r) => r.type);
    const agree =
      wanted.length === actual.length && wanted.every((t, i) => typesEqual(t, actual[i] as TensorType));
    return agree
      ? []
      : [
          `the result of ${op.name} is ${wanted.map(printType).join(', ')}, not ${actual.map(printType).join(', ')}`,
        ];
  } catch (error) {
    if (error instanceof InferError || error instanceof DimError) return [error.message];
    throw error;
  }
}

function placeProblems(module: Module, func: Func, op: Op): string[] {
  if (func.kernel !== undefined && opTable[op.name].category === 'structure')
    return [`a kernel function cannot contain ${op.name}`];
  if (op.name === 'kernel') {
    return module.functions.get(op.attrs.callee)?.kernel === undefined
      ? [`@${op.attrs.callee} is not a kernel function`]
      : [];
  }
  if (op.name !== 'repeat') return [];
  if (!module.loops.has(op.attrs.loop)) return [`loop ${op.attrs.loop} does not exist`];
  const callee = module.functions.get(op.attrs.callee);
  return callee?.loop === op.attrs.loop
    ? []
    : [`@${op.attrs.callee} is not a function of loop ${op.attrs.loop}`];
}

function stateProblems({ reads, writes }: StateUse, written: Set<string>): string[] {
  const problems = [
    ...[...reads]
      .filter((name) => written.has(name))
      .map((name) => `state ${symbol(name)} is read after it was written`),
    ...[...writes]
      .filter((name) => written.has(name))
      .map((name) => `state ${symbol(name)} is written twice`),
  ];
  for (const name of writes) written.add(name);
  return problems;
}
