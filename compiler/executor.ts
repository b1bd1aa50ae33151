/**
 * Running many calls of one entry of a module: whole, with all weights in memory, or layer by layer, with the weights
 * of one turn of a loop (see layered.ts). What callers see is the same to the bit; they are shown outputs and states
 * as these are computed, and must not rely on their order across calls.
 */
import { availableParallelism } from 'node:os';
import type { Inputs, Outputs, TypedArray } from '../backends/wasm/runtime/load.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import { type EmitOptions, lowerModule, memoryOf } from './build.js';
import { type StartedModule, startWhole } from './in-memory.js';
import { LayeredExecutor } from './layered.js';
import { runTasks } from './parallel/pool.js';
import type { CallsTask } from './parallel/tasks.js';

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
  /** Threads for a model that is run as a whole; results do not depend on them. */
  readonly workers?: number | undefined;
}

export const defaultResidentBytes = 512 * 2 ** 20;

/** Compiles a module for calls of the one or the other kind. Fails as `compile` does. */
export async function createExecutor(
  module: Module,
  source: TensorSource | undefined,
  { residentBytes = defaultResidentBytes, workers, ...options }: ExecutorOptions = {},
): Promise<Executor> {
  const { module: lowered } = await lowerModule(module);
  const { bytes, layouts } = await memoryOf(lowered);
  if (bytes > residentBytes) return new LayeredExecutor(lowered, source, { ...options, layouts });
  // Each thread has a copy of the model, and they are made from one more.
  const room = Math.floor(residentBytes / bytes) - 1;
  const threads = Math.max(1, Math.min(workers ?? availableParallelism(), room));
  return new WholeExecutor(lowered, await startWhole(lowered, source, options), threads);
}

class WholeExecutor implements Executor {
  constructor(
    private readonly lowered: Module,
    private readonly started: StartedModule,
    private readonly workers: number,
  ) {}

  async run({ sequences, outputs, states = [] }: ExecutorRun, view: ExecutorView): Promise<void> {
    const tasks = sequences.map((calls): CallsTask => ({ kind: 'calls', calls, outputs, states }));
    await runTasks(this.started, tasks, { workers: this.workers }, (i, results) => {
      for (const [call, result] of results.entries()) view.outputs?.(i, call, result.outputs);
      for (const [name, values] of results.at(-1)?.states ?? []) {
        for (const [turn, own] of statesByTurn(this.lowered, name, values).entries())
          view.state?.(i, name, turn, own);
      }
      view.progress?.(i + 1, sequences.length);
    });
  }
}

/** The values of a state in each turn of its loop. */
export function statesByTurn({ states, loops }: Module, name: string, values: TypedArray): TypedArray[] {
  const loop = states.get(name)?.loop;
  const turns = loop === undefined ? 1 : (loops.get(loop)?.indices.length ?? 0);
  const size = values.length / turns;
  return Array.from({ length: turns }, (_, turn) => values.subarray(turn * size, (turn + 1) * size));
}
