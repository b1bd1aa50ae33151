/** Text generation, token by token. */
import { createBreather } from './breathe.js';
import { LoadError, refuse } from './errors.js';
import { decodeOne, feed } from './language-model.js';
import type { TextSampler } from './manifest.js';
import type { Model } from './model.js';
import { createRandom } from './rng.js';
import { checkSettings, type SamplingSettings, sampleToken } from './sampling.js';
import { createTextStream } from './text-stream.js';

export interface GenerateOptions extends Partial<SamplingSettings> {
  /** Most tokens to generate; 128 by default. */
  readonly max_tokens?: number;
  /** Seed of the random choices; 0 by default. The same seed gives the same text. */
  readonly seed?: number;
  /** Tokens that end the text and are not part of it; the sampler's of the bundle by default. */
  readonly stop?: readonly number[];
  /** Called for each token before it is yielded. */
  readonly onToken?: (event: TokenEvent) => void;
  /** Go on in the present context (which lacks the last token generated) instead of an empty one. */
  readonly keepContext?: boolean;
  /** Ends the generation by throwing the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface TokenEvent {
  readonly type: 'token';
  readonly id: number;
  /** Text that became certain with this token; '' without a tokenizer. */
  readonly text: string;
}

/** Always the last event. */
export interface EndEvent {
  readonly type: 'end';
  /** A stop token came, `max_tokens` was reached, or the context is full. */
  readonly reason: 'stop' | 'length' | 'context';
  /** The tokens generated, without the stop token. */
  readonly ids: readonly number[];
  /** The last text, held back because it ended in a torn character; mostly ''. */
  readonly text: string;
}

export type GenerateEvent = TokenEvent | EndEvent;

const defaults: Required<Omit<TextSampler, 'kind'>> = {
  temperature: 1,
  top_k: 0,
  top_p: 1,
  bos: null,
  stop: [],
};

/** Defaults of text generation: those of the bundle, filled up. */
export function textDefaults(model: Model): Required<Omit<TextSampler, 'kind'>> {
  const { sampler } = model.manifest;
  return sampler?.kind === 'text' ? { ...defaults, ...sampler } : defaults;
}

/**
 * The token ids of a prompt, after the bundle's `bos` token if it has one.
 * @throws LoadError HEW7008 when the model was loaded without a tokenizer.
 */
export function encodePrompt(model: Model, text: string): number[] {
  if (model.tokenizer === undefined) {
    refuse(
      'HEW7008',
      'the model was loaded without a tokenizer',
      'pass { tokenizer } to load, or give token ids',
    );
  }
  const ids = model.tokenizer.encode(text);
  const { bos } = textDefaults(model);
  return bos === null || ids[0] === bos ? ids : [bos, ...ids];
}

/**
 * Generates tokens after a prompt: one `token` event each, then one `end` event that says why it ended.
 * Prompts longer than one call of `prefill` takes are fed in chunks.
 * @param prompt token ids (with `bos`, where the model wants it), or text, which is encoded by `encodePrompt`.
 * @throws LoadError HEW7005 for an empty prompt, HEW7006 when the prompt does not fit the context, HEW7007 for
 * an id outside the vocabulary, HEW7008 when the bundle has no language model, HEW7011 for a bad setting.
 */
export async function* generate(
  model: Model,
  prompt: readonly number[] | string,
  options: GenerateOptions = {},
): AsyncGenerator<GenerateEvent, void, undefined> {
  const { stop: stopIds, ...bundled } = textDefaults(model);
  const settings: SamplingSettings = {
    temperature: options.temperature ?? bundled.temperature,
    top_k: options.top_k ?? bundled.top_k,
    top_p: options.top_p ?? bundled.top_p,
  };
  const { max_tokens = 128, seed = 0, stop = stopIds, onToken, signal } = options;
  checkSettings(settings);
  if (!Number.isSafeInteger(max_tokens) || max_tokens < 0) {
    refuse('HEW7011', `max_tokens ${max_tokens} is not a non-negative integer`);
  }
  const random = createRandom(seed);
  const promptIds = typeof prompt === 'string' ? encodePrompt(model, prompt) : prompt;
  checkPrompt(promptIds);
  const text = model.tokenizer === undefined ? undefined : createTextStream(model.tokenizer);
  const breathe = createBreather();
  const ids: number[] = [];
  const end = (reason: EndEvent['reason']): EndEvent => ({
    type: 'end',
    reason,
    ids,
    text: text?.end() ?? '',
  });

  signal?.throwIfAborted();
  if (options.keepContext !== true) model.reset();
  let logits: Float32Array | undefined = feed(model, promptIds);
  while (ids.length < max_tokens) {
    await breathe();
    signal?.throwIfAborted();
    // The token just yielded is added to the context only now that another one is wanted.
    const newest = ids[ids.length - 1];
    if (newest !== undefined) logits = decodeUnlessFull(model, newest);
    if (logits === undefined) return yield end('context');
    const id = sampleToken(logits, settings, random);
    if (stop.includes(id)) return yield end('stop');
    ids.push(id);
    const event: TokenEvent = { type: 'token', id, text: text?.push(id) ?? '' };
    onToken?.(event);
    yield event;
  }
  yield end('length');
}

function checkPrompt(ids: readonly number[]): void {
  if (ids.length === 0) {
    refuse('HEW7005', 'the prompt is empty', 'give at least one token, such as the one that starts a text');
  }
  const wrong = ids.find((id) => !Number.isSafeInteger(id) || id < 0 || id >= 2 ** 31);
  if (wrong !== undefined) refuse('HEW7007', `the prompt holds ${wrong}, which is not a token id`);
}

function decodeUnlessFull(model: Model, id: number): Float32Array | undefined {
  try {
    return Object.hasOwn(model.entries, 'decode') ? decodeOne(model, [id]) : feed(model, [id]);
  } catch (error) {
    if (error instanceof LoadError && error.code === 'HEW7006') return undefined;
    throw error;
  }
}
