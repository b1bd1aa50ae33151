/** Solving the gains of the norms behind the writers. */
import type { PassData } from '../pass.js';
import { reciprocalRms } from './problem.js';
import type { Place } from './segment.js';
import { type Carried, forward } from './stream.js';
import type { Sublayer } from './sublayers.js';
import { segmentAt, withWeight } from './walk.js';
import { cutKnown, type Known } from './writers.js';

/**
 * Re-solves the gain behind the writers, channel by channel: min over γ_j of Σ (γ_j û_j - (target - stream)_j)² with
 * û = u / rms(u). A channel that is always zero keeps its gain.
 */
export async function refitGain(
  place: Place,
  { before, norm, sum }: Sublayer,
  { stream, target, known }: { readonly stream: Carried; readonly target: Carried; readonly known: Known },
  data: PassData,
): Promise<Place> {
  if (norm === undefined) return place;
  const segment = segmentAt(place, data);
  const b = segment.builder;
  segment.cut(before, 'stream');
  const carried = { stream, ...cutKnown(segment, known) };
  const u = segment.get(sum);
  const normed = b.one('mul', [u, reciprocalRms(b, u, norm.eps)]);
  const values = (await forward(data, segment, carried, { normed })).normed;
  const { data: present } = data.weight(place.module, norm.gamma, place.turn);
  const channels = present.length;
  const [squares, products] = [new Float64Array(channels), new Float64Array(channels)];
  values.forEach((rows, call) => {
    const [h, goal] = [stream[call] as Float32Array, target[call] as Float32Array];
    rows.forEach((z, i) => {
      const j = i % channels;
      squares[j] = (squares[j] as number) + z * z;
      products[j] = (products[j] as number) + z * ((goal[i] as number) - (h[i] as number));
    });
  });
  const solved = squares.map((square, j) =>
    square > 0 ? (products[j] as number) / square : (present[j] as number),
  );
  return withWeight(place, norm.gamma, solved);
}
