/** What measuring asks of a GPU; compiler/native/tuning-device.ts is the one behind the native runtime. */
import type { PackagedCuda } from '../../backends/cuda/package.js';
import type { Gpu } from './file.js';

export interface TuningDevice {
  readonly gpu: Gpu;
  /** Compiles kernels for this GPU; several calls run at a time. `files`: of weights, by name. */
  compile(
    manifest: PackagedCuda,
    source: string,
    files: ReadonlyMap<string, () => Iterable<Uint8Array>>,
  ): Promise<CompiledKernels>;
}

export interface CompiledKernels {
  /** Weights are made up, the same every time. */
  open(): Promise<OpenedKernels>;
}

export interface KernelCall {
  readonly entry: string;
  readonly inputs: readonly { readonly name: string; readonly data: Uint8Array }[];
  readonly symbols: Readonly<Record<string, number>>;
}

export interface OpenedKernels {
  writeState(name: string, data: Uint8Array): void;
  /** The values of one output. */
  run(call: KernelCall, output: string, bytes: number): Uint8Array;
  /** Milliseconds of each of so many runs that compute all of these outputs; states stay as they are. */
  measure(call: KernelCall, outputs: readonly string[], repeats: number): readonly number[];
  close(): void;
}
