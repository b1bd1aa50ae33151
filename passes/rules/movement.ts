/** Identities of ops that only move elements. */
import { constantOf, dimsEqual } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import { dimAt } from '../../ir/ops/shared.js';
import { madeBy, type Rule, rule, standsFor } from './rule.js';

export const movementRules: readonly Rule[] = [
  rule('reshape', 'reshape-same', 'reshape(x, its own shape) == x', (op, [x]) => standsFor(x as Value, op)),
  rule('reshape', 'reshape-reshape', 'reshape(reshape(x, s), t) == reshape(x, t)', (op, [x], builder) => {
    const inner = madeBy(x, 'reshape')?.operands[0];
    return inner === undefined ? undefined : builder.one('reshape', [inner], op.attrs);
  }),
  rule('transpose', 'transpose-same', 'transpose(x, identity) == x', (op, [x]) =>
    op.attrs.perm.every((axis, i) => axis === i) ? (x as Value) : undefined,
  ),
  rule(
    'transpose',
    'transpose-transpose',
    'transpose(transpose(x, p), q) == transpose(x, p∘q)',
    (op, [x], builder) => {
      const inner = madeBy(x, 'transpose');
      if (inner === undefined) return undefined;
      const perm = op.attrs.perm.map((axis) => inner.attrs.perm[axis] as number);
      return builder.one('transpose', [inner.operands[0] as Value], { perm });
    },
  ),
  rule('slice', 'slice-all', 'x[0 : n] == x', (op, [x]) => {
    const { axis, start, end, step } = op.attrs;
    const length = dimAt((x as Value).type, axis);
    const all = step === 1 && constantOf(start) === 0 && dimsEqual(end, length);
    return all ? standsFor(x as Value, op) : undefined;
  }),
  rule('concat', 'concat-one', 'concat(x) == x', (_op, operands) =>
    operands.length === 1 ? operands[0] : undefined,
  ),
  rule('pad', 'pad-none', 'pad(x, 0, 0) == x', (op, [x]) =>
    [...op.attrs.before, ...op.attrs.after].every((n) => n === 0) ? (x as Value) : undefined,
  ),
  rule('broadcast_to', 'broadcast-same', 'broadcast_to(x, its own shape) == x', (op, [x]) =>
    standsFor(x as Value, op),
  ),
];
