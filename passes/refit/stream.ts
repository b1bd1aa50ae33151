/**
 * Running segments on calibration data that the pass keeps itself: one array per call for each value that is carried
 * from segment to segment. Moments are summed in f32 by the segment over one call, and in float64 over all calls.
 */
import type { FuncBuilder } from '../../ir/builder.js';
import { type Dim, dim } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import type { DataInput, PassData } from '../pass.js';
import { type Probe, probedModule } from '../probe.js';
import { type Segment, segmentEntry } from './segment.js';

/** A value of all calls, row-major. */
export type Carried = readonly Float32Array[];

/** One array for each call, or one for all of them. */
export type CarriedInputs = Readonly<Record<string, Carried | Float32Array | Int32Array>>;

const inputsOf = (data: PassData, call: number, carried: CarriedInputs): Record<string, DataInput> => ({
  ...data.calibration.calls[call]?.inputs,
  ...Object.fromEntries(
    Object.entries(carried).map(([name, value]) => [
      name,
      ArrayBuffer.isView(value) ? value : (value[call] as Float32Array),
    ]),
  ),
});

/** The values of a segment for all calls. */
export async function forward<Name extends string>(
  data: PassData,
  segment: Segment,
  carried: CarriedInputs,
  values: Readonly<Record<Name, Value>>,
): Promise<Record<Name, Carried>> {
  return (await measure<never, Name>(data, segment, carried, { values })).values;
}

export interface Wanted<Moment extends string, Name extends string> {
  /** Pairs x, y of which Σ x yᵀ is wanted; a value alone stands for its Gram matrix Σ x xᵀ. */
  readonly moments?: Readonly<Record<Moment, Value | readonly [Value, Value]>>;
  /** Values that are wanted themselves. */
  readonly values?: Readonly<Record<Name, Value>>;
}

export interface Measured<Moment extends string, Name extends string> {
  /** Row-major, summed over all rows of all calls. */
  readonly moments: Record<Moment, Float64Array>;
  readonly values: Record<Name, Carried>;
}

/** Runs a segment once over all calls. */
export async function measure<Moment extends string, Name extends string>(
  data: PassData,
  segment: Segment,
  carried: CarriedInputs,
  wanted: Wanted<Moment, Name>,
): Promise<Measured<Moment, Name>> {
  const sums = (Object.entries(wanted.moments ?? {}) as [Moment, Value | readonly [Value, Value]][]).map(
    ([key, value]) => ({
      key,
      ...('type' in value
        ? gramOf(segment.builder, value)
        : { pairs: [value], assemble: (parts: readonly Float64Array[]) => parts[0] as Float64Array }),
    }),
  );
  const values = (wanted.values ?? {}) as Readonly<Record<Name, Value>>;
  const names = Object.keys(values) as Name[];
  const pairs = sums.flatMap((sum) => sum.pairs);
  const module = segment.finish(values);
  const probes = pairs.map(
    (pair, i): Probe => ({
      key: String(i),
      module,
      func: segmentEntry,
      values: pair,
      statistic: 'moment',
    }),
  );
  const probed = probedModule(module, segmentEntry, probes, 'kept');
  const model = await data.load(probed.module);
  const states = probed.states.map((name) => model.state(name));
  const totals: Float64Array[] = [];
  const outputs = data.calibration.calls.map((_, call) => {
    model.reset();
    const output = model.run(segmentEntry, inputsOf(data, call, carried), { outputs: names });
    states.forEach((state, i) => {
      totals[i] = addInto(totals[i], state.read() as Float32Array);
    });
    return output;
  });
  let next = 0;
  const moments = sums.map(({ key, pairs: own, assemble }) => {
    const parts = totals.slice(next, next + own.length);
    next += own.length;
    return [key, assemble(parts)] as const;
  });
  const collect = (name: Name): Carried => outputs.map((output) => output[name] as Float32Array);
  return {
    moments: Object.fromEntries(moments) as Record<Moment, Float64Array>,
    values: Object.fromEntries(names.map((name) => [name, collect(name)])) as Record<Name, Carried>,
  };
}

/** A Gram matrix is computed in bands of rows, from the diagonal on: the rest is their mirror image. */
const bands = 4;
/** Below this size a band would leave the matrix product too little to do at once. */
const leastBand = 48;

interface Gram {
  readonly pairs: readonly (readonly [Value, Value])[];
  assemble(parts: readonly Float64Array[]): Float64Array;
}

function gramOf(b: FuncBuilder, x: Value): Gram {
  const { shape } = x.type;
  const n = b.scope.valueOf(shape.at(-1) as Dim) as number;
  const width = Math.max(leastBand, Math.ceil(n / bands));
  const starts = Array.from({ length: Math.ceil(n / width) }, (_, i) => i * width);
  const cut = (start: number, end: number): Value =>
    start === 0 && end === n
      ? x
      : b.one('slice', [x], { axis: shape.length - 1, start: dim(start), end: dim(end) });
  return {
    pairs: starts.map((start) => [cut(start, Math.min(n, start + width)), cut(start, n)]),
    assemble: (parts) => {
      const gram = new Float64Array(n * n);
      parts.forEach((part, band) => {
        const start = starts[band] as number;
        const columns = n - start;
        for (let i = 0; i < part.length / columns; i++) {
          for (let j = i; j < columns; j++) {
            const value = part[i * columns + j] as number;
            gram[(start + i) * n + start + j] = value;
            gram[(start + j) * n + start + i] = value;
          }
        }
      });
      return gram;
    },
  };
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
