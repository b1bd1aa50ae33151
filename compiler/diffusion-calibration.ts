/**
 * Calibration data of diffusion models: the calls of samplers that start from noises balanced over the classes. The
 * model itself makes the data, so no file is needed.
 */
import type { SampledModel } from '../backends/wasm/runtime/load.js';
import { noiseFromSeed } from '../backends/wasm/runtime/sample.js';
import { fail } from '../ir/diagnostics.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import { type Probe, probedModule } from '../passes/probe.js';
import { lowerModule, memoryOf } from './build.js';
import { type CalibrationCall, type CalibrationData, callOf, fromCalls } from './calibration.js';
import { defaultResidentBytes, statesByTurn } from './executor.js';
import { startWhole } from './in-memory.js';
import { layeredModel } from './layered-model.js';
import type { ObservationCache } from './observation-cache.js';
import { Accumulators, observing } from './observe.js';
import { runTasks } from './parallel/pool.js';
import { type CallResult, drawSamples, type SampleTask } from './parallel/tasks.js';

export interface DiffusionCalibrationOptions {
  /** Noises in all, divided among the guidances; 36 by default. */
  readonly samples?: number | undefined;
  /** DDIM steps; 50 by default. */
  readonly steps?: number | undefined;
  /** Classifier-free guidances; 1 and 1.5 by default, 1 alone for a model without a null class. */
  readonly guidances?: readonly number[] | undefined;
  readonly seed?: number | undefined;
  /** Statistics to observe on the way, of the module itself and all its calls; `cache` keeps them. */
  readonly probes?: readonly Probe[] | undefined;
  readonly cache?: ObservationCache | undefined;
  /** Threads; what comes out does not depend on them. */
  readonly workers?: number | undefined;
  /** See ExecutorOptions. */
  readonly residentBytes?: number | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * Runs the sampler and keeps what it gave the model; probes are observed on the way. Fails as `sample` does for models
 * that cannot be sampled.
 */
export async function calibrateOnSamples(
  module: Module,
  source: TensorSource | undefined,
  options: DiffusionCalibrationOptions = {},
): Promise<CalibrationData> {
  const { samples = 36, steps = 50, seed = 0, probes = [], cache, onProgress } = options;
  const classes = classesOf(module);
  const guidances = options.guidances ?? (classes === undefined || samples < 2 ? [1] : [1, 1.5]);
  if (samples < guidances.length)
    fail('HEW6011', `${samples} noises are too few for ${guidances.length} guidances`);
  const probed =
    probes.length === 0 ? { module, states: [] } : probedModule(module, 'denoise', probes, 'kept');
  const { module: lowered } = await lowerModule(probed.module);
  const drawing = await drawingOf(lowered, source, probed.states, options);
  const tasks = guidances.flatMap((guidance, i) => {
    const own = Array.from({ length: samples }, (_, n) => n).filter((n) => n % guidances.length === i);
    const noise = noiseFromSeed(drawing.model, own.length, seed + i);
    return samplersOf(own, noise, guidance).map(
      ({ noises, ...rest }): SampleTask => ({
        ...rest,
        kind: 'sample',
        classes: noises.map((n) => n % (classes ?? 1)),
        steps,
        states: probed.states,
      }),
    );
  });
  const totals = new Accumulators(module, probes);
  const add = totals.into(probes, probed.states);
  const made: CalibrationCall[] = [];
  await drawing.draw(tasks, (task, results) => {
    for (const { made: call, states } of results) {
      if (call === undefined) continue;
      const own = callOf(module, call);
      made.push(own);
      for (const [state, values] of states)
        for (const [turn, part] of statesByTurn(lowered, state, values).entries())
          add(state, turn, part as Float32Array, own);
    }
    onProgress?.(task + 1, tasks.length);
  });
  const data = fromCalls(module, made);
  for (const [probe, found] of totals.results()) await cache?.set(probe, data, found);
  return data;
}

interface Drawing {
  readonly model: SampledModel;
  draw(
    tasks: readonly SampleTask[],
    onResult: (task: number, results: readonly CallResult[]) => void,
  ): Promise<void>;
}

/** As a whole in several threads, or layer by layer. */
async function drawingOf(
  lowered: Module,
  source: TensorSource | undefined,
  states: readonly string[],
  { residentBytes = defaultResidentBytes, workers }: DiffusionCalibrationOptions,
): Promise<Drawing> {
  const { bytes, layouts } = await memoryOf(lowered);
  if (bytes <= residentBytes) {
    const started = await startWhole(lowered, source, observing);
    return {
      model: started.model,
      draw: (tasks, onResult) => runTasks(started, tasks, { workers }, onResult),
    };
  }
  const model = await layeredModel(lowered, source, states, { ...observing, layouts });
  return {
    model,
    draw: async (tasks, onResult) => {
      for (const [i, task] of tasks.entries()) onResult(i, await drawSamples(model, task));
    },
  };
}

/** Samples that are drawn together, guided ones counted twice: few, so that there is work for several threads. */
const drawnTogether = 6;

function samplersOf(
  noises: readonly number[],
  noise: Float32Array,
  guidance: number,
): { noises: readonly number[]; noise: Float32Array; guidance: number }[] {
  const each = guidance === 1 ? drawnTogether : drawnTogether / 2;
  const size = noise.length / noises.length;
  return Array.from({ length: Math.ceil(noises.length / each) }, (_, i) => ({
    noises: noises.slice(i * each, (i + 1) * each),
    noise: noise.slice(i * each * size, (i + 1) * each * size),
    guidance,
  }));
}

/** How many classes a model with a null class has: it is the one behind the last. */
function classesOf(module: Module): number | undefined {
  const found = module.sampler?.settings.null_class;
  return typeof found === 'number' && found > 0 ? found : undefined;
}
