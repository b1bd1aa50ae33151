import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createTextStream, type Tokenizer } from '../../backends/wasm/runtime/text-stream.js';
import { createTokenizer } from '../../compiler/tokenizer.js';
import { HewError } from '../../ir/diagnostics.js';

/** GPT-2's table: a printable character for each byte. */
function byteCharacters(): string[] {
  const printable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

const merges: [string, string][] = [
  ['h', 'e'],
  ['Ġ', 'w'],
];

function definition(): Record<string, unknown> {
  const pieces = ['<s>', ...byteCharacters(), ...merges.map(([a, b]) => a + b)];
  return {
    version: '1.0',
    added_tokens: [
      {
        id: 0,
        content: '<s>',
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: merges.map((pair) => pair.join(' ')),
    },
  };
}

const tokenizer = createTokenizer(JSON.stringify(definition()));

function codeFor(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof HewError) return error.diagnostics[0]?.code ?? '';
    throw error;
  }
  return 'no error';
}

describe('a tokenizer of a tokenizer.json', () => {
  it('merges, keeps spaces, and gives the text back', () => {
    const text = 'he wrote: "x , y" !\n\tcafé 日本 🎉';
    const ids = tokenizer.encode(text);
    expect(ids.slice(0, 2)).toEqual([257, 258]);
    expect(tokenizer.decode(ids)).toBe(text);
  });

  it('knows special tokens and empty texts', () => {
    expect(tokenizer.encode('<s>he')).toEqual([0, 257]);
    expect(tokenizer.encode('')).toEqual([]);
    expect(tokenizer.decode([])).toBe('');
  });

  it('round-trips any text', () => {
    const anyText = fc.string({ unit: 'grapheme', maxLength: 40 });
    fc.assert(
      fc.property(anyText, (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      }),
      { numRuns: 200 },
    );
  });
});

describe('hostile tokenizers', () => {
  const build = (json: string): string =>
    codeFor(() => createTokenizer(json, { deadlineMs: 200 }).encode('he aaaa'));

  it.each(['', 'nul', 'null', '1', '[]', '{}', '{"model":{}}', '{"model":null,"decoder":null}'])(
    'HEW7010: %s',
    (json) => {
      expect(build(json)).toBe('HEW7010');
    },
  );

  it.each<[string, Record<string, unknown>]>([
    [
      'a regular expression that is none',
      { pre_tokenizer: { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' } },
    ],
    ['an unknown part', { pre_tokenizer: { type: 'Nonsense' } }],
    ['no vocabulary', { model: { type: 'BPE', vocab: null, merges: [] } }],
    ['ids that are none', { model: { type: 'BPE', vocab: { h: 'x', e: -1, a: 1e99 }, merges: [] } }],
  ])('HEW7010: %s', (_, change) => {
    expect(build(JSON.stringify({ ...definition(), ...change }))).toBe('HEW7010');
  });

  it('HEW7010: a regular expression that never comes to an end', () => {
    const pre_tokenizer = { type: 'Split', pattern: { Regex: '(a+)+$' }, behavior: 'Isolated' };
    const slow = createTokenizer(JSON.stringify({ ...definition(), pre_tokenizer }), {
      deadlineMs: 200,
    });
    expect(codeFor(() => slow.encode(`${'a'.repeat(60)}!`))).toBe('HEW7010');
  });

  it('any change gives HEW7010 or a tokenizer', () => {
    const original = definition();
    const paths = pathsOf(original);
    const property = fc.property(fc.constantFrom(...paths), fc.jsonValue(), (path, value) => {
      const copy: unknown = structuredClone(original);
      const parent = path
        .slice(0, -1)
        .reduce((object, key) => (object as Record<string, unknown>)[key], copy);
      (parent as Record<string, unknown>)[path.at(-1) ?? ''] = value;
      expect(['no error', 'HEW7010']).toContain(build(JSON.stringify(copy)));
    });
    fc.assert(property, { numRuns: 300 });
  });
});

/** Paths of all values but those of the vocabulary. */
function pathsOf(value: unknown, path: string[] = []): string[][] {
  const inside =
    typeof value === 'object' && value !== null && path.at(-1) !== 'vocab' ? Object.entries(value) : [];
  return [
    ...(path.length > 0 ? [path] : []),
    ...inside.flatMap(([key, item]) => pathsOf(item, [...path, key])),
  ];
}

describe('a text stream', () => {
  const streamed = (hook: Tokenizer, ids: readonly number[]): string[] => {
    const stream = createTextStream(hook);
    return [...ids.map((id) => stream.push(id)), stream.end()];
  };

  it('holds a character back until it is whole', () => {
    const ids = tokenizer.encode('a🎉é');
    expect(ids).toHaveLength(7);
    expect(streamed(tokenizer, ids)).toEqual(['a', '', '', '', '🎉', '', 'é', '']);
  });

  it('gives up on a torn character at the end', () => {
    const ids = tokenizer.encode('a🎉').slice(0, 3);
    expect(streamed(tokenizer, ids)).toEqual(['a', '', '', '\uFFFD']);
  });

  it('adds up to the whole text, and never shows half a character of it', () => {
    const texts = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((text) => !text.includes('\uFFFD'));
    const property = fc.property(texts, (text) => {
      const parts = streamed(tokenizer, tokenizer.encode(text));
      expect(parts.join('')).toBe(text);
      for (const part of parts) expect(part).not.toContain('\uFFFD');
    });
    fc.assert(property, { numRuns: 200 });
  });

  it('lets bytes pass that never become text', () => {
    const invalid = tokenizer.encode('é').slice(1);
    const ids = [...Array.from({ length: 100 }, () => invalid[0] ?? 0), ...tokenizer.encode('he')];
    const parts = streamed(tokenizer, ids);
    expect(parts.join('')).toBe(tokenizer.decode(ids));
    expect(parts.slice(0, 40).join('')).not.toBe('');
  });

  it('agrees with decoding at once for any tokens', () => {
    const property = fc.property(fc.array(fc.integer({ min: 1, max: 258 }), { maxLength: 60 }), (ids) => {
      expect(streamed(tokenizer, ids).join('').replaceAll('\uFFFD', '')).toBe(
        tokenizer.decode(ids).replaceAll('\uFFFD', ''),
      );
    });
    fc.assert(property, { numRuns: 200 });
  });

  it('gets spaces right where a decoder drops the first one', () => {
    const words = ['▁a', '▁b', 'c'];
    const metaspace: Tokenizer = {
      encode: () => [],
      decode: (ids) =>
        ids
          .map((id) => words[id])
          .join('')
          .replaceAll('▁', ' ')
          .replace(/^ /, ''),
    };
    expect(streamed(metaspace, [0, 1, 2, 1])).toEqual(['a', ' b', 'c', ' b', '']);
  });
});
