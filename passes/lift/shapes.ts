/** What remains of shape arithmetic, and weights in the other layout. */
import { defOf, type Value } from '../../ir/module.js';
import { madeBy, type Rule, rule } from '../rules/rule.js';

export const shapeRules: readonly Rule[] = [
  ...(['reshape', 'broadcast_to', 'transpose'] as const).map((name) =>
    rule(
      name,
      `lift-${name.replace('_', '-')}-full`,
      `${name}(full(v)) == full(v) of its shape`,
      (op, [x], builder) => {
        const made = madeBy(x, 'full');
        const [result] = op.results;
        if (made === undefined || result === undefined) return undefined;
        return builder.one('full', [], { ...made.attrs, shape: result.type.shape });
      },
    ),
  ),
  rule('cast', 'lift-cast-through-i64', 'cast(cast(x, i64), i32) == x for an i32 x', (op, [x]) => {
    const inner = madeBy(x, 'cast')?.operands[0];
    return op.attrs.dtype === 'i32' && x?.type.dtype === 'i64' && inner?.type.dtype === 'i32'
      ? inner
      : undefined;
  }),
  rule(
    'cast',
    'lift-cast-add',
    'cast(cast(x, i64) + cast(y, i64), i32) == x + y for i32 x and y',
    (op, [x], builder) => {
      const sum = madeBy(x, 'add');
      if (op.attrs.dtype !== 'i32' || sum === undefined || x?.type.dtype !== 'i64') return undefined;
      const narrow = sum.operands.map((operand) => narrowed(operand, builder));
      const [a, b] = narrow;
      return a !== undefined && b !== undefined ? builder.one('add', [a, b]) : undefined;
    },
  ),
  rule('matmul', 'lift-linear', 'x @ w == linear(x, transpose(w)) for a weight w', (_op, [x, w], builder) => {
    const weight = madeBy(w, 'cast')?.operands[0] ?? w;
    const isWeight = weight !== undefined && defOf(weight)?.name === 'param';
    if (!isWeight || w?.type.shape.length !== 2 || w.type.dtype !== 'f32' || x?.type.dtype !== 'f32')
      return undefined;
    return builder.one('linear', [x, builder.one('transpose', [w], { perm: [1, 0] })]);
  }),
];

/** An i64 value that is an i32 value, or a constant, widened: the i32 value. */
function narrowed(
  value: Value,
  builder: { one(name: string, operands: readonly Value[], attrs?: object): Value },
): Value | undefined {
  const inner = madeBy(value, 'cast')?.operands[0];
  if (inner?.type.dtype === 'i32') return inner;
  const made = madeBy(value, 'full');
  return made === undefined ? undefined : builder.one('full', [], { ...made.attrs, dtype: 'i32' });
}
