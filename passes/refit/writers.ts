/**
 * Solving the layers that write to the stream, from moments of what they read and of what they leave to be desired.
 *
 *   own inputs        x is what the layer reads in the pruned model, on a stream that is given
 *   original inputs   x is what the layer reads in the original, as far as it is left
 */
import { type Dim, dim } from '../../ir/dim.js';
import { defOf, type Value } from '../../ir/module.js';
import type { PassData } from '../pass.js';
import { dotRows } from './cholesky.js';
import { keptOfParam } from './kept.js';
import { corrected, normalsFor, reciprocalRms, type Settings } from './problem.js';
import type { Place, Segment } from './segment.js';
import { type Carried, measure } from './stream.js';
import type { Layer, Sublayer } from './sublayers.js';
import { segmentAt } from './walk.js';

/** Values of a sub-layer that were kept from an earlier run on the same stream. */
export type Known = Map<Value, Carried>;

/** Most bytes of what layers read that are kept rather than computed again. */
const knownBytes = 2 ** 28;

/** Puts what is known into a segment; the inputs that carry it. */
export function cutKnown(segment: Segment, known: Known): Record<string, Carried> {
  const entries = [...known].map(([value, carried], i) => {
    segment.cut(value, `known_${i}`);
    return [`known_${i}`, carried] as const;
  });
  return Object.fromEntries(entries);
}

/**
 * Re-solves one writer so that the stream behind the sub-layer is `target`; with a gate, so that the sum in front of
 * the gate is. (Weighing tokens by their gates was tried on a diffusion transformer and made it worse.) Behind a norm the problem is not linear in W; with the norm's divisor r = rms(u) held at what the
 * present weights make it, it is:
 *
 *   min Σ ‖γ ⊙ (W x + rest) / r - (target - stream)‖²
 *
 * whose rows are independent, so γ_j moves to the other side. Holding r once is enough: a second round changes
 * nothing that can be measured.
 */
export async function refitOnOwnInputs(
  place: Place,
  sublayer: Sublayer,
  writer: Layer,
  inputs: OwnInputs,
  { data, ridge }: Settings,
): Promise<Place> {
  const { segment, carried, scaled, left } = ownProblem(place, sublayer, inputs, data);
  const x = segment.get(writer.input);
  const run = { data, carried, x, writer, before: sublayer.before, known: inputs.known };
  const found = await momentsOf(segment, scaled(x), left, run);
  return solved(place, writer, found, { data, ridge });
}

/** What a sub-layer is solved on. */
export interface OwnInputs {
  /** The stream that it reads. */
  readonly stream: Carried;
  readonly target: Carried;
  readonly known: Known;
}

/** A run of a sub-layer in which its terms are weighed against what they leave of the target. */
export function ownProblem(
  place: Place,
  { before, norm, isGated, sum }: Sublayer,
  { stream, target, known }: OwnInputs,
  data: PassData,
): {
  readonly segment: Segment;
  readonly carried: Record<string, Carried>;
  /** What a layer reads, divided by what stands behind it. */
  scaled(x: Value): Value;
  /** What all terms together leave, on the same scale. */
  readonly left: Value;
} {
  const segment = segmentAt(place, data);
  const b = segment.builder;
  const h = segment.cut(before, 'stream');
  const goal = segment.input('target', before.type);
  const carried = { stream, target, ...cutKnown(segment, known) };
  const u = segment.get(sum);
  const wanted = isGated ? goal : b.one('sub', [goal, h]);
  if (norm === undefined) return { segment, carried, scaled: (x) => x, left: b.one('sub', [wanted, u]) };
  const scale = reciprocalRms(b, u, norm.eps);
  const scaled = (x: Value): Value => b.one('mul', [x, scale]);
  const left = b.one('sub', [b.one('div', [wanted, segment.get(norm.gain)]), scaled(u)]);
  return { segment, carried, scaled, left };
}

interface OwnRun {
  readonly data: PassData;
  readonly carried: Readonly<Record<string, Carried>>;
  /** What the writer reads, inside the segment. */
  readonly x: Value;
  readonly writer: Layer;
  readonly before: Value;
  readonly known: Known;
}

async function momentsOf(
  segment: Segment,
  input: Value,
  left: Value,
  { data, carried, x, writer, before, known }: OwnRun,
): Promise<Moments> {
  const keeps =
    !known.has(writer.input) && bytesOf(segment, x, before, carried.stream as Carried) <= knownBytes;
  const { moments, values } = await measure(data, segment, carried, {
    moments: { gram: input, cross: [input, left] },
    values: keeps ? { x } : ({} as { x: Value }),
  });
  if (keeps) known.set(writer.input, values.x);
  return moments;
}

/** What all rows of a value take, as many as the stream has. */
function bytesOf({ builder }: Segment, value: Value, before: Value, stream: Carried): number {
  const width = ({ type }: Value): number => builder.scope.valueOf(type.shape.at(-1) as Dim) ?? Number.NaN;
  const elements = stream.reduce((sum, { length }) => sum + length, 0);
  return (elements / width(before)) * width(value) * Float32Array.BYTES_PER_ELEMENT;
}

function solved(place: Place, { weight }: Layer, { gram, cross }: Moments, { data, ridge }: Settings): Place {
  return corrected(place, weight, normalsFor(weight, gram, Math.sqrt(gram.length), ridge), cross, data);
}

/** A writer that is solved on what the original's reads. */
export interface Twin {
  readonly weight: string;
  /** Number of the sub-layer. */
  readonly number: number;
  /** Indices that are left of the original's inputs and outputs. */
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** Whether the norm behind the original's writer was absorbed. */
  readonly isAbsorbed: boolean;
  /** Whether it is right as it is: the original's weights, for all that the original's read. */
  readonly isExact: boolean;
}

export interface Moments {
  /** Σ x xᵀ [inputs, inputs]. */
  readonly gram: Float64Array;
  /** Σ x yᵀ [inputs, outputs]. */
  readonly cross: Float64Array;
}

/**
 * The twin in the original of a sub-layer's writer, or undefined when the sub-layer is not the original's with indices
 * cut and rows scaled.
 */
export function twinOf(
  place: Place,
  sublayer: Sublayer,
  original: Place,
  teacher: Sublayer | undefined,
  number: number,
  data: PassData,
): Twin | undefined {
  const [[writer, ...others], [own]] = [sublayer.writers, teacher?.writers ?? []];
  // A bias would be a further term.
  const isAlone = (layer: Layer | undefined, { sum }: Sublayer): boolean =>
    layer?.output === sum && defOf(sum)?.operands.length === 2;
  if (writer === undefined || teacher === undefined || others.length > 0) return undefined;
  if (own?.weight !== writer.weight || !isAlone(writer, sublayer) || !isAlone(own, teacher)) return undefined;
  const outputs = keptOfParam(place, original, writer.weight, 0);
  const inputs = keptOfParam(place, original, writer.weight, 1);
  if (inputs === undefined || outputs === undefined) return undefined;
  const isAbsorbed = teacher.norm !== undefined && sublayer.norm === undefined;
  const twin = { weight: writer.weight, number, inputs, outputs, isAbsorbed };
  return { ...twin, isExact: !isAbsorbed && isWhole(twin, place, original, data) };
}

/** Whether weights are the original's, for all that the original's read. */
function isWhole(
  { weight, inputs, outputs }: Pick<Twin, 'weight' | 'inputs' | 'outputs'>,
  place: Place,
  original: Place,
  data: PassData,
): boolean {
  const { data: whole, shape } = data.weight(original.module, weight, original.turn);
  const size = shape[1] as number;
  if (inputs.length < size) return false;
  const { data: own } = data.weight(place.module, weight, place.turn);
  return outputs.every((row, j) =>
    inputs.every((column, i) => own[j * size + i] === whole[row * size + column]),
  );
}

/** Adds what a twin is solved from to a run of the original's turn: x and what W x is to be. */
export function twinMoments(
  segment: Segment,
  { number, inputs, isAbsorbed }: Twin,
  { norm, sum, writers, before, after }: Sublayer,
): { x: Value; y: Value; carried: Record<string, Int32Array> } {
  const b = segment.builder;
  const index = segment.input(`kept_${number}`, { dtype: 'i32', shape: [dim(inputs.length)] });
  const whole = segment.get((writers[0] as Layer).input);
  const x = b.one('gather', [whole, index], { axis: whole.type.shape.length - 1 });
  const carried = { [`kept_${number}`]: Int32Array.from(inputs) };
  const u = segment.get(sum);
  if (isAbsorbed) return { x, y: b.one('sub', [segment.get(after), segment.get(before)]), carried };
  if (norm === undefined) return { x, y: u, carried };
  const scale = reciprocalRms(b, u, norm.eps);
  return { x: b.one('mul', [x, scale]), y: b.one('mul', [u, scale]), carried };
}

/**
 * Re-solves a writer so that it says of the original's inputs that are left what the original said of all of them:
 *
 *   min Σ ‖W x - u‖² / r²
 *
 * u being the sum in front of the norm and r = rms(u) what the norm divides by; without a norm r is 1, and where the
 * norm was absorbed u is what stood behind it.
 */
export function refitOnTwin(
  place: Place,
  { weight, inputs, outputs }: Twin,
  { gram, cross }: Moments,
  { data, ridge }: Settings,
): Place {
  const n = inputs.length;
  const m = outputs.length;
  const all = cross.length / n;
  const { data: present } = data.weight(place.module, weight, place.turn);
  const left = new Float64Array(n * m);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < m; j++) {
      const wanted = cross[i * all + (outputs[j] as number)] as number;
      left[i * m + j] = wanted - dotRows(gram, i * n, present, j * n, n);
    }
  }
  return corrected(place, weight, normalsFor(weight, gram, n, ridge), left, data);
}
