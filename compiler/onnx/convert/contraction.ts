/** Matrix products. */
import { type Dim, dim, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { add, cast, like, mul, rankOf, reshape, sizeAlong, transpose } from '../build.js';
import type { NodeContext, OperatorTable } from '../node.js';

/** numpy's matmul: a vector on the left is a row, on the right a column, and its axis goes away again. */
export function matmul(c: NodeContext, a: Value, b: Value): Value {
  const [isRow, isColumn] = [rankOf(a) === 1, rankOf(b) === 1];
  const left = isRow ? reshape(c.b, a, [1, sizeAlong(a, 0)]) : a;
  const right = isColumn ? reshape(c.b, b, [sizeAlong(b, 0), 1]) : b;
  const product = c.b.one('matmul', [left, right]);
  if (!isRow && !isColumn) return product;
  const batch = product.type.shape.slice(0, -2);
  const kept = [...(isRow ? [] : [sizeAlong(product, -2)]), ...(isColumn ? [] : [sizeAlong(product, -1)])];
  return reshape(c.b, product, [...batch, ...kept]);
}

export function swapLast(c: NodeContext, x: Value): Value {
  const rank = rankOf(x);
  return transpose(
    c.b,
    x,
    Array.from({ length: rank }, (_, i) => (i < rank - 2 ? i : 2 * rank - 3 - i)),
  );
}

function gemm(c: NodeContext): Value {
  const side = (index: number, flag: string): Value =>
    c.int(flag, 0) === 1 ? swapLast(c, c.input(index)) : c.input(index);
  const product = c.b.one('matmul', [side(0, 'transA'), side(1, 'transB')]);
  const times = (x: Value, factor: number): Value => (factor === 1 ? x : scaledBy(c, x, factor));
  const scaled = times(product, c.float('alpha', 1));
  const bias = c.optional(2);
  const beta = c.float('beta', 1);
  return bias === undefined || beta === 0 ? scaled : add(c.b, scaled, times(bias, beta));
}

/** Integers are scaled as floats and cut off, as the reference does. */
function scaledBy(c: NodeContext, x: Value, factor: number): Value {
  if (Number.isInteger(factor)) return mul(c.b, x, like(c.b, x, factor));
  const { dtype } = x.type;
  const wide = dtype === 'i32' || dtype === 'i64' ? cast(c.b, x, 'f32') : x;
  return cast(c.b, mul(c.b, wide, like(c.b, wide, factor)), dtype);
}

// ---- einsum

interface Labelled {
  readonly value: Value;
  readonly labels: readonly string[];
}

/** `ij,jk->ik`, with `...` for leading axes. */
function einsum(c: NodeContext): Value {
  const equation = c.string('equation').replaceAll(/\s/g, '');
  const [left = '', right] = equation.split('->');
  const terms = left.split(',');
  const values = c.inputs();
  if (terms.length !== values.length)
    return c.fail('HEW3110', `${terms.length} terms for ${values.length} inputs`);
  const operands = values.map((value, i) =>
    withoutRepeats(c, { value, labels: labelsOf(c, terms[i] as string, rankOf(value)) }),
  );
  const output = right === undefined ? implicitOutput(operands) : expand(right, ellipsisOf(operands));
  const [first, ...rest] = operands as [Labelled, ...Labelled[]];
  const joined = rest.reduce((sum, operand, i) => {
    const needed = new Set([...output, ...rest.slice(i + 1).flatMap((later) => later.labels)]);
    return contract(c, sum, operand, needed);
  }, first);
  const summed = sumOut(c, joined, new Set(output));
  return transpose(
    c.b,
    summed.value,
    output.map((label) => summed.labels.indexOf(label)),
  );
}

/** One label per axis; those of an ellipsis are numbered from the last. */
function labelsOf(c: NodeContext, term: string, rank: number): string[] {
  const named = term.replace('...', '').length;
  const hidden = Array.from({ length: rank - named }, (_, i) => String(rank - named - i));
  const labels = expand(term, hidden);
  return labels.length === rank ? labels : c.fail('HEW3110', `'${term}' does not name ${rank} axes`);
}

function expand(term: string, hidden: readonly string[]): string[] {
  const at = term.indexOf('...');
  if (at < 0) return [...term];
  return [...term.slice(0, at), ...hidden, ...term.slice(at + 3)];
}

const isHidden = (label: string): boolean => /^\d+$/.test(label);

function ellipsisOf(operands: readonly Labelled[]): string[] {
  const all = new Set(operands.flatMap(({ labels }) => labels.filter(isHidden)));
  return [...all].sort((a, b) => Number(b) - Number(a));
}

/** Labels that occur once, in alphabetical order, after the hidden ones. */
function implicitOutput(operands: readonly Labelled[]): string[] {
  const all = operands.flatMap(({ labels }) => labels.filter((label) => !isHidden(label)));
  const once = all.filter((label) => all.indexOf(label) === all.lastIndexOf(label));
  return [...ellipsisOf(operands), ...once.sort()];
}

/** Diagonals: an axis that is named twice becomes one, by a mask and a sum. */
function withoutRepeats(c: NodeContext, { value, labels }: Labelled): Labelled {
  const again = labels.findIndex((label, i) => labels.indexOf(label) < i);
  if (again < 0) return { value, labels };
  const first = labels.indexOf(labels[again] as string);
  const rank = labels.length;
  const index = (axis: number): Value => {
    const iota = c.b.one('iota', [], { length: sizeAlong(value, axis), dtype: 'i32' });
    return reshape(
      c.b,
      iota,
      Array.from({ length: rank }, (_, i) => (i === axis ? sizeAlong(value, axis) : dim(1))),
    );
  };
  const onDiagonal = c.b.one('eq', [index(first), index(again)]);
  const masked = c.b.one('where', [onDiagonal, value, like(c.b, value, 0)]);
  const diagonal = c.b.one('reduce_sum', [masked], { axes: [again], keepdims: false });
  return withoutRepeats(c, { value: diagonal, labels: labels.filter((_, i) => i !== again) });
}

function sumOut(c: NodeContext, { value, labels }: Labelled, needed: ReadonlySet<string>): Labelled {
  const axes = labels.flatMap((label, axis) => (needed.has(label) ? [] : [axis]));
  if (axes.length === 0) return { value, labels };
  const kept = labels.filter((label) => needed.has(label));
  return { value: c.b.one('reduce_sum', [value], { axes, keepdims: false }), labels: kept };
}

/** One batched matmul: labels of both that are needed are its batch, labels of both that are not its inner axis. */
function contract(c: NodeContext, a: Labelled, b: Labelled, needed: ReadonlySet<string>): Labelled {
  const left = sumOut(c, a, new Set([...needed, ...b.labels]));
  const right = sumOut(c, b, new Set([...needed, ...a.labels]));
  const shared = left.labels.filter((label) => right.labels.includes(label));
  const batch = shared.filter((label) => needed.has(label));
  const inner = shared.filter((label) => !needed.has(label));
  const rows = left.labels.filter((label) => !shared.includes(label));
  const columns = right.labels.filter((label) => !shared.includes(label));
  const size = (label: string): Dim => {
    const of = (side: Labelled): Dim | undefined => side.value.type.shape[side.labels.indexOf(label)];
    const [own, other] = [of(left), of(right)];
    // A size of 1 in one of them stretches.
    return own !== undefined && other !== undefined && isOne(own) ? other : ((own ?? other) as Dim);
  };
  const product = (labels: readonly string[]): Dim => productOfDims(labels.map(size));
  const matrix = ({ value, labels }: Labelled, order: readonly string[], shape: readonly Dim[]): Value => {
    const turned = transpose(
      c.b,
      value,
      order.map((label) => labels.indexOf(label)),
    );
    const full = c.b.one('broadcast_to', [turned], { shape: order.map(size) });
    return reshape(c.b, full, shape);
  };
  const batchShape = batch.map(size);
  const x = matrix(left, [...batch, ...rows, ...inner], [...batchShape, product(rows), product(inner)]);
  const y = matrix(
    right,
    [...batch, ...inner, ...columns],
    [...batchShape, product(inner), product(columns)],
  );
  const labels = [...batch, ...rows, ...columns];
  return { value: reshape(c.b, c.b.one('matmul', [x, y]), labels.map(size)), labels };
}

function isOne(d: Dim): boolean {
  return d.terms.length === 1 && d.terms[0]?.factors.length === 0 && d.terms[0].coefficient === 1;
}

/** The determinant by expansion, for the small matrices that models have. */
function determinant(c: NodeContext): Value {
  const x = c.input(0);
  const n = c.size(sizeAlong(x, -1), 'the size of the matrix');
  if (n > 6) return c.unsupported(`determinants of ${n} x ${n} matrices`, 'at most 6 x 6');
  const batch = x.type.shape.slice(0, -2);
  const flat = reshape(c.b, x, [productOfDims(batch), n, n]);
  return reshape(c.b, laplace(c, flat, n), batch);
}

/** Expansion along the first row, from matrices of one row and column less. */
function laplace(c: NodeContext, x: Value, n: number): Value {
  const items = sizeAlong(x, 0);
  if (n === 1) return reshape(c.b, x, [items]);
  const entry = (j: number): Value => reshape(c.b, part(c, part(c, x, 1, 0, 1), 2, j, j + 1), [items]);
  const below = part(c, x, 1, 1, n);
  const terms = Array.from({ length: n }, (_, j) => {
    const columns = Array.from({ length: n - 1 }, (_, k) => (k < j ? k : k + 1));
    const minor = c.b.one('gather', [below, c.indices(columns)], { axis: 2 });
    const term = mul(c.b, entry(j), laplace(c, minor, n - 1));
    return j % 2 === 0 ? term : c.b.one('neg', [term]);
  });
  return terms.reduce((a, b) => add(c.b, a, b));
}

function part(c: NodeContext, x: Value, axis: number, start: number, end: number): Value {
  return c.b.one('slice', [x], { axis, start: dim(start), end: dim(end) });
}

export const contractionOperators: OperatorTable = {
  MatMul: { since: 1, convert: (c) => matmul(c, c.input(0), c.input(1)) },
  Gemm: { since: 1, convert: gemm },
  Einsum: { since: 12, convert: einsum },
  Det: { since: 11, limits: 'matrices up to 6 x 6', convert: determinant },
};
