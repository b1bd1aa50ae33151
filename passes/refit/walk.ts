/**
 * Walking through a model turn by turn with the calibration data: the model of one side, its place in the graph, and
 * the residual stream as far as it has come. Only one segment is compiled at a time, so memory is the stream of all
 * calls, the moments of one layer, and the weights of one turn.
 */
import { fail } from '../../ir/diagnostics.js';
import type { Dim } from '../../ir/dim.js';
import { type Func, type Module, modelDims, type Param } from '../../ir/module.js';
import type { PassData } from '../pass.js';
import { constantRecipe, recipeAt, turnsOf } from '../recipes.js';
import { observedStructure } from '../structure.js';
import { type Place, Segment, streamEnds } from './segment.js';
import { type Carried, forward } from './stream.js';
import { type Flag, type Sublayer, sublayersOf } from './sublayers.js';

/** The place of a module's residual stream; HEW6010 unless there is exactly one in the observed entry. */
export function placeOf(module: Module, data: PassData): Place {
  const entry = module.functions.get(data.calibration.entry) as Func;
  const [stream, ...others] = observedStructure(module).streams;
  if (stream === undefined || others.length > 0) {
    return fail(
      'HEW6010',
      `refit follows one residual stream, entry ${entry.name} has ${others.length + (stream ? 1 : 0)}`,
    );
  }
  return { module, entry, stream };
}

export const channelsOf = ({ module, stream }: Place): number =>
  modelDims(module).get(stream.channels ?? '') ??
  fail('HEW6010', 'the channels of the residual stream are no named dimension');

export const indicesOf = ({ module, stream }: Place): readonly number[] => turnsOf(module, stream.loop) ?? [];

const flagAt = ({ module, turn }: Place, data: PassData): Flag => {
  return (param) => data.weight(module, param, turn).data[0] === 1;
};

export const segmentAt = (place: Place, data: PassData): Segment => new Segment(place, flagAt(place, data));

export const sublayersAt = (place: Place, data: PassData): Sublayer[] =>
  sublayersOf(place.module, place.stream, flagAt(place, data));

/** The stream before the first turn. */
export async function firstStream(place: Place, data: PassData): Promise<Carried> {
  const segment = segmentAt(place, data);
  const stream = segment.get(streamEnds(place).first);
  return (await forward(data, segment.finish({ stream }), {}, ['stream'])).stream;
}

/** What one turn of the original is to be reproduced by. */
export interface Lesson {
  /** The stream before each sub-layer. */
  readonly before: readonly Carried[];
  /** The stream behind each sub-layer. */
  readonly after: readonly Carried[];
  /** Sums of gated sub-layers, by number of the sub-layer. */
  readonly sums: ReadonlyMap<number, Carried>;
}

/** Runs one turn on the stream before it. */
export async function lessonOf(place: Place, stream: Carried, data: PassData): Promise<Lesson> {
  const segment = segmentAt(place, data);
  segment.cut(place.stream.input, 'stream');
  const sublayers = sublayersAt(place, data);
  const behind = sublayers.map(({ after }, i) => [`after_${i}`, segment.get(after)] as const);
  const gated = sublayers.flatMap(({ isGated, sum }, i) =>
    isGated ? [[`sum_${i}`, segment.get(sum)] as const] : [],
  );
  const outputs = Object.fromEntries([...behind, ...gated]);
  const found = await forward(data, segment.finish(outputs), { stream }, Object.keys(outputs));
  const after = sublayers.map((_, i) => found[`after_${i}`] as Carried);
  const sums = sublayers.flatMap((_, i) =>
    found[`sum_${i}`] === undefined ? [] : [[i, found[`sum_${i}`] as Carried] as const],
  );
  return { before: [stream, ...after.slice(0, -1)], after, sums: new Map(sums) };
}

/** The stream behind one sub-layer. */
export async function throughSublayer(
  place: Place,
  { before, after }: Sublayer,
  stream: Carried,
  data: PassData,
): Promise<Carried> {
  const segment = segmentAt(place, data);
  segment.cut(before, 'stream');
  return (await forward(data, segment.finish({ after: segment.get(after) }), { stream }, ['after'])).after;
}

/** The place in the module whose parameter has these values in this turn, or in all when it has no loop. */
export function withWeight(place: Place, name: string, values: Float64Array): Place {
  const { module, turn } = place;
  const param = module.params.get(name) as Param;
  const fresh = constantRecipe(param.type.dtype, param.type.shape as readonly Dim[], values);
  const parts = turnsOf(module, param.loop)?.map((index, t) =>
    t === turn ? fresh : recipeAt(param, t, index),
  );
  const recipe = parts === undefined ? fresh : ({ kind: 'per_index', parts } as const);
  return { ...place, module: { ...module, params: new Map(module.params).set(name, { ...param, recipe }) } };
}
