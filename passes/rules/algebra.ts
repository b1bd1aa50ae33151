/** Identities of elementwise arithmetic. All are exact in floating point unless the rule says otherwise. */
import type { Value } from '../../ir/module.js';
import { castTo } from '../../ir/numeric.js';
import { isFloat } from '../../ir/type.js';
import { fullValue, madeBy, type Rule, rule, standsFor } from './rule.js';

export const algebraRules: readonly Rule[] = [
  rule('add', 'add-zero', 'x + 0 == x (inexact for x = -0: the sum is +0, equal in value)', (op, [a, b]) => {
    if (fullValue(b) === 0) return standsFor(a as Value, op);
    return fullValue(a) === 0 ? standsFor(b as Value, op) : undefined;
  }),
  rule('sub', 'sub-zero', 'x - 0 == x', (op, [a, b]) =>
    fullValue(b) === 0 ? standsFor(a as Value, op) : undefined,
  ),
  rule('mul', 'mul-one', 'x * 1 == x', (op, [a, b]) => {
    if (fullValue(b) === 1) return standsFor(a as Value, op);
    return fullValue(a) === 1 ? standsFor(b as Value, op) : undefined;
  }),
  rule('div', 'div-one', 'x / 1 == x', (op, [a, b]) =>
    fullValue(b) === 1 ? standsFor(a as Value, op) : undefined,
  ),
  rule('pow', 'pow-one', 'x ** 1 == x', (op, [a, b]) =>
    fullValue(b) === 1 ? standsFor(a as Value, op) : undefined,
  ),
  rule('pow', 'pow-two', 'x ** 2 == x * x', (op, [a, b], builder) =>
    fullValue(b) === 2 && standsFor(a as Value, op)
      ? builder.one('mul', [a as Value, a as Value])
      : undefined,
  ),
  rule('neg', 'neg-neg', '-(-x) == x', (_op, [a]) => madeBy(a, 'neg')?.operands[0]),
  rule('not', 'not-not', 'not (not x) == x', (_op, [a]) => madeBy(a, 'not')?.operands[0]),
  rule(
    'where',
    'where-constant',
    'where(true, a, b) == a; where(false, a, b) == b',
    (op, [condition, a, b]) => {
      const value = fullValue(condition);
      return value === undefined ? undefined : standsFor((value !== 0 ? a : b) as Value, op);
    },
  ),
  rule('cast', 'cast-same', 'cast(x, its own dtype) == x', (op, [a]) => standsFor(a as Value, op)),
  rule('cast', 'cast-round-trip', 'cast(cast(x, f32), own dtype) == x for a narrower float x', (op, [a]) => {
    const inner = madeBy(a, 'cast')?.operands[0];
    const widened = a?.type.dtype === 'f32' && inner !== undefined && isFloat(inner.type.dtype);
    return widened ? standsFor(inner, op) : undefined;
  }),
  rule(
    'cast',
    'cast-full',
    'cast(full(v), dtype) == full(v, dtype), when v is exact in both',
    (op, [a], builder) => {
      const full = madeBy(a, 'full');
      if (full === undefined) return undefined;
      const { value, dtype } = full.attrs;
      const exact = castTo[dtype](value) === value && castTo[op.attrs.dtype](value) === value;
      return exact ? builder.one('full', [], { ...full.attrs, dtype: op.attrs.dtype }) : undefined;
    },
  ),
];
