/** Routing of tokens to experts. The experts themselves run through grouped_linear. */
import { type Dim, dim, divDims } from '../dim.js';
import { attr, choice, defineOp, type InferContext, InferError, operand, type Value } from '../op.js';
import { emptyTensor, type Tensor } from '../tensor.js';
import { elementCount, type TensorType } from '../type.js';
import { reduceLast, reshape, toDType } from './decompose.js';
import { topIndices } from './reduction.js';
import { describeDim, dimAt, expectFloat, expectRank } from './shared.js';

interface Groups {
  readonly num_groups: number;
  readonly topk_per_group: number;
}

/** Every group has as many experts, and at least as many as are chosen from it. */
function checkGroups(experts: Dim, { num_groups, topk_per_group }: Groups, context: InferContext): void {
  const count = context.valueOf(experts);
  const text = describeDim(experts, context);
  if (count === undefined) {
    throw new InferError(`moe_route: the number of experts ${text} has no value at compile time`, {
      kind: 'shape',
      operand: 0,
    });
  }
  if (num_groups < 1 || count % num_groups !== 0) {
    throw new InferError(`moe_route: ${text} experts do not form ${num_groups} equal groups`, {
      kind: 'attr',
    });
  }
  if (topk_per_group < 1 || topk_per_group > count / num_groups) {
    throw new InferError(
      `moe_route: cannot choose ${topk_per_group} of the ${count / num_groups} experts of a group`,
      { kind: 'attr' },
    );
  }
}

/** Scores of all experts of one token. */
function scoresOf(row: Float64Array, score: string): Float64Array {
  if (score === 'sigmoid') return row.map((v) => 1 / (1 + Math.exp(-v)));
  const greatest = row.reduce((a, v) => Math.max(a, v), Number.NEGATIVE_INFINITY);
  const powers = row.map((v) => Math.exp(v - greatest));
  const total = powers.reduce((a, v) => a + v, 0);
  return powers.map((v) => v / total);
}

/** Both scores grow with the logits, so experts are chosen by their logits: exact, whatever the rounding. */
export function chooseExperts(row: Float64Array, { num_groups, topk_per_group }: Groups): number[] {
  const size = row.length / num_groups;
  return Array.from({ length: num_groups }, (_, group) => {
    const members = row.subarray(group * size, (group + 1) * size);
    return topIndices(members, topk_per_group).map((i) => group * size + i);
  }).flat();
}

export const expertOps = {
  moe_route: defineOp({
    doc: 'chooses experts: scores over all experts, then the best of each contiguous group (Pangu Pro MoE); num_groups = 1 is plain top-k; group by group, descending inside a group, ties to the lower index',
    category: 'experts',
    operands: [
      operand('logits', '[T, experts], float; results are f32 and i32 [T, num_groups*topk_per_group]'),
    ],
    attrs: {
      num_groups: attr('int', 'number of equal contiguous groups of experts', 1),
      topk_per_group: attr('int', 'experts chosen from each group'),
      score: choice('weight of an expert before the choice', ['softmax', 'sigmoid'], 'softmax'),
      renormalize: attr('bool', 'divide the chosen weights by their sum', false),
    },
    infer: ([logits], attrs, context) => {
      const type = logits as TensorType;
      expectFloat(type, 0);
      expectRank(type, [2], 'logits', 0);
      checkGroups(dimAt(type, 1), attrs, context);
      const shape = [dimAt(type, 0), dim(attrs.num_groups * attrs.topk_per_group)];
      return [
        { dtype: 'f32', shape },
        { dtype: 'i32', shape },
      ];
    },
    evaluate: ([logits], attrs, context) => {
      const from = logits as Tensor;
      const [tokens, experts] = from.shape as [number, number];
      const chosen = attrs.num_groups * attrs.topk_per_group;
      const weights = emptyTensor('f32', [tokens, chosen]);
      const index = emptyTensor('i32', [tokens, chosen]);
      const round = context.round('f32');
      for (let t = 0; t < tokens; t++) {
        const row = from.data.subarray(t * experts, (t + 1) * experts);
        const scores = scoresOf(row, attrs.score);
        const picks = chooseExperts(row, attrs);
        const total = attrs.renormalize ? picks.reduce((sum, e) => sum + (scores[e] as number), 0) : 1;
        picks.forEach((expert, k) => {
          weights.data[t * chosen + k] = round((scores[expert] as number) / total);
          index.data[t * chosen + k] = expert;
        });
      }
      return [weights, index];
    },
    decompose: (b, operands, { num_groups, topk_per_group, score, renormalize }) => {
      const logits = toDType(b, operands[0] as Value, 'f32');
      const [tokens, experts] = logits.type.shape as [Dim, Dim];
      const size = divDims(experts, num_groups);
      const flat = [tokens, num_groups * topk_per_group];
      const grouped = reshape(b, logits, [tokens, num_groups, size]);
      const [best, local] = b.emit('topk', [grouped], { k: topk_per_group }) as [Value, Value];
      const group = b.one('iota', [], { length: dim(num_groups), dtype: 'i32' });
      const starts = b.one('mul', [group, b.one('dim_size', [], { dim: size })]);
      const index = b.one('add', [local, reshape(b, starts, [num_groups, 1])]);
      const chosen = reshape(b, best, flat);
      const greatest = reduceLast(b, 'reduce_max', logits);
      const power = (x: Value) => b.one('exp', [b.one('sub', [x, greatest])]);
      const weights =
        score === 'sigmoid'
          ? b.one('sigmoid', [chosen])
          : b.one('div', [power(chosen), reduceLast(b, 'reduce_sum', power(logits))]);
      const scaled = renormalize ? b.one('div', [weights, reduceLast(b, 'reduce_sum', weights)]) : weights;
      return [scaled, reshape(b, index, flat)];
    },
    flops: ({ operands: [logits] }) => 5 * elementCount(logits as number[]),
  }),
};
