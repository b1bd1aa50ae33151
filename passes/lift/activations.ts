/** Activations that exporters take apart. */

import { dimsEqual } from '../../ir/dim.js';
import type { OpOf, Value } from '../../ir/module.js';
import { madeBy, type Rule, rule } from '../rules/rule.js';
import { besideNumber, isProduct, near, orders, productOf, rankOf, scaledValue, uniform } from './match.js';

/** `1 + f(u)`, in either order: u. */
function onePlus(value: Value, name: 'erf' | 'tanh'): Value | undefined {
  return madeBy(
    besideNumber(madeBy(value, 'add'), (c) => c === 1),
    name,
  )?.operands[0];
}

/** x of `x / sqrt 2`. */
function overRootTwo(u: Value): Value | undefined {
  const { value, factor } = scaledValue(u);
  return near(factor, Math.SQRT1_2) ? value : undefined;
}

/** x of `sqrt(2/pi) (x + 0.044715 x^3)`. */
function cubicArgument(u: Value): Value | undefined {
  const { value, factor } = scaledValue(u);
  if (!near(factor, Math.sqrt(2 / Math.PI))) return undefined;
  return orders(madeBy(value, 'add')).find(([x, cube]) =>
    isProduct(productOf(cube, x), 0.044715, [x, x, x]),
  )?.[0];
}

/** x of `x/2 (1 + f(argument of x))`, whatever the order of the factors. */
function gated(
  op: OpOf<'mul'> | OpOf<'div'>,
  operands: readonly Value[],
  name: 'erf' | 'tanh',
  argument: (u: Value) => Value | undefined,
): Value | undefined {
  const factors = operands.flatMap((operand) => [operand, ...productOf(operand).values]);
  for (const gate of factors) {
    const u = onePlus(gate, name);
    const x = u && argument(u);
    if (x === undefined) continue;
    const [a, b] = operands as [Value, Value];
    const left = productOf(a, x);
    const second = uniform(b);
    const right = op.name === 'mul' ? productOf(b, x) : { factor: 1 / (second ?? Number.NaN), values: [] };
    const whole = { factor: left.factor * right.factor, values: [...left.values, ...right.values] };
    if (isProduct(whole, 0.5, [x, gate])) return x;
  }
  return undefined;
}

function geluRule(root: 'mul' | 'div', title: string, algebra: string, target: 'gelu' | 'gelu_tanh'): Rule {
  return rule(root, title, algebra, (op, operands, builder) => {
    const x =
      target === 'gelu'
        ? gated(op, operands, 'erf', overRootTwo)
        : gated(op, operands, 'tanh', cubicArgument);
    return x === undefined ? undefined : builder.one(target, [x]);
  });
}

function sameShape(a: Value, b: Value): boolean {
  const [x, y] = [a.type.shape, b.type.shape];
  return rankOf(a) === rankOf(b) && x.every((d, i) => dimsEqual(d, y[i] as typeof d));
}

export const activationRules: readonly Rule[] = [
  rule('reciprocal', 'lift-rsqrt', '1 / sqrt(x) == rsqrt(x)', (_op, [x], builder) => {
    const inner = madeBy(x, 'sqrt')?.operands[0];
    return inner && builder.one('rsqrt', [inner]);
  }),
  rule('div', 'lift-reciprocal-root', 'c / sqrt(x) == rsqrt(x) for c = 1', (_op, [one, x], builder) => {
    const inner = madeBy(x, 'sqrt')?.operands[0];
    return uniform(one) === 1 && inner !== undefined ? builder.one('rsqrt', [inner]) : undefined;
  }),
  rule('pow', 'lift-root', 'x ** 0.5 == sqrt(x), x ** -0.5 == rsqrt(x)', (_op, [x, power], builder) => {
    const exponent = uniform(power);
    if (exponent === 0.5) return builder.one('sqrt', [x as Value]);
    return exponent === -0.5 ? builder.one('rsqrt', [x as Value]) : undefined;
  }),
  rule('reciprocal', 'lift-sigmoid', '1 / (1 + e^-x) == sigmoid(x)', (_op, [sum], builder) => {
    const power = madeBy(
      besideNumber(madeBy(sum, 'add'), (c) => c === 1),
      'exp',
    )?.operands[0];
    const x = madeBy(power, 'neg')?.operands[0];
    return x && builder.one('sigmoid', [x]);
  }),
  rule('mul', 'lift-silu', 'x sigmoid(x) == silu(x)', (_op, operands, builder) => {
    const found = orders({ operands }).find(([x, gate]) => madeBy(gate, 'sigmoid')?.operands[0] === x);
    return found && builder.one('silu', [found[0]]);
  }),
  rule('mul', 'lift-quick-gelu', 'x sigmoid(1.702 x) == quick_gelu(x)', (_op, operands, builder) => {
    const found = orders({ operands }).find(([x, gate]) => {
      const inner = madeBy(gate, 'sigmoid')?.operands[0];
      const scaled = inner && scaledValue(inner);
      return scaled !== undefined && scaled.value === x && near(scaled.factor, 1.702);
    });
    return found && builder.one('quick_gelu', [found[0]]);
  }),
  geluRule('mul', 'lift-gelu', 'x/2 (1 + erf(x / sqrt 2)) == gelu(x)', 'gelu'),
  geluRule('div', 'lift-gelu-halved', 'x (1 + erf(x / sqrt 2)) / 2 == gelu(x)', 'gelu'),
  geluRule(
    'mul',
    'lift-gelu-tanh',
    'x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) == gelu_tanh(x)',
    'gelu_tanh',
  ),
  rule(
    'mul',
    'lift-swiglu',
    'silu(gate) up == swiglu(gate, up), both of one shape',
    (_op, operands, builder) => {
      const found = orders({ operands }).find(
        ([gate, up]) => madeBy(gate, 'silu') !== undefined && sameShape(gate, up),
      );
      const gate = madeBy(found?.[0], 'silu')?.operands[0];
      return gate && found && builder.one('swiglu', [gate, found[1]]);
    },
  ),
];
