/** Norms, and the modulation around them. */

import type { FuncBuilder } from '../../ir/builder.js';
import { constantOf, type Dim, dimsEqual } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import { madeBy, type Rule, rule } from '../rules/rule.js';
import { besideNumber, decimal, isLastAxis, isProduct, orders, productOf, rankOf, uniform } from './match.js';

/** The mean over the last axis, which stays: of what. */
function meanOf(value: Value | undefined): Value | undefined {
  const op = madeBy(value, 'reduce_mean');
  const x = op?.operands[0];
  return op !== undefined && x !== undefined && op.attrs.keepdims && isLastAxis(op.attrs.axes, rankOf(x))
    ? x
    : undefined;
}

/** eps when `value` is mean(x^2) + eps. */
function meanSquare(value: Value | undefined, x: Value): number | undefined {
  const sum = madeBy(value, 'add');
  for (const [mean, eps] of orders(sum)) {
    const square = meanOf(mean);
    const number = uniform(eps);
    if (square !== undefined && number !== undefined && isProduct(productOf(square, x), 1, [x, x]))
      return decimal(number);
  }
  return undefined;
}

function rms(builder: FuncBuilder, x: Value, value: Value | undefined): Value | undefined {
  const eps = meanSquare(value, x);
  return eps === undefined ? undefined : builder.one('rms_norm', [x], { eps });
}

/** A vector over the last axis of x. */
function isVectorOf(vector: Value, x: Value): boolean {
  return (
    rankOf(vector) === 1 &&
    rankOf(x) > 0 &&
    dimsEqual(vector.type.shape[0] as Dim, x.type.shape.at(-1) as Dim)
  );
}

/** [B, d] of a value [B, 1, .., d] that broadcasts against x. */
function perItem(value: Value, x: Value, builder: FuncBuilder): Value | undefined {
  const [own, other] = [value.type.shape, x.type.shape];
  const [batch, width] = [own[0], own.at(-1)];
  if (own.length !== other.length || own.length < 3 || batch === undefined || width === undefined)
    return undefined;
  const inner = own.slice(1, -1).every((size) => constantOf(size) === 1);
  if (!inner || !dimsEqual(batch, other[0] as Dim) || !dimsEqual(width, other.at(-1) as Dim))
    return undefined;
  return builder.one('reshape', [value], { shape: [batch, width] });
}

export const normRules: readonly Rule[] = [
  rule('mul', 'lift-rms-norm', 'x rsqrt(mean(x^2) + eps) == rms_norm(x)', (_op, operands, builder) => {
    for (const [x, factor] of orders({ operands })) {
      const found = rms(builder, x, madeBy(factor, 'rsqrt')?.operands[0]);
      if (found !== undefined) return found;
    }
    return undefined;
  }),
  rule('div', 'lift-rms-norm-root', 'x / sqrt(mean(x^2) + eps) == rms_norm(x)', (_op, [x, root], builder) =>
    rms(builder, x as Value, madeBy(root, 'sqrt')?.operands[0]),
  ),
  rule('rms_norm', 'lift-layer-norm', 'rms_norm(x - mean(x)) == layer_norm(x)', (op, [x, gamma], builder) => {
    const centred = madeBy(x, 'sub');
    const [from, mean] = centred?.operands ?? [];
    if (from === undefined || meanOf(mean) !== from) return undefined;
    return builder.one('layer_norm', gamma === undefined ? [from] : [from, gamma], { eps: op.attrs.eps });
  }),
  ...(['rms_norm', 'layer_norm'] as const).map((name) =>
    rule(
      'mul',
      `lift-${name.replace('_', '-')}-gamma`,
      `${name}(x) gamma == ${name}(x, gamma) for a vector gamma over the last axis`,
      (_op, operands, builder) => {
        for (const [normed, gamma] of orders({ operands })) {
          const norm = madeBy(normed, name);
          const [x, given] = norm?.operands ?? [];
          if (norm === undefined || x === undefined || given !== undefined || !isVectorOf(gamma, x)) continue;
          return builder.one(name, [x, gamma], { eps: norm.attrs.eps });
        }
        return undefined;
      },
    ),
  ),
  rule(
    'add',
    'lift-layer-norm-beta',
    'layer_norm(x, gamma) + beta == layer_norm(x, gamma, beta)',
    (_op, operands, builder) => {
      for (const [normed, beta] of orders({ operands })) {
        const norm = madeBy(normed, 'layer_norm');
        const [x, gamma, given] = norm?.operands ?? [];
        if (norm === undefined || x === undefined || gamma === undefined || given !== undefined) continue;
        if (isVectorOf(beta, x)) return builder.one('layer_norm', [x, gamma, beta], { eps: norm.attrs.eps });
      }
      return undefined;
    },
  ),
  rule(
    'layer_norm',
    'lift-unit-gamma',
    'layer_norm(x, 1) == layer_norm(x), also with a beta of 0',
    (op, operands, builder) => {
      const [x, gamma, beta] = operands as [Value, Value?, Value?];
      if (uniform(gamma) !== 1 || (beta !== undefined && uniform(beta) !== 0)) return undefined;
      return builder.one('layer_norm', [x], op.attrs);
    },
  ),
  rule(
    'add',
    'lift-modulate',
    'x (1 + scale) + shift == modulate(x, shift, scale), both [B, 1, .., d]',
    (_op, operands, builder) => {
      for (const [scaled, shift] of orders({ operands })) {
        for (const [x, factor] of orders(madeBy(scaled, 'mul'))) {
          const scale = besideNumber(madeBy(factor, 'add'), (c) => c === 1);
          const rows = scale && [shift, scale].map((value) => perItem(value, x, builder));
          const [own, gain] = rows ?? [];
          if (own !== undefined && gain !== undefined) return builder.one('modulate', [x, own, gain]);
        }
      }
      return undefined;
    },
  ),
];
