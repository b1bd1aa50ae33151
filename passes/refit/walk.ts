/**
 * Walking through a model turn by turn with the calibration data: the model of one side, its place in the graph, and
 * the residual stream as far as it has come. Only one segment is compiled at a time, so memory is the stream of all
 * calls, the moments of one layer, and the weights of one turn.
 */
import { fail } from '../../ir/diagnostics.js';
import { type Func, type Module, modelDims, type Param, type Value } from '../../ir/module.js';
import type { Recipe } from '../../ir/recipe.js';
import type { PassData } from '../pass.js';
import { constantRecipe, recipeAt, turnsOf } from '../recipes.js';
import { observedStructure } from '../structure.js';
import { type Place, Segment, streamEnds } from './segment.js';
import { type Carried, forward, measure } from './stream.js';
import { type Flag, type Sublayer, sublayersOf } from './sublayers.js';
import { cutKnown, type Known, type Moments, type Twin, twinMoments } from './writers.js';

/** The place of a module's residual stream; HEW6010 unless there is exactly one in the observed entry. */
export function placeOf(module: Module, data: PassData): Place {
  const entry = module.functions.get(data.calibration.entry) as Func;
  const [stream, ...others] = observedStructure(module).streams;
  if (stream === undefined || others.length > 0) {
    return fail(
      'HEW6010',
      `passes follow one residual stream, entry ${entry.name} has ${others.length + (stream ? 1 : 0)}`,
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
  return (await forward(data, segment, {}, { stream: segment.get(streamEnds(place).first) })).stream;
}

/** What one turn of the original is to be reproduced by. */
export interface Lesson {
  /** The stream before each sub-layer. */
  readonly before: readonly Carried[];
  /** The stream behind each sub-layer. */
  readonly after: readonly Carried[];
  /** Sums of gated sub-layers, by number of the sub-layer. */
  readonly sums: ReadonlyMap<number, Carried>;
  /** Writers that are solved on what the original's read, by number of the sub-layer; without moments when exact. */
  readonly twins: ReadonlyMap<number, { readonly twin: Twin; readonly moments: Moments | undefined }>;
}

/** Runs one turn on the stream before it, and measures what the twins are solved from. */
export async function lessonOf(
  place: Place,
  stream: Carried,
  twins: readonly Twin[],
  data: PassData,
): Promise<Lesson> {
  const segment = segmentAt(place, data);
  segment.cut(place.stream.input, 'stream');
  const sublayers = sublayersAt(place, data);
  const values: Record<string, Value> = {};
  const moments: Record<string, Value | readonly [Value, Value]> = {};
  const carried: Record<string, Carried | Int32Array> = { stream };
  for (const [i, { after, isGated, sum }] of sublayers.entries()) {
    values[`after_${i}`] = segment.get(after);
    if (isGated) values[`sum_${i}`] = segment.get(sum);
  }
  for (const twin of twins.filter(({ isExact }) => !isExact)) {
    const { number } = twin;
    const own = twinMoments(segment, twin, sublayers[number] as Sublayer);
    moments[`gram_${number}`] = own.x;
    moments[`cross_${number}`] = [own.x, own.y];
    Object.assign(carried, own.carried);
  }
  const found = await measure(data, segment, carried, { values, moments });
  const after = sublayers.map((_, i) => found.values[`after_${i}`] as Carried);
  return {
    before: [stream, ...after.slice(0, -1)],
    after,
    sums: new Map(
      sublayers.flatMap(({ isGated }, i) => (isGated ? [[i, found.values[`sum_${i}`] as Carried]] : [])),
    ),
    twins: new Map(
      twins.map((twin) => {
        const [gram, cross] = [`gram_${twin.number}`, `cross_${twin.number}`].map(
          (key) => found.moments[key],
        );
        const known = gram === undefined || cross === undefined ? undefined : { gram, cross };
        return [twin.number, { twin, moments: known }];
      }),
    ),
  };
}

/** The stream behind one sub-layer; what is known of it is not computed again. */
export async function throughSublayer(
  place: Place,
  { before, after }: Sublayer,
  stream: Carried,
  known: Known,
  data: PassData,
): Promise<Carried> {
  const segment = segmentAt(place, data);
  segment.cut(before, 'stream');
  const carried = { stream, ...cutKnown(segment, known) };
  return (await forward(data, segment, carried, { after: segment.get(after) })).after;
}

/** The place in the module whose parameter has these values in this turn, or in all when it has no loop. */
export function withWeight(place: Place, name: string, values: Float64Array): Place {
  const { dtype, shape } = (place.module.params.get(name) as Param).type;
  return withRecipe(place, name, (replaces) => ({ ...constantRecipe(dtype, shape, values), replaces }));
}

/** The place in the module whose parameter is made in another way in this turn. */
export function withRecipe(place: Place, name: string, change: (present: Recipe) => Recipe): Place {
  const { module, turn } = place;
  const param = module.params.get(name) as Param;
  const parts = turnsOf(module, param.loop)?.map((index, t) => {
    const present = recipeAt(param, t, index);
    return t === turn ? change(present) : present;
  });
  const recipe = parts === undefined ? change(param.recipe) : ({ kind: 'per_index', parts } as const);
  return { ...place, module: { ...module, params: new Map(module.params).set(name, { ...param, recipe }) } };
}
