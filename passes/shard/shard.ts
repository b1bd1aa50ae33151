/**
 * shard: one rank of a tensor-parallel model. Weights are split by named dimensions (Shoeybi et al. 2019, arXiv
 * 1909.08053) and groups of experts, and `all_reduce` adds what the ranks have: behind the output projection of attention
 * and behind the feed-forward layer. Exact but for the order of additions. Every rank is a module of its own, alike but
 * for its weights.
 */
import { fail } from '../../ir/diagnostics.js';
import { type Module, modelDims } from '../../ir/module.js';
import { canonicalize } from '../canonicalize.js';
import { definePass, option } from '../pass.js';
import { sizeOfDim } from '../prune/prune-dim.js';
import { contractedDims, obstacle, type Rank, splitDims, tiedDims } from './dims.js';
import { expertDim, expertObstacle, splitExperts } from './experts.js';
import { splitHead } from './head.js';

export const shard = definePass({
  name: 'shard',
  summary:
    'Makes one rank of a model that is split over devices: its part of the weights, and sums over all ranks.',
  options: {
    tp: option('int', 'how many ranks there are', 2),
    rank: option('int', 'which of them this is, from 0', 0),
    dims: option('string', 'dimensions to split, such as heads+kv+ffn; all that can be split when empty', ''),
    head: option(
      'bool',
      'whether the outputs of the head are split as well where they can be, and put together by a sum',
      true,
    ),
  },
  run(module, { tp, rank, dims, head }) {
    const own: Rank = { rank, ranks: tp };
    checkRank(own);
    if (tp === 1) return { module, report: { counts: {}, notes: ['one rank has everything'] } };
    const experts = expertDim(module);
    const { chosen, notes } = dims === '' ? everything(module, own) : named(module, dims.split('+'), own);
    const split = chosen.includes(experts ?? '') ? splitExperts(module, own) : module;
    const others = chosen.filter((name) => name !== experts);
    const parted = splitDims(split, others, own);
    const headed = head ? splitHead(parted, own) : undefined;
    const sharded = canonicalize.run(headed ?? parted, {}).module;
    const sizes = modelDims(module);
    const parts = chosen.map((name) => `${name}: ${(sizes.get(name) as number) / tp} of ${sizes.get(name)}`);
    const sums = [...sharded.functions.values()].flatMap((f) =>
      f.body.filter((op) => op.name === 'all_reduce'),
    );
    return {
      module: sharded,
      report: {
        counts: { dims: chosen.length, sums: sums.length, heads: headed === undefined ? 0 : 1 },
        notes: [...parts, ...notes],
      },
    };
  },
});

function checkRank({ rank, ranks }: Rank): void {
  if (ranks < 1) fail('HEW6002', `shard: tp=${ranks} must be at least 1`);
  if (rank < 0 || rank >= ranks) fail('HEW6002', `shard: rank=${rank} must be from 0 to ${ranks - 1}`);
}

interface Choice {
  readonly chosen: readonly string[];
  readonly notes: readonly string[];
}

/** What the user asks for, or why not. */
function named(module: Module, dims: readonly string[], rank: Rank): Choice {
  for (const name of dims) sizeOfDim(module, name);
  const experts = expertDim(module);
  const others = dims.filter((name) => name !== experts);
  const why =
    (dims.includes(experts ?? '') ? expertObstacle(module, rank) : undefined) ??
    obstacle(module, others, rank);
  if (why !== undefined) fail('HEW6010', `shard: ${dims.join('+')} cannot be split: ${why}`);
  return { chosen: dims, notes: [] };
}

/** Everything that can be split; groups of experts rather than the neurons of each. */
function everything(module: Module, rank: Rank): Choice {
  const experts = expertDim(module);
  const chosen: string[] = [];
  const notes: string[] = [];
  if (experts !== undefined) {
    const why = expertObstacle(module, rank);
    if (why === undefined) chosen.push(experts);
    else notes.push(`${experts} stays whole: ${why}`);
  }
  for (const name of contractedDims(module)) {
    const tied = tiedDims(module, name);
    if (tied.some((other) => chosen.includes(other)) || isInside(module, name, chosen, experts)) continue;
    const others = chosen.filter((other) => other !== experts);
    const why = obstacle(module, [...others, ...tied], rank);
    if (why === undefined) chosen.push(...tied);
    else notes.push(`${name} stays whole: ${why}`);
  }
  if (chosen.length === 0) fail('HEW6010', 'shard: no dimension can be split', { notes });
  return { chosen, notes };
}

/** Whether a dimension is one of the experts' own where the experts are split already. */
function isInside(
  module: Module,
  name: string,
  chosen: readonly string[],
  experts: string | undefined,
): boolean {
  if (experts === undefined || !chosen.includes(experts)) return false;
  const of = (dim: string): string[] =>
    [...module.params]
      .filter(([, { type }]) => type.shape.some((d) => d.terms.some((t) => t.factors.includes(dim))))
      .map(([key]) => key);
  const owners = new Set(of(experts));
  const own = of(name);
  return own.length > 0 && own.every((param) => owners.has(param));
}
