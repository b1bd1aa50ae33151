/**
 * Work on a loaded model that can be done by any thread that has a copy of it: what comes out depends on the task
 * alone, so that it does not matter how many threads there are.
 */
import {
  type Model,
  type Outputs,
  type SampledModel,
  sample,
  type TypedArray,
} from '../../backends/wasm/runtime/load.js';
import type { CalibrationCall } from '../calibration.js';
import type { ExecutorCall } from '../executor.js';

/** Calls that follow each other, from empty states. */
export interface CallsTask {
  readonly kind: 'calls';
  readonly calls: readonly ExecutorCall[];
  readonly outputs: readonly string[];
  /** States to read behind the last call. */
  readonly states: readonly string[];
}

/** A sampler whose calls are kept. */
export interface SampleTask {
  readonly kind: 'sample';
  readonly classes: readonly number[];
  readonly noise: Float32Array;
  readonly steps: number;
  readonly guidance: number;
  /** States to read behind each call, which starts from empty ones. */
  readonly states: readonly string[];
}

export type Task = CallsTask | SampleTask;

/** What one call gave. */
export interface CallResult {
  /** Of calls that a sampler made. */
  readonly made: Pick<CalibrationCall, 'inputs' | 'timestep'> | undefined;
  readonly outputs: Outputs;
  readonly states: ReadonlyMap<string, TypedArray>;
}

/** A model with states, which may take its time to run. */
export interface StatefulModel extends SampledModel {
  reset(): void;
  state(name: string): { read(): TypedArray };
}

export async function perform(model: Model, task: Task): Promise<CallResult[]> {
  return task.kind === 'calls' ? runCalls(model, task) : await drawSamples(model, task);
}

const readStates = (model: StatefulModel, names: readonly string[]): ReadonlyMap<string, TypedArray> =>
  new Map(names.map((name) => [name, model.state(name).read()]));

function runCalls(model: Model, { calls, outputs, states }: CallsTask): CallResult[] {
  model.reset();
  return calls.map(({ entry, inputs, symbols = new Map() }, i): CallResult => {
    const found = model.run(entry, inputs, { outputs, symbols: Object.fromEntries(symbols) });
    const isLast = i === calls.length - 1;
    return { made: undefined, outputs: found, states: readStates(model, isLast ? states : []) };
  });
}

export async function drawSamples(
  model: StatefulModel,
  { classes, noise, steps, guidance, states }: SampleTask,
): Promise<CallResult[]> {
  const results: CallResult[] = [];
  model.reset();
  await sample(model, {
    classes,
    noise,
    steps,
    guidance,
    onCall: (inputs, timestep) => {
      results.push({ made: { inputs, timestep }, outputs: {}, states: readStates(model, states) });
      model.reset();
    },
  });
  return results;
}
