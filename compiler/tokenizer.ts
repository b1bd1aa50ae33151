/**
 * Tokenizers from tokenizer.json files, through @huggingface/tokenizers. The file is hostile data: whatever
 * it makes the library do is reported as HEW7010, including loops that do not end (a regular expression with
 * exponential backtracking, a replacement of nothing by something), which a deadline cuts off.
 */
import { createContext, Script } from 'node:vm';
import { Tokenizer as Implementation } from '@huggingface/tokenizers';
import type { Tokenizer } from '../backends/wasm/runtime/text-stream.js';
import { fail } from '../ir/diagnostics.js';

export interface TokenizerOptions {
  /** Name of the file, for messages. */
  readonly file?: string;
  /** Milliseconds that a call may take beside one per 100 characters; 10 s by default. */
  readonly deadlineMs?: number;
}

const maxJsonCharacters = 200_000_000;
const maxTokenId = 2 ** 31 - 1;

/**
 * A tokenizer from the text of a tokenizer.json.
 * `encode` adds what the file's post-processor adds; `decode` keeps special tokens and spaces as they are.
 * Fails with HEW7010 when the text is no tokenizer that can be used, HEW3006 when it is absurdly long; `encode`
 * and `decode` fail with HEW7010 when the tokenizer breaks down on a text.
 */
export function createTokenizer(json: string, options: TokenizerOptions = {}): Tokenizer {
  const { file = 'tokenizer.json', deadlineMs = 10_000 } = options;
  if (json.length > maxJsonCharacters) fail('HEW3006', `${file} has ${json.length} characters`);
  const limit = (size: number): number => Math.ceil(deadlineMs + size / 100);
  const implementation = guard(`${file} is not a valid tokenizer`, limit(json.length), () =>
    build(JSON.parse(json)),
  );
  // Streaming decodes twice per token, so a deadline is set only where decoding could need one.
  const decodeLimit = decodesByRegex(json) ? limit : () => undefined;
  return {
    encode: (text) =>
      text === ''
        ? []
        : guard(`${file} cannot encode the text`, limit(text.length), () =>
            checkIds(implementation.encode(text).ids),
          ),
    decode: (ids) =>
      ids.length === 0
        ? ''
        : guard(`${file} cannot decode the tokens`, decodeLimit(ids.length), () =>
            implementation.decode([...ids], { clean_up_tokenization_spaces: false }),
          ),
  };
}

function decodesByRegex(json: string): boolean {
  const { decoder } = JSON.parse(json) as { decoder?: unknown };
  return JSON.stringify(decoder ?? null).includes('"Regex"');
}

function build(definition: unknown): Implementation {
  if (typeof definition !== 'object' || definition === null) throw new TypeError('it is not a JSON object');
  const implementation = new Implementation(definition, {});
  // Parts that are missing or of another kind show only in use.
  implementation.encode('a b');
  return implementation;
}

function checkIds(ids: unknown): number[] {
  const isId = (id: unknown): id is number =>
    Number.isSafeInteger(id) && Number(id) >= 0 && Number(id) <= maxTokenId;
  if (!Array.isArray(ids) || !ids.every(isId)) throw new TypeError('it gives tokens that have no id');
  return ids;
}

/** Holds the function to run; `vm` is used only because it can interrupt code that does not return. */
const context: { work?: () => unknown } = createContext({});
const caller = new Script('work()');

/** Runs `work`, at most for `timeoutMs` milliseconds if given; whatever it throws becomes HEW7010. */
function guard<T>(problem: string, timeoutMs: number | undefined, work: () => T): T {
  try {
    return timeoutMs === undefined ? work() : runWithDeadline(timeoutMs, work);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return fail('HEW7010', `${problem}: ${reason}`);
  }
}

function runWithDeadline<T>(timeoutMs: number, work: () => T): T {
  const outer = context.work;
  context.work = work;
  try {
    return caller.runInContext(context, { timeout: timeoutMs });
  } finally {
    if (outer === undefined) delete context.work;
    else context.work = outer;
  }
}
