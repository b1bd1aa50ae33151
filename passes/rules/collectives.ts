/** Fewer and smaller sums over ranks. They change the order of additions, so results may differ in the last bit. */
import type { Op, Value } from '../../ir/module.js';
import { typesEqual } from '../../ir/type.js';
import { madeBy, type Rule, rule } from './rule.js';

/** What ranks add up to make an operand that nothing else reads. */
function partOf(
  op: Pick<Op, 'operands'>,
  at: number,
  operands: readonly Value[],
  uses: ReadonlyMap<Value, number>,
): { readonly part: Value; readonly ranks: number } | undefined {
  const sum = madeBy(operands[at], 'all_reduce');
  if (sum === undefined || uses.get(op.operands[at] as Value) !== 1) return undefined;
  return { part: sum.operands[0] as Value, ranks: sum.attrs.ranks };
}

export const collectiveRules: readonly Rule[] = [
  rule(
    'add',
    'add-of-sums',
    'all_reduce(a) + all_reduce(b) == all_reduce(a + b)',
    (op, operands, b, uses) => {
      const [left, right] = [partOf(op, 0, operands, uses), partOf(op, 1, operands, uses)];
      if (left === undefined || right?.ranks !== left.ranks) return undefined;
      return b.one('all_reduce', [b.one('add', [left.part, right.part])], { ranks: left.ranks });
    },
  ),
  rule(
    'add',
    'sum-with-whole',
    'all_reduce(a) + y == all_reduce(a + y / ranks), so that a kernel that makes a adds y as well',
    (op, operands, b, uses) => {
      const at = partOf(op, 0, operands, uses) === undefined ? 1 : 0;
      const sum = partOf(op, at, operands, uses);
      const whole = operands[1 - at] as Value;
      const { type } = op.results[0] as Value;
      if (sum === undefined || !typesEqual(sum.part.type, type) || !typesEqual(whole.type, type))
        return undefined;
      const share = b.one('full', [], { value: 1 / sum.ranks, dtype: 'f32', shape: [] });
      const added = b.one('add', [sum.part, b.one('mul', [whole, share])]);
      return b.one('all_reduce', [added], { ranks: sum.ranks });
    },
  ),
  rule('mul', 'scaled-sum', 'all_reduce(a) * y == all_reduce(a * y)', (op, operands, b, uses) => {
    const at = partOf(op, 0, operands, uses) === undefined ? 1 : 0;
    const sum = partOf(op, at, operands, uses);
    if (sum === undefined || !typesEqual(sum.part.type, (op.results[0] as Value).type)) return undefined;
    return b.one('all_reduce', [b.one('mul', operands.with(at, sum.part))], { ranks: sum.ranks });
  }),
  rule(
    'reduce_sum',
    'sum-of-sums',
    'reduce_sum(all_reduce(a)) == all_reduce(reduce_sum(a))',
    (op, operands, b, uses) => {
      const sum = partOf(op, 0, operands, uses);
      if (sum === undefined) return undefined;
      return b.one('all_reduce', [b.one('reduce_sum', [sum.part], op.attrs)], { ranks: sum.ranks });
    },
  ),
  rule(
    'reshape',
    'reshape-of-sum',
    'reshape(all_reduce(a), s) == all_reduce(reshape(a, s)), so that a sum is made where the result has to be',
    (op, operands, b, uses) => {
      const sum = partOf(op, 0, operands, uses);
      if (sum === undefined) return undefined;
      return b.one('all_reduce', [b.one('reshape', [sum.part], op.attrs)], { ranks: sum.ranks });
    },
  ),
];
