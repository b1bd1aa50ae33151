/**
 * fuse: outlines kernels. Every op that computes becomes part of one kernel function: a root op of some kernel class,
 * pointwise ops that follow it elementwise (its epilogue), and pointwise ops that only this kernel reads. Equal
 * kernels are one function, so code does not grow with the number of places that use it.
 *
 * A group has one value that leaves it, made by its last op, and joins another group only where that is the one reader
 * of this value. So no group waits for itself, and a kernel may stand where its last op stood.
 *
 * What stays in the caller: parameters, states, repetition, calls and reshapes (which are views).
 */
import { FuncBuilder, moduleScope, type Scope } from '../ir/builder.js';
import { constantOf, type Dim, dimsEqual } from '../ir/dim.js';
import {
  countUses,
  defOf,
  type Func,
  type Module,
  type Op,
  type Value,
  withFunctions,
} from '../ir/module.js';
import { opTable } from '../ir/ops/table.js';
import { printFunc } from '../ir/print.js';
import type { TensorType } from '../ir/type.js';
import { hostsEpilogue, type KernelClass, opRoles } from './kernel-class.js';
import { definePass, option, Tally } from './pass.js';

export const fuse = definePass({
  name: 'fuse',
  summary: 'Outlines kernels: groups each matmul, norm, attention, … with the pointwise ops around it.',
  options: {
    epilogues: option('bool', 'false makes every op its own kernel', true),
    quantized_rows: option(
      'bool',
      'dynamic_quantize of rows joins the norm or pointwise ops before it',
      false,
    ),
    attention_epilogues: option('bool', 'attention hands its elements to an epilogue as well', false),
    constant_operands: option(
      'bool',
      'kernels of integer products hold biases and zero points that are one number',
      false,
    ),
    narrow_caches: option(
      'bool',
      'attention reads bytes with scales also where they become 16-bit floats before it',
      false,
    ),
  },
  run(
    module,
    {
      epilogues,
      quantized_rows: quantizedRows,
      attention_epilogues: attention,
      constant_operands: constantOperands,
      narrow_caches: narrowCaches,
    },
  ) {
    const tally = new Tally();
    const kernels = new KernelTable(module);
    const hosts = new Set<KernelClass>(attention ? [...hostsEpilogue, 'attention'] : hostsEpilogue);
    const choices = { epilogues, quantizedRows, constantOperands, narrowCaches, hosts };
    const callers = [...module.functions.values()].map((func) =>
      func.kernel === undefined ? outline(module, func, choices, kernels, tally) : func,
    );
    const result = tally.total > 0 ? withFunctions(module, [...kernels.added(), ...callers]) : module;
    return { module: result, report: tally.report() };
  },
});

interface Choices {
  readonly epilogues: boolean;
  readonly quantizedRows: boolean;
  readonly constantOperands: boolean;
  /** Classes whose root hands each finished element to an epilogue. */
  readonly hosts: ReadonlySet<KernelClass>;
  readonly narrowCaches: boolean;
}

/** A kernel in the making. `results` leave it: the last op's one result, or all results of a root that has several. */
interface Group {
  readonly root: Op;
  readonly kernelClass: KernelClass;
  /** In execution order. */
  readonly ops: Op[];
  results: readonly Value[];
}

function outline(module: Module, func: Func, choices: Choices, kernels: KernelTable, tally: Tally): Func {
  const inlined = inlinedOps(func, choices);
  const groups = groupOps(func, inlined, choices);
  const scope = moduleScope(module, func.loop);
  const { name, loop, outputs } = func;
  const mapped = new Map<Value, Value>(func.args.map((arg) => [arg, arg]));
  const outer = (values: readonly Value[]): Value[] => values.map((v) => mapped.get(v) as Value);
  const body: Op[] = [];
  for (const op of func.body) {
    const group = groups.get(op);
    if (group === undefined) {
      if (!inlined.has(op)) body.push(placed(op.name, outer(op.operands), op.attrs, op, op.results, mapped));
    } else if (group.ops.at(-1) === op) {
      const kernel = buildKernel(group, inlined, scope);
      const callee = kernels.intern(kernel.func);
      tally.add(group.kernelClass);
      body.push(placed('kernel', outer(kernel.inputs), { callee }, group.root, group.results, mapped));
    }
  }
  return { name, loop, outputs, args: func.args, body, results: outer(func.results) };
}

/** An op in the new body whose results take the place of `results`. */
function placed(
  name: Op['name'],
  operands: readonly Value[],
  attrs: Op['attrs'],
  { span }: Op,
  results: readonly Value[],
  mapped: Map<Value, Value>,
): Op {
  const op = { name, operands, attrs, span, results: [] as Value[] };
  for (const result of results) {
    const value: Value = { type: result.type, name: result.name, def: op };
    op.results.push(value);
    mapped.set(result, value);
  }
  return op as unknown as Op;
}

/** Sources of constants, which pointwise ops make for themselves; most others read them from memory. */
function isConstant(op: Op): boolean {
  return op.name === 'full' || op.name === 'dim_size';
}

interface QuantizedReader {
  /** The operands that the op reads as integers with their scales, so that no widened copy is ever in memory. */
  readonly operands: readonly number[];
  readonly accepts?: (dequantize: Op) => boolean;
}

const readsQuantized: Partial<Record<Op['name'], QuantizedReader>> = {
  linear: { operands: [1] },
  grouped_linear: { operands: [2] },
  gather: { operands: [0] },
  attention: { operands: [1, 2], accepts: hasScalesOfRows },
};

/** Bytes with one scale in f32 for each row of the last axis. */
function hasScalesOfRows({ operands }: Op): boolean {
  const [x, scale] = operands as [Value, Value];
  const { shape } = scale.type;
  const isRow = (d: Dim, i: number): boolean =>
    i === shape.length - 1 ? constantOf(d) === 1 : dimsEqual(d, x.type.shape[i] as Dim);
  const isByte = x.type.dtype === 'i8' || x.type.dtype === 'u8';
  return isByte && scale.type.dtype === 'f32' && shape.length === x.type.shape.length && shape.every(isRow);
}

/** What is dequantized, and perhaps narrowed, where attention alone may read narrowed bytes. */
function dequantized(value: Value, narrowed: boolean): Op | undefined {
  const op = defOf(value);
  if (narrowed && op?.name === 'cast') return dequantized(op.operands[0] as Value, false);
  return op?.name === 'dequantize' ? op : undefined;
}

/** Weights, tables and caches that are dequantized only for ops that read the integers themselves. */
function inlinedWeights(func: Func, narrowCaches: boolean): Op[] {
  const elsewhere = new Set<Value>(func.results);
  const casts: Op[] = [];
  for (const op of func.body) {
    if (narrowCaches && op.name === 'cast' && dequantized(op.results[0] as Value, true) !== undefined) {
      casts.push(op);
      continue;
    }
    const reader = readsQuantized[op.name];
    op.operands.forEach((operand, i) => {
      const source = dequantized(operand, narrowCaches && op.name === 'attention');
      const isRead = reader?.operands.includes(i) && source !== undefined;
      if (!isRead || reader?.accepts?.(source) === false) elsewhere.add(operand);
    });
  }
  const isRead = (op: Op): boolean => !elsewhere.has(op.results[0] as Value);
  for (const cast of casts) if (!isRead(cast)) elsewhere.add(cast.operands[0] as Value);
  const inlined = new Set(func.body.filter((op) => op.name === 'dequantize' && isRead(op)));
  const narrowed = casts.filter((op) => isRead(op) && inlined.has(defOf(op.operands[0] as Value) as Op));
  return [...inlined, ...narrowed];
}

/** Operands that an op takes as constants as well as from memory: bias and zero points. */
const readsConstants: Partial<Record<Op['name'], readonly number[]>> = { quantized_linear: [4, 5, 6] };

/** What each of its readers makes for itself: such weights, and constants where no reader needs them in memory. */
function inlinedOps(func: Func, { constantOperands, narrowCaches }: Choices): Set<Op> {
  const inMemory = new Set<Value>(func.results);
  for (const op of func.body) {
    if (opRoles[op.name] === 'pointwise') continue;
    const held = (constantOperands && readsConstants[op.name]) || [];
    op.operands.forEach((operand, i) => {
      if (!held.includes(i)) inMemory.add(operand);
    });
  }
  const constants = func.body.filter((op) => isConstant(op) && !op.results.some((r) => inMemory.has(r)));
  return new Set([...constants, ...inlinedWeights(func, narrowCaches)]);
}

/** Decides which ops share a kernel. */
function groupOps(
  func: Func,
  inlined: ReadonlySet<Op>,
  { epilogues, quantizedRows, hosts }: Choices,
): Map<Op, Group> {
  const uses = countUses(func);
  const groups = new Map<Op, Group>();
  for (const op of func.body) {
    const role = opRoles[op.name];
    if (role === 'view' || role === 'structure' || inlined.has(op)) continue;
    const endsRows = quantizedRows && quantizesRows(op);
    const joins = epilogues && (role === 'pointwise' || endsRows);
    const host = joins ? findHost(op, groups, uses, endsRows ? rowMakers : hosts) : undefined;
    const group = host ?? { root: op, kernelClass: role, ops: [], results: op.results };
    const absorbed = joins ? absorbedProducers(op, group, groups, uses) : [];
    for (const other of absorbed) {
      for (const moved of other.ops) {
        group.ops.push(moved);
        groups.set(moved, group);
      }
    }
    group.ops.push(op);
    group.results = op.results;
    groups.set(op, group);
  }
  return groups;
}

function sameShape(a: TensorType, b: TensorType): boolean {
  return a.shape.length === b.shape.length && a.shape.every((d, i) => dimsEqual(d, b.shape[i] as Dim));
}

/** The group whose value `operand` is, when `op` alone reads it, at the same index. */
function groupRead(
  op: Op,
  operand: Value,
  groups: ReadonlyMap<Op, Group>,
  uses: ReadonlyMap<Value, number>,
): Group | undefined {
  const producer = defOf(operand);
  const group = producer === undefined ? undefined : groups.get(producer);
  const sole =
    group?.results.length === 1 && group.results[0] === operand && uses.get(operand) === countIn(op, operand);
  return sole && sameShape(operand.type, (op.results[0] as Value).type) ? group : undefined;
}

/** Ops that compute each element of the result from elements at its index. */
function endsKernels(op: Op): boolean {
  return (
    opTable[op.name].category === 'elementwise' ||
    op.name === 'swiglu' ||
    op.name === 'quantize' ||
    op.name === 'dequantize'
  );
}

/** Whether each row of the last axis gets integers of its own range, which a kernel that holds whole rows can make. */
function quantizesRows(op: Op): boolean {
  const isFloat = op.operands[0]?.type.dtype === 'f32';
  return op.name === 'dynamic_quantize' && op.attrs.granularity === 'row' && isFloat;
}

const rowMakers: ReadonlySet<KernelClass> = new Set(['row']);

function countIn(op: Op, value: Value): number {
  return op.operands.filter((o) => o === value).length;
}

/**
 * The kernel that an elementwise op ends, or one that quantizes rows: the first that is more than pointwise, otherwise the
 * longest, so that few ops change groups.
 */
function findHost(
  op: Op,
  groups: ReadonlyMap<Op, Group>,
  uses: ReadonlyMap<Value, number>,
  hosts: ReadonlySet<KernelClass>,
): Group | undefined {
  if (!quantizesRows(op) && !endsKernels(op)) return undefined;
  const candidates = op.operands
    .map((operand) => groupRead(op, operand, groups, uses))
    .filter((group) => group !== undefined)
    .filter(({ kernelClass }) => hosts.has(kernelClass));
  const computing = candidates.find((group) => group.kernelClass !== 'pointwise');
  return computing ?? candidates.toSorted((a, b) => b.ops.length - a.ops.length)[0];
}

/** Pointwise groups that only `op` reads, each element once, so that none is computed more often in its kernel. */
function absorbedProducers(
  op: Op,
  group: Group,
  groups: ReadonlyMap<Op, Group>,
  uses: ReadonlyMap<Value, number>,
): Group[] {
  if (opTable[op.name].category === 'movement') return [];
  const producers = op.operands
    .filter((operand) => uses.get(operand) === 1)
    .map((operand) => groupRead(op, operand, groups, uses));
  return producers
    .filter((other) => other !== undefined)
    .filter((other) => other !== group && other.kernelClass === 'pointwise');
}

/** The kernel function of a group, and the outer values it reads. */
function buildKernel(group: Group, inlined: ReadonlySet<Op>, scope: Scope): { func: Func; inputs: Value[] } {
  const builder = new FuncBuilder(kernelName(group), scope, { kernel: group.kernelClass });
  const mapped = new Map<Value, Value>();
  const inputs: Value[] = [];
  const own = new Set(group.ops);
  const input = (value: Value): void => {
    const op = defOf(value);
    if (mapped.has(value) || (op !== undefined && own.has(op))) return;
    if (op !== undefined && inlined.has(op)) {
      op.operands.forEach(input);
      const operands = op.operands.map((o) => mapped.get(o) as Value);
      mapped.set(value, builder.one(op.name, operands, op.attrs));
      return;
    }
    inputs.push(value);
    mapped.set(value, builder.arg(value.type));
  };
  for (const op of group.ops) op.operands.forEach(input);
  for (const op of group.ops) {
    builder.span = op.span;
    const results = builder.emit(
      op.name,
      op.operands.map((o) => mapped.get(o) as Value),
      op.attrs,
    );
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
  private readonly byText = new Map<string, string>();
  private readonly taken: Set<string>;
  private readonly counts = new Map<string, number>();
  private readonly made: Func[] = [];

  constructor(module: Module) {
    this.taken = new Set(module.functions.keys());
    for (const func of module.functions.values())
      if (func.kernel !== undefined) this.byText.set(textOf(func), func.name);
  }

  /** Name of the kernel function that equals `func`. */
  intern(func: Func): string {
    const text = textOf(func);
    const known = this.byText.get(text);
    if (known !== undefined) return known;
    const name = this.freeName(func.name);
    this.byText.set(text, name);
    this.made.push({ ...func, name });
    return name;
  }

  private freeName(stem: string): string {
    let count = this.counts.get(stem) ?? 0;
    do count++;
    while (this.taken.has(`${stem}.${count}`));
    this.counts.set(stem, count);
    return `${stem}.${count}`;
  }

  /** Kernels that the module did not have, in the order they were first needed. */
  added(): readonly Func[] {
    return this.made;
  }
}

function textOf(func: Func): string {
  return printFunc({ ...func, name: '' }, { names: false });
}
