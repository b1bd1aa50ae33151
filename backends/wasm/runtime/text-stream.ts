/**
 * Text from a stream of tokens, without ever splitting a character: the last bytes of a token can be the
 * first of a character that the next token completes, and a tokenizer decodes such a torn end to U+FFFD.
 */

/** What a tokenizer has to offer; compiler/tokenizer.ts makes one of a tokenizer.json. */
export interface Tokenizer {
  encode(text: string): number[];
  decode(ids: readonly number[]): string;
}

export interface TextStream {
  /** Adds a token; returns the text that is now certain, often one word, sometimes ''. */
  push(id: number): string;
  /** The text still held back when no more tokens come. */
  end(): string;
}

const replacement = '\uFFFD';
/** A torn character shows as at most three of its four bytes, each decoded to one U+FFFD or all to one. */
const maxTorn = 3;
/** Bytes that never become text must not make the window, which is decoded again per token, grow for ever. */
const maxWindow = 32;

/**
 * Only a short window of tokens is decoded at a time: `context` tokens whose text is already out, which a
 * decoder needs to get spaces right, and those after them.
 */
export function createTextStream(tokenizer: Tokenizer): TextStream {
  let context: number[] = [];
  let pending: number[] = [];
  let emitted = 0;

  const pendingText = (): string => {
    const before = context.length === 0 ? 0 : tokenizer.decode(context).length;
    return tokenizer.decode([...context, ...pending]).slice(before);
  };
  const advance = (): void => {
    context = pending;
    pending = [];
    emitted = 0;
  };

  return {
    push(id) {
      pending.push(id);
      const text = pendingText();
      const certain = pending.length > maxWindow ? text : withoutTornEnd(text);
      const fresh = certain.slice(emitted);
      emitted = Math.max(emitted, certain.length);
      if (certain.length === text.length && text !== '') advance();
      return fresh;
    },
    end() {
      const rest = pending.length === 0 ? '' : pendingText().slice(emitted);
      advance();
      return rest;
    },
  };
}

function withoutTornEnd(text: string): string {
  let end = text.length;
  while (end > 0 && text.length - end < maxTorn && text[end - 1] === replacement) end--;
  return text.slice(0, end);
}
