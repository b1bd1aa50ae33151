/**
 * Runs probes: compiles a module once with accumulators for every statistic, streams the calibration data through the
 * wasm backend, and adds up in float64 what each call accumulated in f32. Results are kept by content, so that asking
 * for the same statistic of the same module and data again costs nothing.
 */
import { fail } from '../ir/diagnostics.js';
import { evalDim } from '../ir/dim.js';
import type { TensorSource } from '../ir/materialise.js';
import { type Module, modelDims } from '../ir/module.js';
import {
  combinationOf,
  combinations,
  type Observation,
  type Probe,
  probedModule,
  rowsOf,
  type StepObservation,
} from '../passes/probe.js';
import type { CalibrationCall, CalibrationData } from './calibration.js';
import { createExecutor } from './executor.js';
import { ObservationCache } from './observation-cache.js';

/** What is observed is needed to three digits, so fused multiply-add is welcome; the optimiser takes longer than it saves. */
export const observing = { optimize: false, relaxed: true } as const;

export type ObserveProgress = (done: number, total: number) => void;

export interface ObserveOptions {
  readonly source: TensorSource | undefined;
  readonly cache?: ObservationCache;
  /** See ExecutorOptions. */
  readonly residentBytes?: number | undefined;
  readonly workers?: number | undefined;
  readonly onProgress?: ObserveProgress | undefined;
}

/** What each probe finds in the data, by key. Probes of one module share one run. */
export async function observe(
  probes: readonly Probe[],
  data: CalibrationData,
  options: ObserveOptions,
): Promise<Map<string, Observation>> {
  const cache = options.cache ?? new ObservationCache();
  const missing = cache.missing(probes, data);
  for (const [module, own] of Map.groupBy(missing, (probe) => probe.module)) {
    const found = await observeModule(module, own, data, options);
    for (const [probe, observation] of found.results()) await cache.set(probe, data, observation);
  }
  return new Map(probes.map((probe) => [probe.key, cache.get(probe, data) as Observation]));
}

/** Calls are run with the probes that look at them and no others: what only those need of the model is all that is run. */
async function observeModule(
  module: Module,
  probes: readonly Probe[],
  data: CalibrationData,
  { source, residentBytes, workers, onProgress = () => {} }: ObserveOptions,
): Promise<Accumulators> {
  const totals = new Accumulators(module, probes);
  const last = data.calls.length - 1;
  const looking = (i: number): Probe[] => probes.filter(({ every = 1 }) => (last - i) % every === 0);
  const alike = Map.groupBy(data.calls.keys(), (i) =>
    looking(i)
      .map(({ key }) => key)
      .join('\n'),
  );
  let done = 0;
  for (const places of alike.values()) {
    const own = looking(places[0] as number);
    if (own.length === 0) continue;
    const calls = places.map((i) => data.calls[i] as CalibrationCall);
    const probed = probedModule(module, data.entry, own);
    const executor = await createExecutor(probed.module, source, { ...observing, residentBytes, workers });
    const add = totals.into(own, probed.states);
    await executor.run(
      {
        sequences: calls.map((call) => [{ entry: data.entry, ...call }]),
        outputs: [],
        states: probed.states,
      },
      {
        state: (call, name, turn, values) =>
          add(name, turn, values as Float32Array, calls[call] as CalibrationCall),
        progress: (ofRun, total) =>
          onProgress(done + Math.floor((ofRun / total) * calls.length), data.calls.length),
      },
    );
    done += calls.length;
  }
  return totals;
}

/** Takes what a call accumulated in one turn of a state. */
type Add = (state: string, turn: number, values: Float32Array, call: Omit<CalibrationCall, 'inputs'>) => void;

/** What probes find over all calls, whichever of them look at a call. */
export class Accumulators {
  private readonly byProbe: ReadonlyMap<Probe, Accumulator>;

  constructor(module: Module, probes: readonly Probe[]) {
    this.byProbe = new Map(probes.map((probe) => [probe, new Accumulator(module, probe)]));
  }

  /** For runs of a module with some of the probes, which accumulate in these states. */
  into(probes: readonly Probe[], states: readonly string[]): Add {
    const byState = new Map(states.map((state, i) => [state, this.byProbe.get(probes[i] as Probe)]));
    return (state, turn, values, call) => byState.get(state)?.add(turn, values, call);
  }

  /** In the order of the probes. */
  results(): (readonly [Probe, Observation])[] {
    return [...this.byProbe].map(([probe, total]) => [probe, total.result()]);
  }
}

/** What one probe finds over all calls. */
class Accumulator {
  private readonly total: Sums;
  private readonly steps = new Map<number, Sums>();

  constructor(
    private readonly module: Module,
    private readonly probe: Probe,
  ) {
    this.total = new Sums(probe);
  }

  /** What a call accumulated in one turn. */
  add(turn: number, values: Float32Array, { symbols, timestep }: Omit<CalibrationCall, 'inputs'>): void {
    const ofCall = evalDim(rowsOf(this.probe), new Map([...modelDims(this.module), ...symbols]));
    const rows = turn === 0 ? ofCall : 0;
    this.total.add(turn, values, rows);
    if (!this.probe.byTimestep) return;
    if (timestep === undefined)
      fail('HEW6011', 'the calibration data says nothing of timesteps, which ranges by timestep need', {
        help: 'leave the calibration file out: diffusion models are calibrated on samples they draw',
      });
    const step = this.steps.get(timestep) ?? new Sums(this.probe);
    this.steps.set(timestep, step);
    step.add(turn, values, rows);
  }

  result(): Observation {
    const { rows, sums } = this.total;
    if (!sums.every((sum) => sum.every(Number.isFinite))) {
      fail('HEW6011', `calibration gives values in @${this.probe.func} that are not finite`, {
        help: 'weights with NaN or infinities cannot be judged by their activations',
      });
    }
    const loop = this.module.functions.get(this.probe.func)?.loop;
    const indices = loop === undefined ? undefined : this.module.loops.get(loop)?.indices;
    const steps = [...this.steps]
      .sort(([a], [b]) => b - a)
      .map(([timestep, step]): StepObservation => ({ timestep, rows: step.rows, sums: step.sums }));
    return { rows, indices, sums, steps: this.probe.byTimestep ? steps : undefined };
  }
}

/** A statistic of several calls, in each turn of a loop. */
class Sums {
  rows = 0;
  readonly sums: Float64Array[] = [];
  private readonly combine: (a: number, b: number) => number;

  constructor(probe: Probe) {
    this.combine = combinations[combinationOf(probe.statistic)];
  }

  add(turn: number, values: Float32Array, rows: number): void {
    const sum = this.sums[turn];
    if (sum === undefined) this.sums[turn] = Float64Array.from(values);
    else for (let i = 0; i < sum.length; i++) sum[i] = this.combine(sum[i] as number, values[i] as number);
    this.rows += rows;
  }
}
