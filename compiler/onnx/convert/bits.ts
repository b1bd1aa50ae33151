/** Operators on the bits of integers, which Hew has no ops for: an axis more holds the bits as 0 and 1. */
import type { Value } from '../../../ir/module.js';
import type { DType } from '../../../ir/type.js';
import { add, cast, div, full, like, mul, rankOf, reshape, sub } from '../build.js';
import type { NodeContext, OperatorEntry, OperatorTable } from '../node.js';

/** Bits that are taken apart at a time: their numbers are positive in i32. */
const groupBits = 16;

const widths: Readonly<Partial<Record<DType, number>>> = { u8: 8, i8: 8, i32: 32 };

function powersOfTwo(c: NodeContext, count: number): Value {
  return c.constant(
    'i32',
    [count],
    Array.from({ length: count }, (_, i) => 2 ** i),
  );
}

/** The bits of numbers from 0 to 2^count - 1, on a new last axis. */
function bitsOf(c: NodeContext, x: Value, count: number): Value {
  const column = reshape(c.b, x, [...x.type.shape, 1]);
  const shifted = div(c.b, column, powersOfTwo(c, count));
  const two = full(c.b, 2, 'i32');
  return sub(c.b, shifted, mul(c.b, div(c.b, shifted, two), two));
}

function numberOf(c: NodeContext, bits: Value, count: number): Value {
  const weighted = mul(c.b, bits, powersOfTwo(c, count));
  return c.b.one('reduce_sum', [weighted], { axes: [rankOf(weighted) - 1], keepdims: false });
}

/** x plus `size` where it is negative: the number that the same bits are without a sign. */
function unsigned(c: NodeContext, x: Value, size: number): Value {
  const isNegative = c.b.one('lt', [x, like(c.b, x, 0)]);
  return c.b.one('where', [isNegative, add(c.b, x, like(c.b, x, size)), x]);
}

function signed(c: NodeContext, x: Value, size: number): Value {
  const isNegative = c.b.one('ge', [x, like(c.b, x, size / 2)]);
  return c.b.one('where', [isNegative, sub(c.b, x, like(c.b, x, size)), x]);
}

const groupSize = 2 ** groupBits;

/** The upper and the lower 16 bits, without a sign. */
function halves(c: NodeContext, x: Value): [Value, Value] {
  const base = full(c.b, groupSize, 'i32');
  const low = unsigned(c, sub(c.b, x, mul(c.b, div(c.b, x, base), base)), groupSize);
  return [unsigned(c, div(c.b, sub(c.b, x, low), base), groupSize), low];
}

type Combine = (c: NodeContext, a: Value, b: Value) => Value;

/** By the bits of each operand. */
function combined(c: NodeContext, a: Value, b: Value, combine: Combine): Value {
  const { dtype } = a.type;
  const width = widths[dtype];
  if (width === undefined)
    return c.unsupported(`${c.node.op} of ${dtype}`, 'bool, int8, uint8 and int32 are supported');
  const inBits = (x: Value, y: Value, count: number): Value =>
    numberOf(c, combine(c, bitsOf(c, x, count), bitsOf(c, y, count)), count);
  const [x, y] = [cast(c.b, a, 'i32'), cast(c.b, b, 'i32')];
  if (width > groupBits) {
    const [[highA, lowA], [highB, lowB]] = [halves(c, x), halves(c, y)];
    const high = signed(c, inBits(highA, highB, groupBits), groupSize);
    return add(c.b, mul(c.b, high, full(c.b, groupSize, 'i32')), inBits(lowA, lowB, groupBits));
  }
  const size = 2 ** width;
  if (dtype === 'u8') return cast(c.b, inBits(x, y, width), dtype);
  return cast(c.b, signed(c, inBits(unsigned(c, x, size), unsigned(c, y, size), width), size), dtype);
}

const product: Combine = (c, a, b) => mul(c.b, a, b);
const sum: Combine = (c, a, b) => sub(c.b, add(c.b, a, b), mul(c.b, a, b));
const difference: Combine = (c, a, b) =>
  sub(c.b, add(c.b, a, b), mul(c.b, full(c.b, 2, 'i32'), mul(c.b, a, b)));

const limits = 'bool, int8, uint8 and int32';

function bitwise(logical: 'and' | 'or' | 'xor', combine: Combine): OperatorEntry {
  return {
    since: 18,
    limits,
    convert: (c) => {
      const [a, b] = [c.input(0), c.input(1)];
      return a.type.dtype === 'bool' ? c.b.one(logical, [a, b]) : combined(c, a, b, combine);
    },
  };
}

function complement(c: NodeContext): Value {
  const x = c.input(0);
  const { dtype } = x.type;
  if (dtype === 'bool') return c.b.one('not', [x]);
  if (widths[dtype] === undefined)
    return c.unsupported(`BitwiseNot of ${dtype}`, 'bool, int8, uint8 and int32 are supported');
  return sub(c.b, like(c.b, x, dtype === 'u8' ? 255 : -1), x);
}

function bitShift(c: NodeContext): Value {
  const [a, b] = [c.input(0), c.input(1)];
  const { dtype } = a.type;
  if (dtype !== 'u8') return c.unsupported(`shifts of ${dtype}`, 'uint8 is supported');
  const wide = cast(c.b, a, 'i32');
  const factor = c.b.one('gather', [powersOfTwo(c, 8), cast(c.b, b, 'i32')], { axis: 0 });
  if (c.string('direction') === 'RIGHT') return cast(c.b, div(c.b, wide, factor), 'u8');
  const product = mul(c.b, wide, factor);
  const high = mul(c.b, div(c.b, product, full(c.b, 256, 'i32')), full(c.b, 256, 'i32'));
  return cast(c.b, sub(c.b, product, high), 'u8');
}

export const bitOperators: OperatorTable = {
  BitShift: { since: 11, limits: 'uint8', convert: bitShift },
  BitwiseAnd: bitwise('and', product),
  BitwiseOr: bitwise('or', sum),
  BitwiseXor: bitwise('xor', difference),
  BitwiseNot: { since: 18, limits, convert: complement },
};
