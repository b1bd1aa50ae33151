import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRandom } from '../../backends/wasm/runtime/rng.js';
import { argmax, candidates, checkSettings, sampleToken } from '../../backends/wasm/runtime/sampling.js';
import { codeOf } from './fixture.js';

const plain = { temperature: 1, top_k: 0, top_p: 1 };
const ids = (list: readonly { id: number }[]): number[] => list.map(({ id }) => id);

/** Hugging Face's warpers, literally: ascending order, drop while the cumulative share is <= 1 - p. */
function reference(
  logits: readonly number[],
  temperature: number,
  k: number,
  p: number,
): Map<number, number> {
  let kept = logits.map((logit, id) => ({ id, logit: logit / temperature }));
  if (k > 0) {
    const threshold = kept.map(({ logit }) => logit).sort((a, b) => b - a)[Math.min(k, kept.length) - 1] ?? 0;
    kept = kept.filter(({ logit }) => logit >= threshold);
  }
  const softmax = (list: { id: number; logit: number }[]): { id: number; share: number }[] => {
    const largest = Math.max(...list.map(({ logit }) => logit));
    const total = list.reduce((sum, { logit }) => sum + Math.exp(logit - largest), 0);
    return list.map(({ id, logit }) => ({ id, share: Math.exp(logit - largest) / total }));
  };
  if (p < 1) {
    const ascending = softmax(kept).sort((a, b) => a.share - b.share || b.id - a.id);
    let cumulative = 0;
    const dropped = new Set<number>();
    ascending.forEach(({ id, share }, index) => {
      cumulative += share;
      if (cumulative <= 1 - p && index < ascending.length - 1) dropped.add(id);
    });
    kept = kept.filter(({ id }) => !dropped.has(id));
  }
  return new Map(softmax(kept).map(({ id, share }) => [id, share]));
}

describe('choosing a token', () => {
  it('is greedy at temperature 0, the lowest id among equals', () => {
    const random = { next: () => 0, uniform: () => Number.NaN, normal: () => 0 };
    expect(sampleToken([1, 3, 3, 2], { ...plain, temperature: 0 }, random)).toBe(1);
    expect(argmax([Number.NaN, -5, Number.NaN])).toBe(1);
  });

  it('refuses logits without a finite value', async () => {
    expect(await codeOf(() => argmax([Number.NaN, Number.NEGATIVE_INFINITY]))).toBe('HEW7003');
  });

  it('keeps ties with the k-th', () => {
    expect(ids(candidates([1, 2, 2, 0, 5], { ...plain, top_k: 2 }))).toEqual([4, 1, 2]);
    expect(ids(candidates([1, 2], { ...plain, top_k: 9 }))).toEqual([1, 0]);
  });

  it('takes top-p of what top-k and temperature left', () => {
    const logits = [0.6, 0.2, 0.1, 0.1].map(Math.log);
    expect(ids(candidates(logits, { ...plain, top_p: 0.7 }))).toEqual([0, 1]);
    // Among the top two the first has 0.75.
    expect(ids(candidates(logits, { ...plain, top_k: 2, top_p: 0.7 }))).toEqual([0]);
    expect(ids(candidates(logits, { temperature: 4, top_k: 2, top_p: 0.7 }))).toEqual([0, 1]);
    expect(ids(candidates(logits, { ...plain, top_p: 1e-9 }))).toEqual([0]);
  });

  it('agrees with the reference on random logits', () => {
    const property = fc.property(
      fc.uniqueArray(fc.integer({ min: -60, max: 60 }), { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 0, max: 8 }),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 8 }),
      (values, k, p, temperature) => {
        const logits = values.map((value) => value / 10);
        // An odd multiple, so that no cumulative share falls on the limit by design.
        const settings = { temperature: temperature / 4, top_k: k, top_p: p === 20 ? 1 : p / 20 + 0.0123456 };
        const found = candidates(logits, settings);
        const expected = reference(logits, settings.temperature, settings.top_k, settings.top_p);
        expect(new Set(ids(found))).toEqual(new Set(expected.keys()));
        for (const { id, probability } of found) expect(probability).toBeCloseTo(expected.get(id) ?? 0, 12);
      },
    );
    fc.assert(property, { numRuns: 300 });
  });

  it('draws with the given probabilities, the same for the same seed', () => {
    const logits = [0.5, 0.3, 0.2].map(Math.log);
    const draw = (): number[] => {
      const random = createRandom(11);
      return Array.from({ length: 6000 }, () => sampleToken(logits, plain, random));
    };
    const drawn = draw();
    expect(draw()).toEqual(drawn);
    const share = (id: number): number => drawn.filter((other) => other === id).length / drawn.length;
    expect([share(0), share(1), share(2)].map((value) => Math.round(value * 10) / 10)).toEqual([
      0.5, 0.3, 0.2,
    ]);
  });

  it.each([
    { temperature: -1 },
    { temperature: Number.NaN },
    { top_k: -1 },
    { top_k: 1.5 },
    { top_p: 0 },
    { top_p: 1.1 },
    { top_p: Number.NaN },
  ])('refuses %j', async (setting) => {
    expect(await codeOf(() => checkSettings({ ...plain, ...setting }))).toBe('HEW7011');
  });
});
