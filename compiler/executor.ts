/**
 * Running many calls of one entry of a module: whole, with all weights in memory, or layer by layer, with the weights
 * of one turn of a loop (see layered.ts). What callers see is the same to the bit; they are shown outputs and states
 * as these are computed, and must not rely on their order across calls.
 */
import type { Inputs, Model, Outputs, TypedArray } from '../backends/wasm/runtime/load.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import { type EmitOptions, lowerModule, memoryOf } from './build.js';
import { loadLowered } from './in-memory.js';
import { LayeredExecutor } from './layered.js';

/** One call of an entry. */
export interface ExecutorCall {
  readonly entry: string;
  readonly inputs: Inputs;
  /** Values of the run-time symbols that the inputs do not determine. */
  readonly symbols?: ReadonlyMap<string, number> | undefined;
}

export interface ExecutorRun {
  /** Lists of calls that follow each other; each list starts from empty states. */
  readonly sequences: readonly (readonly ExecutorCall[])[];
  /** Names of the outputs to compute. */
  readonly outputs: readonly string[];
  /** Names of the states to show. */
  readonly states?: readonly string[];
}

export interface ExecutorView {
  outputs?(sequence: number, call: number, values: Outputs): void;
  /** What a state is behind the last call of a sequence, in one turn of its loop (0 without a loop). */
  state?(sequence: number, name: string, turn: number, values: TypedArray): void;
  progress?: ((done: number, total: number) => void) | undefined;
}

export interface Executor {
  run(run: ExecutorRun, view: ExecutorView): Promise<void>;
}

export interface ExecutorOptions extends EmitOptions {
  /** Bytes of memory that a model may take as a whole; a larger one is run layer by layer. Default `residentBytes`. */
  readonly residentBytes?: number | undefined;
}

export const defaultResidentBytes = 512 * 2 ** 20;

/** Compiles a module for calls of the one or the other kind. Fails as `compile` does. */
export async function createExecutor(
  module: Module,
  source: TensorSource | undefined,
  { residentBytes = defaultResidentBytes, ...options }: ExecutorOptions = {},
): Promise<Executor> {
  const { module: lowered } = await lowerModule(module);
  const { bytes, layouts } = await memoryOf(lowered);
  if (bytes > residentBytes) return new LayeredExecutor(lowered, source, { ...options, layouts });
  return new WholeExecutor(lowered, await loadLowered(lowered, source, options));
}

class WholeExecutor implements Executor {
  constructor(
    private readonly lowered: Module,
    private readonly model: Model,
  ) {}

  async run({ sequences, outputs, states = [] }: ExecutorRun, view: ExecutorView): Promise<void> {
    const { model } = this;
    for (const [i, sequence] of sequences.entries()) {
      model.reset();
      for (const [call, { entry, inputs, symbols = new Map() }] of sequence.entries()) {
        const found = model.run(entry, inputs, { outputs, symbols: Object.fromEntries(symbols) });
        view.outputs?.(i, call, found);
      }
      for (const name of states) this.show(i, name, view);
      view.progress?.(i + 1, sequences.length);
    }
  }

  private show(sequence: number, name: string, view: ExecutorView): void {
    const loop = this.lowered.states.get(name)?.loop;
    const values = this.model.state(name).read();
    const turns = loop === undefined ? 1 : (this.lowered.loops.get(loop)?.indices.length ?? 0);
    const size = values.length / turns;
    for (let turn = 0; turn < turns; turn++)
      view.state?.(sequence, name, turn, values.subarray(turn * size, (turn + 1) * size));
  }
}
