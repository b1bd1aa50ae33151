/**
 * Runs emitted kernels without the rest of the backend: one kernel function is wrapped in a module of its own, called
 * on tensors, and its results read back. Memory around every buffer is filled with a pattern that must survive.
 */

import binaryen from 'binaryen';
import { kernelSymbols } from '../../backends/kernel-function.js';
import { type AsmOptions, type Expr, none } from '../../backends/wasm/emit/asm.js';
import { failFunction, kernelContext, type Libraries } from '../../backends/wasm/emit/context.js';
import type { KernelEmitter, Layout, ScratchSize } from '../../backends/wasm/emit/kernel.js';
import { MathLibrary } from '../../backends/wasm/emit/math.js';
import { Memory } from '../../backends/wasm/emit/memory.js';
import { kernelTable } from '../../backends/wasm/emit/table.js';
import { legalise } from '../../backends/wasm/legalise.js';
import { packPanels } from '../../backends/wasm/packing.js';
import { evalDim } from '../../ir/dim.js';
import { bindSymbols } from '../../ir/interpret.js';
import { materialise } from '../../ir/materialise.js';
import { type Func, type Module, modelDims, type Op, type Value } from '../../ir/module.js';
import { decodeBytes, encodeBytes, roundTo } from '../../ir/numeric.js';
import { opTable } from '../../ir/ops/table.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { dtypes, elementCount, evalShape, storedBytes } from '../../ir/type.js';
import { fuse } from '../../passes/fuse.js';

const { Features } = binaryen;

/** A module with the imports that emitted code needs: memory `hew.memory` and the failure function `hew.fail`. */
export function emptyWasmModule(): binaryen.Module {
  const m = new binaryen.Module();
  m.setFeatures(
    Features.MutableGlobals |
      Features.NontrappingFPToInt |
      Features.SIMD128 |
      Features.BulkMemory |
      Features.BulkMemoryOpt |
      Features.SignExt |
      Features.Multivalue |
      Features.RelaxedSIMD,
  );
  m.setMemory(1, 65536);
  m.addMemoryImport('0', 'hew', 'memory');
  const { i32, createType } = binaryen;
  m.addFunctionImport(failFunction, 'hew', 'fail', createType([i32, i32, i32]), none);
  return m;
}

export class HostFailure extends Error {
  constructor(
    readonly code: number,
    readonly a: number,
    readonly b: number,
  ) {
    super(`fail(${code}, ${a}, ${b})`);
  }
}

/** Validates, compiles and instantiates; frees the Binaryen module. */
export function instantiate(
  m: binaryen.Module,
  memory: WebAssembly.Memory,
): Record<string, (...args: number[]) => number> {
  if (!m.validate()) throw new Error(`invalid module:\n${m.emitText()}`);
  const bytes = m.emitBinary();
  m.dispose();
  const fail = (code: number, a: number, b: number): never => {
    throw new HostFailure(code, a, b);
  };
  const instance = new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from(bytes)), {
    hew: { memory, fail },
  });
  return instance.exports as Record<string, (...args: number[]) => number>;
}

export function librariesOf(m: binaryen.Module, options: AsmOptions): Libraries {
  return { math: new MathLibrary(m, options), memory: new Memory(m, options) };
}

export interface KernelUnderTest {
  readonly func: Func;
  readonly emit: KernelEmitter;
  readonly scratch?: ScratchSize | undefined;
  /** Values of the model dimensions, and of the run-time symbols in this run. */
  readonly dims: ReadonlyMap<string, number>;
  readonly symbols: ReadonlyMap<string, number>;
  readonly layouts?: ReadonlyMap<Value, Layout>;
  readonly relaxed?: boolean;
  /** Result index -> argument index whose buffer it shares. */
  readonly inPlace?: ReadonlyMap<number, number>;
}

const guard = 64;
const pattern = 0xff;

class Arena {
  readonly placed: { readonly start: number; readonly end: number }[] = [];
  private end = 1024;

  place(bytes: number): number {
    const start = Math.ceil((this.end + guard) / 16) * 16;
    this.end = start + bytes;
    this.placed.push({ start, end: this.end });
    return start;
  }

  memory(): WebAssembly.Memory {
    const pages = Math.ceil((this.end + guard) / 65536);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: 65536 });
    new Uint8Array(memory.buffer).fill(pattern);
    return memory;
  }

  /** Offsets outside all buffers that were written. */
  stray(memory: WebAssembly.Memory): number[] {
    const bytes = new Uint8Array(memory.buffer, 0, this.end + guard).slice();
    for (const { start, end } of this.placed) bytes.fill(pattern, start, end);
    return [...bytes.entries()].filter(([, byte]) => byte !== pattern).map(([at]) => at);
  }
}

function bytesIn({ dtype, shape, data }: Tensor, layout: Layout): Uint8Array {
  const bytes = encodeBytes(dtype, data);
  return layout === 'panels' ? packPanels(bytes, shape, dtypes[dtype].bits / 8) : bytes;
}

/** Emits, runs and reads back the results of one kernel. */
export function runKernel(test: KernelUnderTest, inputs: readonly Tensor[]): Tensor[] {
  const { func, dims, symbols, layouts = new Map(), inPlace = new Map() } = test;
  const options = { relaxed: test.relaxed ?? false };
  const m = emptyWasmModule();
  const context = kernelContext(m, options, librariesOf(m, options), func, layouts, dims);
  const body: readonly Expr[] = test.emit(context);
  context.asm.define('kernel', none, body);
  m.addFunctionExport('kernel', 'kernel');

  const all = new Map([...dims, ...symbols]);
  const arena = new Arena();
  const stored = inputs.map((value, i) => bytesIn(value, context.layout(func.args[i] as Value)));
  const args = stored.map((bytes) => arena.place(bytes.length));
  const shapes = func.results.map((r) => evalShape(r.type.shape, all));
  const sizes = func.results.map((r, i) => storedBytes(r.type.dtype, elementCount(shapes[i] as number[])));
  const results = sizes.map((bytes, i) => {
    const shared = inPlace.get(i);
    return shared === undefined ? arena.place(bytes) : (args[shared] as number);
  });
  const scratchBytes =
    test.scratch === undefined ? 0 : evalDim(test.scratch(func, context.root, context.layout), all);
  const scratch = arena.place(scratchBytes);
  const memory = arena.memory();
  stored.forEach((bytes, i) => {
    new Uint8Array(memory.buffer).set(bytes, args[i] as number);
  });
  const exported = instantiate(m, memory);
  const symbolValues = kernelSymbols(func, dims).map((name) => symbols.get(name) as number);
  exported.kernel?.(...args, ...results, scratch, ...symbolValues);

  const stray = arena.stray(memory);
  if (stray.length > 0)
    throw new Error(`kernel @${func.name} wrote outside its buffers, first at ${stray[0]}`);
  stored.forEach((bytes, i) => {
    if ([...inPlace.values()].includes(i)) return;
    const now = Buffer.from(memory.buffer, args[i] as number, bytes.length);
    if (!now.equals(bytes)) throw new Error(`kernel @${func.name} changed its argument ${i}`);
  });
  return func.results.map((r, i) => {
    const bytes = new Uint8Array(memory.buffer, results[i] as number, sizes[i] as number).slice();
    return tensor(
      r.type.dtype,
      shapes[i] as number[],
      decodeBytes(r.type.dtype, bytes, elementCount(shapes[i] as number[])),
    );
  });
}

/** Evaluates the ops that fusion leaves in the caller: parameters and views. */
function evaluateStructure(
  module: Module,
  op: Op,
  operands: readonly Tensor[],
  dims: ReadonlyMap<string, number>,
) {
  const unused = (): never => {
    throw new Error(`${op.name} is not a view or a parameter`);
  };
  return opTable[op.name].evaluate(operands, op.attrs, {
    dimValue: (d) => evalDim(d, dims),
    round: (dtype) => roundTo[dtype],
    param: (name) => materialise(module, name, undefined, undefined),
    readState: unused,
    writeState: unused,
    loopCount: unused,
    call: unused,
    allReduce: unused,
  });
}

/**
 * Legalises and fuses a module and runs its entry `main`, which has no states or loops, kernel by kernel. Returns the
 * outputs by name.
 */
export function runKernels(
  source: Module,
  inputs: Readonly<Record<string, Tensor>>,
  options: { readonly relaxed?: boolean; readonly epilogues?: boolean } = {},
): Record<string, Tensor> {
  const { module } = fuse.run(legalise(source), {
    epilogues: options.epilogues ?? true,
    quantized_rows: true,
    attention_epilogues: true,
    constant_operands: true,
    narrow_caches: false,
  });
  const main = module.functions.get('main') as Func;
  const args = main.args.map((arg) => inputs[arg.name ?? ''] as Tensor);
  const dims = modelDims(module);
  const all = bindSymbols(module, main, args);
  const symbols = new Map([...all].filter(([name]) => !dims.has(name)));
  const values = new Map<Value, Tensor>(main.args.map((arg, i) => [arg, args[i] as Tensor]));
  const callKernel = (func: Func, operands: readonly Tensor[]): readonly Tensor[] => {
    const [emit, scratch] = [kernelTable.emitter(func), (f: Func) => kernelTable.scratch(f)];
    return runKernel({ func, emit, scratch, dims, symbols, relaxed: options.relaxed ?? false }, operands);
  };
  for (const op of main.body) {
    const operands = op.operands.map((o) => values.get(o) as Tensor);
    const results =
      op.name === 'kernel'
        ? callKernel(module.functions.get(op.attrs.callee) as Func, operands)
        : evaluateStructure(module, op, operands, all);
    op.results.forEach((result, i) => {
      values.set(result, results[i] as Tensor);
    });
  }
  return Object.fromEntries(
    (main.outputs ?? []).map((name, i) => [name, values.get(main.results[i] as Value) as Tensor]),
  );
}
