/**
 * Choosing a token from logits, in the order of Hugging Face's logits processors: temperature, then top-k,
 * then top-p (nucleus; Holtzman et al., 2020). All arithmetic is float64.
 */
import { refuse } from './errors.js';
import type { Random } from './rng.js';

export interface SamplingSettings {
  /** 0 is greedy: the most likely token, the lowest id among equals. */
  readonly temperature: number;
  /** Only the k most likely tokens (and those as likely as the k-th); 0 means all. */
  readonly top_k: number;
  /** The fewest most likely tokens whose probabilities reach p; 1 means all. */
  readonly top_p: number;
}

/** @throws LoadError HEW7011 naming the setting that is out of its range. */
export function checkSettings({ temperature, top_k, top_p }: SamplingSettings): void {
  if (!Number.isFinite(temperature) || temperature < 0) {
    refuse('HEW7011', `temperature ${temperature} is not a non-negative number`);
  }
  if (!Number.isSafeInteger(top_k) || top_k < 0)
    refuse('HEW7011', `top_k ${top_k} is not a non-negative integer`);
  if (!(top_p > 0 && top_p <= 1)) refuse('HEW7011', `top_p ${top_p} is not within 0 (exclusive) to 1`);
}

/** The id drawn from `logits` [vocab]; draws one random number unless the temperature is 0. */
export function sampleToken(logits: ArrayLike<number>, settings: SamplingSettings, random: Random): number {
  if (settings.temperature === 0) return argmax(logits);
  return draw(candidates(logits, settings), random.uniform());
}

/** The index of the largest value, the first among equals; NaN is never chosen. */
export function argmax(logits: ArrayLike<number>): number {
  let best = -1;
  let bestLogit = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] ?? Number.NaN;
    if (logit > bestLogit) {
      best = id;
      bestLogit = logit;
    }
  }
  if (best < 0) {
    refuse(
      'HEW7003',
      'the model gave no finite logits',
      'its weights are damaged or overflow in their data type',
    );
  }
  return best;
}

export interface Candidate {
  readonly id: number;
  readonly probability: number;
}

/**
 * The tokens that may be drawn, the most likely first (the lowest id first among equals), with
 * probabilities that sum to 1.
 */
export function candidates(logits: ArrayLike<number>, settings: SamplingSettings): Candidate[] {
  const { temperature, top_k, top_p } = settings;
  const largest = logits[argmax(logits)] ?? 0;
  const ids = ranked(logits);
  const kept = top_k > 0 ? ids.slice(0, countWithTies(logits, ids, top_k)) : ids;
  const weights = kept.map((id) => Math.exp(((logits[id] ?? 0) - largest) / temperature));
  const count = nucleus(weights, top_p);
  const total = sum(weights.slice(0, count));
  return kept.slice(0, count).map((id, rank) => ({ id, probability: (weights[rank] ?? 0) / total }));
}

function ranked(logits: ArrayLike<number>): number[] {
  const ids: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    if ((logits[id] ?? Number.NaN) > Number.NEGATIVE_INFINITY) ids.push(id);
  }
  return ids.sort((a, b) => (logits[b] ?? 0) - (logits[a] ?? 0) || a - b);
}

/** How many of the ranked ids have a logit of at least the k-th. */
function countWithTies(logits: ArrayLike<number>, ids: readonly number[], k: number): number {
  let count = Math.min(k, ids.length);
  const threshold = logits[ids[count - 1] ?? 0];
  while (count < ids.length && logits[ids[count] ?? 0] === threshold) count++;
  return count;
}

/** How many of the descending weights it takes: those whose predecessors do not reach p of the total. */
function nucleus(weights: readonly number[], p: number): number {
  if (p >= 1) return weights.length;
  const target = p * sum(weights);
  let before = 0;
  let count = 0;
  while (count < weights.length && before < target) before += weights[count++] ?? 0;
  return count;
}

/** The candidate in whose share of [0, 1) `position` falls. */
function draw(choices: readonly Candidate[], position: number): number {
  let reached = 0;
  for (const { id, probability } of choices) {
    reached += probability;
    if (position < reached) return id;
  }
  return choices[choices.length - 1]?.id ?? 0;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
