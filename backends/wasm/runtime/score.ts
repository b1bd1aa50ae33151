/** Log-probabilities of given tokens. */
import { refuse } from './errors.js';
import { decodeOne, prefillLogits, promptChunks } from './language-model.js';
import type { Model } from './model.js';

/**
 * Natural log-probability of each token given those before it, from an empty context: result [n - 1], of
 * which element i belongs to `tokens[i + 1]`. Log-softmax in float64.
 * @throws LoadError HEW7005 for fewer than two tokens, HEW7006 when they do not fit the context, HEW7007 for
 * an id outside the vocabulary, HEW7008 when the bundle has no language model.
 */
export function score(model: Model, tokens: ArrayLike<number>): Float64Array {
  const ids = Array.from(tokens);
  if (ids.length < 2) refuse('HEW7005', `${ids.length} tokens cannot be scored; give at least two`);
  const scores = new Float64Array(ids.length - 1);
  let done = 0;
  model.reset();
  for (const chunk of promptChunks(model, ids.slice(0, -1))) {
    const logits = chunk.entry === 'prefill' ? prefillLogits(model, chunk.ids) : decodeOne(model, chunk.ids);
    scores.set(scoreRows(logits, ids.slice(done + 1, done + 1 + chunk.ids.length)), done);
    done += chunk.ids.length;
  }
  return scores;
}

/** Log-probability of one target for each row of logits [targets, vocab]. */
export function scoreRows(logits: Float32Array, targets: readonly number[]): Float64Array {
  const vocab = logits.length / targets.length;
  return Float64Array.from(targets, (target, row) =>
    logProbability(logits.subarray(row * vocab, (row + 1) * vocab), target),
  );
}

/** `logits[target] - log sum exp(logits)`. */
export function logProbability(logits: Float32Array, target: number): number {
  const logit = logits[target];
  if (logit === undefined) refuse('HEW7007', `token ${target} is not in the vocabulary of ${logits.length}`);
  let largest = Number.NEGATIVE_INFINITY;
  for (const value of logits) if (value > largest) largest = value;
  let total = 0;
  for (const value of logits) total += Math.exp(value - largest);
  return logit - largest - Math.log(total);
}
