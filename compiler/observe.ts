/**
 * Runs probes: compiles a module once with accumulators for every statistic, streams the calibration data through the
 * wasm backend, and adds up in float64 what each call accumulated in f32. Results are kept by content, so that asking
 * for the same statistic of the same module and data again costs nothing.
 */
import { createHash } from 'node:crypto';
import type { Model } from '../backends/wasm/runtime/load.js';
import { fail } from '../ir/diagnostics.js';
import { evalDim } from '../ir/dim.js';
import type { TensorSource } from '../ir/materialise.js';
import { defOf, type Func, type Module, modelDims, type Value } from '../ir/module.js';
import { printModule } from '../ir/print.js';
import { type Observation, type Probe, probedModule, rowsOf } from '../passes/probe.js';
import type { CalibrationData } from './calibration.js';
import { loadModule } from './in-memory.js';

export type ObserveProgress = (done: number, total: number) => void;

/** Observations of earlier runs, by content. */
export class ObservationCache {
  private readonly found = new Map<string, Observation>();
  private readonly texts = new WeakMap<Module, string>();

  get(probe: Probe, data: CalibrationData): Observation | undefined {
    return this.found.get(this.key(probe, data));
  }

  /** Those that are not known yet, each once. */
  missing(probes: readonly Probe[], data: CalibrationData): Probe[] {
    const byKey = new Map(probes.map((probe) => [this.key(probe, data), probe]));
    return [...byKey].filter(([key]) => !this.found.has(key)).map(([, probe]) => probe);
  }

  set(probe: Probe, data: CalibrationData, observation: Observation): void {
    this.found.set(this.key(probe, data), observation);
  }

  /** Values are told apart by the op that makes them. */
  private key({ module, func, values, statistic, eps }: Probe, data: CalibrationData): string {
    const known = this.texts.get(module) ?? createHash('sha256').update(printModule(module)).digest('hex');
    this.texts.set(module, known);
    const places = values.map((value) => placeOf(module.functions.get(func) as Func, value));
    return [known, func, ...places, statistic, eps ?? 0, data.fingerprint].join(' ');
  }
}

function placeOf({ args, body }: Func, value: Value): string {
  const op = defOf(value);
  return op === undefined
    ? `arg ${args.indexOf(value)}`
    : `op ${body.indexOf(op)}.${op.results.indexOf(value)}`;
}

export interface ObserveOptions {
  readonly source: TensorSource | undefined;
  readonly cache?: ObservationCache;
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
    own.forEach((probe, i) => {
      cache.set(probe, data, found[i] as Observation);
    });
  }
  return new Map(probes.map((probe) => [probe.key, cache.get(probe, data) as Observation]));
}

async function observeModule(
  module: Module,
  probes: readonly Probe[],
  data: CalibrationData,
  { source, onProgress = () => {} }: ObserveOptions,
): Promise<Observation[]> {
  const probed = probedModule(module, data.entry, probes);
  const model = await loadModule(probed.module, source);
  const totals = probes.map((probe, i) => new Accumulator(module, probe, model, probed.states[i] as string));
  data.calls.forEach(({ inputs, symbols }, i) => {
    model.reset();
    model.run(data.entry, inputs, { outputs: [] });
    for (const total of totals) total.add(symbols);
    onProgress(i + 1, data.calls.length);
  });
  return totals.map((total) => total.result());
}

/** The sums of one probe over all calls. */
class Accumulator {
  private readonly sums: Float64Array[];
  private readonly indices: readonly number[] | undefined;
  private rows = 0;

  constructor(
    private readonly module: Module,
    private readonly probe: Probe,
    private readonly model: Model,
    private readonly state: string,
  ) {
    const loop = module.functions.get(probe.func)?.loop;
    this.indices = loop === undefined ? undefined : module.loops.get(loop)?.indices;
    const turns = this.indices?.length ?? 1;
    const { length } = model.state(state).read();
    this.sums = Array.from({ length: turns }, () => new Float64Array(length / turns));
  }

  add(symbols: ReadonlyMap<string, number>): void {
    const values = this.model.state(this.state).read() as Float32Array;
    const size = values.length / this.sums.length;
    this.sums.forEach((sum, turn) => {
      for (let i = 0; i < size; i++) sum[i] = (sum[i] as number) + (values[turn * size + i] as number);
    });
    this.rows += evalDim(rowsOf(this.probe), new Map([...modelDims(this.module), ...symbols]));
  }

  result(): Observation {
    const finite = this.sums.every((sum) => sum.every(Number.isFinite));
    if (!finite) {
      fail('HEW6011', `calibration gives values in @${this.probe.func} that are not finite`, {
        help: 'weights with NaN or infinities cannot be pruned by their activations',
      });
    }
    return { rows: this.rows, indices: this.indices, sums: this.sums };
  }
}
