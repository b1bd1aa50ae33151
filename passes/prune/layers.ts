/**
 * Which turns of a loop to remove: those with the least block influence, 1 - mean cos(x, Layer(x)) (arXiv 2505.20155,
 * §1 of the reference), those whose removal costs least on the calibration data, one after the other, or given ones.
 */
import { fail } from '../../ir/diagnostics.js';
import type { Module } from '../../ir/module.js';
import type { PassData } from '../pass.js';
import type { Probe } from '../probe.js';
import { turnsOf } from '../recipes.js';
import { observedStructure } from '../structure.js';
import { keepLoopTurns } from './prune-dim.js';
import { greatest, randomNumbers } from './scores.js';

export interface LayerChoice {
  /** Turns that stay, ascending. */
  readonly kept: readonly number[];
  /** Score of each turn, where there is one. */
  readonly scores: readonly number[];
}

export interface LayerRequest {
  readonly module: Module;
  readonly loop: string;
  readonly count: number;
  readonly by: string;
  /** Least distance of two removed turns: 2 removes no neighbours. */
  readonly apart: number;
  /** Calibration windows that greedy choices are judged by; 0 is all. */
  readonly windows: number;
  readonly seed: number;
}

export const layerRules = ['influence', 'greedy', 'random'] as const;

export function influenceProbe(module: Module, loop: string): Probe {
  const stream = observedStructure(module).streams.find((s) => s.loop === loop);
  if (stream === undefined)
    return fail('HEW6010', `loop ${loop} carries no residual stream, so its turns cannot be compared`);
  const { func, input, output } = stream;
  return { key: `influence.${loop}`, module, func, values: [input, output], statistic: 'cosine' };
}

/** 1 - mean cosine of each turn. */
export function influences(loop: string, data: PassData): number[] {
  const observation = data.statistics.get(`influence.${loop}`);
  if (observation === undefined) throw new Error(`the influence of ${loop} was not observed`);
  return observation.sums.map((sum) => {
    const influence = 1 - (sum[0] as number) / observation.rows;
    return Number.isFinite(influence)
      ? influence
      : fail('HEW6011', `the influence of a turn of ${loop} is not finite`);
  });
}

export async function chooseLayers(request: LayerRequest, data: PassData): Promise<LayerChoice> {
  const { module, loop, count, by, seed } = request;
  const turns = turnsOf(module, loop)?.length ?? 0;
  if (by === 'greedy') return greedy(request, turns, data);
  if (by === 'random') {
    const random = randomNumbers(seed);
    return leastFirst(Array.from({ length: turns }, random), count, request);
  }
  if (by === 'influence') return leastFirst(influences(loop, data), count, request);
  return fail('HEW6002', `prune: layers cannot be chosen by '${by}'`, {
    help: `choose by one of: ${layerRules.join(', ')}`,
  });
}

/** Removes turns in order of rising score, as far apart as asked. */
function leastFirst(scores: readonly number[], count: number, { apart, loop }: LayerRequest): LayerChoice {
  const order = greatest(
    scores.map((s) => -s),
    scores.length,
  ).toSorted((a, b) => (scores[a] as number) - (scores[b] as number) || a - b);
  const removed: number[] = [];
  for (const turn of order) {
    if (removed.length === scores.length - count) break;
    if (removed.every((other) => Math.abs(other - turn) >= apart)) removed.push(turn);
  }
  if (removed.length < scores.length - count) {
    fail('HEW6008', `only ${removed.length} turns of ${loop} can be removed ${apart} apart`);
  }
  return { kept: scores.map((_, turn) => turn).filter((turn) => !removed.includes(turn)), scores };
}

/** Removes one turn after the other, each time the one without which the data is predicted best. */
async function greedy(
  { module, loop, count, apart, windows }: LayerRequest,
  turns: number,
  data: PassData,
): Promise<LayerChoice> {
  let kept = Array.from({ length: turns }, (_, i) => i);
  const scores = kept.map(() => Number.NaN);
  const removed: number[] = [];
  while (kept.length > count) {
    const allowed = kept.filter((turn) => removed.every((other) => Math.abs(other - turn) >= apart));
    const costs: { turn: number; nll: number }[] = [];
    for (const turn of allowed) {
      const nll = await data.evaluate(
        keepLoopTurns(
          module,
          loop,
          kept.filter((other) => other !== turn),
        ),
        windows > 0 ? { first: windows } : {},
      );
      costs.push({ turn, nll });
    }
    const best = costs.toSorted((a, b) => a.nll - b.nll || a.turn - b.turn)[0];
    if (best === undefined)
      return fail('HEW6008', `only ${removed.length} turns of ${loop} can be removed ${apart} apart`);
    scores[best.turn] = best.nll;
    removed.push(best.turn);
    kept = kept.filter((turn) => turn !== best.turn);
  }
  return { kept, scores };
}
