import { beforeEach, describe, expect, it } from 'vitest';
import {
  type EndEvent,
  encodePrompt,
  type GenerateEvent,
  type GenerateOptions,
  generate,
  load,
  type Model,
  score,
} from '../../backends/wasm/runtime/load.js';
import { logProbability } from '../../backends/wasm/runtime/score.js';
import { codeOf, serve, toyBundle, toyLogits } from './fixture.js';

let model: Model;
beforeEach(async () => {
  model = await load('toy', { fetchFile: serve(toyBundle()) });
});

async function events(prompt: number[] | string, options?: GenerateOptions): Promise<GenerateEvent[]> {
  return Array.fromAsync(generate(model, prompt, options));
}

async function ending(prompt: number[] | string, options?: GenerateOptions): Promise<EndEvent> {
  const last = (await events(prompt, options)).at(-1);
  if (last?.type !== 'end') throw new Error('no end event');
  return last;
}

function greedy(prompt: readonly number[], count: number): number[] {
  const ids = [...prompt];
  for (let i = 0; i < count; i++) {
    const logits = toyLogits(ids);
    ids.push(logits.indexOf(Math.max(...logits)));
  }
  return ids.slice(prompt.length);
}

describe('generate', () => {
  it('is greedy by the settings of the bundle, and starts from an empty context', async () => {
    const expected = greedy([1, 2], 5);
    expect((await ending([1, 2], { max_tokens: 5 })).ids).toEqual(expected);
    expect((await ending([1, 2], { max_tokens: 5 })).ids).toEqual(expected);
  });

  it('feeds long prompts in chunks', async () => {
    const prompt = [1, 2, 3, 4, 5, 6, 7, 0, 1];
    expect((await ending(prompt, { max_tokens: 3 })).ids).toEqual(greedy(prompt, 3));
  });

  it('streams a token event each and says why it ended', async () => {
    const seen: number[] = [];
    const all = await events([1], { max_tokens: 2, onToken: ({ id }) => seen.push(id) });
    expect(all.map(({ type }) => type)).toEqual(['token', 'token', 'end']);
    expect(all.at(-1)).toMatchObject({ reason: 'length', ids: seen });
    expect(await ending([1], { max_tokens: 0 })).toMatchObject({ reason: 'length', ids: [] });
  });

  it('ends at a stop token, which is not part of the text', async () => {
    const [first = 0, second = 0] = greedy([1], 2);
    expect(await ending([1], { stop: [second] })).toMatchObject({
      reason: 'stop',
      ids: first === second ? [] : [first],
    });
  });

  it('ends when the context is full: prompt and fed tokens fill 12 places', async () => {
    const { reason, ids } = await ending([1, 2, 3]);
    expect(reason).toBe('context');
    // The last token needs no place of its own.
    expect(ids).toEqual(greedy([1, 2, 3], 10));
  });

  it('goes on in the same context when asked to', async () => {
    await ending([1, 2], { max_tokens: 1 });
    const { ids } = await ending([3], { max_tokens: 1, keepContext: true });
    expect(ids).toEqual(greedy([1, 2, 3], 1));
  });

  it('gives the same text for the same seed only', async () => {
    const settings = { temperature: 2, max_tokens: 8 };
    const first = await ending([1], { ...settings, seed: 5 });
    expect(await ending([1], { ...settings, seed: 5 })).toEqual(first);
    const others = await Promise.all(
      [6, 7, 8].map(async (seed) => (await ending([1], { ...settings, seed })).ids),
    );
    expect(others.some((ids) => ids.join() !== first.ids.join())).toBe(true);
  });

  it('stops between tokens when aborted', async () => {
    const controller = new AbortController();
    const onToken = (): void => controller.abort(new Error('enough'));
    await expect(events([1], { onToken, signal: controller.signal })).rejects.toThrow('enough');
  });

  it.each<[string, number[], GenerateOptions]>([
    ['HEW7005', [], {}],
    ['HEW7006', new Array<number>(13).fill(0), {}],
    ['HEW7007', [8], {}],
    ['HEW7007', [-1], {}],
    ['HEW7007', [0.5], {}],
    ['HEW7011', [1], { temperature: -1 }],
    ['HEW7011', [1], { max_tokens: -1 }],
    ['HEW7011', [1], { seed: -1 }],
  ])('is %s for %j %j', async (code, prompt, options) => {
    expect(await codeOf(events(prompt, options))).toBe(code);
  });

  it('needs a language model', async () => {
    const { files, manifest } = toyBundle();
    const { vector } = manifest.entries;
    model = await load('toy', {
      fetchFile: serve({ files, manifest }, { ...manifest, entries: { vector } }),
    });
    expect(await codeOf(events([1]))).toBe('HEW7008');
  });

  it('does with either prefill or decode alone', async () => {
    const { files, manifest } = toyBundle();
    const { prefill, decode } = manifest.entries;
    for (const entries of [{ prefill }, { decode }]) {
      model = await load('toy', { fetchFile: serve({ files, manifest }, { ...manifest, entries }) });
      expect((await ending([1, 2, 3, 4, 5], { max_tokens: 3 })).ids).toEqual(greedy([1, 2, 3, 4, 5], 3));
    }
  });
});

describe('generate with a tokenizer', () => {
  const letters = 'abcdefgh';
  const tokenizer = {
    encode: (text: string) => Array.from(text, (letter) => letters.indexOf(letter)),
    decode: (ids: readonly number[]) => ids.map((id) => letters[id]).join(''),
  };

  it('takes text, after the bos token, and streams text', async () => {
    model = await load('toy', { fetchFile: serve(toyBundle()), tokenizer });
    expect(encodePrompt(model, 'bc')).toEqual([7, 1, 2]);
    expect(encodePrompt(model, 'hb')).toEqual([7, 1]);
    const all = await events('bc', { max_tokens: 4 });
    expect(all.map(({ text }) => text).join('')).toBe(tokenizer.decode(greedy([7, 1, 2], 4)));
  });

  it('refuses text without one', async () => {
    expect(await codeOf(events('bc'))).toBe('HEW7008');
  });
});

describe('score', () => {
  it('is the float64 log-softmax at each next token, across chunks', async () => {
    const tokens = [1, 2, 3, 4, 5, 6, 7, 0, 1, 2];
    const scores = score(model, tokens);
    expect(scores).toHaveLength(9);
    scores.forEach((value, index) => {
      const logits = toyLogits(tokens.slice(0, index + 1));
      const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
      expect(value).toBeCloseTo((logits[tokens[index + 1] ?? 0] ?? 0) - total, 12);
    });
    expect(score(model, Int32Array.from(tokens))).toEqual(scores);
  });

  it('is exact where exp overflows', () => {
    expect(logProbability(Float32Array.of(1000, 1000), 0)).toBeCloseTo(-Math.LN2, 12);
  });

  it.each<[string, number[]]>([
    ['HEW7005', [1]],
    ['HEW7007', [1, 9]],
    ['HEW7007', [9, 1]],
    ['HEW7006', new Array<number>(14).fill(0)],
  ])('is %s for %j', async (code, tokens) => {
    expect(await codeOf(() => score(model, tokens))).toBe(code);
  });
});
