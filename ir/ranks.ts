/**
 * Several ranks of one model, interpreted together: what a model that is split over devices means. Every rank runs until
 * it meets a sum over ranks whose parts are not all known, and starts again once they are, so that ranks need not run at
 * the same time.
 */
import { type InterpretOptions, interpretEntry, type StateStore } from './interpret.js';
import type { Module } from './module.js';
import { roundTo } from './numeric.js';
import type { Tensor } from './tensor.js';

export interface Rank {
  readonly module: Module;
  readonly states?: StateStore;
}

class Waiting extends Error {}

/** Runs an entry on every rank; the outputs of each. */
export function interpretRanks(
  ranks: readonly Rank[],
  entry: string,
  inputs: Readonly<Record<string, Tensor>>,
  options: Pick<InterpretOptions, 'precision' | 'source'> = {},
): Record<string, Tensor>[] {
  const sums: Tensor[] = [];
  for (;;) {
    const parts: Tensor[] = [];
    const outputs: Record<string, Tensor>[] = [];
    for (const { module, states } of ranks) {
      const own: StateStore = new Map(states ?? []);
      let met = 0;
      const allReduce = (part: Tensor): Tensor => {
        const known = sums[met++];
        if (known !== undefined) return known;
        parts.push(part);
        throw new Waiting();
      };
      try {
        outputs.push(interpretEntry(module, entry, inputs, { ...options, states: own, allReduce }));
        for (const [key, value] of own) states?.set(key, value);
      } catch (error) {
        if (!(error instanceof Waiting)) throw error;
      }
    }
    if (parts.length === 0) return outputs;
    if (parts.length < ranks.length) throw new Error('some ranks end before others');
    sums.push(sumOf(parts));
  }
}

function sumOf(parts: readonly Tensor[]): Tensor {
  const [first] = parts as [Tensor];
  const data = first.data.map((_, i) =>
    roundTo[first.dtype](parts.reduce((sum, part) => sum + (part.data[i] as number), 0)),
  );
  return { ...first, data };
}
