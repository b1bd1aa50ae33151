/**
 * Solving routed experts. A token's experts add up, so those that share tokens are solved one after the other, each
 * for what the others leave; experts of one group, of which a token has one, are solved together. An expert's input
 * is what it reads times its weight in the sum, in the tokens that are sent to it:
 *
 *   min over W_e of  Σ_t ‖(s_te W_e x_te + rest_t) / r_t - target_t‖²
 */
import { type Dim, dim } from '../../ir/dim.js';
import type { Param, Value } from '../../ir/module.js';
import type { Recipe } from '../../ir/recipe.js';
import { constantRecipe } from '../recipes.js';
import { correction } from './least-squares.js';
import { normalsFor, type Settings } from './problem.js';
import type { Place, Segment } from './segment.js';
import { measure } from './stream.js';
import type { ExpertLayer, Sublayer } from './sublayers.js';
import { withRecipe } from './walk.js';
import { type OwnInputs, ownProblem } from './writers.js';

export interface SolvedExperts {
  readonly place: Place;
  readonly solved: number;
  /** Experts that stay, because fewer tokens are sent to them than they have inputs. */
  readonly starved: number;
}

export async function refitExperts(
  place: Place,
  sublayer: Sublayer,
  layer: ExpertLayer,
  inputs: OwnInputs,
  settings: Settings,
): Promise<SolvedExperts> {
  const { shape } = settings.data.weight(place.module, layer.weight, place.turn);
  let result: SolvedExperts = { place, solved: 0, starved: 0 };
  for (const round of roundsOf(shape[0] as number, layer.groups)) {
    const next = await refitRound(result.place, sublayer, layer, round, inputs, settings);
    result = {
      place: next.place,
      solved: result.solved + next.solved,
      starved: result.starved + next.starved,
    };
  }
  return result;
}

/** Experts that are solved together: no token is sent to two of them. */
function roundsOf(experts: number, groups: number | undefined): number[][] {
  const all = Array.from({ length: experts }, (_, e) => e);
  if (groups === undefined) return all.map((e) => [e]);
  const size = experts / groups;
  return Array.from({ length: groups }, (_, g) => all.slice(g * size, (g + 1) * size));
}

async function refitRound(
  place: Place,
  sublayer: Sublayer,
  layer: ExpertLayer,
  experts: readonly number[],
  inputs: OwnInputs,
  { data, ridge }: Settings,
): Promise<SolvedExperts> {
  const { segment, carried, scaled, left } = ownProblem(place, sublayer, inputs, data);
  const moments: Record<string, Value | readonly [Value, Value]> = {};
  for (const expert of experts) {
    const { hit, x } = inputOf(segment, layer, expert);
    moments[`tokens_${expert}`] = hit;
    moments[`gram_${expert}`] = scaled(x);
    moments[`cross_${expert}`] = [scaled(x), left];
  }
  const found = (await measure(data, segment, carried, { moments })).moments;
  const { data: present, shape } = data.weight(place.module, layer.weight, place.turn);
  const [, outputs, size] = shape as [number, number, number];
  const values = present.slice();
  let solved = 0;
  for (const expert of experts) {
    const tokens = (found[`tokens_${expert}`] as Float64Array)[0] as number;
    if (tokens < size) continue;
    const gram = found[`gram_${expert}`] as Float64Array;
    const step = correction(
      normalsFor(`${layer.weight} of expert ${expert}`, gram, size, ridge),
      found[`cross_${expert}`] as Float64Array,
    );
    const start = expert * outputs * size;
    step.forEach((value, i) => {
      if (Number.isFinite(value)) values[start + i] = (values[start + i] as number) + value;
    });
    solved += 1;
  }
  const next = solved === 0 ? place : withExperts(place, layer.weight, values);
  return { place: next, solved, starved: experts.length - solved };
}

/** Which tokens are sent to an expert, [T, 1], and what it reads of them times its weight in the sum, [T, in]. */
function inputOf(
  segment: Segment,
  { input, index, scores }: ExpertLayer,
  expert: number,
): { hit: Value; x: Value } {
  const b = segment.builder;
  const chosen = segment.get(index);
  const own = b.one('full', [], { value: expert, dtype: 'i32' });
  const hits = b.one('cast', [b.one('eq', [chosen, own])], { dtype: 'f32' });
  const column = b.one('reshape', [hits], { shape: [...chosen.type.shape, dim(1)] });
  const weights = b.one('mul', [column, segment.get(scores)]);
  return {
    hit: b.one('reduce_sum', [hits], { axes: [1], keepdims: true }),
    x: b.one('reduce_sum', [b.one('mul', [segment.get(input), weights])], { axes: [1] }),
  };
}

/** New values for a stack of experts; one that the checkpoint holds expert by expert stays so. */
function withExperts(place: Place, name: string, values: Float64Array): Place {
  const { dtype, shape } = (place.module.params.get(name) as Param).type;
  return withRecipe(place, name, (replaces): Recipe => {
    if (replaces.kind !== 'stack')
      return { ...constantRecipe(dtype, shape as readonly Dim[], values), replaces };
    const size = values.length / replaces.parts.length;
    const parts = replaces.parts.map((part, e) => ({
      ...constantRecipe(dtype, shape.slice(1), values.subarray(e * size, (e + 1) * size)),
      replaces: part,
    }));
    return { ...replaces, parts };
  });
}
