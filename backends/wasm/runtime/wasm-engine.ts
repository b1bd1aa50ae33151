/** Steps of a WebAssembly instance: inputs, outputs and states lie at the manifest's addresses of its memory. */
import { bytesOf, type DType, dtypes, type TypedArray, viewOf } from './dtype.js';
import type { Engine, Step } from './engine.js';
import { LoadError, reasonOf, refuse } from './errors.js';
import type { WasmFunction, WasmInstance } from './instance.js';
import type { EntryInfo, Manifest } from './manifest.js';

export function wasmEngine({ states }: Manifest, { memory, functions }: WasmInstance): Engine {
  const all = (): Uint8Array => new Uint8Array(memory.buffer);
  const write = (address: number, bytes: Uint8Array): void => {
    checkRegion(address, bytes.byteLength, memory.buffer.byteLength);
    all().set(bytes, address);
  };
  const copy = (dtype: DType, address: number, count: number): TypedArray => {
    const size = count * dtypes[dtype].bytes;
    checkRegion(address, size, memory.buffer.byteLength);
    return viewOf(dtype, memory.buffer.slice(address, address + size), 0, count);
  };
  return {
    run(step) {
      const { name, entry, inputs, symbols, outputs } = step;
      const run = functions.get(name) ?? refuse('HEW7004', `entry point '${name}' has no function`);
      for (const { slot, data } of inputs) write(slot.address, bytesOf(data));
      callStep(name, run, [...entry.symbols.map((s) => symbols.get(s) ?? 0), maskOf(entry, outputs)]);
      return outputs.map(({ slot, count }) => copy(slot.dtype, slot.address, count));
    },
    readState: ({ address, bytes }) => new Uint8Array(memory.buffer.slice(address, address + bytes)),
    writeState: ({ address }, bytes) => write(address, bytes),
    resetStates() {
      for (const { address, bytes } of states) all().fill(0, address, address + bytes);
    },
  };
}

/** The manifest was checked at the bounds of the symbols; a shape that shrinks with its symbols gets here. */
function checkRegion(address: number, size: number, memoryBytes: number): void {
  if (!(address + size <= memoryBytes)) refuse('HEW7003', 'a tensor of the bundle lies outside its memory');
}

function maskOf(entry: EntryInfo, wanted: Step['outputs']): number {
  return entry.outputs.reduce(
    (mask, slot, bit) => (wanted.some((output) => output.slot === slot) ? mask | (1 << bit) : mask),
    0,
  );
}

function callStep(name: string, step: WasmFunction, values: readonly number[]): void {
  try {
    step(...values);
  } catch (error) {
    if (error instanceof LoadError) throw error;
    throw new LoadError('HEW7003', `entry point '${name}' broke off: ${reasonOf(error)}`, { cause: error });
  }
}
