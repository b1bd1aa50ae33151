/**
 * Scores of importance: for each kind of axis a table of rules, the paper's first. A rule names the values whose
 * statistics it wants; scores are the sums over calibration tokens, never means, so they are comparable only between
 * parts that saw the same tokens (arXiv 2505.20155, §1 of the reference).
 */
import { fail } from '../../ir/diagnostics.js';
import { type Dim, nameOf } from '../../ir/dim.js';
import type { Module, Value } from '../../ir/module.js';
import type { PassData } from '../pass.js';
import { type Probe, type StatisticName, sumsAt } from '../probe.js';
import { type Norm, observedStructure, type Projection, type Structure } from '../structure.js';
import { expertSite, expertsOwning } from './expert-neurons.js';
import { obs } from './least-squares-score.js';
import { sizeOfDim } from './prune-dim.js';

/** What a named dimension counts, as far as pruning is concerned. */
export type AxisKind = 'channels' | 'neurons' | 'heads' | 'groups' | 'experts' | 'layers';

/** The kind of a dimension, or undefined when nothing in the graph says what it counts. */
export function axisKind(structure: Structure, name: string): AxisKind | undefined {
  const { module, streams, feedForwards, attentions, routers } = structure;
  const counted = [...module.loops.values()].some(({ count }) => nameOf(count) === name);
  const tests: readonly [AxisKind, boolean][] = [
    ['layers', counted],
    ['channels', streams.some((s) => s.channels === name)],
    ['neurons', feedForwards.some((f) => f.neurons === name)],
    ['heads', attentions.some((a) => a.heads === name)],
    ['groups', attentions.some((a) => a.kv === name && a.heads !== name)],
    ['experts', routers.some((r) => r.experts === name)],
  ];
  return tests.find(([, holds]) => holds)?.[0];
}

/** A place whose statistic counts towards a score. */
export interface Site {
  readonly func: string;
  readonly loop: string | undefined;
  readonly values: readonly Value[];
  readonly statistic: StatisticName;
  /** What reads the value, for rules that weigh it with its weight. */
  readonly reader?: Projection;
  /** The dimension of experts, when each has scores of its own: [experts, indices]. */
  readonly experts?: string | undefined;
  /** The norm behind what reads the value, when there is one. */
  readonly norm?: Norm | undefined;
  /** How many inputs of the reader are one index. */
  readonly width?: Dim;
}

export interface ScoreRule {
  readonly doc: string;
  sites(structure: Structure, name: string): readonly Site[];
  /** Makes scores of the sums of one site in one turn; by default they are the sums. */
  finish?(
    sums: Float64Array,
    site: Site,
    turn: number | undefined,
    module: Module,
    data: PassData,
  ): Float64Array;
}

function normSites(structure: Structure, name: string, statistic: StatisticName, preOnly: boolean): Site[] {
  return structure.norms
    .filter(({ result }) => nameOf(result.type.shape.at(-1) ?? missingAxis()) === name)
    .filter(({ role }) => !preOnly || role === 'pre' || role === 'final')
    .map(({ func, loop, result }) => ({ func, loop, values: [result], statistic }));
}

function missingAxis(): never {
  throw new Error('a norm has at least one axis');
}

function neuronSites(structure: Structure, name: string, statistic: 'abs' | 'square'): Site[] {
  const experts = expertsOwning(structure.module, name);
  return structure.feedForwards
    .filter(({ neurons }) => neurons === name)
    .map((layer) => {
      const { func, loop, product, writer } = layer;
      const site = { func, loop, experts, reader: writer };
      const owned = experts === undefined ? undefined : expertSite(layer, experts);
      if (owned === undefined) return { ...site, values: [product], statistic };
      return owned.kind === 'leading'
        ? { ...site, values: [product], statistic: `leading_${statistic}` }
        : { ...site, values: [product, owned.index, owned.weight], statistic: `routed_${statistic}` };
    });
}

function headSites({ attentions }: Structure, name: string, projected: boolean): Site[] {
  return attentions
    .filter(({ heads, kv }) => heads === name || kv === name)
    .map(({ func, loop, result, o }) => ({
      func,
      loop,
      values: projected ? [result, o.op.operands[1] as Value] : [result],
      statistic: projected ? 'projected_norm' : 'group_norm',
      reader: o,
    }));
}

const root = (sums: Float64Array): Float64Array => sums.map(Math.sqrt);

const headRules: Readonly<Record<string, ScoreRule>> = {
  paper: {
    doc: 'Σ over tokens of ‖head_j(x)‖₂, the output of the head before o_proj',
    sites: (structure, name) => headSites(structure, name, false),
  },
  projected: {
    doc: 'Σ over tokens of ‖W_o,j head_j(x)‖₂, what the head adds after o_proj',
    sites: (structure, name) => headSites(structure, name, true),
  },
};

/** The first rule of a kind is its default. Every kind has `random` as well. */
export const scoreRules: Readonly<Record<Exclude<AxisKind, 'layers'>, Readonly<Record<string, ScoreRule>>>> =
  {
    channels: {
      paper: {
        doc: 'Σ over every norm and token of |RMSNorm(x)_k|: one ranking for the whole model',
        sites: (structure, name) => normSites(structure, name, 'abs', false),
      },
      'pre-norms': {
        doc: 'the same over the norms that read the stream only',
        sites: (structure, name) => normSites(structure, name, 'abs', true),
      },
      l2: {
        doc: 'sqrt of Σ RMSNorm(x)_k² over every norm and token',
        sites: (structure, name) => normSites(structure, name, 'square', false),
      },
    },
    neurons: {
      paper: {
        doc: 'Σ over tokens of |activation_m|, the input of the down projection',
        sites: (structure, name) => neuronSites(structure, name, 'abs'),
      },
      l2: {
        doc: 'sqrt of Σ activation_m²',
        sites: (structure, name) => neuronSites(structure, name, 'square'),
        finish: root,
      },
      'down-norm': {
        doc: 'Σ |activation_m| times the norm of the column of the down projection that reads it',
        sites: (structure, name) => neuronSites(structure, name, 'abs'),
        finish: (sums, site, turn, module, data) => timesColumnNorms(sums, site, turn, module, data),
      },
      obs: obs(
        'least squared error of what the down projection adds when this neuron and all that matter less are gone and it is solved again',
        ({ feedForwards }, name) =>
          feedForwards
            .filter(({ neurons }) => neurons === name)
            .map(({ func, loop, writer }) => ({ func, loop, reader: writer })),
      ),
    },
    heads: {
      ...headRules,
      obs: obs(
        'least squared error of what o_proj adds when this head and all that matter less are gone and it is solved again',
        ({ attentions }, name) =>
          attentions
            .filter(({ heads, kv }) => heads === name || kv === name)
            .map(({ func, loop, o, result }) => ({
              func,
              loop,
              reader: o,
              width: result.type.shape.at(-1) as Dim,
            })),
      ),
    },
    groups: headRules,
    experts: {
      paper: {
        doc: 'Σ over tokens of the probability that the router gives the expert',
        sites: ({ routers }, name) =>
          routers
            .filter(({ experts }) => experts === name)
            .map(({ func, loop, logits }) => ({ func, loop, values: [logits], statistic: 'softmax' })),
      },
    },
  };

function timesColumnNorms(
  sums: Float64Array,
  site: Site,
  turn: number | undefined,
  module: Module,
  data: PassData,
): Float64Array {
  const { data: values } = data.weight(module, (site.reader as Projection).weight, turn);
  // Columns are the last axis; a stack of experts that have scores of their own comes matrix by matrix.
  const owners = site.experts === undefined ? 1 : sizeOfDim(module, site.experts);
  const [columns, matrix] = [sums.length / owners, values.length / owners];
  const squares = new Float64Array(sums.length);
  values.forEach((value, i) => {
    const at = Math.floor(i / matrix) * columns + (i % columns);
    squares[at] = (squares[at] as number) + value * value;
  });
  return sums.map((sum, m) => sum * Math.sqrt(squares[m] as number));
}

/** Scores of a dimension: one list for the model, or one for each turn of a loop, by source index. */
export interface Scores {
  readonly loop: string | undefined;
  /** Set when a list has the scores of one expert after the other. */
  readonly experts?: string | undefined;
  readonly byIndex: ReadonlyMap<number, Float64Array>;
}

/** How to score a dimension: which rule, on which module, or at random. */
export interface ScorePlan {
  readonly module: Module;
  readonly name: string;
  readonly kind: Exclude<AxisKind, 'layers'>;
  readonly rule: ScoreRule | 'random';
}

export function planScores(
  module: Module,
  name: string,
  kind: Exclude<AxisKind, 'layers'>,
  score: string,
): ScorePlan {
  if (score === 'random') return { module, name, kind, rule: 'random' };
  const rules = scoreRules[kind];
  const rule = Object.hasOwn(rules, score) ? rules[score] : undefined;
  if (rule !== undefined) return { module, name, kind, rule };
  return fail('HEW6002', `there is no score '${score}' for ${kind}`, {
    help: `scores of ${kind}: ${[...Object.keys(rules), 'random'].join(', ')}`,
  });
}

export function scoreProbes({ module, name, rule }: ScorePlan): Probe[] {
  if (rule === 'random') return [];
  const sites = rule.sites(observedStructure(module), name);
  if (sites.length === 0)
    fail('HEW6010', `nothing in the model shows how important each index of ${name} is`);
  return sites.map(({ func, values, statistic, norm }, i) => ({
    key: `${name}.${i}`,
    module,
    func,
    values,
    statistic,
    eps: norm?.eps,
  }));
}

/**
 * The scores of a plan. Channels have one ranking: norms in and outside of loops are summed, every turn counted.
 * Of the other kinds each turn has its own.
 */
export function computeScores(plan: ScorePlan, data: PassData): Scores {
  const { module, name, rule } = plan;
  if (rule === 'random') throw new Error('random scores are not computed from data');
  const sites = rule.sites(observedStructure(module), name);
  const byIndex = new Map<number, Float64Array>();
  const whole = plan.kind === 'channels';
  sites.forEach((site, i) => {
    const observation = data.statistics.get(`${name}.${i}`);
    if (observation === undefined) throw new Error(`statistic ${name}.${i} was not observed`);
    for (const [turn, index] of (observation.indices ?? [0]).entries()) {
      const sums = sumsAt(observation, index) as Float64Array;
      const scores = rule.finish?.(sums, site, observation.indices && turn, module, data) ?? sums;
      checkFinite(scores, name, site.func);
      const at = whole ? 0 : index;
      byIndex.set(at, added(byIndex.get(at), scores));
    }
  });
  return { loop: whole ? undefined : sites[0]?.loop, experts: sites[0]?.experts, byIndex };
}

function added(sum: Float64Array | undefined, term: Float64Array): Float64Array {
  return sum === undefined ? term.slice() : sum.map((value, i) => value + (term[i] as number));
}

function checkFinite(scores: Float64Array, name: string, func: string): void {
  const bad = scores.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return;
  fail(
    'HEW6011',
    `index ${bad} of ${name} scores ${scores[bad]} in @${func}: weights or activations are not finite`,
  );
}

// ---- selection

/** The indices of the `count` greatest scores, ascending; ties go to the lower index. */
export function greatest(scores: ArrayLike<number>, count: number): number[] {
  const order = Array.from(scores, (_, i) => i);
  order.sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b);
  return order.slice(0, count).sort((a, b) => a - b);
}

/** The same inside each of `groups` runs of equal length, `count` in all. */
export function greatestInGroups(scores: ArrayLike<number>, groups: number, count: number): number[] {
  const size = scores.length / groups;
  return Array.from({ length: groups }, (_, g) => {
    const own = Array.from({ length: size }, (_, i) => scores[g * size + i] as number);
    return greatest(own, count / groups).map((i) => g * size + i);
  }).flat();
}

/** Mean score of the heads of each group: the score of the group (§3, step 2, of the reference). */
export function groupMeans(scores: Float64Array, groups: number): Float64Array {
  const size = scores.length / groups;
  return Float64Array.from({ length: groups }, (_, g) => {
    const own = scores.subarray(g * size, (g + 1) * size);
    return own.reduce((sum, value) => sum + value, 0) / size;
  });
}

/** A generator of reproducible numbers in [0, 1): a linear congruence modulo 2^32, upper bits. */
export function randomNumbers(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 2 ** 24;
  };
}
