/** Ops between the ranks of a model that is split over devices: every rank runs the same module on weights of its own. */
import { attr, defineOp, InferError, operand } from '../op.js';
import type { Tensor } from '../tensor.js';
import type { TensorType } from '../type.js';

export const collectiveOps = {
  all_reduce: defineOp({
    doc: 'the sum of `x` over all ranks, the same on each of them',
    category: 'structure',
    operands: [operand('x', 'f32')],
    attrs: { ranks: attr('int', 'how many ranks there are') },
    infer: ([x], { ranks }) => {
      const type = x as TensorType;
      if (type.dtype !== 'f32')
        throw new InferError(`ranks add f32, not ${type.dtype}`, { kind: 'dtype', operand: 0 });
      if (!Number.isInteger(ranks) || ranks < 1)
        throw new InferError(`there cannot be ${ranks} ranks`, { kind: 'attr' });
      return [type];
    },
    evaluate: ([x], _attrs, context) => [context.allReduce(x as Tensor)],
  }),
};
