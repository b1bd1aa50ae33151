/**
 * The verifier. It runs after every pass. Invariants of a module:
 *
 *  1. Every value is defined once, before its uses, in the function that uses it.
 *  2. Result types are what the op's declaration infers from its operands and attributes.
 *  3. Every dimension name in a type or attribute is declared; symbols have 0 <= min <= max.
 *  4. Calls reach existing functions and never recurse; a function of a loop is called by `repeat` of that loop only,
 *     a kernel function by `kernel` only; kernels touch neither parameters nor states and call nothing.
 *  5. A loop has as many indices as its count says; parameters and states name loops that exist, and a parameter's
 *     recipe has the parameter's type.
 *  6. A state is written at most once per function, and not read after the write.
 *  7. An entry has distinct named inputs and outputs, no loop, and every run-time symbol its body uses is an axis of
 *     some input, so that its value can be found from the inputs.
 */
import { type Dim, DimError, dimNames, tryEvalDim } from './dim.js';
import { type Diagnostic, diagnostic, HewError } from './diagnostics.js';
import { makeOp, moduleScope, type Scope } from './builder.js';
import { calleesOf, entriesOf, type Func, type Module, modelDims, type Op, type Value } from './module.js';
import { InferError } from './op.js';
import { opTable } from './ops/table.js';
import { printFuncMarking, symbol } from './print.js';
import { recipeType } from './recipe-type.js';
import { printType, type TensorType, typesEqual } from './type.js';

/** All broken invariants of a module; empty when it is sound. */
export function verifyModule(module: Module): Diagnostic[] {
  const checks = [checkDims, checkLoops, checkParams, checkCalls, checkEntries];
  const general = checks.flatMap((check) => check(module)).map((message) => diagnostic('HEW5002', message));
  return [...general, ...[...module.functions.values()].flatMap((f) => verifyFunc(module, f))];
}

/** Throws HewError when an invariant is broken; `after` names what ran before, for the message. */
export function assertValid(module: Module, after: string): void {
  const found = verifyModule(module);
  if (found.length === 0) return;
  throw new HewError(found.map((d) => ({ ...d, message: `after ${after}: ${d.message}` })));
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
  return [...module.loops].flatMap(([name, loop]) => {
    const count = tryEvalDim(loop.count, values);
    return count === loop.indices.length ? [] : [`loop ${name} has ${loop.indices.length} indices, its count is ${count}`];
  });
}

function checkParams(module: Module): string[] {
  const owned = [...module.params, ...module.states];
  const loops = owned.flatMap(([name, { loop }]) =>
    loop === undefined || module.loops.has(loop) ? [] : [`${symbol(name)} belongs to loop ${loop}, which does not exist`],
  );
  const dims = owned.flatMap(([name, { type }]) => undeclared(module, type).map((d) => `${symbol(name)} uses the undeclared dimension ${d}`));
  const recipes = [...module.params].flatMap(([name, param]) => {
    try {
      const type = recipeType(module, param.recipe);
      return typesEqual(type, param.type) ? [] : [`recipe of ${symbol(name)} makes ${printType(type)}, not ${printType(param.type)}`];
    } catch (error) {
      if (error instanceof InferError || error instanceof DimError) return [`recipe of ${symbol(name)}: ${error.message}`];
      throw error;
    }
  });
  return [...loops, ...dims, ...recipes];
}

function undeclared(module: Module, type: TensorType): string[] {
  return type.shape.flatMap((d) => [...dimNames(d)]).filter((name) => !module.dims.has(name));
}

function checkCalls(module: Module): string[] {
  const problems: string[] = [];
  const state = new Map<string, 'open' | 'done'>();
  const visit = (name: string): void => {
    if (state.get(name) === 'done') return;
    if (state.get(name) === 'open') {
      problems.push(`@${name} calls itself`);
      return;
    }
    state.set(name, 'open');
    for (const op of module.functions.get(name)?.body ?? []) calleesOf(op).forEach(visit);
    state.set(name, 'done');
  };
  for (const [name, func] of module.functions) {
    visit(name);
    if (name !== func.name) problems.push(`function @${func.name} is filed under @${name}`);
  }
  return problems;
}

function checkEntries(module: Module): string[] {
  return entriesOf(module).flatMap((entry) => {
    const inputs = entry.args.map((a) => a.name ?? '');
    const outputs = entry.outputs ?? [];
    const problems: string[] = [];
    if (entry.loop !== undefined) problems.push(`entry @${entry.name} belongs to a loop`);
    if (new Set(inputs).size !== inputs.length || inputs.includes('')) problems.push(`inputs of @${entry.name} need distinct names`);
    if (new Set(outputs).size !== outputs.length) problems.push(`outputs of @${entry.name} need distinct names`);
    if (outputs.length !== entry.results.length) problems.push(`@${entry.name} names ${outputs.length} outputs and returns ${entry.results.length}`);
    for (const name of unboundSymbols(module, entry)) {
      problems.push(`symbol ${name} of @${entry.name} is not an axis of any input`);
    }
    return problems;
  });
}

/** Run-time symbols that a function and its callees use, directly or in attributes. */
export function symbolsOf(module: Module, func: Func): Set<string> {
  const found = new Set<string>();
  const addDim = (d: Dim) => {
    for (const name of dimNames(d)) {
      const decl = module.dims.get(name);
      if (decl !== undefined && !('value' in decl)) found.add(name);
    }
  };
  const addType = (type: TensorType) => type.shape.forEach(addDim);
  for (const arg of func.args) addType(arg.type);
  for (const op of func.body) {
    for (const result of op.results) addType(result.type);
    for (const value of Object.values(op.attrs)) attrDims(value).forEach(addDim);
    for (const callee of calleesOf(op)) {
      const target = module.functions.get(callee);
      if (target !== undefined) for (const name of symbolsOf(module, target)) found.add(name);
    }
  }
  return found;
}

function attrDims(value: unknown): Dim[] {
  if (Array.isArray(value)) return value.flatMap(attrDims);
  return typeof value === 'object' && value !== null && 'terms' in value ? [value as Dim] : [];
}

function unboundSymbols(module: Module, entry: Func): string[] {
  const axes = new Set(entry.args.flatMap((arg) => arg.type.shape.map((d) => [...dimNames(d)].join('*'))));
  return [...symbolsOf(module, entry)].filter((name) => !axes.has(name));
}

function verifyFunc(module: Module, func: Func): Diagnostic[] {
  const scope = moduleScope(module, func.loop);
  const defined = new Set<Value>(func.args);
  const written = new Set<string>();
  const found: Diagnostic[] = [];
  func.body.forEach((op, index) => {
    for (const message of [...opProblems(scope, op, defined), ...placeProblems(module, func, op), ...stateProblems(op, written)]) {
      found.push(blame(func, index, message));
    }
    for (const result of op.results) defined.add(result);
  });
  for (const result of func.results) {
    if (!defined.has(result)) found.push(blame(func, func.body.length, 'this returns a value that is not defined here'));
  }
  return found;
}

function blame(func: Func, index: number, message: string): Diagnostic {
  const op = func.body[index];
  const notes = [printFuncMarking(func, index, message)];
  return diagnostic('HEW5002', `@${func.name}: ${message}`, { notes, span: op?.span });
}

function opProblems(scope: Scope, op: Op, defined: ReadonlySet<Value>): string[] {
  if (!Object.hasOwn(opTable, op.name)) return [`there is no operation '${op.name}'`];
  const missing = op.operands.findIndex((o) => !defined.has(o));
  if (missing >= 0) return [`operand ${missing} is not defined before this op`];
  const misplaced = op.results.some((r) => r.def !== op);
  if (misplaced) return ['a result does not point back to this op'];
  try {
    const wanted = makeOp(scope, op.name, op.operands, op.attrs).results.map((r) => r.type);
    const agree = wanted.length === op.results.length && wanted.every((t, i) => typesEqual(t, op.results[i]?.type as TensorType));
    return agree ? [] : [`the result is ${wanted.map(printType).join(', ')}, not ${op.results.map((r) => printType(r.type)).join(', ')}`];
  } catch (error) {
    if (error instanceof InferError || error instanceof DimError) return [error.message];
    throw error;
  }
}

function placeProblems(module: Module, func: Func, op: Op): string[] {
  const effects = opTable[op.name]?.effects === true;
  const reaches = op.name === 'param' || op.name === 'state_read' || op.name === 'kernel';
  if (func.kernel !== undefined && (effects || reaches)) return [`a kernel function cannot contain ${op.name}`];
  if (op.name === 'kernel') {
    return module.functions.get(op.attrs.callee)?.kernel === undefined ? [`@${op.attrs.callee} is not a kernel function`] : [];
  }
  if (op.name !== 'repeat') return [];
  if (!module.loops.has(op.attrs.loop)) return [`loop ${op.attrs.loop} does not exist`];
  const callee = module.functions.get(op.attrs.callee);
  return callee?.loop === op.attrs.loop ? [] : [`@${op.attrs.callee} is not a function of loop ${op.attrs.loop}`];
}

function stateProblems(op: Op, written: Set<string>): string[] {
  if (op.name === 'state_read' && written.has(op.attrs.name)) return [`state @${op.attrs.name} is read after it was written`];
  if (op.name !== 'state_write') return [];
  if (written.has(op.attrs.name)) return [`state @${op.attrs.name} is written twice`];
  written.add(op.attrs.name);
  return [];
}
