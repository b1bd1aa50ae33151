/**
 * Running segments on calibration data that the pass keeps itself: one array per call for each value that is carried
 * from segment to segment. Moments are summed in f32 by the segment over one call, and in float64 over all calls.
 */
import type { Module, Value } from '../../ir/module.js';
import type { DataInput, PassData } from '../pass.js';
import { type Probe, probedModule } from '../probe.js';
import { segmentEntry } from './segment.js';

/** A value of all calls, row-major. */
export type Carried = readonly Float32Array[];

export type CarriedInputs = Readonly<Record<string, Carried>>;

const inputsOf = (data: PassData, call: number, carried: CarriedInputs): Record<string, DataInput> => ({
  ...data.calibration.calls[call]?.inputs,
  ...Object.fromEntries(
    Object.entries(carried).map(([name, arrays]) => [name, arrays[call] as Float32Array]),
  ),
});

/** The outputs of a segment for all calls. */
export async function forward<Name extends string>(
  data: PassData,
  segment: Module,
  carried: CarriedInputs,
  names: readonly Name[],
): Promise<Record<Name, Carried>> {
  const model = await data.load(segment);
  const outputs = data.calibration.calls.map((_, call) => {
    model.reset();
    return model.run(segmentEntry, inputsOf(data, call, carried), { outputs: names });
  });
  const collect = (name: Name): Carried => outputs.map((output) => output[name] as Float32Array);
  return Object.fromEntries(names.map((name) => [name, collect(name)])) as Record<Name, Carried>;
}

/** Σ x yᵀ over all rows of all calls, for pairs of values of a segment. */
export async function moments<Key extends string>(
  data: PassData,
  segment: Module,
  carried: CarriedInputs,
  pairs: Readonly<Record<Key, readonly [Value, Value]>>,
): Promise<Record<Key, Float64Array>> {
  const keys = Object.keys(pairs) as Key[];
  const probes = keys.map(
    (key): Probe => ({ key, module: segment, func: segmentEntry, values: pairs[key], statistic: 'moment' }),
  );
  const probed = probedModule(segment, segmentEntry, probes);
  const model = await data.load(probed.module);
  const states = probed.states.map((name) => model.state(name));
  const sums: Float64Array[] = [];
  data.calibration.calls.forEach((_, call) => {
    model.reset();
    model.run(segmentEntry, inputsOf(data, call, carried), { outputs: [] });
    states.forEach((state, i) => {
      sums[i] = addInto(sums[i], state.read() as Float32Array);
    });
  });
  return Object.fromEntries(keys.map((key, i) => [key, sums[i]])) as Record<Key, Float64Array>;
}

function addInto(sum: Float64Array | undefined, terms: Float32Array): Float64Array {
  if (sum === undefined) return Float64Array.from(terms);
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (terms[i] as number);
  return sum;
}

/** The kept channels of rows of `size` channels. */
export function cutChannels(carried: Carried, size: number, kept: readonly number[]): Carried {
  if (kept.length === size) return carried;
  return carried.map((array) => {
    const rows = array.length / size;
    const cut = new Float32Array(rows * kept.length);
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < kept.length; i++)
        cut[row * kept.length + i] = array[row * size + (kept[i] as number)] as number;
    }
    return cut;
  });
}
