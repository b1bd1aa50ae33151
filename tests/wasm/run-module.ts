/** Runs a module through the wasm backend, without a bundle: what conformance and property tests compare. */
import { emitWasm, lower, type WasmModule } from '../../backends/wasm/compile.js';
import { weightFiles } from '../../backends/wasm/package.js';
import { byteDotOffset } from '../../backends/wasm/runtime/byte-dot.js';
import { bindSymbols } from '../../ir/interpret.js';
import type { TensorSource } from '../../ir/materialise.js';
import type { Func, Module } from '../../ir/module.js';
import { decodeBytes, encodeBytes } from '../../ir/numeric.js';
import type { Tensor } from '../../ir/tensor.js';
import { elementCount, evalShape, storedBytes } from '../../ir/type.js';
import { symbolsOf } from '../../ir/verify.js';

export interface RunOptions {
  readonly source?: TensorSource;
  readonly relaxed?: boolean;
  /** Multiply integers with dot products of bytes. */
  readonly byteDots?: boolean;
  /** How the engine reads bytes, where it is not asked. */
  readonly dotOffset?: number;
  /** Run Binaryen's optimiser; off by default, because most tests are about what is emitted. */
  readonly optimize?: boolean;
}

export interface RunningModule {
  readonly wasm: WasmModule;
  /** Calls an entry; `outputs` are the names asked for, by default all. */
  run(
    entry: string,
    inputs: Readonly<Record<string, Tensor>>,
    outputs?: readonly string[],
  ): Record<string, Tensor>;
}

/** Address of the first weight; see schedule.ts. */
const weightsStart = 64;

export function instantiate(module: Module, options: RunOptions = {}): RunningModule {
  const wasm = emitWasm(lower(module).module, {
    relaxed: options.relaxed ?? false,
    byteDots: options.byteDots ?? false,
    optimize: options.optimize ?? false,
  });
  const memory = new WebAssembly.Memory({ initial: wasm.pages, maximum: wasm.pages });
  const bytes = new Uint8Array(memory.buffer);
  const failed = (code: number, a: number, b: number): never => {
    throw new RangeError(`failure ${code} (${a}, ${b})`);
  };
  const instance = new WebAssembly.Instance(new WebAssembly.Module(wasm.code as BufferSource), {
    hew: { memory, fail: failed, dot_offset: options.dotOffset ?? byteDotOffset() ?? 0 },
  });
  let address = weightsStart;
  for (const [, chunks] of weightFiles(wasm.module, wasm.schedule, options.source, () => {})) {
    for (const chunk of chunks()) {
      bytes.set(chunk, address);
      address += chunk.length;
    }
  }
  return { wasm, run: (entry, inputs, outputs) => runEntry(wasm, instance, bytes, entry, inputs, outputs) };
}

function runEntry(
  { module, schedule }: WasmModule,
  instance: WebAssembly.Instance,
  bytes: Uint8Array,
  entry: string,
  inputs: Readonly<Record<string, Tensor>>,
  outputs: readonly string[] | undefined,
): Record<string, Tensor> {
  const func = module.functions.get(entry) as Func;
  const args = func.args.map((arg) => inputs[arg.name as string] as Tensor);
  const dims = bindSymbols(module, func, args);
  args.forEach((arg, i) => {
    bytes.set(encodeBytes(arg.dtype, arg.data), schedule.inputs.get(entry)?.[i] as number);
  });
  const names = func.outputs ?? [];
  const asked = outputs ?? names;
  const mask = names.reduce((bits, name, i) => (asked.includes(name) ? bits | (1 << i) : bits), 0);
  const symbols = [...symbolsOf(module, func)].sort().map((name) => dims.get(name) as number);
  (instance.exports[entry] as (...values: number[]) => void)(...symbols, mask);
  return Object.fromEntries(
    func.results.flatMap(({ type }, i) => {
      if (!asked.includes(names[i] as string)) return [];
      const shape = evalShape(type.shape, dims);
      const address = schedule.outputs.get(entry)?.[i] as number;
      const count = elementCount(shape);
      const data = decodeBytes(
        type.dtype,
        bytes.slice(address, address + storedBytes(type.dtype, count)),
        count,
      );
      return [[names[i] as string, { dtype: type.dtype, shape, data }]];
    }),
  );
}

/** Compiles and calls one entry once. */
export function runOnce(
  module: Module,
  entry: string,
  inputs: Readonly<Record<string, Tensor>>,
  options: RunOptions = {},
): Record<string, Tensor> {
  return instantiate(module, options).run(entry, inputs);
}
