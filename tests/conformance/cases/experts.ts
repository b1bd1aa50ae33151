/** Cases of expert routing. Logits are spaced apart, except where ties are the point. */
import { dtypeNames, isFloat } from '../../../ir/type.js';
import { arg, type OpCase, opCase } from '../case.js';
import { distinct, fixed } from '../random.js';

interface RouteRow {
  readonly tokens: number;
  readonly experts: number;
  readonly groups?: number;
  readonly topk: number;
}

const rows: readonly RouteRow[] = [
  { tokens: 1, experts: 1, topk: 1 },
  { tokens: 1, experts: 8, topk: 2 },
  { tokens: 5, experts: 7, topk: 3 },
  { tokens: 4, experts: 6, topk: 6 },
  { tokens: 3, experts: 64, groups: 8, topk: 1 },
  { tokens: 5, experts: 12, groups: 4, topk: 2 },
  { tokens: 2, experts: 5, groups: 5, topk: 1 },
  { tokens: 0, experts: 8, groups: 2, topk: 2 },
];

const modes = ['softmax', 'sigmoid'].flatMap((score) =>
  [false, true].map((renormalize) => ({ score, renormalize })),
);

export const expertCases: OpCase[] = [
  ...rows.flatMap(({ tokens, experts, groups = 1, topk }) =>
    modes.map(({ score, renormalize }) =>
      opCase(
        'moe_route',
        `T ${tokens}, E ${experts}, groups ${groups}, top ${topk}, ${score}${renormalize ? ', renormalized' : ''}`,
        [arg('f32', [tokens, experts], distinct(-4, 4))],
        { attrs: { num_groups: groups, topk_per_group: topk, score, renormalize } },
      ),
    ),
  ),
  ...dtypeNames.filter(isFloat).map((dtype) =>
    opCase('moe_route', dtype, [arg(dtype, [2, 8], distinct(-2, 2))], {
      attrs: { num_groups: 2, topk_per_group: 2 },
    }),
  ),
  opCase('moe_route', 'ties go to the lower index', [arg('f32', [2, 8], fixed(1, 2, 2, 1, 0, 0, 0, 0))], {
    attrs: { num_groups: 2, topk_per_group: 2 },
  }),
  opCase('moe_route', 'all equal', [arg('f32', [3, 6], fixed(0.5))], { attrs: { topk_per_group: 4 } }),
  opCase('moe_route', 'far apart', [arg('f32', [2, 6], fixed(100, -100, 50, 0, -50, 200))], {
    attrs: { topk_per_group: 3 },
  }),
  opCase('moe_route', 'named dimensions', [arg('f32', ['T', 'experts'], distinct(-4, 4))], {
    attrs: { num_groups: 4, topk_per_group: 1 },
    dims: { T: { min: 1, max: 8, size: 3 }, experts: 16 },
  }),
];
