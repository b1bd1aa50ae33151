/** Ops that move elements without computing: shapes, slices, concatenation, padding and gathering. */
import {
  addDims,
  constantOf,
  type Dim,
  dim,
  dimKey,
  divDims,
  printDim,
  productOfDims,
  subDims,
} from '../dim.js';
import { castTo } from '../numeric.js';
import { attr, defineOp, type InferContext, InferError, operand, type Value, variadic } from '../op.js';
import { broadcastStrides, emptyTensor, stridesOf, type Tensor, walk } from '../tensor.js';
import { elementCount, isFloat, type TensorType } from '../type.js';
import {
  axisOf,
  describeDim,
  dimAt,
  dimsAgree,
  expectDType,
  expectIndex,
  expectMinRank,
  normalAxis,
  unify,
} from './shared.js';

function replaceAt<T>(list: readonly T[], index: number, ...items: readonly T[]): T[] {
  return [...list.slice(0, index), ...items, ...list.slice(index + 1)];
}

/** Fills a new tensor from one offset of `from` per element. */
function pick(from: Tensor, shape: readonly number[], strides: readonly number[], start = 0): Tensor {
  const out = emptyTensor(from.dtype, shape);
  walk(shape, [strides], (linear, [offset]) => {
    out.data[linear] = from.data[start + (offset as number)] as number;
  });
  return out;
}

/** What is left of both lists when dimensions that are in both are taken out. */
function withoutCommon(left: readonly Dim[], right: readonly Dim[]): [Dim[], Dim[]] {
  const rest = [...right];
  const own = left.filter((axis) => {
    const at = rest.findIndex((other) => dimKey(other) === dimKey(axis));
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
  return [own, rest];
}

/** Element counts must be equal polynomials, or equal values where one of them is a bare integer. */
function checkReshape(from: readonly Dim[], to: readonly Dim[], context: InferContext): void {
  if (dimsAgree(productOfDims(from), productOfDims(to), context)) return;
  const [left, right] = withoutCommon(from, to).map((rest) => productOfDims(rest)) as [Dim, Dim];
  if (dimsAgree(left, right, context)) return;
  const [before, after] = [from, to].map((shape) => `[${shape.map(printDim).join(', ')}]`);
  const value = context.valueOf(left);
  const sameValue = value !== undefined && value === context.valueOf(right);
  const message = `reshape: ${before} to ${after} changes the number of elements: ${describeDim(left, context)} is not ${describeDim(right, context)}`;
  throw new InferError(message, {
    kind: 'shape',
    operand: 0,
    help: sameValue
      ? 'the values are equal but the names differ; write both sides with the same names'
      : 'the product of the dimensions must stay the same',
  });
}

interface Range {
  readonly start: Dim;
  readonly end: Dim;
  readonly step: number;
}

/** Fails when a bound that has a value lies outside the axis. */
function checkRange(axis: Dim, { start, end }: Range, context: InferContext): void {
  const [low, high, size] = [start, end, axis].map((d) => context.valueOf(d));
  const outside =
    (low !== undefined && low < 0) ||
    (low !== undefined && high !== undefined && low > high) ||
    (high !== undefined && size !== undefined && high > size);
  if (!outside) return;
  const [from, to, of] = [start, end, axis].map((d) => describeDim(d, context));
  throw new InferError(`slice: ${from} to ${to} is not inside the axis of size ${of}`, {
    kind: 'shape',
    operand: 0,
    help: 'a slice needs 0 <= start <= end <= size; indices do not count from the end',
  });
}

/** ceil((end - start) / step), named where the division is exact. */
function rangeLength({ start, end, step }: Range, context: InferContext): Dim {
  const span = subDims(end, start);
  if (step === 1) return span;
  const exact = divDims(span, step);
  if (exact.divisor === 1) return exact;
  const value = context.valueOf(span);
  if (value === undefined) {
    throw new InferError(`slice: the number of steps of ${step} in ${printDim(span)} is not known`, {
      kind: 'shape',
      operand: 0,
      help: 'a step other than 1 must divide a length that has run-time symbols',
    });
  }
  return value % step === 0 ? exact : dim(Math.ceil(value / step));
}

function checkPermutation(perm: readonly number[], rank: number): void {
  const sorted = [...perm].sort((a, b) => a - b);
  if (sorted.length === rank && sorted.every((axis, i) => axis === i)) return;
  throw new InferError(`transpose: perm [${perm.join(', ')}] is not a permutation of the ${rank} axes`, {
    kind: 'attr',
    operand: 0,
    help: `perm lists each of 0 .. ${rank - 1} once`,
  });
}

function inferConcat(types: readonly TensorType[], axis: number, context: InferContext): TensorType {
  const [first, ...others] = types;
  if (first === undefined) throw new InferError('concat needs at least one operand', { kind: 'shape' });
  const at = normalAxis(axis, first.shape.length);
  const shape = others.reduce<readonly Dim[]>((joined, type, i) => {
    expectDType(type, (t) => t === first.dtype, first.dtype, i + 1);
    if (type.shape.length !== joined.length) {
      throw new InferError(
        `concat: operand 0 has rank ${joined.length}, operand ${i + 1} has rank ${type.shape.length}`,
        {
          kind: 'shape',
          operand: i + 1,
        },
      );
    }
    return joined.map((own, a) => {
      const other = type.shape[a] as Dim;
      if (a === at) return addDims(own, other);
      return unify(own, other, context, `concat: axis ${a} of operands 0 and ${i + 1}`, i + 1);
    });
  }, first.shape);
  return { dtype: first.dtype, shape };
}

function sumOfDims(dims: readonly Dim[]): Dim {
  return dims.reduce<Dim>((sum, d) => addDims(sum, d), dim(0));
}

function checkPadding(name: string, list: readonly number[], rank: number): void {
  if (list.length === rank && list.every((n) => n >= 0)) return;
  throw new InferError(`pad: ${name} is [${list.join(', ')}]; it must have ${rank} numbers, none below 0`, {
    kind: 'attr',
    operand: 0,
    help: 'one number per axis of x',
  });
}

export const movementOps = {
  reshape: defineOp({
    doc: 'the same elements in row-major order under another shape',
    category: 'movement',
    operands: [operand('x', 'any shape and dtype')],
    attrs: { shape: attr('dims', 'the shape of the result, with as many elements') },
    infer: ([x], { shape }, context) => {
      const type = x as TensorType;
      checkReshape(type.shape, shape, context);
      return [{ dtype: type.dtype, shape }];
    },
    evaluate: ([x], { shape }, context) => {
      const from = x as Tensor;
      return [{ dtype: from.dtype, shape: shape.map(context.dimValue), data: from.data }];
    },
    flops: () => 0,
  }),

  transpose: defineOp({
    doc: 'axes in another order: axis i of the result is axis perm[i] of x',
    category: 'movement',
    operands: [operand('x', 'any shape and dtype')],
    attrs: { perm: attr('ints', 'a permutation of the axes') },
    infer: ([x], { perm }) => {
      const type = x as TensorType;
      checkPermutation(perm, type.shape.length);
      return [{ dtype: type.dtype, shape: perm.map((axis) => dimAt(type, axis)) }];
    },
    evaluate: ([x], { perm }) => {
      const from = x as Tensor;
      const strides = stridesOf(from.shape);
      const shape = perm.map((axis) => from.shape[axis] as number);
      return [
        pick(
          from,
          shape,
          perm.map((axis) => strides[axis] as number),
        ),
      ];
    },
    flops: () => 0,
  }),

  slice: defineOp({
    doc: 'indices start, start + step, … below end of one axis',
    category: 'movement',
    operands: [operand('x', 'rank 1 or more, any dtype')],
    attrs: {
      axis: attr('int', 'the axis; negative counts from the end', 0),
      start: attr('dim', 'first index; may mention run-time symbols'),
      end: attr('dim', 'index after the last; may mention run-time symbols'),
      step: attr('int', 'distance of the indices, at least 1', 1),
    },
    infer: ([x], attrs, context) => {
      const type = x as TensorType;
      const axis = normalAxis(attrs.axis, type.shape.length);
      if (attrs.step < 1) {
        throw new InferError(`slice: step ${attrs.step} is not positive`, { kind: 'attr', operand: 0 });
      }
      checkRange(dimAt(type, axis), attrs, context);
      return [{ dtype: type.dtype, shape: replaceAt(type.shape, axis, rangeLength(attrs, context)) }];
    },
    evaluate: ([x], { axis, start, end, step }, context) => {
      const from = x as Tensor;
      const at = axisOf(axis, from.shape);
      const [low, high, size] = [context.dimValue(start), context.dimValue(end), from.shape[at] as number];
      if (low < 0 || high < low || high > size) {
        throw new RangeError(`slice ${low} to ${high} is not inside an axis of size ${size}`);
      }
      const strides = stridesOf(from.shape);
      const stride = strides[at] as number;
      const shape = replaceAt(from.shape, at, Math.ceil((high - low) / step));
      return [pick(from, shape, replaceAt(strides, at, stride * step), stride * low)];
    },
    flops: () => 0,
  }),

  split: defineOp({
    doc: 'consecutive parts of x along an axis, one result per size; the opposite of concat',
    category: 'movement',
    operands: [operand('x', 'rank 1 or more, any dtype')],
    attrs: {
      sizes: attr('dims', 'sizes of the parts, which add up to the axis'),
      axis: attr('int', 'the axis; negative counts from the end', 0),
    },
    infer: ([x], { sizes, axis }, context) => {
      const type = x as TensorType;
      const at = normalAxis(axis, type.shape.length);
      unify(dimAt(type, at), sumOfDims(sizes), context, `split: axis ${axis} and the sum of the sizes`, 0);
      return sizes.map((size) => ({ dtype: type.dtype, shape: replaceAt(type.shape, at, size) }));
    },
    evaluate: ([x], { sizes, axis }, context) => {
      const from = x as Tensor;
      const at = axisOf(axis, from.shape);
      const strides = stridesOf(from.shape);
      let start = 0;
      return sizes.map((size) => {
        const length = context.dimValue(size);
        const part = pick(from, replaceAt(from.shape, at, length), strides, (strides[at] as number) * start);
        start += length;
        return part;
      });
    },
    decompose: (b, [x], { sizes, axis }) => {
      let start: Dim = dim(0);
      return sizes.map((size) => {
        const end = addDims(start, size);
        const part = b.one('slice', [x as Value], { axis, start, end });
        start = end;
        return part;
      });
    },
    flops: () => 0,
  }),

  concat: defineOp({
    doc: 'operands one after the other along an axis; the other axes are equal',
    category: 'movement',
    operands: [variadic(operand('parts', 'rank 1 or more, one dtype'))],
    attrs: { axis: attr('int', 'the axis; negative counts from the end', 0) },
    infer: (types, { axis }, context) => [inferConcat(types, axis, context)],
    evaluate: (inputs, { axis }) => {
      const first = inputs[0] as Tensor;
      const at = axisOf(axis, first.shape);
      const total = inputs.reduce((sum, part) => sum + (part.shape[at] as number), 0);
      const out = emptyTensor(first.dtype, replaceAt(first.shape, at, total));
      const outer = elementCount(first.shape.slice(0, at));
      let filled = 0;
      for (let i = 0; i < outer; i++) {
        for (const part of inputs) {
          const block = elementCount(part.shape.slice(at));
          out.data.set(part.data.subarray(i * block, (i + 1) * block), filled);
          filled += block;
        }
      }
      return [out];
    },
    flops: () => 0,
  }),

  pad: defineOp({
    doc: 'x with elements of one value before and after it along each axis',
    category: 'movement',
    operands: [operand('x', 'any shape and dtype')],
    attrs: {
      before: attr('ints', 'how many elements go before, per axis'),
      after: attr('ints', 'how many elements go after, per axis'),
      value: attr('float', 'the value of the new elements', 0),
    },
    infer: ([x], { before, after }) => {
      const type = x as TensorType;
      checkPadding('before', before, type.shape.length);
      checkPadding('after', after, type.shape.length);
      const added = (axis: number) => (before[axis] as number) + (after[axis] as number);
      return [{ dtype: type.dtype, shape: type.shape.map((size, axis) => addDims(size, added(axis))) }];
    },
    evaluate: ([x], { before, after, value }, context) => {
      const from = x as Tensor;
      const shape = from.shape.map((n, axis) => n + (before[axis] as number) + (after[axis] as number));
      const out = emptyTensor(from.dtype, shape);
      out.data.fill(isFloat(from.dtype) ? context.round(from.dtype)(value) : castTo[from.dtype](value));
      const strides = stridesOf(shape);
      const start = before.reduce((sum, n, axis) => sum + n * (strides[axis] as number), 0);
      walk(from.shape, [strides], (linear, [offset]) => {
        out.data[start + (offset as number)] = from.data[linear] as number;
      });
      return [out];
    },
    flops: () => 0,
  }),

  broadcast_to: defineOp({
    doc: 'x repeated along new leading axes and along its axes of size 1 (numpy rules)',
    category: 'movement',
    operands: [operand('x', 'any shape and dtype')],
    attrs: { shape: attr('dims', 'the shape of the result') },
    infer: ([x], { shape }, context) => {
      const type = x as TensorType;
      const lead = shape.length - type.shape.length;
      if (lead < 0) {
        throw new InferError(
          `broadcast_to: x has rank ${type.shape.length}, the shape has rank ${shape.length}`,
          {
            kind: 'shape',
            operand: 0,
          },
        );
      }
      type.shape.forEach((own, axis) => {
        const wanted = shape[lead + axis] as Dim;
        if (constantOf(own) !== 1) unify(own, wanted, context, `broadcast_to: axis ${axis} of x`, 0);
      });
      return [{ dtype: type.dtype, shape }];
    },
    evaluate: ([x], { shape }, context) => {
      const from = x as Tensor;
      const sizes = shape.map(context.dimValue);
      return [pick(from, sizes, broadcastStrides(from.shape, sizes))];
    },
    flops: () => 0,
  }),

  gather: defineOp({
    doc: 'slices of x along an axis, chosen by an index of any rank: shape x[:axis] + index + x[axis+1:]; an index outside the axis is an error',
    category: 'movement',
    operands: [
      operand('x', 'rank 1 or more, any dtype'),
      operand('index', 'any shape, i32 or i64, every element in 0 .. size - 1'),
    ],
    attrs: { axis: attr('int', 'the axis; negative counts from the end', 0) },
    infer: (types, { axis }) => {
      const [x, index] = types as [TensorType, TensorType];
      expectMinRank(x, 1, 'x', 0);
      expectIndex(index, 1);
      const at = normalAxis(axis, x.shape.length);
      return [{ dtype: x.dtype, shape: replaceAt(x.shape, at, ...index.shape) }];
    },
    evaluate: ([x, index], { axis }) => {
      const [from, chosen] = [x as Tensor, index as Tensor];
      const at = axisOf(axis, from.shape);
      const size = from.shape[at] as number;
      const block = elementCount(from.shape.slice(at + 1));
      const outer = elementCount(from.shape.slice(0, at));
      const out = emptyTensor(from.dtype, replaceAt(from.shape, at, ...chosen.shape));
      for (const i of chosen.data) {
        if (i < 0 || i >= size)
          throw new RangeError(`index ${i} is out of range for an axis of size ${size}`);
      }
      for (let row = 0; row < outer; row++) {
        chosen.data.forEach((i, k) => {
          const start = (row * size + i) * block;
          out.data.set(from.data.subarray(start, start + block), (row * chosen.data.length + k) * block);
        });
      }
      return [out];
    },
    flops: () => 0,
  }),
};
