/** What the rules of `lift` match with: constants, products, parts of an axis. */
import { constantOf, type Dim, dim, dimsEqual } from '../../ir/dim.js';
import { materialise } from '../../ir/materialise.js';
import { defOf, type Module, type Op, type Value } from '../../ir/module.js';
import type { Tensor } from '../../ir/tensor.js';
import { madeBy } from '../rules/rule.js';

/** What is known of a module's constants. */
export interface Facts {
  /** The value of a parameter that is a constant, not a weight. */
  constant(value: Value | undefined): Tensor | undefined;
}

/** Constants above this many elements are not looked into. */
const maxElements = 1 << 22;

export function factsOf(module: Module): Facts {
  const known = new Map<string, Tensor>();
  return {
    constant(value) {
      const op = madeBy(value, 'param');
      const param = op && module.params.get(op.attrs.name);
      if (op === undefined || param?.recipe.kind !== 'constant' || param.loop !== undefined) return undefined;
      if (param.recipe.bytes.length > maxElements * 8) return undefined;
      const found = known.get(op.attrs.name) ?? materialise(module, op.attrs.name, undefined);
      known.set(op.attrs.name, found);
      return found;
    },
  };
}

/** The number that every element of `value` is: of a `full`, seen through shapes. */
export function uniform(value: Value | undefined): number | undefined {
  const op = value === undefined ? undefined : defOf(value);
  if (op?.name === 'full') return op.attrs.value;
  return op?.name === 'reshape' || op?.name === 'broadcast_to' || op?.name === 'transpose'
    ? uniform(op.operands[0])
    : undefined;
}

/** Equal as far as constants in files are exact. */
export function near(a: number | undefined, b: number): boolean {
  return a !== undefined && Math.abs(a - b) <= 1e-4 * Math.abs(b);
}

/** Both orders of the operands of an `add` or `mul`. */
export function orders(op: Pick<Op, 'operands'> | undefined): (readonly [Value, Value])[] {
  if (op === undefined) return [];
  const [a, b] = op.operands as [Value, Value];
  return [
    [a, b],
    [b, a],
  ];
}

/** The operand beside a number: `x` of `x + c` or `c + x`. */
export function besideNumber(
  op: Pick<Op, 'operands'> | undefined,
  accepts: (c: number) => boolean,
): Value | undefined {
  return orders(op).find(([, c]) => {
    const number = uniform(c);
    return number !== undefined && accepts(number);
  })?.[0];
}

export interface Product {
  readonly factor: number;
  readonly values: readonly Value[];
}

/** A value as a number times values; what equals `stop` is not taken apart. */
export function productOf(value: Value, stop?: Value): Product {
  const op = value === stop ? undefined : defOf(value);
  const [a, b] = op?.operands ?? [];
  if (op?.name === 'mul') return times(productOf(a as Value, stop), productOf(b as Value, stop));
  const number = uniform(value);
  if (number !== undefined) return { factor: number, values: [] };
  const second = uniform(b);
  if (op?.name === 'div' && second !== undefined) {
    const { factor, values } = productOf(a as Value, stop);
    return { factor: factor / second, values };
  }
  if (op?.name === 'pow' && (second === 2 || second === 3)) {
    const base = productOf(a as Value, stop);
    return Array.from({ length: second }, () => base).reduce(times);
  }
  return { factor: 1, values: [value] };
}

function times(a: Product, b: Product): Product {
  return { factor: a.factor * b.factor, values: [...a.values, ...b.values] };
}

/** Whether the product is `factor` times exactly these values, in any order. */
export function isProduct(product: Product, factor: number, wanted: readonly Value[]): boolean {
  const rest = [...product.values];
  const found = wanted.every((value) => {
    const at = rest.indexOf(value);
    if (at >= 0) rest.splice(at, 1);
    return at >= 0;
  });
  return found && rest.length === 0 && near(product.factor, factor);
}

/** `x * c` or `x / c` with a number c, however deep: x, and the number. */
export function scaledValue(value: Value): { readonly value: Value; readonly factor: number } {
  const op = defOf(value);
  const [a, b] = op?.operands ?? [];
  if (op?.name === 'mul') {
    for (const [x, c] of orders(op)) {
      const number = uniform(c);
      if (number === undefined) continue;
      const inner = scaledValue(x);
      return { value: inner.value, factor: inner.factor * number };
    }
  }
  const divisor = op?.name === 'div' ? uniform(b) : undefined;
  if (divisor === undefined) return { value, factor: 1 };
  const inner = scaledValue(a as Value);
  return { value: inner.value, factor: inner.factor / divisor };
}

export function rankOf(value: Value): number {
  return value.type.shape.length;
}

/** Whether `axes` is the last axis alone. */
export function isLastAxis(axes: readonly number[], rank: number): boolean {
  return axes.length === 1 && (axes[0] === -1 || axes[0] === rank - 1);
}

export interface Part {
  readonly of: Value;
  readonly start: Dim;
  readonly end: Dim;
}

/** A slice, or a result of a split, of the last axis. */
export function lastPart(value: Value): Part | undefined {
  const op = defOf(value);
  const of = op?.operands[0];
  if (of === undefined) return undefined;
  if (op?.name === 'slice') {
    const { axis, start, end, step } = op.attrs;
    return isLastAxis([axis], rankOf(of)) && step === 1 ? { of, start, end } : undefined;
  }
  if (op?.name !== 'split' || !isLastAxis([op.attrs.axis], rankOf(of))) return undefined;
  const at = op.results.indexOf(value);
  const sizes = op.attrs.sizes.map(constantOf);
  if (sizes.some((size) => size === undefined)) return undefined;
  const start = sizes.slice(0, at).reduce<number>((sum, size) => sum + (size as number), 0);
  return { of, start: dim(start), end: dim(start + (sizes[at] as number)) };
}

/** The value that `first` and `second` are the two halves of, along the last axis. */
export function halved(first: Value, second: Value): Value | undefined {
  const [a, b] = [lastPart(first), lastPart(second)];
  if (a === undefined || b === undefined || a.of !== b.of) return undefined;
  const whole = a.of.type.shape.at(-1) as Dim;
  const isHalf =
    constantOf(a.start) === 0 &&
    dimsEqual(a.end, b.start) &&
    dimsEqual(b.end, whole) &&
    dimsEqual(first.type.shape.at(-1) as Dim, second.type.shape.at(-1) as Dim);
  return isHalf ? a.of : undefined;
}

/** The integers 0, 1, … in order: an iota or a constant, seen through casts and shapes that keep the order. */
export function isCount(facts: Facts, value: Value): boolean {
  const op = defOf(value);
  if (op?.name === 'iota') return true;
  if (op?.name === 'cast' || op?.name === 'reshape') return isCount(facts, op.operands[0] as Value);
  return facts.constant(value)?.data.every((v, i) => v === i) ?? false;
}

/** The shortest number that is the same in f32: constants in files are rounded to it. */
export function decimal(value: number): number {
  const short = Number(value.toPrecision(7));
  return Math.fround(short) === Math.fround(value) ? short : value;
}
