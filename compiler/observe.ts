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
    for (const [every, ofRun] of Map.groupBy(own, (probe) => probe.every ?? 1)) {
      const found = await observeModule(module, ofRun, thinned(data, every), options);
      for (const [i, probe] of ofRun.entries()) await cache.set(probe, data, found[i] as Observation);
    }
  }
  return new Map(probes.map((probe) => [probe.key, cache.get(probe, data) as Observation]));
}

/** Every n-th call, counted from the last. */
function thinned(data: CalibrationData, every: number): CalibrationData {
  const last = data.calls.length - 1;
  return every === 1 ? data : { ...data, calls: data.calls.filter((_, i) => (last - i) % every === 0) };
}

async function observeModule(
  module: Module,
  probes: readonly Probe[],
  data: CalibrationData,
  { source, residentBytes, workers, onProgress = () => {} }: ObserveOptions,
): Promise<Observation[]> {
  const probed = probedModule(module, data.entry, probes);
  const executor = await createExecutor(probed.module, source, { ...observing, residentBytes, workers });
  const totals = new Accumulators(module, probes, probed.states);
  await executor.run(
    {
      sequences: data.calls.map((call) => [{ entry: data.entry, ...call }]),
      outputs: [],
      states: probed.states,
    },
    {
      state: (call, name, turn, values) =>
        totals.add(name, turn, values as Float32Array, data.calls[call] as CalibrationCall),
      progress: onProgress,
    },
  );
  return totals.results();
}

/** What probes find over all calls, by the states that they accumulate in. */
export class Accumulators {
  private readonly byState: ReadonlyMap<string, Accumulator>;

  constructor(module: Module, probes: readonly Probe[], states: readonly string[]) {
    this.byState = new Map(
      probes.map((probe, i) => [states[i] as string, new Accumulator(module, probe)] as const),
    );
  }

  /** What a call accumulated in one turn. */
  add(state: string, turn: number, values: Float32Array, call: Omit<CalibrationCall, 'inputs'>): void {
    this.byState.get(state)?.add(turn, values, call);
  }

  /** In the order of the probes. */
  results(): Observation[] {
    return [...this.byState.values()].map((total) => total.result());
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
