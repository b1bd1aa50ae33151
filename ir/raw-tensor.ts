/**
 * Tensors as the bytes they are stored in. Movement copies elements without turning them into numbers, or only says
 * in what order they are read, so that moving a weight takes no more memory than the weight.
 */
import { fail } from './diagnostics.js';
import { decodeBytes, typedView } from './numeric.js';
import type { Attrs } from './op.js';
import type { Tensor } from './tensor.js';
import { type DType, dtypes, elementCount, storedBytes } from './type.js';

export interface RawTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** Elements of `bytes` in an order of their own; strides and start count elements. */
export interface StridedTensor extends RawTensor {
  readonly strides: readonly number[];
  readonly start: number;
}

export function decoded({ dtype, shape, bytes }: RawTensor): Tensor {
  return { dtype, shape, data: decodeBytes(dtype, bytes, elementCount(shape)) };
}

export function strided(raw: RawTensor): StridedTensor {
  return { ...raw, strides: stridesOf(raw.shape), start: 0 };
}

function stridesOf(shape: readonly number[]): number[] {
  return shape.map((_, axis) => elementCount(shape.slice(axis + 1)));
}

/** Whether the elements follow each other as in row-major order. */
function isContiguous({ shape, strides }: StridedTensor): boolean {
  const plain = stridesOf(shape);
  return strides.every((stride, axis) => stride === plain[axis] || shape[axis] === 1);
}

// ---- movement

type Move = (attrs: Attrs, args: readonly StridedTensor[], sizeOf: (d: unknown) => number) => StridedTensor;

/** As the declarations in ops/movement.ts say, for tensors whose elements are whole bytes. */
const moves: Readonly<Record<string, Move>> = {
  reshape: ({ shape }, [x], sizeOf) =>
    strided({ ...compact(x as StridedTensor), shape: (shape as readonly unknown[]).map(sizeOf) }),
  transpose: ({ perm }, [x]) => {
    const { shape, strides } = x as StridedTensor;
    const order = perm as readonly number[];
    const along = (values: readonly number[]): number[] => order.map((axis) => values[axis] as number);
    return { ...(x as StridedTensor), shape: along(shape), strides: along(strides) };
  },
  slice: (attrs, [x], sizeOf) => {
    const from = x as StridedTensor;
    const axis = axisOf(attrs.axis as number, from.shape);
    const [low, high, step] = [sizeOf(attrs.start), sizeOf(attrs.end), attrs.step as number];
    const size = from.shape[axis] as number;
    if (low < 0 || high < low || high > size)
      fail('HEW5003', `slice in a recipe: ${low} to ${high} is not inside an axis of size ${size}`);
    return part(from, axis, { low, high, step });
  },
  concat: ({ axis }, parts) => strided(joined(parts.map(compact), axis as number)),
  gather: ({ axis }, [x, index]) => {
    const from = x as StridedTensor;
    const at = axisOf(axis as number, from.shape);
    const chosen = chosenOf(compact(index as StridedTensor), from.shape[at] as number);
    const [low = 0] = chosen;
    // What a rank of a split model has is mostly a run of an axis, of which nothing need be copied.
    const isRun = index?.shape.length === 1 && chosen.every((i, n) => i === low + n);
    if (isRun) return part(from, at, { low, high: low + chosen.length, step: 1 });
    return strided(gathered(compact(from), at, chosen, (index as StridedTensor).shape));
  },
};

interface Run {
  readonly low: number;
  readonly high: number;
  readonly step: number;
}

function part(from: StridedTensor, axis: number, { low, high, step }: Run): StridedTensor {
  const stride = from.strides[axis] as number;
  return {
    ...from,
    shape: from.shape.with(axis, Math.ceil((high - low) / step)),
    strides: from.strides.with(axis, stride * step),
    start: from.start + stride * low,
  };
}

/** The result of a movement op; undefined for other ops, and for elements that share bytes. */
export function movedBytes(
  op: string,
  attrs: Attrs,
  args: readonly StridedTensor[],
  sizeOf: (d: unknown) => number,
): StridedTensor | undefined {
  const move = Object.hasOwn(moves, op) ? moves[op] : undefined;
  const [first] = args;
  if (move === undefined || first === undefined || dtypes[first.dtype].bits < 8) return undefined;
  return move(attrs, args, sizeOf);
}

function axisOf(axis: number, shape: readonly number[]): number {
  return axis < 0 ? axis + shape.length : axis;
}

function joined(parts: readonly RawTensor[], axis: number): RawTensor {
  const { dtype, shape } = parts[0] as RawTensor;
  const at = axisOf(axis, shape);
  const total = parts.reduce((sum, part) => sum + (part.shape[at] as number), 0);
  const outer = elementCount(shape.slice(0, at));
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.bytes.length, 0));
  let filled = 0;
  for (let i = 0; i < outer; i++) {
    for (const part of parts) {
      const block = part.bytes.length / outer;
      bytes.set(part.bytes.subarray(i * block, (i + 1) * block), filled);
      filled += block;
    }
  }
  return { dtype, shape: shape.with(at, total), bytes };
}

/** An index outside of the axis fails as it does when the op is evaluated. */
function chosenOf(index: RawTensor, size: number): number[] {
  const chosen = Array.from(decoded(index).data);
  const outside = chosen.find((i) => i < 0 || i >= size);
  if (outside !== undefined)
    fail('HEW5003', `gather in a recipe: index ${outside} is out of range for an axis of size ${size}`);
  return chosen;
}

/** `chosen` of an axis, which becomes the axes of `own`. */
function gathered(x: RawTensor, axis: number, chosen: readonly number[], own: readonly number[]): RawTensor {
  const size = x.shape[axis] as number;
  const outer = elementCount(x.shape.slice(0, axis));
  const block = storedBytes(x.dtype, elementCount(x.shape.slice(axis + 1)));
  const shape = [...x.shape.slice(0, axis), ...own, ...x.shape.slice(axis + 1)];
  const bytes = new Uint8Array(outer * chosen.length * block);
  const words = widestWords(block);
  const [from, to, width] = [
    typedView<Words>(words, x.bytes),
    typedView<Words>(words, bytes),
    block / words.BYTES_PER_ELEMENT,
  ];
  const starts = new Float64Array(outer * chosen.length);
  for (let row = 0, at = 0; row < outer; row++) {
    for (const i of chosen) starts[at++] = (row * size + i) * width;
  }
  copyRows(from, to, starts, width, 1);
  return { dtype: x.dtype, shape, bytes };
}

// ---- copying

type Words = Uint8Array | Uint16Array | Uint32Array;
type WordsOf = typeof Uint8Array | typeof Uint16Array | typeof Uint32Array;

/** The widest words that a number of bytes is made of. */
function widestWords(bytes: number): WordsOf {
  if (bytes % 4 === 0) return Uint32Array;
  return bytes % 2 === 0 ? Uint16Array : Uint8Array;
}

/** Columns copied of one row before the next row's turn: neighbours in the source may be in different rows. */
const tileColumns = 32;

/** Row r of `to` is `width` words of `from`, `stride` apart, from starts[r] on. */
function copyRows(from: Words, to: Words, starts: Float64Array, width: number, stride: number): void {
  if (stride === 1 && width > 16) {
    starts.forEach((start, row) => {
      to.set(from.subarray(start, start + width), row * width);
    });
    return;
  }
  for (let first = 0; first < width; first += tileColumns) {
    const end = Math.min(width, first + tileColumns);
    for (let row = 0; row < starts.length; row++) {
      const start = starts[row] as number;
      for (let column = first; column < end; column++)
        to[row * width + column] = from[start + column * stride] as number;
    }
  }
}

/** A row-major copy, or the bytes themselves where they are in order. */
export function compact(tensor: StridedTensor): RawTensor {
  const { dtype, shape } = tensor;
  const parts = [...byteChunks(tensor, Number.POSITIVE_INFINITY)];
  return { dtype, shape, bytes: parts[0] ?? new Uint8Array(0) };
}

/** The bytes in row-major order: as they are, or copied some rows at a time. */
export function* byteChunks(tensor: StridedTensor, chunkBytes: number): Generator<Uint8Array> {
  const { dtype, shape, start, bytes } = tensor;
  const count = elementCount(shape);
  if (count === 0) return;
  if (isContiguous(tensor)) {
    const offset = storedBytes(dtype, start);
    yield bytes.subarray(offset, offset + storedBytes(dtype, count));
    return;
  }
  const size = dtypes[dtype].bits / 8;
  const type = widestWords(size);
  const perElement = size / type.BYTES_PER_ELEMENT;
  // Elements of several words have their words as an axis more.
  const axes = shape.map(
    (length, axis): Axis => ({ length, stride: (tensor.strides[axis] as number) * perElement }),
  );
  if (perElement > 1) axes.push({ length: perElement, stride: 1 });
  const { length: width, stride } = axes.pop() as Axis;
  const from = typedView<Words>(type, bytes);
  const rows = (count * perElement) / width;
  const rowsAtOnce = Math.max(1, Math.floor(chunkBytes / (width * type.BYTES_PER_ELEMENT)));
  for (let row = 0; row < rows; row += rowsAtOnce) {
    const starts = Float64Array.from({ length: Math.min(rowsAtOnce, rows - row) }, (_, i) =>
      startOfRow(axes, row + i, start * perElement),
    );
    const chunk = new type(starts.length * width);
    copyRows(from, chunk, starts, width, stride);
    yield new Uint8Array(chunk.buffer);
  }
}

interface Axis {
  readonly length: number;
  readonly stride: number;
}

/** Where row `row`, counted in row-major order over the axes before the last, begins. */
function startOfRow(axes: readonly Axis[], row: number, start: number): number {
  let [rest, offset] = [row, start];
  for (const { length, stride } of axes.toReversed()) {
    offset += (rest % length) * stride;
    rest = Math.floor(rest / length);
  }
  return offset;
}
