/**
 * Adjoints: what a small change of any value on the way from some values to a result does to the result, as ops of the
 * IR. For y = f(x) and a cotangent g of y the adjoint of a value v is (∂y/∂v)ᵀ g. Ops without a rule are taken by their
 * decomposition; what has neither (such as a choice of experts) is taken for constant.
 */
import type { FuncBuilder } from '../../ir/builder.js';
import { constantOf, type Dim, dim, dimsEqual, subDims } from '../../ir/dim.js';
import type { Op, OpOf, Value } from '../../ir/module.js';
import type { OpDecl } from '../../ir/op.js';
import { type OpName, opTable } from '../../ir/ops/table.js';
import { isFloat, type TensorType, typesEqual } from '../../ir/type.js';

/** The cotangents of the operands; undefined for those that do not matter. */
type Rule<N extends OpName> = (
  b: FuncBuilder,
  op: OpOf<N>,
  cotangent: Value,
) => readonly (Value | undefined)[];

const one = (b: FuncBuilder, name: OpName, ...operands: Value[]): Value => b.one(name, operands);
const mul = (b: FuncBuilder, x: Value, y: Value): Value => one(b, 'mul', x, y);
const number = (b: FuncBuilder, value: number): Value => b.one('full', [], { value });
const plus = (b: FuncBuilder, x: Value, value: number): Value => one(b, 'add', x, number(b, value));
const times = (b: FuncBuilder, x: Value, value: number): Value => mul(b, x, number(b, value));
const swapped = (b: FuncBuilder, x: Value): Value => {
  const last = x.type.shape.length - 1;
  const perm = x.type.shape.map((_, axis) => (axis < last - 1 ? axis : 2 * last - 1 - axis));
  return b.one('transpose', [x], { perm });
};
const axisIn = (axis: number, { shape }: TensorType): number => (axis < 0 ? axis + shape.length : axis);

/** g · f'(x) for a function of one number. */
const pointwise =
  <N extends OpName>(slope: (b: FuncBuilder, x: Value, y: Value) => Value): Rule<N> =>
  (b, op, g) => [mul(b, g, slope(b, op.operands[0] as Value, op.results[0] as Value))];

const sigmoid = (b: FuncBuilder, x: Value): Value => one(b, 'sigmoid', x);
const oneMinus = (b: FuncBuilder, x: Value): Value => plus(b, one(b, 'neg', x), 1);

const rules: { readonly [N in OpName]?: Rule<N> } = {
  neg: (b, _op, g) => [one(b, 'neg', g)],
  abs: pointwise((b, x) => one(b, 'sign', x)),
  sqrt: pointwise((b, _x, y) => times(b, one(b, 'reciprocal', y), 0.5)),
  rsqrt: pointwise((b, _x, y) => times(b, mul(b, y, mul(b, y, y)), -0.5)),
  reciprocal: pointwise((b, _x, y) => one(b, 'neg', mul(b, y, y))),
  exp: pointwise((_b, _x, y) => y),
  log: pointwise((b, x) => one(b, 'reciprocal', x)),
  sin: pointwise((b, x) => one(b, 'cos', x)),
  cos: pointwise((b, x) => one(b, 'neg', one(b, 'sin', x))),
  tanh: pointwise((b, _x, y) => oneMinus(b, mul(b, y, y))),
  erf: pointwise((b, x) => times(b, one(b, 'exp', one(b, 'neg', mul(b, x, x))), 2 / Math.sqrt(Math.PI))),
  relu: pointwise((b, x) => b.one('cast', [one(b, 'gt', x, number(b, 0))], { dtype: 'f32' })),
  // Their decompositions overflow where the slope is nothing.
  sigmoid: pointwise((b, _x, y) => mul(b, y, oneMinus(b, y))),
  silu: pointwise((b, x) => {
    const s = sigmoid(b, x);
    return mul(b, s, plus(b, mul(b, x, oneMinus(b, s)), 1));
  }),
  softplus: pointwise((b, x) => sigmoid(b, x)),
  add: (_b, _op, g) => [g, g],
  sub: (b, _op, g) => [g, one(b, 'neg', g)],
  mul: (b, { operands: [x, y] }, g) => [mul(b, g, y as Value), mul(b, g, x as Value)],
  div: (b, { operands: [, y], results: [quotient] }, g) => {
    const part = one(b, 'div', g, y as Value);
    return [part, one(b, 'neg', mul(b, part, quotient as Value))];
  },
  pow: (b, { operands: [x, exponent] }, g) => {
    const [base, power] = [x as Value, exponent as Value];
    const slope = mul(b, power, one(b, 'pow', base, plus(b, power, -1)));
    return [mul(b, g, slope)];
  },
  where: (b, { operands: [condition] }, g) => {
    const zero = number(b, 0);
    const side = (first: Value, second: Value): Value => one(b, 'where', condition as Value, first, second);
    return [undefined, side(g, zero), side(zero, g)];
  },
  cast: (_b, { operands: [x] }, g) => [isFloat((x as Value).type.dtype) ? g : undefined],
  matmul: (b, { operands: [x, y] }, g) => [
    one(b, 'matmul', g, swapped(b, y as Value)),
    one(b, 'matmul', swapped(b, x as Value), g),
  ],
  linear: (b, { operands: [, w] }, g) => [one(b, 'linear', g, swapped(b, w as Value))],
  grouped_linear: (b, { operands: [x, index, w] }, g) => {
    const slots = one(b, 'grouped_linear', g, index as Value, swapped(b, w as Value));
    const isShared = (x as Value).type.shape.length < slots.type.shape.length;
    return [isShared ? b.one('reduce_sum', [slots], { axes: [1] }) : slots];
  },
  softmax: (b, { attrs: { axis }, results: [y] }, g) => {
    const weighted = mul(b, g, y as Value);
    const sum = b.one('reduce_sum', [weighted], { axes: [axis], keepdims: true });
    return [mul(b, y as Value, one(b, 'sub', g, sum))];
  },
  reshape: (b, { operands: [x] }, g) => [b.one('reshape', [g], { shape: (x as Value).type.shape })],
  transpose: (b, { attrs: { perm } }, g) => [
    b.one('transpose', [g], { perm: perm.map((_, axis) => perm.indexOf(axis)) }),
  ],
  slice: (b, { operands: [x], attrs: { axis, start, end, step } }, g) => {
    if (step !== 1) return [];
    const { type } = x as Value;
    const at = axisIn(axis, type);
    const size = type.shape[at] as Dim;
    const zeros = (count: Dim): Value[] => {
      const shape = type.shape.with(at, count);
      return isZero(b, count) ? [] : [b.one('full', [], { value: 0, shape })];
    };
    const parts = [...zeros(start), g, ...zeros(subDims(size, end))];
    return [parts.length === 1 ? g : b.one('concat', parts, { axis: at })];
  },
  concat: (b, { operands, attrs: { axis } }, g) => {
    let start = dim(0);
    return operands.map(({ type }) => {
      const at = axisIn(axis, type);
      const end = subDims(type.shape[at] as Dim, subDims(0, start));
      const part = b.one('slice', [g], { axis: at, start, end });
      start = end;
      return part;
    });
  },
  broadcast_to: (_b, _op, g) => [g],
  reduce_sum: (b, { operands: [x], attrs: { axes } }, g) => {
    const { type } = x as Value;
    const reduced = new Set(axes.map((axis) => axisIn(axis, type)));
    const kept = type.shape.map((size, axis) => (reduced.has(axis) ? dim(1) : size));
    return [b.one('broadcast_to', [b.one('reshape', [g], { shape: kept })], { shape: type.shape })];
  },
  // A sum over the places that an index names is a product with unit vectors.
  gather: (b, { operands: [x, index], attrs: { axis } }, g) => {
    const [{ type }, places] = [x as Value, index as Value];
    if (places.type.shape.length !== 1) return [];
    const at = axisIn(axis, type);
    const last = type.shape.length - 1;
    const size = type.shape[at] as Dim;
    const all = b.one('iota', [], { length: size, dtype: places.type.dtype });
    const column = b.one('reshape', [places], { shape: [places.type.shape[0] as Dim, dim(1)] });
    const units = b.one('cast', [one(b, 'eq', column, all)], { dtype: 'f32' });
    const swap = type.shape.map((_, i) => (i === at ? last : i === last ? at : i));
    if (at === last) return [one(b, 'matmul', g, units)];
    const moved = b.one('transpose', [g], { perm: swap });
    return [b.one('transpose', [one(b, 'matmul', moved, units)], { perm: swap })];
  },
  cache_append: (b, { operands: [, x, position] }, g) => {
    const [rows] = (x as Value).type.shape as [Dim];
    const places = one(b, 'add', b.one('iota', [], { length: rows, dtype: 'i32' }), position as Value);
    return [undefined, b.one('gather', [g, places], { axis: 0 })];
  },
};

function isZero(b: FuncBuilder, size: Dim): boolean {
  return (constantOf(size) ?? b.scope.valueOf(size)) === 0;
}

/**
 * The adjoints of all values of the builder's function that lie between `sources` and the results whose cotangents are
 * given. Ops are appended to the function.
 */
export function adjointsOf(
  b: FuncBuilder,
  cotangents: ReadonlyMap<Value, Value>,
  sources: Iterable<Value>,
): ReadonlyMap<Value, Value> {
  const adjoints = new Map(cotangents);
  const active = new Set(sources);
  sweep(b, [...b.body], adjoints, active);
  return adjoints;
}

function sweep(b: FuncBuilder, body: readonly Op[], adjoints: Map<Value, Value>, active: Set<Value>): void {
  for (const { operands, results } of body)
    if (operands.some((operand) => active.has(operand)))
      for (const result of results) if (isFloat(result.type.dtype)) active.add(result);
  for (const op of body.toReversed()) {
    if (!op.operands.some((operand) => active.has(operand))) continue;
    if (op.results.some((result) => adjoints.has(result))) sweepOp(b, op, adjoints, active);
  }
}

function sweepOp(b: FuncBuilder, op: Op, adjoints: Map<Value, Value>, active: Set<Value>): void {
  const rule = rules[op.name] as Rule<OpName> | undefined;
  const cotangent = adjoints.get(op.results[0] as Value);
  if (rule !== undefined && cotangent !== undefined) {
    const parts = rule(b, op, cotangent);
    for (const [i, operand] of op.operands.entries()) {
      const part = active.has(operand) ? parts[i] : undefined;
      if (part !== undefined) accumulate(b, adjoints, operand, part);
    }
    return;
  }
  const decl: OpDecl = opTable[op.name];
  if (rule !== undefined || decl.decompose === undefined) return;
  const start = b.body.length;
  const results = decl.decompose(b, op.operands, op.attrs);
  const parts = b.body.slice(start);
  for (const [i, result] of results.entries()) {
    const given = adjoints.get(op.results[i] as Value);
    if (given !== undefined) adjoints.set(result, given);
  }
  sweep(b, parts, adjoints, active);
}

function accumulate(b: FuncBuilder, adjoints: Map<Value, Value>, value: Value, part: Value): void {
  const own = summedTo(b, part, { ...value.type, dtype: 'f32' });
  const known = adjoints.get(value);
  adjoints.set(value, known === undefined ? own : one(b, 'add', known, own));
}

/** Summed over the axes along which a value of this type was repeated. */
function summedTo(b: FuncBuilder, g: Value, type: TensorType): Value {
  if (typesEqual(g.type, type)) return g;
  const lead = g.type.shape.length - type.shape.length;
  const axes = g.type.shape.flatMap((size, axis) => {
    const own = type.shape[axis - lead];
    return own === undefined || (constantOf(own) === 1 && constantOf(size) !== 1) ? [axis] : [];
  });
  const sum = axes.length === 0 ? g : b.one('reduce_sum', [g], { axes, keepdims: true });
  return sum.type.shape.length === type.shape.length &&
    sum.type.shape.every((size, axis) => dimsEqual(size, type.shape[axis] as Dim))
    ? sum
    : b.one('reshape', [sum], { shape: type.shape });
}
