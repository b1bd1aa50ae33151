/** Losses: the negative log-likelihood of the right class, weighted and reduced. */
import type { Dim } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { cast, div, full, gather, like, mul, positions, rankOf, reshape, sizeAlong } from '../build.js';
import type { NodeContext, OperatorTable } from '../node.js';
import { logSoftmax } from './normalization.js';

/** -logP[n, target[n, …], …] * weight[target], of [N, C, …]; `ignore_index` counts for nothing. */
function likelihoodLoss(c: NodeContext, logP: Value, target: Value, weight: Value | undefined): Value {
  const classes = sizeAlong(logP, 1);
  const wide = cast(c.b, target, 'i32');
  const ignored = c.hasAttribute('ignore_index')
    ? c.b.one('eq', [wide, full(c.b, c.int('ignore_index'), 'i32')])
    : undefined;
  const zero = full(c.b, 0, 'i32');
  const chosen = ignored === undefined ? wide : c.b.one('where', [ignored, zero, wide]);
  const [batch, ...rest] = target.type.shape as [Dim, ...Dim[]];
  const spread = reshape(c.b, chosen, [batch, 1, ...rest]);
  const hot = c.b.one('eq', [spread, positions(c.b, classes, 1, rankOf(logP))]);
  const picked = c.b.one('where', [hot, logP, like(c.b, logP, 0)]);
  const likelihood = c.b.one('reduce_sum', [picked], { axes: [1], keepdims: false });
  const ones =
    weight === undefined ? full(c.b, 1, logP.type.dtype, target.type.shape) : gather(c.b, weight, chosen);
  const weights = ignored === undefined ? ones : c.b.one('where', [ignored, like(c.b, ones, 0), ones]);
  const losses = mul(c.b, c.b.one('neg', [likelihood]), weights);
  const how = c.string('reduction', 'mean');
  if (how === 'none') return losses;
  const axes = target.type.shape.map((_, i) => i);
  const sum = (x: Value): Value => c.b.one('reduce_sum', [x], { axes, keepdims: false });
  return how === 'sum' ? sum(losses) : div(c.b, sum(losses), sum(weights));
}

export const lossOperators: OperatorTable = {
  NegativeLogLikelihoodLoss: {
    since: 12,
    convert: (c) => likelihoodLoss(c, c.input(0), c.input(1), c.optional(2)),
  },
  SoftmaxCrossEntropyLoss: {
    since: 12,
    convert: (c) => {
      const logP = logSoftmax(c, c.input(0), 1);
      return [likelihoodLoss(c, logP, c.input(1), c.optional(2)), logP];
    },
  },
};
