import { describe, expect, it } from 'vitest';
import { createRandom, normalNoise, splitMix64, xoshiro128 } from '../../backends/wasm/runtime/rng.js';
import { codeOf } from './fixture.js';

describe('random numbers', () => {
  it('follow the published sequences', () => {
    expect(splitMix64(0n, 1n)).toBe(0xe220a8397b1dcdafn);
    expect(splitMix64(1234567n, 1n)).toBe(6457827717110365317n);
    const next = xoshiro128([1, 2, 3, 4]);
    expect(Array.from({ length: 4 }, next)).toEqual([11520, 0, 5927040, 70819200]);
  });

  it('depend on the seed, all of its bits, and on nothing else', () => {
    const first = (seed: number): number => createRandom(seed).next();
    expect(first(1)).toBe(first(1));
    expect(new Set([0, 1, 2, 2 ** 32, 2 ** 52].map(first)).size).toBe(5);
  });

  it('are uniform in [0, 1) and normal with unit variance', () => {
    const random = createRandom(3);
    const uniform = Array.from({ length: 20000 }, () => random.uniform());
    expect(Math.min(...uniform)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...uniform)).toBeLessThan(1);
    expect(uniform.reduce((a, b) => a + b) / 20000).toBeCloseTo(0.5, 1);
    const noise = normalNoise(random, 40000);
    const mean = noise.reduce((a, b) => a + b) / noise.length;
    const variance = noise.reduce((a, b) => a + (b - mean) ** 2, 0) / noise.length;
    const fourth = noise.reduce((a, b) => a + (b - mean) ** 4, 0) / noise.length;
    expect(Math.abs(mean)).toBeLessThan(0.02);
    expect(Math.abs(variance - 1)).toBeLessThan(0.03);
    expect(Math.abs(fourth - 3)).toBeLessThan(0.2);
  });

  it.each([-1, 0.5, Number.NaN, 2 ** 53])('refuse the seed %s', async (seed) => {
    expect(await codeOf(() => createRandom(seed))).toBe('HEW7011');
  });
});
