/**
 * Assembles the WebAssembly module: one function per kernel, one per loop body, one exported per entry.
 *
 * An entry takes its run-time symbols (sorted) and a mask of the outputs that are asked for; work that only serves
 * other outputs is skipped. A loop body takes pointers of its arguments and results, a pointer to its frame, the turn
 * of the loop, and its symbols (sorted).
 */
import binaryen from 'binaryen';
import {
  defOf,
  type Func,
  type Module,
  modelDims,
  type Op,
  type OpOf,
  type Value,
} from '../../../ir/module.js';
import type { TensorType } from '../../../ir/type.js';
import { symbolsOf } from '../../../ir/verify.js';
import { kernelSymbols, resolver } from '../../kernel-function.js';
import { always, outputNeeds } from '../../needs.js';
import { type FunctionPlan, type Location, type Placement, sameLocation } from '../../schedule.js';
import type { WasmSchedule } from '../schedule.js';
import { Asm, type AsmOptions, dotOffset, type Expr, i32, type Local, none, type Size } from './asm.js';
import { failFunction, kernelContext, type Libraries } from './context.js';
import { bytesOf, type Layout } from './kernel.js';
import { MathLibrary } from './math.js';
import { isFourBit, Memory } from './memory.js';
import { kernelTable } from './table.js';

const pageBytes = 65536;
/** Loads of whole vectors may reach this far past the last tensor. */
const guardBytes = 256;

export interface EmittedModule {
  readonly code: Uint8Array;
  readonly pages: number;
}

export function memoryPages(schedule: WasmSchedule): number {
  return Math.ceil((schedule.bytes.total + guardBytes) / pageBytes);
}

export function emitModule(
  module: Module,
  schedule: WasmSchedule,
  options: AsmOptions & { readonly optimize?: boolean },
): EmittedModule {
  const m = new binaryen.Module();
  try {
    const pages = memoryPages(schedule);
    m.setFeatures(features(options));
    m.setMemory(pages, pages);
    m.addMemoryImport('0', 'hew', 'memory');
    m.addFunctionImport(failFunction, 'hew', 'fail', binaryen.createType([i32, i32, i32]), none);
    if (options.byteDots === true) m.addGlobalImport(dotOffset, 'hew', dotOffset, i32);
    const assembler = new Assembler(m, module, schedule, options);
    for (const plan of schedule.functions.values()) assembler.function(plan);
    if (!m.validate()) throw new Error('the emitted WebAssembly module is not valid');
    if (options.optimize ?? true) {
      binaryen.setOptimizeLevel(2);
      binaryen.setShrinkLevel(0);
      // Engines compile function by function: kernels inlined into their caller would run as baseline code for the
      // whole first call, and give the register allocator one huge function.
      binaryen.setOneCallerInlineMaxSize(0);
      binaryen.setFlexibleInlineMaxSize(0);
      m.optimize();
    }
    return { code: m.emitBinary(), pages };
  } finally {
    m.dispose();
  }
}

function features({ relaxed, byteDots = false }: AsmOptions): number {
  const { Features } = binaryen;
  const base =
    Features.MutableGlobals |
    Features.NontrappingFPToInt |
    Features.SIMD128 |
    Features.BulkMemory |
    Features.BulkMemoryOpt |
    Features.SignExt |
    Features.Multivalue;
  return relaxed || byteDots ? base | Features.RelaxedSIMD : base;
}

interface EmittedKernel {
  readonly name: string;
  readonly symbols: readonly string[];
}

class Assembler {
  private readonly libraries: Libraries;
  private readonly kernels = new Map<string, EmittedKernel>();
  private readonly dims: ReadonlyMap<string, number>;

  constructor(
    private readonly m: binaryen.Module,
    private readonly module: Module,
    private readonly schedule: WasmSchedule,
    private readonly options: AsmOptions,
  ) {
    this.dims = modelDims(module);
    this.libraries = { math: new MathLibrary(m, options), memory: new Memory(m, options) };
  }

  function(plan: FunctionPlan): void {
    const { func } = plan;
    const symbols = this.symbols(func);
    const isEntry = func.outputs !== undefined;
    const pointers = isEntry ? 0 : func.args.length + func.results.length;
    const count = isEntry ? symbols.length + 1 : pointers + 2 + symbols.length;
    const asm = new Asm(this.m, this.options, new Array<binaryen.Type>(count).fill(i32));
    symbols.forEach((name, i) => {
      asm.symbols.set(name, asm.params[isEntry ? i : pointers + 2 + i] as Local);
    });
    const frame: Size = isEntry ? this.schedule.arena : (asm.params[pointers] as Local).get;
    const turn = isEntry ? undefined : asm.params[pointers + 1];
    const caller = new Caller(this, asm, plan, frame, turn);
    asm.define(func.name, none, caller.body());
    if (isEntry) this.m.addFunctionExport(func.name, func.name);
  }

  symbols(func: Func): readonly string[] {
    return [...symbolsOf(this.module, func)].sort();
  }

  callee(name: string): Func {
    return this.module.functions.get(name) as Func;
  }

  planOf(name: string): FunctionPlan {
    return this.schedule.functions.get(name) as FunctionPlan;
  }

  loopTurns(loop: string): number {
    return this.module.loops.get(loop)?.indices.length ?? 0;
  }

  stateOf(name: string): Placement {
    return this.schedule.states.get(name) as Placement;
  }

  outputsOf(func: Func): readonly number[] | undefined {
    return this.schedule.outputs.get(func.name);
  }

  layoutOf(value: Value): Layout {
    const op = defOf(value);
    return op?.name === 'param' ? (this.schedule.weights.get(op.attrs.name)?.layout ?? 'rows') : 'rows';
  }

  /** The kernel specialised to how its operands lie in memory, emitted on first use. */
  kernel(op: OpOf<'kernel'>): EmittedKernel {
    const func = this.callee(op.attrs.callee);
    const layouts = new Map<Value, Layout>();
    op.operands.forEach((operand, i) => {
      if (this.layoutOf(operand) !== 'rows') layouts.set(func.args[i] as Value, this.layoutOf(operand));
    });
    const suffix = func.args
      .flatMap((arg, i) => (layouts.has(arg) ? [i] : []))
      .map((i) => `.${layouts.get(func.args[i] as Value)}${i}`)
      .join('');
    const name = `${func.name}${suffix}`;
    const known = this.kernels.get(name);
    if (known !== undefined) return known;
    const context = kernelContext(this.m, this.options, this.libraries, func, layouts, this.dims);
    context.asm.define(name, none, kernelTable.emitter(func)(context));
    const made = { name, symbols: kernelSymbols(func, this.dims) };
    this.kernels.set(name, made);
    return made;
  }

  /** Size of a tensor in bytes, over the symbols of `asm`. */
  bytes(asm: Asm, type: TensorType): Size {
    const resolve = resolver(this.dims);
    const count = type.shape.reduce<Size>((product, d) => asm.mul(product, asm.dim(resolve(d))), 1);
    return isFourBit(type.dtype) ? asm.div(asm.add(count, 1), 2) : asm.mul(count, bytesOf(type.dtype));
  }
}

/** Writes the body of an entry or a loop body. */
class Caller {
  private readonly m: binaryen.Module;

  constructor(
    private readonly assembler: Assembler,
    private readonly asm: Asm,
    private readonly plan: FunctionPlan,
    private readonly frame: Size,
    private readonly turn: Local | undefined,
  ) {
    this.m = asm.m;
  }

  body(): readonly Expr[] {
    const { func } = this.plan;
    const needs = func.outputs === undefined ? undefined : outputNeeds(func);
    const statements = func.body.flatMap((op) => this.guarded(needs?.get(op), this.statements(op)));
    const copies = func.results.flatMap((result, i) =>
      this.guarded(needs && 1 << i, this.deliver(result, i)),
    );
    return [...statements, ...copies];
  }

  /** Runs the statements only when one of the outputs in `mask` is asked for; undefined is always. */
  private guarded(mask: number | undefined, statements: readonly Expr[]): readonly Expr[] {
    if (statements.length === 0 || mask === undefined || mask === always) return statements;
    const asked = this.asm.params.at(-1) as Local;
    return [this.asm.if(this.m.i32.and(asked.get(), this.asm.const(mask)), statements)];
  }

  private statements(op: Op): readonly Expr[] {
    switch (op.name) {
      case 'kernel':
        return [this.kernelCall(op as OpOf<'kernel'>)];
      case 'repeat':
        return this.repeat(op as OpOf<'repeat'>);
      case 'state_write':
        return this.writeState(op as OpOf<'state_write'>);
      case 'state_read':
        return this.copyState(op as OpOf<'state_read'>);
      default:
        return [];
    }
  }

  private kernelCall(op: OpOf<'kernel'>): Expr {
    const { name, symbols } = this.assembler.kernel(op);
    const [scratch] = this.plan.privates.get(op as Op) ?? [];
    const pointers = [...op.operands, ...op.results].map((value) => this.pointer(value));
    const scratchPointer = scratch === undefined ? this.asm.const(0) : this.framePointer(scratch);
    return this.m.call(name, [...pointers, scratchPointer, ...this.symbolValues(symbols)], none);
  }

  private symbolValues(symbols: readonly string[]): Expr[] {
    return symbols.map((name) => (this.asm.symbols.get(name) as Local).get());
  }

  /**
   * Carried values live in private copies: each turn reads them and writes the results, which are copied back. What
   * the body updates in place lives in the result from the start.
   */
  private repeat(op: OpOf<'repeat'>): readonly Expr[] {
    const { asm, m } = this;
    const { callee, loop, carried } = op.attrs;
    const slots = this.plan.privates.get(op as Op) as readonly number[];
    const { inPlace } = this.assembler.planOf(callee);
    const copy = (i: number): Expr =>
      inPlace.has(i) ? this.pointer(op.results[i] as Value) : this.framePointer(slots[i] as number);
    const bytes = (i: number): Expr => asm.expr(this.assembler.bytes(asm, (op.operands[i] as Value).type));
    const indices = Array.from({ length: carried }, (_, i) => i);
    const symbols = this.assembler.symbols(this.assembler.callee(callee));
    const turns = this.assembler.loopTurns(loop);
    const start = indices.map((i) => m.memory.copy(copy(i), this.pointer(op.operands[i] as Value), bytes(i)));
    const turn = (index: Local): readonly Expr[] => [
      m.call(
        callee,
        [
          ...indices.map(copy),
          ...op.operands.slice(carried).map((value) => this.pointer(value)),
          ...op.results.map((result) => this.pointer(result)),
          this.framePointer(slots[carried] as number),
          index.get(),
          ...this.symbolValues(symbols),
        ],
        none,
      ),
      ...indices
        .filter((i) => !inPlace.has(i))
        .map((i) => m.memory.copy(copy(i), this.pointer(op.results[i] as Value), bytes(i))),
    ];
    if (turns === 0)
      return indices.map((i) =>
        m.memory.copy(this.pointer(op.results[i] as Value), this.pointer(op.operands[i] as Value), bytes(i)),
      );
    return [...start, asm.loop(0, turns, turn)];
  }

  private writeState(op: OpOf<'state_write'>): readonly Expr[] {
    const value = op.operands[0] as Value;
    const target = this.placementPointer(this.assembler.stateOf(op.attrs.name));
    if (sameLocation(this.plan.locations.get(value), this.assembler.stateOf(op.attrs.name))) return [];
    return [
      this.m.memory.copy(
        target,
        this.pointer(value),
        this.asm.expr(this.assembler.bytes(this.asm, value.type)),
      ),
    ];
  }

  /** A state whose old value outlives its write is copied when it is read. */
  private copyState(op: OpOf<'state_read'>): readonly Expr[] {
    const value = op.results[0] as Value;
    const placement = this.assembler.stateOf(op.attrs.name);
    if (sameLocation(this.plan.locations.get(value), placement)) return [];
    const bytes = this.asm.expr(this.assembler.bytes(this.asm, value.type));
    return [this.m.memory.copy(this.pointer(value), this.placementPointer(placement), bytes)];
  }

  /** Copies a result to where the caller expects it, unless it was computed there. */
  private deliver(result: Value, index: number): readonly Expr[] {
    const { func, inPlace } = this.plan;
    if (inPlace.has(index)) return [];
    const outputs = this.assembler.outputsOf(func);
    const target: Location =
      outputs === undefined
        ? { kind: 'result', index }
        : { kind: 'address', address: outputs[index] as number };
    const source = this.plan.locations.get(result) as Location;
    if (JSON.stringify(source) === JSON.stringify(target)) return [];
    return [
      this.m.memory.copy(
        this.at(target),
        this.at(source),
        this.asm.expr(this.assembler.bytes(this.asm, result.type)),
      ),
    ];
  }

  private pointer(value: Value): Expr {
    return this.at(this.plan.locations.get(value) as Location);
  }

  private at(location: Location): Expr {
    const { asm } = this;
    switch (location.kind) {
      case 'address':
        return asm.const(location.address);
      case 'turn':
        return this.turnPointer(location.base, location.stride);
      case 'argument':
        return (asm.params[location.index] as Local).get();
      case 'result':
        return (asm.params[this.plan.func.args.length + location.index] as Local).get();
      case 'frame':
        return this.framePointer(location.offset);
    }
  }

  private framePointer(offset: number): Expr {
    return this.asm.expr(this.asm.add(this.frame, offset));
  }

  private turnPointer(base: number, stride: number): Expr {
    return this.asm.expr(this.asm.add(this.asm.mul((this.turn as Local).get, stride), base));
  }

  private placementPointer({ address, stride, loop }: Placement): Expr {
    return loop === undefined ? this.asm.const(address) : this.turnPointer(address, stride);
  }
}
