/**
 * How much a model minds errors of the outputs of its linear layers. To second order an error E of y = W x costs
 * Σ (J E x)ᵀ (J E x), J being the derivative by y of what is judged; with tokens and channels taken for independent that
 * is tr(A E H Eᵀ) with H = Σ x xᵀ and A = Σ Jᵀ J (Kronecker factors: Martens and Grosse, arXiv 1503.05671). A is found
 * from random cotangents g of what is judged, E[g gᵀ] being the curvature of the loss there: A = Σ δ δᵀ of δ = Jᵀ g.
 */
import type { Value } from '../../ir/module.js';
import type { PassData } from '../pass.js';
import { type Place, type Segment, streamEnds } from '../refit/segment.js';
import { type Carried, forward, measure } from '../refit/stream.js';
import { firstStream, indicesOf, segmentAt } from '../refit/walk.js';
import { adjointsOf } from './adjoint.js';
import type { Layer } from './layers.js';

/** Σ δ δᵀ [out, out] of each layer of one turn, by its weight. */
export type Factors = ReadonlyMap<string, Float64Array>;

/** Cotangents of what is judged, from its values in all calls. */
export type Cotangents = (values: Carried) => Carried;

/** The stream of all calls before each turn and behind the last. */
export async function streamsOf(place: Place, data: PassData): Promise<readonly Carried[]> {
  const streams = [await firstStream(place, data)];
  for (const turn of indicesOf(place).keys())
    streams.push(await throughTurn({ ...place, turn }, streams[turn] as Carried, data));
  return streams;
}

/** The stream behind a turn. */
export async function throughTurn(place: Place, stream: Carried, data: PassData): Promise<Carried> {
  const segment = segmentAt(place, data);
  segment.cut(place.stream.input, 'stream');
  return (await forward(data, segment, { stream }, { next: segment.get(place.stream.output) })).next;
}

/** The first output of the entry, from the stream before a turn. */
export async function outputsFrom(
  place: Place,
  turn: number,
  stream: Carried,
  data: PassData,
): Promise<Carried> {
  let current = stream;
  for (let next = turn; next < indicesOf(place).length; next++)
    current = await throughTurn({ ...place, turn: next }, current, data);
  const { segment, output } = tailOf(place, data);
  return (await forward(data, segment, { stream: current }, { output })).output;
}

function tailOf(
  place: Place,
  data: PassData,
): { readonly segment: Segment; readonly stream: Value; readonly output: Value } {
  const segment = segmentAt(place, data);
  const stream = segment.cut(streamEnds(place).last, 'stream');
  return { segment, stream, output: segment.get(place.entry.results[0] as Value) };
}

/** Factors of every turn for a loss of the first output of the entry. */
export async function factorsOfModel(
  place: Place,
  layers: readonly Layer[],
  streams: readonly Carried[],
  cotangents: Cotangents,
  data: PassData,
): Promise<readonly Factors[]> {
  const stream = streams.at(-1) as Carried;
  const seed = cotangents(await outputsFrom(place, streams.length - 1, stream, data));
  const tail = tailOf(place, data);
  const given = tail.segment.input('cotangent', tail.output.type);
  const adjoints = adjointsOf(tail.segment.builder, new Map([[tail.output, given]]), [tail.stream]);
  const adjoint = adjoints.get(tail.stream);
  let cotangent =
    adjoint && (await forward(data, tail.segment, { stream, cotangent: seed }, { adjoint })).adjoint;
  const factors: Factors[] = [];
  for (const turn of [...indicesOf(place).keys()].reverse()) {
    const found = cotangent && (await backward({ ...place, turn }, layers, streams, cotangent, data));
    factors.unshift(found?.factors ?? new Map());
    cotangent = found?.cotangent;
  }
  return factors;
}

/** Factors of every turn for a loss of the stream behind it. */
export async function factorsOfBlocks(
  place: Place,
  layers: readonly Layer[],
  streams: readonly Carried[],
  cotangents: Cotangents,
  data: PassData,
): Promise<readonly Factors[]> {
  const factors: Factors[] = [];
  for (const turn of indicesOf(place).keys()) {
    const cotangent = cotangents(streams[turn + 1] as Carried);
    factors.push((await backward({ ...place, turn }, layers, streams, cotangent, data)).factors);
  }
  return factors;
}

/** Factors of one turn, and the cotangent of the stream before it. */
async function backward(
  place: Place & { readonly turn: number },
  layers: readonly Layer[],
  streams: readonly Carried[],
  cotangent: Carried,
  data: PassData,
): Promise<{ readonly factors: Factors; readonly cotangent: Carried | undefined }> {
  const segment = segmentAt(place, data);
  const input = segment.cut(place.stream.input, 'stream');
  const output = segment.get(place.stream.output);
  const given = segment.input('cotangent', output.type);
  const outputs = new Map(
    layers.map(({ weight, observed }) => [weight, segment.get(observed.op.results[0] as Value)]),
  );
  const adjoints = adjointsOf(segment.builder, new Map([[output, given]]), [input, ...outputs.values()]);
  const moments = Object.fromEntries(
    [...outputs].flatMap(([weight, value]) => {
      const adjoint = adjoints.get(value);
      return adjoint === undefined ? [] : [[weight, adjoint]];
    }),
  );
  const next = adjoints.get(input);
  const values: Record<string, Value> = next === undefined ? {} : { next };
  const stream = streams[place.turn] as Carried;
  const found = await measure(data, segment, { stream, cotangent }, { moments, values });
  return { factors: new Map(Object.entries(found.moments)), cotangent: found.values.next };
}
