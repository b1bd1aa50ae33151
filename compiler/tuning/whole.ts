/**
 * What choices are worth in the whole model. Kernels overlap there, so one that is faster alone may be slower beside others:
 * every choice is measured in the model without the other choices, and taken back where the model becomes slower.
 */
import { emitCuda } from '../../backends/cuda/compile.js';
import {
  type DecodeShape,
  type KindName,
  recordText,
  requestKey,
  type Tuning,
  tuningOf,
} from '../../backends/cuda/tuning.js';
import type { NativeEntry, NativeManifest } from '../../backends/native/manifest.js';
import type { Module } from '../../ir/module.js';
import type { OpenedKernels, TuningDevice } from './device.js';
import type { TuningEntry } from './file.js';
import { callOf, compiled, type MeasureOptions, median, repeats, rounded } from './measure.js';
import { madeUp } from './operands.js';
import { started } from './started.js';

export interface WholeOptions extends Omit<MeasureOptions, 'symbols'> {
  /** Values of the run-time symbols to measure at. */
  readonly assignments: readonly MeasureOptions['symbols'][];
  readonly onProgress?: ((stage: string, done: number, total: number) => void) | undefined;
}

/** A change of the whole model that is noise. */
const noise = 0.002;

const isChanged = ({ choice, measured }: TuningEntry): boolean =>
  recordText(choice) !== recordText(measured[0]?.parameters ?? {});

const keyOf = ({ kind, shape }: TuningEntry): string => requestKey(kind as KindName, shape);

/** The entries, with the default where a choice does not pay in the whole model. */
export async function judged(
  device: TuningDevice,
  module: Module,
  entries: readonly TuningEntry[],
  options: WholeOptions,
): Promise<TuningEntry[]> {
  const changed = entries.filter(isChanged);
  const ratios = await speedups(
    device,
    module,
    entries,
    changed.map((entry) => [entry]),
    options,
  );
  const gains = changed.filter((_, i) => (ratios[i] as number) >= 1 - noise);
  const [together = 1] = gains.length > 1 ? await speedups(device, module, entries, [gains], options) : [];
  const kept = new Set(together < 1 - noise ? [] : gains);
  return entries.map((entry) => {
    const i = changed.indexOf(entry);
    if (i < 0) return entry;
    const choice = kept.has(entry) ? entry.choice : (entry.measured[0]?.parameters ?? entry.choice);
    return { ...entry, choice, whole: rounded(ratios[i] as number) };
  });
}

/** How many times as fast the model is with each of some sets of choices: the mean over its entries, of medians. */
async function speedups(
  device: TuningDevice,
  module: Module,
  entries: readonly TuningEntry[],
  sets: readonly (readonly TuningEntry[])[],
  options: WholeOptions,
): Promise<number[]> {
  if (sets.length === 0) return [];
  const measured = new Set(entries.map(keyOf));
  const tuningWith = (chosen: readonly TuningEntry[]): Tuning => {
    const own = tuningOf(new Map(chosen.map((entry) => [keyOf(entry), entry.choice])));
    return (request) =>
      (measured.has(requestKey(request.kind, request.shape)) ? own : options.others)(request);
  };
  const ways = await Promise.all(
    started(
      [[], ...sets].map(
        (chosen) => () => compiled(device, emitCuda(module, { tuning: tuningWith(chosen) }), options.compute),
      ),
    ),
  );
  const times = ways.map((): (readonly (readonly number[])[])[] => []);
  for (let round = 0; round < options.rounds; round++)
    for (const [i, { manifest, kernels }] of ways.entries()) {
      options.onProgress?.('measuring the model', round * ways.length + i, options.rounds * ways.length);
      const opened = await kernels.open();
      try {
        times[i]?.push(measureEntries(opened, manifest, entries, options));
      } finally {
        opened.close();
      }
    }
  const [without, ...others] = times.map(([first = [], ...more]) =>
    first.map((own, entry) => median([...own, ...more.flatMap((round) => round[entry] ?? [])])),
  ) as [number[], ...number[][]];
  return others.map((own) => {
    const logarithms = own.map((time, entry) => Math.log((without[entry] as number) / time));
    return Math.exp(logarithms.reduce((sum, value) => sum + value, 0) / logarithms.length);
  });
}

/** Milliseconds of the runs of each entry at each assignment of its symbols. */
function measureEntries(
  opened: OpenedKernels,
  { entries, states }: Omit<NativeManifest, 'files'>,
  measured: readonly TuningEntry[],
  { assignments, position = middleOf(measured) }: WholeOptions,
): number[][] {
  return Object.entries(entries).flatMap(([name, entry]) => {
    // What reads several tokens begins at the first.
    const at = entry.symbols.length === 0 ? position : 0;
    for (const { name: state, dtype, shape } of states)
      if (shape.length === 0) opened.writeState(state, madeUp(dtype, 1, at));
    return callsOf(name, entry, assignments).map((call) => [
      ...opened.measure(
        call,
        entry.outputs.map((slot) => slot.name),
        repeats,
      ),
    ]);
  });
}

/** Assignments that differ in symbols of the entry. */
function callsOf(name: string, entry: NativeEntry, assignments: WholeOptions['assignments']) {
  const calls = assignments.map((symbols) => callOf(entry, name, 0, 0, { symbols }));
  return [...new Map(calls.map((call) => [JSON.stringify(call.symbols), call])).values()];
}

/** The middle of the caches whose attention was measured. */
function middleOf(entries: readonly TuningEntry[]): number {
  const lengths = entries.map(({ kind, shape }) =>
    kind === 'decode' ? (shape as unknown as DecodeShape).length : 0,
  );
  return Math.floor(Math.max(0, ...lengths) / 2);
}
