/** Seeded values for conformance cases: the same case always gets the same inputs, on every machine. */

export type Random = () => number;

/** Makes `count` values; they are rounded to the dtype of the operand afterwards. */
export type Generate = (count: number, random: Random) => ArrayLike<number>;

/** FNV-1a hash of a name, the seed of a case. */
export function seedOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** Numbers in [0, 1): the mulberry32 generator. */
export function randomFrom(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function uniform(low: number, high: number): Generate {
  return (count, random) => Array.from({ length: count }, () => low + (high - low) * random());
}

/** Integers from low to high, both included. */
export function integers(low: number, high: number): Generate {
  return (count, random) =>
    Array.from({ length: count }, () => low + Math.floor((high - low + 1) * random()));
}

/** Valid indices of an axis of `size`. */
export function indices(size: number): Generate {
  return integers(0, size - 1);
}

export const bools: Generate = integers(0, 1);

/** These values in turn, repeated as often as needed. */
export function fixed(...values: readonly number[]): Generate {
  return (count) => Array.from({ length: count }, (_, i) => values[i % values.length] as number);
}

/** Evenly spaced values in random order, so that no two are close: for ops that sort or choose. */
export function distinct(low: number, high: number): Generate {
  return (count, random) => {
    const values = Array.from({ length: count }, (_, i) => low + ((high - low) * (i + 0.5)) / count);
    for (let i = count - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [values[i], values[j]] = [values[j] as number, values[i] as number];
    }
    return values;
  };
}
