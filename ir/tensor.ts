/**
 * Tensors of the reference interpreter: dense, row-major, every element held as a float64 that is exactly
 * representable in the tensor's dtype (unless the interpreter runs in float64 mode, see numeric.ts).
 */
import { type DType, elementCount } from './type.js';

export interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export function emptyTensor(dtype: DType, shape: readonly number[]): Tensor {
  return { dtype, shape, data: new Float64Array(elementCount(shape)) };
}

export function tensor(dtype: DType, shape: readonly number[], values: ArrayLike<number>): Tensor {
  const count = elementCount(shape);
  if (values.length !== count)
    throw new RangeError(`shape [${shape}] holds ${count} values, ${values.length} given`);
  return { dtype, shape, data: Float64Array.from(values) };
}

export function scalar(dtype: DType, value: number): Tensor {
  return { dtype, shape: [], data: Float64Array.of(value) };
}

/** Row-major strides, in elements. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    strides[axis] = (strides[axis + 1] as number) * (shape[axis + 1] as number);
  }
  return strides;
}

/** Strides that read `shape` as if broadcast to `target` (numpy rules): 0 along repeated axes. */
export function broadcastStrides(shape: readonly number[], target: readonly number[]): number[] {
  const own = stridesOf(shape);
  const lead = target.length - shape.length;
  return target.map((_, axis) =>
    axis < lead || shape[axis - lead] === 1 ? 0 : (own[axis - lead] as number),
  );
}

/** The shape and its stride lists with neighbouring axes made one where every list steps through them evenly. */
function collapse(
  shape: readonly number[],
  strides: readonly (readonly number[])[],
): { readonly shape: number[]; readonly strides: number[][] } {
  const joined = { shape: [] as number[], strides: strides.map((): number[] => []) };
  for (const [axis, size] of shape.entries()) {
    if (size === 1) continue;
    const last = joined.shape.length - 1;
    const even = strides.every((own, s) => joined.strides[s]?.[last] === (own[axis] as number) * size);
    if (last >= 0 && even) joined.shape[last] = (joined.shape[last] as number) * size;
    else joined.shape.push(size);
    strides.forEach((own, s) => {
      (joined.strides[s] as number[])[last >= 0 && even ? last : last + 1] = own[axis] as number;
    });
  }
  return joined;
}

/**
 * Calls `visit` for every row of `shape` in row-major order: with the offset of its first element in each stride list,
 * how many elements it has and how far apart they are. Neighbouring axes are one row where that is the same.
 */
export function walkRows(
  shape: readonly number[],
  strides: readonly (readonly number[])[],
  visit: (linear: number, offsets: readonly number[], length: number, steps: readonly number[]) => void,
): void {
  if (elementCount(shape) === 0) return;
  const joined = collapse(shape, strides);
  const length = joined.shape.pop() ?? 1;
  const steps = joined.strides.map((own) => own.pop() ?? 0);
  walk(joined.shape, joined.strides, (row, offsets) => visit(row * length, offsets, length, steps));
}

/** Calls `visit(offsets)` for every index of `shape` in row-major order, with one running offset per stride list. */
export function walk(
  shape: readonly number[],
  strides: readonly (readonly number[])[],
  visit: (linear: number, offsets: readonly number[]) => void,
): void {
  const total = elementCount(shape);
  const index = new Array<number>(shape.length).fill(0);
  const offsets = new Array<number>(strides.length).fill(0);
  for (let linear = 0; linear < total; linear++) {
    visit(linear, offsets);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = (index[axis] as number) + 1;
      const wraps = index[axis] === shape[axis];
      for (let s = 0; s < strides.length; s++) {
        const stride = (strides[s] as readonly number[])[axis] as number;
        offsets[s] = (offsets[s] as number) + (wraps ? -stride * ((shape[axis] as number) - 1) : stride);
      }
      if (!wraps) break;
      index[axis] = 0;
    }
  }
}
