/** Solving the layers that read the normed stream. */
import { dim } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import { dotRows } from './cholesky.js';
import { keptOfParam } from './kept.js';
import { corrected, normalsFor, type Settings } from './problem.js';
import type { Place } from './segment.js';
import { type Carried, forward, measure } from './stream.js';
import type { Layer } from './sublayers.js';
import { channelsOf, segmentAt } from './walk.js';

/** A normed stream: the value of the stream it is the norm of, and what the stream is on the calibration data. */
export interface Normed {
  readonly place: Place;
  readonly before: Value;
  readonly value: Value;
  readonly stream: Carried;
}

/** A reader, and the original's weight that it was cut from. */
export interface Reader {
  readonly layer: Layer;
  readonly original: string;
}

/**
 * Re-solves linear layers that read one normed stream n', so that they say what the original's say of its own normed
 * stream n: min Σ ‖W' n' - W n‖², W being the original's rows that are left. Layers whose rows are not plainly rows of
 * the original's stay as they are.
 */
export async function refitReaders(
  own: Normed,
  original: Normed,
  readers: readonly Reader[],
  { data, ridge }: Settings,
): Promise<Place> {
  const rowsOf = ({ layer, original: name }: Reader): readonly number[] | undefined =>
    keptOfParam(own.place, original.place, layer.weight, 0, name);
  const found = readers.filter((reader) => rowsOf(reader) !== undefined);
  const [first] = found;
  if (first === undefined) return own.place;
  const { gram, cross } = await momentsOf(own, original, { data, ridge });
  const inputs = Math.sqrt(gram.length);
  const normals = normalsFor(first.layer.weight, gram, inputs, ridge);
  const size = cross.length / inputs;
  let place = own.place;
  for (const reader of found) {
    const { weight } = reader.layer;
    const rows = rowsOf(reader) as readonly number[];
    const whole = data.weight(original.place.module, reader.original, original.place.turn).data;
    const present = data.weight(place.module, weight, place.turn).data;
    const left = new Float64Array(inputs * rows.length);
    for (let i = 0; i < inputs; i++) {
      for (const [j, row] of rows.entries()) {
        const wanted = dotRows(cross, i * size, whole, row * size, size);
        left[i * rows.length + j] = wanted - dotRows(gram, i * inputs, present, j * inputs, inputs);
      }
    }
    place = corrected(place, weight, normals, left, data);
  }
  return place;
}

/** Σ n' n'ᵀ and Σ n' nᵀ. */
async function momentsOf(
  own: Normed,
  original: Normed,
  { data }: Settings,
): Promise<{ gram: Float64Array; cross: Float64Array }> {
  const from = segmentAt(original.place, data);
  from.cut(original.before, 'stream');
  const { normed } = await forward(
    data,
    from,
    { stream: original.stream },
    {
      normed: from.get(original.value),
    },
  );
  const segment = segmentAt(own.place, data);
  segment.cut(own.before, 'stream');
  const x = segment.get(own.value);
  const n = segment.input('normed', {
    dtype: 'f32',
    shape: [...own.before.type.shape.slice(0, -1), dim(channelsOf(original.place))],
  });
  const carried = { stream: own.stream, normed };
  return (await measure(data, segment, carried, { moments: { gram: x, cross: [x, n] } })).moments;
}
