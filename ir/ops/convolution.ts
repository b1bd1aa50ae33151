/**
 * Convolution and pooling of images, layout [N, C, H, W]. Spatial sizes are known at compile time, so output sizes are
 * literal dimensions; the batch may be a run-time symbol.
 */
import { type Dim, dim, divDims, mulDims, productOfDims } from '../dim.js';
import {
  attr,
  defineOp,
  type Emitter,
  type InferContext,
  InferError,
  operand,
  optional,
  type Value,
  weight,
} from '../op.js';
import { emptyTensor, type Tensor } from '../tensor.js';
import { elementCount, type TensorType } from '../type.js';
import { constant, inF32, reshape, toDType, transpose } from './decompose.js';
import { describeDim, dimAt, dimsAgree, expectFloat, expectRank, unify } from './shared.js';

/** How a window of `kernel` taps moves over one spatial axis. */
interface Window {
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  /** Zeros before and after the axis. */
  readonly before: number;
  readonly after: number;
}

interface WindowAttrs {
  readonly stride: readonly number[];
  readonly padding: readonly number[];
  readonly dilation?: readonly number[];
}

const paddingAttr = attr('ints', 'zeros around the image: top, left, bottom, right', [0, 0, 0, 0]);

/** Windows of the two spatial axes; padding is top, left, bottom, right. */
function windowsOf(kernel: readonly number[], { stride, padding, dilation }: WindowAttrs): [Window, Window] {
  const along = (axis: 0 | 1): Window => ({
    kernel: kernel[axis] as number,
    stride: stride[axis] as number,
    dilation: dilation?.[axis] ?? 1,
    before: padding[axis] as number,
    after: padding[axis + 2] as number,
  });
  return [along(0), along(1)];
}

function positions(size: number, window: Window): number {
  const reach = (window.kernel - 1) * window.dilation + 1;
  return Math.floor((size + window.before + window.after - reach) / window.stride) + 1;
}

function expectInts(op: string, name: string, list: readonly number[], count: number, least: number): void {
  if (list.length === count && list.every((n) => n >= least)) return;
  throw new InferError(
    `${op}: ${name} is [${list.join(', ')}]; it must have ${count} numbers, none below ${least}`,
    { kind: 'attr' },
  );
}

function checkWindowAttrs(op: string, { stride, padding, dilation }: WindowAttrs): void {
  expectInts(op, 'stride', stride, 2, 1);
  expectInts(op, 'padding', padding, 4, 0);
  if (dilation !== undefined) expectInts(op, 'dilation', dilation, 2, 1);
}

function knownSize(op: string, what: string, size: Dim, context: InferContext): number {
  const value = context.valueOf(size);
  if (value !== undefined) return value;
  throw new InferError(`${op}: the ${what} ${describeDim(size, context)} has no value at compile time`, {
    kind: 'shape',
    help: 'spatial sizes must be integers or model dimensions, not run-time symbols',
  });
}

/** Literal output sizes of the two spatial axes. */
function spatialSizes(
  op: string,
  x: TensorType,
  windows: readonly Window[],
  context: InferContext,
): [Dim, Dim] {
  const along = (axis: 0 | 1): Dim => {
    const what = axis === 0 ? 'height' : 'width';
    const size = knownSize(op, what, dimAt(x, axis + 2), context);
    const count = positions(size, windows[axis] as Window);
    if (count >= 1) return dim(count);
    throw new InferError(`${op}: the kernel is larger than the padded ${what} ${size}`, {
      kind: 'shape',
      operand: 0,
    });
  };
  return [along(0), along(1)];
}

/** Calls `visit` for each tap of a window position that lies inside the image. */
function eachTap(
  [rows, columns]: readonly [Window, Window],
  [height, width]: readonly [number, number],
  [y, x]: readonly [number, number],
  visit: (pixel: number, tap: number) => void,
): void {
  for (let i = 0; i < rows.kernel; i++) {
    const row = y * rows.stride - rows.before + i * rows.dilation;
    if (row < 0 || row >= height) continue;
    for (let j = 0; j < columns.kernel; j++) {
      const column = x * columns.stride - columns.before + j * columns.dilation;
      if (column >= 0 && column < width) visit(row * width + column, i * columns.kernel + j);
    }
  }
}

function evaluateConv(
  [x, w, bias]: readonly (Tensor | undefined)[],
  attrs: WindowAttrs & { readonly groups: number },
  round: (value: number) => number,
): Tensor {
  const [image, taps] = [x as Tensor, w as Tensor];
  const [batch, channels, height, width] = image.shape as [number, number, number, number];
  const [outputs, perGroup, kh, kw] = taps.shape as [number, number, number, number];
  const windows = windowsOf([kh, kw], attrs);
  const [rows, columns] = [positions(height, windows[0]), positions(width, windows[1])];
  const out = emptyTensor(image.dtype, [batch, outputs, rows, columns]);
  out.data.forEach((_, linear) => {
    const [column, row] = [linear % columns, Math.floor(linear / columns) % rows];
    const o = Math.floor(linear / (columns * rows)) % outputs;
    const n = Math.floor(linear / (columns * rows * outputs));
    const firstChannel = Math.floor(o / (outputs / attrs.groups)) * perGroup;
    let sum = bias?.data[o] ?? 0;
    for (let c = 0; c < perGroup; c++) {
      const pixels = (n * channels + firstChannel + c) * height * width;
      const kernel = (o * perGroup + c) * kh * kw;
      eachTap(windows, [height, width], [row, column], (pixel, tap) => {
        sum += (image.data[pixels + pixel] as number) * (taps.data[kernel + tap] as number);
      });
    }
    out.data[linear] = round(sum);
  });
  return out;
}

/** Index of every tap at every position of one padded axis: i32 [positions, kernel]. */
function tapIndex(b: Emitter, count: number, window: Window): Value {
  const steps = (length: number, distance: number) =>
    b.one('mul', [b.one('iota', [], { length: dim(length), dtype: 'i32' }), constant(b, distance, 'i32')]);
  const starts = reshape(b, steps(count, window.stride), [count, 1]);
  return b.one('add', [starts, steps(window.kernel, window.dilation)]);
}

/** im2col: [.., H, W] to [.., rows, kh, columns, kw], padded with `value`. */
function unfold(b: Emitter, x: Value, windows: readonly [Window, Window], value: number): Value {
  const rank = x.type.shape.length;
  const outer = new Array<number>(rank - 2).fill(0);
  const [rows, columns] = windows;
  const [height, width] = [dimAt(x.type, -2), dimAt(x.type, -1)].map((d) => b.scope.valueOf(d) as number);
  const padded = b.one('pad', [x], {
    before: [...outer, rows.before, columns.before],
    after: [...outer, rows.after, columns.after],
    value,
  });
  const byRow = b.one('gather', [padded, tapIndex(b, positions(height as number, rows), rows)], {
    axis: rank - 2,
  });
  return b.one('gather', [byRow, tapIndex(b, positions(width as number, columns), columns)], { axis: rank });
}

function decomposeConv(
  b: Emitter,
  x: Value,
  w: Value,
  attrs: WindowAttrs & { readonly groups: number },
): Value {
  const [batch, channels] = x.type.shape as [Dim, Dim];
  const [outputs, perGroup, kh, kw] = w.type.shape as [Dim, Dim, Dim, Dim];
  const groups = attrs.groups;
  const [kernelHeight, kernelWidth] = [kh, kw].map((d) => b.scope.valueOf(d) as number) as [number, number];
  const patches = unfold(b, x, windowsOf([kernelHeight, kernelWidth], attrs), 0);
  const [rows, tapRows, columns, tapColumns] = patches.type.shape.slice(2) as [Dim, Dim, Dim, Dim];
  const inner = productOfDims([divDims(channels, groups), tapRows, tapColumns]);
  const split = reshape(b, patches, [
    batch,
    groups,
    divDims(channels, groups),
    rows,
    tapRows,
    columns,
    tapColumns,
  ]);
  const pixels = reshape(b, transpose(b, split, [0, 1, 2, 4, 6, 3, 5]), [
    batch,
    groups,
    inner,
    mulDims(rows, columns),
  ]);
  const matrix = reshape(b, w, [groups, divDims(outputs, groups), productOfDims([perGroup, kh, kw])]);
  return reshape(b, b.one('matmul', [matrix, pixels]), [batch, outputs, rows, columns]);
}

function checkChannels(x: TensorType, w: TensorType, groups: number, context: InferContext): void {
  const [channels, perGroup] = [dimAt(x, 1), dimAt(w, 1)];
  if (groups < 1) throw new InferError(`conv2d: groups is ${groups}, it must be 1 or more`, { kind: 'attr' });
  if (!dimsAgree(channels, mulDims(perGroup, groups), context)) {
    throw new InferError(
      `conv2d: x has ${describeDim(channels, context)} channels, but the weight reads ${describeDim(perGroup, context)} in each of ${groups} groups`,
      { kind: 'shape', operand: 1, help: 'a weight is [out, channels / groups, height, width]' },
    );
  }
  const outputs = knownSize('conv2d', 'number of output channels', dimAt(w, 0), context);
  if (outputs % groups === 0) return;
  throw new InferError(
    `conv2d: ${describeDim(dimAt(w, 0), context)} output channels do not form ${groups} equal groups`,
    { kind: 'attr', operand: 1 },
  );
}

const image = operand('x', '[N, C, H, W], float');
const poolAttrs = {
  kernel: attr('ints', 'height and width of the window'),
  stride: attr('ints', 'distance of the windows, down and across'),
  padding: attr('ints', 'rows and columns around the image: top, left, bottom, right', [0, 0, 0, 0]),
};
interface PoolAttrs extends WindowAttrs {
  readonly kernel: readonly number[];
}

function inferPool(op: string, x: TensorType, attrs: PoolAttrs, context: InferContext): TensorType {
  expectFloat(x, 0);
  expectRank(x, [4], 'x', 0);
  expectInts(op, 'kernel', attrs.kernel, 2, 1);
  checkWindowAttrs(op, attrs);
  const windows = windowsOf(attrs.kernel, attrs);
  if (windows.some((w) => w.before >= w.kernel || w.after >= w.kernel)) {
    throw new InferError(
      `${op}: padding [${attrs.padding.join(', ')}] is not smaller than the kernel [${attrs.kernel.join(', ')}]`,
      { kind: 'attr', operand: 0, help: 'every window must touch the image' },
    );
  }
  return { dtype: x.dtype, shape: [dimAt(x, 0), dimAt(x, 1), ...spatialSizes(op, x, windows, context)] };
}

/** One value per window; `compute` gets the elements of the window that lie inside the image. */
function evaluatePool(
  x: Tensor,
  attrs: PoolAttrs,
  round: (value: number) => number,
  compute: (elements: readonly number[]) => number,
): Tensor {
  const windows = windowsOf(attrs.kernel, attrs);
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const [rows, columns] = [positions(height, windows[0]), positions(width, windows[1])];
  const out = emptyTensor(x.dtype, [batch, channels, rows, columns]);
  out.data.forEach((_, linear) => {
    const [column, row] = [linear % columns, Math.floor(linear / columns) % rows];
    const plane = Math.floor(linear / (columns * rows)) * height * width;
    const elements: number[] = [];
    eachTap(windows, [height, width], [row, column], (pixel) => {
      elements.push(x.data[plane + pixel] as number);
    });
    out.data[linear] = round(compute(elements));
  });
  return out;
}

function poolFlops(shape: readonly number[] | undefined, kernel: readonly number[]): number {
  return elementCount(shape as readonly number[]) * elementCount(kernel);
}

export const convolutionOps = {
  conv2d: defineOp({
    doc: 'cross-correlation of an image with a kernel per output channel, optionally in groups of channels; sums in f32',
    category: 'convolution',
    operands: [
      image,
      weight('w', '[O, C/groups, kh, kw], any float dtype'),
      optional(weight('bias', '[O], any float dtype')),
    ],
    attrs: {
      stride: attr('ints', 'distance of the windows, down and across', [1, 1]),
      padding: paddingAttr,
      dilation: attr('ints', 'distance of the taps, down and across', [1, 1]),
      groups: attr('int', 'channels are split into this many groups that do not mix', 1),
    },
    infer: (types, attrs, context) => {
      const [x, w, bias] = types as [TensorType, TensorType, TensorType?];
      expectFloat(x, 0);
      expectFloat(w, 1);
      expectRank(x, [4], 'x', 0);
      expectRank(w, [4], 'w', 1);
      checkWindowAttrs('conv2d', attrs);
      checkChannels(x, w, attrs.groups, context);
      let outputs = dimAt(w, 0);
      if (bias !== undefined) {
        expectFloat(bias, 2);
        expectRank(bias, [1], 'bias', 2);
        outputs = unify(outputs, dimAt(bias, 0), context, 'conv2d: output channels of w and bias', 2);
      }
      const kernel = [2, 3].map((axis) => knownSize('conv2d', 'kernel size', dimAt(w, axis), context));
      expectInts('conv2d', 'the kernel size', kernel, 2, 1);
      const spatial = spatialSizes('conv2d', x, windowsOf(kernel, attrs), context);
      return [{ dtype: x.dtype, shape: [dimAt(x, 0), outputs, ...spatial] }];
    },
    evaluate: (inputs, attrs, context) => [
      evaluateConv(inputs, attrs, context.round((inputs[0] as Tensor).dtype)),
    ],
    decompose: (b, [x, w, bias], attrs) => [
      inF32(b, x as Value, (wide) => {
        const product = decomposeConv(b, wide, toDType(b, w as Value, 'f32'), attrs);
        if (bias === undefined) return product;
        const column = reshape(b, toDType(b, bias, 'f32'), [dimAt(bias.type, 0), 1, 1]);
        return b.one('add', [product, column]);
      }),
    ],
    flops: ({ operands: [, w], results: [out] }) =>
      2 * elementCount(out as number[]) * elementCount((w as number[]).slice(1)),
  }),

  max_pool2d: defineOp({
    doc: 'the greatest element of each window; padding never wins',
    category: 'convolution',
    operands: [image],
    attrs: poolAttrs,
    infer: ([x], attrs, context) => [inferPool('max_pool2d', x as TensorType, attrs, context)],
    evaluate: ([x], attrs, context) => {
      const greatest = (elements: readonly number[]) =>
        elements.reduce((a, v) => Math.max(a, v), Number.NEGATIVE_INFINITY);
      return [evaluatePool(x as Tensor, attrs, context.round((x as Tensor).dtype), greatest)];
    },
    decompose: (b, [x], attrs) => {
      const windows = unfold(b, x as Value, windowsOf(attrs.kernel, attrs), Number.NEGATIVE_INFINITY);
      return [b.one('reduce_max', [windows], { axes: [3, 5] })];
    },
    flops: ({ results: [shape] }, { kernel }) => poolFlops(shape, kernel),
  }),

  avg_pool2d: defineOp({
    doc: 'the mean of each window, over the elements inside the image or over the whole window',
    category: 'convolution',
    operands: [image],
    attrs: {
      ...poolAttrs,
      count_include_pad: attr('bool', 'divide by the size of the window, padding included', false),
    },
    infer: ([x], attrs, context) => [inferPool('avg_pool2d', x as TensorType, attrs, context)],
    evaluate: ([x], attrs, context) => {
      const whole = elementCount(attrs.kernel);
      const mean = (elements: readonly number[]) =>
        elements.reduce((a, v) => a + v, 0) / (attrs.count_include_pad ? whole : elements.length);
      return [evaluatePool(x as Tensor, attrs, context.round((x as Tensor).dtype), mean)];
    },
    decompose: (b, [x], attrs) => {
      const windows = windowsOf(attrs.kernel, attrs);
      const sums = (value: Value) => {
        const taps = unfold(b, value, windows, 0);
        const rank = taps.type.shape.length;
        return b.one('reduce_sum', [taps], { axes: [rank - 3, rank - 1] });
      };
      const ones = () =>
        b.one('full', [], { value: 1, dtype: 'f32', shape: (x as Value).type.shape.slice(2) });
      return [
        inF32(b, x as Value, (wide) => {
          const count = attrs.count_include_pad
            ? constant(b, elementCount(attrs.kernel), 'f32')
            : sums(ones());
          return b.one('div', [sums(wide), count]);
        }),
      ];
    },
    flops: ({ results: [shape] }, { kernel }) => poolFlops(shape, kernel),
  }),
};
