/**
 * Observations of earlier runs by what they were made from: the module, the place and the statistic, the data and, on
 * disk, the weights and the compiler as well.
 */
import { createHash } from 'node:crypto';
import { HewError } from '../ir/diagnostics.js';
import { defOf, type Func, type Module, type Value } from '../ir/module.js';
import { printModule } from '../ir/print.js';
import type { Observation, Probe, StepObservation } from '../passes/probe.js';
import type { CalibrationData } from './calibration.js';
import { type ContentStore, type StoredItem, type StoredTensor, storedFloats } from './content-store.js';

export interface ObservationStore {
  readonly store: ContentStore;
  /** Tells weights and compilers apart. */
  readonly identity: string;
}

export class ObservationCache {
  private readonly found = new Map<string, Observation>();
  private readonly texts = new WeakMap<Module, string>();

  /** In memory, and on disk where there is a store. */
  constructor(private readonly disk?: ObservationStore) {}

  get(probe: Probe, data: CalibrationData): Observation | undefined {
    return this.lookUp(this.key(probe, data));
  }

  /** Those that are not known yet, each once. */
  missing(probes: readonly Probe[], data: CalibrationData): Probe[] {
    const byKey = new Map(probes.map((probe) => [this.key(probe, data), probe]));
    return [...byKey].filter(([key]) => this.lookUp(key) === undefined).map(([, probe]) => probe);
  }

  async set(probe: Probe, data: CalibrationData, observation: Observation): Promise<void> {
    const key = this.key(probe, data);
    this.found.set(key, observation);
    try {
      await this.disk?.store.write(`${this.disk.identity} ${key}`, toItem(observation));
    } catch (error) {
      // A cache that cannot be written, on a full disk or a read-only one, costs time and nothing else.
      if (!(error instanceof HewError || (error instanceof Error && 'syscall' in error))) throw error;
    }
  }

  private lookUp(key: string): Observation | undefined {
    const known = this.found.get(key);
    if (known !== undefined || this.disk === undefined) return known;
    const item = this.disk.store.read(`${this.disk.identity} ${key}`);
    const observation = item && fromItem(item);
    if (observation !== undefined) this.found.set(key, observation);
    return observation;
  }

  /** Values are told apart by the op that makes them. */
  private key(
    { module, func, values, statistic, eps, byTimestep, every }: Probe,
    data: CalibrationData,
  ): string {
    const known = this.texts.get(module) ?? createHash('sha256').update(printModule(module)).digest('hex');
    this.texts.set(module, known);
    const places = values.map((value) => placeOf(module.functions.get(func) as Func, value));
    return [
      known,
      func,
      ...places,
      statistic,
      eps ?? 0,
      byTimestep ?? false,
      every ?? 1,
      data.fingerprint,
    ].join(' ');
  }
}

function placeOf({ args, body }: Func, value: Value): string {
  const op = defOf(value);
  return op === undefined
    ? `arg ${args.indexOf(value)}`
    : `op ${body.indexOf(op)}.${op.results.indexOf(value)}`;
}

// ---- observations as items of a store

interface Facts {
  readonly rows: number;
  readonly indices: readonly number[] | null;
  readonly turns: number;
  readonly steps: readonly { readonly timestep: number; readonly rows: number }[] | null;
}

function toItem({ rows, indices, sums, steps }: Observation): StoredItem {
  const tensors = new Map<string, StoredTensor>();
  const add = (prefix: string, arrays: readonly Float64Array[]): void => {
    for (const [turn, values] of arrays.entries())
      tensors.set(`${prefix}${turn}`, storedFloats(values, [values.length]));
  };
  add('sums.', sums);
  for (const [i, step] of (steps ?? []).entries()) add(`step.${i}.`, step.sums);
  const facts: Facts = {
    rows,
    indices: indices ?? null,
    turns: sums.length,
    steps: steps?.map((step) => ({ timestep: step.timestep, rows: step.rows })) ?? null,
  };
  return { tensors, facts };
}

function fromItem({ tensors, facts }: StoredItem): Observation {
  const { rows, indices, turns, steps } = facts as Facts;
  const arrays = (prefix: string): Float64Array[] =>
    Array.from({ length: turns }, (_, turn) => {
      const { bytes } = tensors.get(`${prefix}${turn}`) as StoredTensor;
      return new Float64Array(bytes.buffer);
    });
  const byStep = steps?.map((step, i): StepObservation => ({ ...step, sums: arrays(`step.${i}.`) }));
  return { rows, indices: indices ?? undefined, sums: arrays('sums.'), steps: byStep };
}
