/**
 * Seeded random numbers, the same in every engine: xoshiro128** (Blackman and Vigna, "Scrambled linear
 * pseudorandom number generators", 2021), its four words taken from the first two outputs of SplitMix64.
 * Normal deviates are Box-Muller pairs computed in float64.
 */
import { refuse } from './errors.js';

export interface Random {
  /** A 32-bit unsigned integer. */
  next(): number;
  /** Uniform in [0, 1), with 53 random bits. */
  uniform(): number;
  /** Standard normal. */
  normal(): number;
}

/**
 * @param seed a non-negative safe integer.
 * @throws LoadError HEW7011 when it is not.
 */
export function createRandom(seed: number): Random {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    refuse('HEW7011', `seed ${seed} is not a non-negative integer below 2^53`);
  }
  const next = xoshiro128(seedWords(BigInt(seed)));
  const uniform = (): number => {
    const high = next() >>> 5;
    const low = next() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  };
  let spare: number | undefined;
  const normal = (): number => {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    // 1 - u is in (0, 1], so that the logarithm is finite.
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
  return { next, uniform, normal };
}

type Words = [number, number, number, number];

function seedWords(seed: bigint): Words {
  const first = splitMix64(seed, 1n);
  const second = splitMix64(seed, 2n);
  const word = (value: bigint): number => Number(value & 0xffffffffn);
  return [word(first), word(first >> 32n), word(second), word(second >> 32n)];
}

/** The `count`-th output of SplitMix64 (Steele, Lea and Flood, 2014) started at `seed`. */
export function splitMix64(seed: bigint, count: bigint): bigint {
  const wrap = (value: bigint): bigint => BigInt.asUintN(64, value);
  let z = wrap(seed + count * 0x9e3779b97f4a7c15n);
  z = wrap((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = wrap((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}

/** Exported for its test against the published sequence. */
export function xoshiro128([a, b, c, d]: Words): () => number {
  const rotate = (value: number, by: number): number => (value << by) | (value >>> (32 - by));
  return () => {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotate(d, 11);
    return result;
  };
}

/** `count` standard normal deviates, rounded to float32. */
export function normalNoise(random: Random, count: number): Float32Array {
  const noise = new Float32Array(count);
  for (let i = 0; i < count; i++) noise[i] = random.normal();
  return noise;
}
