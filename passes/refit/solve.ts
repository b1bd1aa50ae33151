/** The least-squares problems of one sub-layer: their moments, measured on the stream, and the weights they give. */
import type { FuncBuilder } from '../../ir/builder.js';
import { fail } from '../../ir/diagnostics.js';
import { dim } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import type { PassData } from '../pass.js';
import { dotRows } from './cholesky.js';
import { keptOfParam } from './kept.js';
import { leastSquares, type Moments, SingularError } from './least-squares.js';
import type { Place } from './segment.js';
import { type Carried, forward, moments } from './stream.js';
import type { Layer, Sublayer } from './sublayers.js';
import { channelsOf, segmentAt, sublayersAt, withWeight } from './walk.js';

export interface Problem {
  readonly data: PassData;
  readonly ridge: number;
  /** The stream that the sub-layer of the pruned model reads. */
  readonly stream: Carried;
}

/** 1 / sqrt(mean(u²) + eps), with the last axis kept as 1. */
function reciprocalRms(b: FuncBuilder, u: Value, eps: number): Value {
  const mean = b.one('reduce_mean', [b.one('mul', [u, u])], { axes: [-1], keepdims: true });
  return b.one('rsqrt', [b.one('add', [mean, b.one('full', [], { value: eps })])]);
}

/**
 * Re-solves one writer so that the stream behind the sub-layer is `target`; with a gate, so that the sum in front of
 * the gate is. Behind a norm the problem is not linear in W; with the norm's divisor r = rms(u) held at what the
 * present weights make it, it is:
 *
 *   min Σ ‖γ ⊙ (W x + rest) / r - (target - stream)‖²
 *
 * whose rows are independent, so γ_j moves to the other side. Holding r once is enough: a second round changes
 * nothing that can be measured.
 */
export async function refitWriter(
  place: Place,
  sublayer: Sublayer,
  writer: Layer,
  target: Carried,
  problem: Problem,
): Promise<Place> {
  const { data, stream } = problem;
  const { before, norm, isGated, sum } = sublayer;
  const segment = segmentAt(place, data);
  const b = segment.builder;
  const h = segment.cut(before, 'stream');
  const goal = segment.input('target', before.type);
  const u = segment.get(sum);
  const scale = norm === undefined ? undefined : reciprocalRms(b, u, norm.eps);
  const scaled = (value: Value): Value => (scale === undefined ? value : b.one('mul', [value, scale]));
  const x = segment.get(writer.input);
  const rest = b.one('sub', [u, b.one('linear', [x, segment.get(writer.matrix)])]);
  const [input, wanted] = [scaled(x), isGated ? goal : b.one('sub', [goal, h])];
  const pairs = { gram: [input, input], wanted: [input, wanted], rest: [input, scaled(rest)] } as const;
  const found = await moments(data, segment.finish(), { stream, target }, pairs);
  const { data: prior, shape } = data.weight(place.module, writer.weight, place.turn);
  const [outputs, inputs] = shape as [number, number];
  const gamma = norm === undefined ? undefined : data.weight(place.module, norm.gamma, place.turn).data;
  const factors = Float64Array.from({ length: outputs }, (_, j) => 1 / (gamma?.[j] ?? 1));
  const cross = found.wanted.map(
    (value, i) => value * (factors[i % outputs] as number) - (found.rest[i] as number),
  );
  // A channel that the norm switches off says nothing about its row.
  const solved = solve({ inputs, outputs, gram: found.gram, cross }, prior, writer.weight, problem);
  const values = solved.map((value, i) => (Number.isFinite(value) ? value : (prior[i] as number)));
  return withWeight(place, writer.weight, values);
}

/** HEW6011 when the moments do not determine the weights. */
function solve(found: Moments, prior: Float64Array, weight: string, { ridge }: Problem): Float64Array {
  try {
    return leastSquares(found, ridge, prior);
  } catch (error) {
    if (!(error instanceof SingularError)) throw error;
    return fail('HEW6011', `the calibration data does not determine ${weight}: ${error.message}`, {
      help: 'use more calibration data, or a larger ridge: refit{ridge=0.01}',
    });
  }
}

/** The place in the original that corresponds to one in the pruned model, and the stream before its sub-layer. */
export interface Teacher {
  readonly place: Place;
  readonly number: number;
  readonly stream: Carried;
}

/**
 * Re-solves the linear layers that read the normed stream n', so that they say what the original's say of its own
 * normed stream n: min Σ ‖W' n' - W n‖², W being the original's rows that are left. Layers whose rows are not plainly
 * rows of the original's stay as they are.
 */
export async function refitReaders(
  place: Place,
  sublayer: Sublayer,
  teacher: Teacher,
  problem: Problem,
): Promise<Place> {
  let current = place;
  const others = sublayersAt(teacher.place, problem.data)[teacher.number];
  for (const [value, layers] of sublayer.readers) {
    const names = new Set(layers.map(({ weight }) => weight));
    const original = [...(others?.readers ?? [])].find(([, own]) =>
      own.some(({ weight }) => names.has(weight)),
    );
    if (others === undefined || original === undefined) continue;
    const found = await readerMoments(
      current,
      { before: sublayer.before, value },
      teacher,
      { before: others.before, value: original[0] },
      problem,
    );
    for (const { weight } of layers) current = refitReader(current, weight, teacher.place, found, problem);
  }
  return current;
}

/** A normed stream and the value of the stream it is the norm of. */
export interface NormedStream {
  readonly before: Value;
  readonly value: Value;
}

export interface ReaderMoments {
  /** Σ n' n'ᵀ. */
  readonly gram: Float64Array;
  /** Σ n' nᵀ. */
  readonly cross: Float64Array;
  /** Channels of n. */
  readonly size: number;
}

export async function readerMoments(
  place: Place,
  own: NormedStream,
  teacher: Pick<Teacher, 'place' | 'stream'>,
  original: NormedStream,
  { data, stream }: Problem,
): Promise<ReaderMoments> {
  const from = segmentAt(teacher.place, data);
  from.cut(original.before, 'stream');
  const { normed } = await forward(
    data,
    from.finish({ normed: from.get(original.value) }),
    { stream: teacher.stream },
    ['normed'],
  );
  const segment = segmentAt(place, data);
  segment.cut(own.before, 'stream');
  const x = segment.get(own.value);
  const size = channelsOf(teacher.place);
  const n = segment.input('normed', {
    dtype: 'f32',
    shape: [...own.before.type.shape.slice(0, -1), dim(size)],
  });
  return {
    ...(await moments(data, segment.finish(), { stream, normed }, { gram: [x, x], cross: [x, n] })),
    size,
  };
}

/** The place with one reader solved: Σ n' (W n)ᵀ = (Σ n' nᵀ) Wᵀ. */
export function refitReader(
  place: Place,
  weight: string,
  original: Place,
  { gram, cross, size }: ReaderMoments,
  problem: Problem,
): Place {
  const { data } = problem;
  const rows = keptOfParam(place, original, weight, 0);
  if (rows === undefined) return place;
  const whole = data.weight(original.module, weight, original.turn).data;
  const { data: prior, shape } = data.weight(place.module, weight, place.turn);
  const [outputs, inputs] = shape as [number, number];
  const wanted = new Float64Array(inputs * outputs);
  for (let i = 0; i < inputs; i++) {
    for (let j = 0; j < outputs; j++) {
      wanted[i * outputs + j] = dotRows(cross, i * size, whole, (rows[j] as number) * size, size);
    }
  }
  return withWeight(place, weight, solve({ inputs, outputs, gram, cross: wanted }, prior, weight, problem));
}
