/**
 * Language models by convention: entry `prefill` takes `ids` i32 [T] and returns `logits` [T, vocab] and
 * `last` [vocab]; entry `decode` takes `ids` i32 [1] and returns `logits` [vocab]. Either may be missing
 * where the other can stand in. Both append to the context, which is state.
 */
import { listNames, refuse } from './errors.js';
import type { Model } from './model.js';
import { symbolsOf } from './shape.js';

/** Adds tokens to the context; returns the logits [vocab] after the last of them. */
export function feed(model: Model, ids: readonly number[]): Float32Array {
  let logits: Float32Array = new Float32Array();
  for (const chunk of promptChunks(model, ids)) {
    logits = chunk.entry === 'prefill' ? lastOfPrefill(model, chunk.ids) : decodeOne(model, chunk.ids);
  }
  return logits;
}

export function decodeOne(model: Model, ids: readonly number[]): Float32Array {
  const { logits } = model.run('decode', { ids: Int32Array.from(ids) }, { outputs: ['logits'] });
  return floats(logits, 'decode', 'logits');
}

function lastOfPrefill(model: Model, ids: readonly number[]): Float32Array {
  const hasLast = model.entry('prefill').outputs.some(({ name }) => name === 'last');
  if (hasLast) {
    const { last } = model.run('prefill', { ids: Int32Array.from(ids) }, { outputs: ['last'] });
    return floats(last, 'prefill', 'last');
  }
  const rows = prefillLogits(model, ids);
  return rows.subarray(rows.length - rows.length / ids.length);
}

/** Logits of all positions, [T, vocab] row-major. */
export function prefillLogits(model: Model, ids: readonly number[]): Float32Array {
  const { logits } = model.run('prefill', { ids: Int32Array.from(ids) }, { outputs: ['logits'] });
  return floats(logits, 'prefill', 'logits');
}

function floats(value: unknown, entry: string, output: string): Float32Array {
  return value instanceof Float32Array
    ? value
    : refuse('HEW7008', `output '${output}' of entry '${entry}' is not f32`);
}

export interface PromptChunk {
  readonly entry: 'prefill' | 'decode';
  readonly ids: readonly number[];
}

/** Splits tokens into calls that respect the bounds of `prefill`; what is left over is decoded singly. */
export function promptChunks(model: Model, ids: readonly number[]): PromptChunk[] {
  const { min, max } = prefillBounds(model);
  const hasDecode = Object.hasOwn(model.entries, 'decode');
  const chunks: PromptChunk[] = [];
  for (let start = 0; start < ids.length; ) {
    const length = Math.min(max, ids.length - start);
    const fits = length >= Math.max(min, 1);
    if (!fits && !hasDecode) {
      refuse(
        'HEW7008',
        `${length} tokens are fewer than 'prefill' takes, and the model has no entry 'decode'`,
      );
    }
    const taken = fits ? length : 1;
    chunks.push({ entry: fits ? 'prefill' : 'decode', ids: ids.slice(start, start + taken) });
    start += taken;
  }
  return chunks;
}

/** How many tokens `prefill` takes; a model without it takes none. */
function prefillBounds(model: Model): { min: number; max: number } {
  const { entries, symbols } = model.manifest;
  if (!Object.hasOwn(entries, 'prefill')) {
    if (Object.hasOwn(entries, 'decode')) return { min: 1, max: 0 };
    refuse(
      'HEW7008',
      `the bundle has no language model: it has the entry points ${listNames(Object.keys(entries))}`,
      "text needs the entries 'prefill' and 'decode'",
    );
  }
  const ids = model.entry('prefill').inputs.find(({ name }) => name === 'ids');
  const [dimension] = ids?.shape ?? [];
  if (ids === undefined || dimension === undefined || ids.shape.length !== 1) {
    refuse('HEW7008', "entry 'prefill' does not take 'ids' of one dimension");
  }
  if (typeof dimension === 'number') return { min: dimension, max: dimension };
  const [symbol] = symbolsOf([dimension]);
  const bounds = symbol === undefined ? undefined : symbols[symbol];
  return bounds ?? refuse('HEW7008', "entry 'prefill' takes a number of tokens that cannot be determined");
}
