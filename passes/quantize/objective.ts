/**
 * What rounding is judged by when blocks are reconstructed: how far outputs are from those of the unquantized model, and
 * random cotangents whose second moments are the curvature of that.
 *
 *   values   ‖y - y₀‖ / ‖y₀‖ of each call, in the mean. Its curvature is that of Σ ‖y - y₀‖² / (‖y₀‖ ‖e‖), e being the
 *            error that calls have to begin with (as in iteratively reweighted least squares).
 *   tokens   the Kullback-Leibler divergence of next tokens. Its curvature is Fisher's: the second moment of
 *            softmax(y) - (unit vector of a token drawn from it).
 */
import { randomNumbers } from '../prune/scores.js';
import type { Carried } from '../refit/stream.js';

export interface Objective {
  /** Whether calls weigh by the errors that they have to begin with. */
  readonly weighsCalls: boolean;
  /** The mean over calls. */
  loss(wanted: Carried, found: Carried): number;
  /** From the unquantized outputs, and those of a model to begin with where there is one. */
  cotangents(wanted: Carried, present: Carried | undefined): Carried;
}

const seed = 1;

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));

function distance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += ((a[i] as number) - (b[i] as number)) ** 2;
  return Math.sqrt(sum);
}

const mean = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length;

const relativeError = (wanted: Float32Array, found: Float32Array): number =>
  distance(wanted, found) / Math.max(norm(wanted), Number.MIN_VALUE);

export const valueObjective: Objective = {
  weighsCalls: true,
  loss: (wanted, found) =>
    mean(wanted.map((values, call) => relativeError(values, found[call] as Float32Array))),
  cotangents: (wanted, present) => {
    const random = randomNumbers(seed);
    return wanted.map((values, call) => {
      const start = present?.[call];
      const error = start === undefined ? 1 : relativeError(values, start);
      const size = norm(values) * Math.sqrt(error);
      const weight = size > 0 ? 1 / size : 0;
      return Float32Array.from(values, () => (random() < 0.5 ? weight : -weight));
    });
  },
};

export function tokenObjective(vocabulary: number): Objective {
  return {
    weighsCalls: false,
    loss: (wanted, found) =>
      mean(wanted.map((logits, call) => divergence(logits, found[call] as Float32Array, vocabulary))),
    cotangents: (wanted) => {
      const random = randomNumbers(seed);
      const probabilities = new Float64Array(vocabulary);
      return wanted.map((logits) => {
        const result = new Float32Array(logits.length);
        for (let at = 0; at < logits.length; at += vocabulary) {
          const row = result.subarray(at, at + vocabulary);
          row.set(softmax(logits, at, probabilities));
          const token = drawn(row, random());
          row[token] = (row[token] as number) - 1;
        }
        return result;
      });
    },
  };
}

/** Of logits[at .. at + length of result - 1]: loops, because there is one row for every token of the data. */
function softmax(logits: Float32Array, at: number, result: Float64Array): Float64Array {
  let greatest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < result.length; i++) greatest = Math.max(greatest, logits[at + i] as number);
  let sum = 0;
  for (let i = 0; i < result.length; i++) {
    const power = Math.exp((logits[at + i] as number) - greatest);
    result[i] = power;
    sum += power;
  }
  for (let i = 0; i < result.length; i++) result[i] = (result[i] as number) / sum;
  return result;
}

function drawn(probabilities: Float32Array, at: number): number {
  let sum = 0;
  for (let token = 0; token < probabilities.length; token++) {
    sum += probabilities[token] as number;
    if (at < sum) return token;
  }
  return probabilities.length - 1;
}

/** Mean over rows of Σ p log(p / q). */
function divergence(wanted: Float32Array, found: Float32Array, vocabulary: number): number {
  const [p, q] = [new Float64Array(vocabulary), new Float64Array(vocabulary)];
  let sum = 0;
  for (let at = 0; at < wanted.length; at += vocabulary) {
    softmax(wanted, at, p);
    softmax(found, at, q);
    for (let i = 0; i < vocabulary; i++) {
      const own = p[i] as number;
      if (own > 0) sum += own * Math.log(own / Math.max(q[i] as number, Number.MIN_VALUE));
    }
  }
  return sum / (wanted.length / vocabulary);
}
