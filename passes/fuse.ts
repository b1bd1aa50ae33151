/**
 * fuse: outlines kernels. Every op that computes becomes part of one kernel function: a root op of some kernel class,
 * pointwise ops that follow it elementwise (its epilogue), and pointwise ops that only this kernel reads. Equal
 * kernels are one function, so code does not grow with the number of places that use it.
 *
 * What stays in the caller: parameters, states, repetition, calls and reshapes (which are views).
 */
import { FuncBuilder, moduleScope, type Scope } from '../ir/builder.js';
import { dimsEqual } from '../ir/dim.js';
import { countUses, defOf, type Func, type Module, type Op, type Value } from '../ir/module.js';
import { opTable } from '../ir/ops/table.js';
import { printFunc } from '../ir/print.js';
import type { TensorType } from '../ir/type.js';
import { hostsEpilogue, type KernelClass, opRoles } from './kernel-class.js';
import { definePass, option, Tally } from './pass.js';

export const fuse = definePass({
  name: 'fuse',
  summary: 'Outlines kernels: groups each matmul, norm, attention, … with the pointwise ops around it.',
  options: { epilogues: option('bool', 'false makes every op its own kernel', true) },
  run(module, { epilogues }) {
    const tally = new Tally();
    const kernels = new KernelTable();
    const callers = [...module.functions.values()].map((func) =>
      func.kernel === undefined ? outline(module, func, epilogues, kernels, tally) : func,
    );
    const functions = [...kernels.functions(), ...callers];
    return { module: { ...module, functions: new Map(functions.map((f) => [f.name, f])) }, report: tally.report() };
  },
});

/** A kernel in the making. `result` is the one value that leaves it (the root's results when it has several). */
interface Group {
  readonly root: Op;
  readonly kernelClass: KernelClass;
  /** In execution order. */
  readonly ops: Op[];
  results: readonly Value[];
}

function outline(module: Module, func: Func, epilogues: boolean, kernels: KernelTable, tally: Tally): Func {
  const groups = epilogues ? groupOps(func) : singleGroups(func);
  const lastOps = new Map([...new Set(groups.values())].map((group) => [group.ops.at(-1) as Op, group]));
  const scope = moduleScope(module, func.loop);
  const { name, loop, outputs } = func;
  const mapped = new Map<Value, Value>(func.args.map((arg) => [arg, arg]));
  const body: Op[] = [];
  const place = (op: Op): void => {
    body.push(op);
  };
  for (const op of func.body) {
    const group = groups.get(op);
    if (group === undefined) {
      place(relinked(op, mapped));
    } else if (lastOps.get(op) === group) {
      const kernel = buildKernel(group, scope);
      const callee = kernels.intern(kernel.func);
      tally.add(group.kernelClass);
      place(kernelCall(callee, kernel.inputs.map((v) => mapped.get(v) as Value), group.results, mapped));
    }
  }
  return { name, loop, outputs, args: func.args, body, results: func.results.map((r) => mapped.get(r) as Value) };
}

function relinked(op: Op, mapped: Map<Value, Value>): Op {
  const copy = { ...op, operands: op.operands.map((o) => mapped.get(o) as Value), results: [] as Value[] };
  for (const result of op.results) {
    const value = { ...result, def: copy as unknown as Op };
    copy.results.push(value);
    mapped.set(result, value);
  }
  return copy as unknown as Op;
}

function kernelCall(callee: string, operands: readonly Value[], results: readonly Value[], mapped: Map<Value, Value>): Op {
  const op = { name: 'kernel', operands, attrs: { callee }, results: [] as Value[] };
  for (const result of results) {
    const value: Value = { type: result.type, name: result.name, def: op };
    op.results.push(value);
    mapped.set(result, value);
  }
  return op as unknown as Op;
}

/** Sources of constants are copied into every kernel that reads them. */
function isInlined(op: Op): boolean {
  return op.name === 'full' || op.name === 'dim_size';
}

function singleGroups(func: Func): Map<Op, Group> {
  const groups = new Map<Op, Group>();
  for (const op of func.body) {
    const role = opRoles[op.name];
    if (role !== 'view' && role !== 'structure') groups.set(op, newGroup(op, role));
  }
  return groups;
}

function newGroup(op: Op, kernelClass: KernelClass): Group {
  return { root: op, kernelClass, ops: [op], results: op.results };
}

/** Decides which ops share a kernel. */
function groupOps(func: Func): Map<Op, Group> {
  const uses = countUses(func);
  const groups = new Map<Op, Group>();
  const inlined = new Set(func.body.filter((op) => isInlined(op) && !func.results.includes(op.results[0] as Value) && feedsOnlyKernels(op, func)));
  for (const op of func.body) {
    const role = opRoles[op.name];
    if (role === 'view' || role === 'structure' || inlined.has(op)) continue;
    const host = role === 'pointwise' ? findHost(op, groups, uses) : undefined;
    const group = host ?? newGroup(op, role);
    if (host !== undefined) {
      host.ops.push(op);
      host.results = op.results;
    }
    groups.set(op, group);
    if (role === 'pointwise') absorbProducers(op, group, groups, uses);
  }
  return groups;
}

/** Constants are only copied when nothing but kernels reads them. */
function feedsOnlyKernels(op: Op, func: Func): boolean {
  const value = op.results[0];
  return func.body.every((user) => {
    const role = opRoles[user.name];
    return !user.operands.includes(value as Value) || (role !== 'view' && role !== 'structure');
  });
}

function sameShape(a: TensorType, b: TensorType): boolean {
  return a.shape.length === b.shape.length && a.shape.every((d, i) => dimsEqual(d, b.shape[i] as never));
}

/** The kernel whose result this elementwise op alone consumes, at the same index; the costliest class first. */
function findHost(op: Op, groups: ReadonlyMap<Op, Group>, uses: ReadonlyMap<Value, number>): Group | undefined {
  if (opTable[op.name].category !== 'elementwise' && op.name !== 'swiglu') return undefined;
  const [result] = op.results as [Value];
  const candidates = op.operands.flatMap((operand) => {
    const producer = defOf(operand);
    const group = producer === undefined ? undefined : groups.get(producer);
    const fits = group?.results.length === 1 && group.results[0] === operand && uses.get(operand) === countIn(op, operand);
    return fits && hostsEpilogue.has(group.kernelClass) && sameShape(operand.type, result.type) ? [group] : [];
  });
  return candidates.find((group) => group.kernelClass !== 'pointwise') ?? candidates.at(-1);
}

function countIn(op: Op, value: Value): number {
  return op.operands.filter((o) => o === value).length;
}

/** Pulls pointwise kernels into `group` that only `op` reads, when no element would be computed more than once. */
function absorbProducers(op: Op, group: Group, groups: Map<Op, Group>, uses: ReadonlyMap<Value, number>): void {
  for (const operand of new Set(op.operands)) {
    const producer = defOf(operand);
    const other = producer === undefined ? undefined : groups.get(producer);
    if (other === undefined || other === group || other.kernelClass !== 'pointwise') continue;
    const once = uses.get(operand) === 1 && other.results[0] === operand && other.results.length === 1;
    if (!once || !sameShape(operand.type, (op.results[0] as Value).type)) continue;
    if (opTable[op.name].category === 'movement') continue;
    group.ops.splice(group.ops.indexOf(op), 0, ...other.ops);
    for (const moved of other.ops) groups.set(moved, group);
  }
}

/** The kernel function of a group, and the outer values it reads. */
function buildKernel(group: Group, scope: Scope): { func: Func; inputs: Value[] } {
  const name = kernelName(group);
  const builder = new FuncBuilder(name, scope, { kernel: group.kernelClass });
  const mapped = new Map<Value, Value>();
  const inputs: Value[] = [];
  const own = new Set(group.ops);
  const input = (value: Value): void => {
    if (mapped.has(value)) return;
    const op = defOf(value);
    if (op !== undefined && own.has(op)) return;
    if (op !== undefined && isInlined(op)) {
      mapped.set(value, builder.one(op.name, [], op.attrs));
      return;
    }
    inputs.push(value);
    mapped.set(value, builder.arg(value.type));
  };
  for (const op of group.ops) op.operands.forEach(input);
  for (const op of group.ops) {
    builder.span = op.span;
    const results = builder.emit(op.name, op.operands.map((o) => mapped.get(o) as Value), op.attrs);
    op.results.forEach((result, i) => {
      mapped.set(result, results[i] as Value);
    });
  }
  return { func: builder.finish(group.results.map((r) => mapped.get(r) as Value)), inputs };
}

function kernelName(group: Group): string {
  const rest = group.ops.filter((op) => op !== group.root).map((op) => op.name);
  return [group.root.name, ...rest].slice(0, 4).join('_');
}

/** Kernel functions by their text, so that equal ones are shared; names are numbered where texts differ. */
class KernelTable {
  private readonly byText = new Map<string, Func>();
  private readonly names = new Map<string, number>();

  intern(func: Func): string {
    const text = printFunc({ ...func, name: '' }, { names: false });
    const known = this.byText.get(text);
    if (known !== undefined) return known.name;
    const count = (this.names.get(func.name) ?? 0) + 1;
    this.names.set(func.name, count);
    const named = { ...func, name: `${func.name}.${count}` };
    this.byText.set(text, named);
    return named.name;
  }

  functions(): Func[] {
    return [...this.byText.values()];
  }
}
