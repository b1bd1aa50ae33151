/**
 * Convolution and pooling. Hew's ops are 2-D; one spatial axis becomes two with height 1, and what they do not cover
 * (three axes, dilated or indexed pooling) is gathered window by window.
 */
import { type Dim, dim, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { type DType, isFloat } from '../../../ir/type.js';
import { add, cast, div, full, gather, like, mul, rankOf, reshape, sizeAlong, transpose } from '../build.js';
import type { NodeContext, OperatorTable } from '../node.js';
import { flip } from './movement.js';
import { perChannel } from './normalization.js';

/** How windows move over the spatial axes. */
interface Windows {
  readonly kernel: readonly number[];
  readonly stride: readonly number[];
  readonly dilation: readonly number[];
  readonly before: readonly number[];
  readonly after: readonly number[];
}

function listOr(list: readonly number[] | undefined, count: number, fallback: number): readonly number[] {
  return list ?? new Array<number>(count).fill(fallback);
}

/** Windows over spatial axes of known sizes; `auto_pad` and `ceil_mode` end as padding. */
export function windowsOf(c: NodeContext, sizes: readonly number[], kernel: readonly number[]): Windows {
  const count = sizes.length;
  const stride = listOr(c.intList('strides'), count, 1);
  const dilation = listOr(c.intList('dilations'), count, 1);
  const pads = listOr(c.intList('pads'), 2 * count, 0);
  const reach = kernel.map((k, i) => (k - 1) * (dilation[i] as number) + 1);
  const mode = c.string('auto_pad', 'NOTSET');
  const padding = sizes.map((size, i): [number, number] => {
    if (mode === 'NOTSET' || mode === '') return [pads[i] as number, pads[i + count] as number];
    if (mode === 'VALID') return [0, 0];
    const positions = Math.ceil(size / (stride[i] as number));
    const total = Math.max(0, (positions - 1) * (stride[i] as number) + (reach[i] as number) - size);
    const less = Math.floor(total / 2);
    return mode === 'SAME_LOWER' ? [total - less, less] : [less, total - less];
  });
  const more = c.int('ceil_mode', 0) === 1 && (mode === 'NOTSET' || mode === '');
  const after = padding.map(([low, high], i) => {
    if (!more) return high;
    const free = (sizes[i] as number) + low + high - (reach[i] as number);
    const step = stride[i] as number;
    const extra = (step - (free % step)) % step;
    // A window that would start beyond the image is left out.
    const starts = Math.ceil(free / step) * step;
    return starts >= (sizes[i] as number) + low ? high - (free % step) : high + extra;
  });
  return { kernel, stride, dilation, before: padding.map(([low]) => low), after };
}

function positionsOf(
  { kernel, stride, dilation, before, after }: Windows,
  sizes: readonly number[],
): number[] {
  return sizes.map((size, i) => {
    const reach = ((kernel[i] as number) - 1) * (dilation[i] as number) + 1;
    const free = size + (before[i] as number) + (after[i] as number) - reach;
    return Math.floor(free / (stride[i] as number)) + 1;
  });
}

function spatialSizes(c: NodeContext, x: Value): number[] {
  return x.type.shape.slice(2).map((size, i) => c.size(size, `spatial axis ${i} of the image`));
}

// ---- convolution

function conv(c: NodeContext): Value {
  return convolve(c, c.input(0), c.input(1), c.optional(2));
}

export function convolve(c: NodeContext, x: Value, w: Value, bias: Value | undefined): Value {
  const windows = windowsOf(
    c,
    spatialSizes(c, x),
    w.type.shape.slice(2).map((size) => c.size(size, 'the kernel size')),
  );
  return convolveWith(c, x, w, bias, windows, c.int('group', 1));
}

function convolveWith(
  c: NodeContext,
  x: Value,
  w: Value,
  bias: Value | undefined,
  windows: Windows,
  groups: number,
): Value {
  const count = rankOf(x) - 2;
  const negative = [...windows.before, ...windows.after].some((n) => n < 0);
  if (count === 2 && !negative) return conv2d(c, x, w, bias, windows, groups);
  if (count === 1 && !negative) {
    const flat = (value: Value): Value =>
      reshape(c.b, value, [...value.type.shape.slice(0, 2), 1, sizeAlong(value, 2)]);
    const rows: Windows = {
      kernel: [1, ...windows.kernel],
      stride: [1, ...windows.stride],
      dilation: [1, ...windows.dilation],
      before: [0, ...windows.before],
      after: [0, ...windows.after],
    };
    const result = conv2d(c, flat(x), flat(w), bias, rows, groups);
    return reshape(c.b, result, [...result.type.shape.slice(0, 2), sizeAlong(result, 3)]);
  }
  return convolveByWindows(c, x, w, bias, windows, groups);
}

function conv2d(
  c: NodeContext,
  x: Value,
  w: Value,
  bias: Value | undefined,
  { stride, dilation, before, after }: Windows,
  groups: number,
): Value {
  const operands = bias === undefined ? [x, w] : [x, w, bias];
  return c.b.one('conv2d', operands, { stride, dilation, padding: [...before, ...after], groups });
}

/** Any number of spatial axes: windows side by side, times the kernel as a matrix. */
function convolveByWindows(
  c: NodeContext,
  x: Value,
  w: Value,
  bias: Value | undefined,
  windows: Windows,
  groups: number,
): Value {
  const sizes = spatialSizes(c, x);
  const counts = positionsOf(windows, sizes);
  const places = counts.reduce((a, n) => a * n, 1);
  const taps = windows.kernel.reduce((a, n) => a * n, 1);
  const [n, channels] = x.type.shape as [Dim, Dim];
  const perGroup = c.size(channels, 'the channels') / groups;
  const outputs = c.size(sizeAlong(w, 0), 'the output channels');
  const unfolded = reshape(c.b, unfold(c, x, windows, 0), [n, groups, perGroup, places, taps]);
  const columns = reshape(c.b, transpose(c.b, unfolded, [0, 1, 2, 4, 3]), [
    n,
    groups,
    perGroup * taps,
    places,
  ]);
  const matrix = reshape(c.b, w, [groups, outputs / groups, perGroup * taps]);
  const product = reshape(c.b, c.b.one('matmul', [matrix, columns]), [n, outputs, ...counts]);
  return bias === undefined ? product : add(c.b, product, perChannel(c, bias, rankOf(x)));
}

/** [N, C, places…] and, last, all taps of a window: [N, C, places…, taps]. Outside the image is `value`. */
function unfold(c: NodeContext, x: Value, windows: Windows, value: number): Value {
  const sizes = spatialSizes(c, x);
  const counts = positionsOf(windows, sizes);
  const dims = sizes.length;
  let current = padSpatial(c, x, windows, value);
  // Each spatial axis becomes an axis of places and one of taps.
  for (let i = 0; i < dims; i++) {
    const [count, k] = [counts[i] as number, windows.kernel[i] as number];
    const index = Array.from(
      { length: count * k },
      (_, at) =>
        Math.floor(at / k) * (windows.stride[i] as number) + (at % k) * (windows.dilation[i] as number),
    );
    current = gather(c.b, current, c.indices(index, [count, k]), 2 + 2 * i);
  }
  const perm = [0, 1, ...counts.map((_, i) => 2 + 2 * i), ...counts.map((_, i) => 3 + 2 * i)];
  const taps = windows.kernel.reduce((a, n) => a * n, 1);
  return reshape(c.b, transpose(c.b, current, perm), [...x.type.shape.slice(0, 2), ...counts, taps]);
}

function padSpatial(c: NodeContext, x: Value, { before, after }: Windows, value: number): Value {
  const cut = before.reduce<Value>((part, low, i) => {
    const high = after[i] as number;
    if (low >= 0 && high >= 0) return part;
    const size = c.size(sizeAlong(part, i + 2), 'a spatial axis');
    return c.b.one('slice', [part], {
      axis: i + 2,
      start: dim(Math.max(0, -low)),
      end: dim(size - Math.max(0, -high)),
    });
  }, x);
  const positive = (list: readonly number[]): number[] => [0, 0, ...list.map((n) => Math.max(0, n))];
  return c.b.one('pad', [cut], { before: positive(before), after: positive(after), value });
}

/**
 * A transposed convolution is a convolution of the image spread out by the strides, with the kernel reversed and its
 * channels exchanged (Dumoulin and Visin 2016, section 4).
 */
function convTranspose(c: NodeContext): Value {
  const [x, w, bias] = [c.input(0), c.input(1), c.optional(2)];
  const sizes = spatialSizes(c, x);
  const count = sizes.length;
  const kernel = w.type.shape.slice(2).map((size) => c.size(size, 'the kernel size'));
  const [stride, dilation] = [
    listOr(c.intList('strides'), count, 1),
    listOr(c.intList('dilations'), count, 1),
  ];
  const extra = listOr(c.intList('output_padding'), count, 0);
  const reach = kernel.map((k, i) => (k - 1) * (dilation[i] as number) + 1);
  const [low, high] = transposePads(c, sizes, reach, stride, extra);
  const windows: Windows = {
    kernel,
    stride: new Array<number>(count).fill(1),
    dilation,
    before: reach.map((r, i) => r - 1 - (low[i] as number)),
    after: reach.map((r, i) => r - 1 - (high[i] as number) + (extra[i] as number)),
  };
  const groups = c.int('group', 1);
  const [inputs, perGroup] = [0, 1].map((axis) => c.size(sizeAlong(w, axis), 'the channels')) as [
    number,
    number,
  ];
  const grouped = reshape(c.b, w, [groups, inputs / groups, perGroup, ...kernel]);
  const exchanged = transpose(c.b, grouped, [0, 2, 1, ...kernel.map((_, i) => i + 3)]);
  const taps = reshape(c.b, exchanged, [groups * perGroup, inputs / groups, ...kernel]);
  const reversed = kernel.reduce<Value>((value, _, i) => flip(c, value, i + 2), taps);
  return convolveWith(c, spread(c, x, stride), reversed, bias, windows, groups);
}

/** Padding that the result loses on each side: given, or what makes it the wanted size. */
function transposePads(
  c: NodeContext,
  sizes: readonly number[],
  reach: readonly number[],
  stride: readonly number[],
  extra: readonly number[],
): [number[], number[]] {
  const count = sizes.length;
  const mode = c.string('auto_pad', 'NOTSET');
  const wanted = c.intList('output_shape')?.slice(-count);
  if (wanted === undefined && (mode === 'NOTSET' || mode === '' || mode === 'VALID')) {
    const pads =
      mode === 'VALID' ? new Array<number>(2 * count).fill(0) : listOr(c.intList('pads'), 2 * count, 0);
    return [pads.slice(0, count), pads.slice(count)];
  }
  const totals = sizes.map((size, i) => {
    const whole = (stride[i] as number) * (size - 1) + (extra[i] as number) + (reach[i] as number);
    // Negative where the wanted result is larger than what the image gives.
    const asked = wanted?.[i];
    return asked === undefined ? Math.max(0, whole - size * (stride[i] as number)) : whole - asked;
  });
  const half = totals.map((total) => Math.floor(total / 2));
  const rest = totals.map((total, i) => total - (half[i] as number));
  return mode === 'SAME_UPPER' ? [half, rest] : [rest, half];
}

/** stride - 1 zeros between neighbours. */
function spread(c: NodeContext, x: Value, stride: readonly number[]): Value {
  return stride.reduce<Value>((value, step, i) => {
    if (step === 1) return value;
    const axis = i + 2;
    const { shape } = value.type;
    const size = c.size(shape[axis] as Dim, 'a spatial axis');
    const column = reshape(c.b, value, [...shape.slice(0, axis + 1), 1, ...shape.slice(axis + 1)]);
    const after = Array.from({ length: shape.length + 1 }, (_, at) => (at === axis + 1 ? step - 1 : 0));
    const padded = c.b.one('pad', [column], { before: after.map(() => 0), after, value: 0 });
    const joined = reshape(c.b, padded, [...shape.slice(0, axis), size * step, ...shape.slice(axis + 1)]);
    return c.b.one('slice', [joined], { axis, start: dim(0), end: dim((size - 1) * step + 1) });
  }, x);
}

// ---- pooling

function isPlainPool({ dilation, before, after, kernel }: Windows): boolean {
  return (
    kernel.length === 2 &&
    dilation.every((n) => n === 1) &&
    [before, after].every((pads) => pads.every((n, i) => n >= 0 && n < (kernel[i] as number)))
  );
}

function lowest(dtype: DType): number {
  return isFloat(dtype) ? Number.NEGATIVE_INFINITY : dtype === 'u8' ? 0 : -(2 ** 31);
}

function maxPool(c: NodeContext): (Value | undefined)[] {
  const x = c.input(0);
  const windows = windowsOf(c, spatialSizes(c, x), c.intList('kernel_shape') ?? []);
  const attrs = {
    kernel: windows.kernel,
    stride: windows.stride,
    padding: [...windows.before, ...windows.after],
  };
  if (c.wants(1)) return indexedMaxPool(c, x, windows);
  if (isPlainPool(windows) && isFloat(x.type.dtype)) return [c.b.one('max_pool2d', [x], attrs)];
  const wide = isFloat(x.type.dtype) ? x : cast(c.b, x, 'i32');
  const taps = unfold(c, wide, windows, lowest(wide.type.dtype));
  return [
    cast(c.b, c.b.one('reduce_max', [taps], { axes: [rankOf(taps) - 1], keepdims: false }), x.type.dtype),
  ];
}

/** Greatest elements and where they are in the flattened image. */
function indexedMaxPool(c: NodeContext, x: Value, windows: Windows): Value[] {
  const sizes = spatialSizes(c, x);
  const [n, channels] = x.type.shape.slice(0, 2).map((size) => c.size(size, 'batch and channels')) as [
    number,
    number,
  ];
  const wide = isFloat(x.type.dtype) ? x : cast(c.b, x, 'i32');
  const taps = unfold(c, wide, windows, lowest(wide.type.dtype));
  const best = c.b.one('argmax', [taps], { axis: -1 });
  const plane = sizes.reduce((a, size) => a * size, 1);
  const columnMajor = c.int('storage_order', 0) === 1;
  const strides = sizes.map((_, i) => {
    const inner = columnMajor ? sizes.slice(0, i) : sizes.slice(i + 1);
    return inner.reduce((a, size) => a * size, 1);
  });
  // Position inside the image of each tap of each window; padding is never chosen.
  const counts = positionsOf(windows, sizes);
  const places = counts.reduce((a, count) => a * count, 1);
  const perWindow = windows.kernel.reduce((a, k) => a * k, 1);
  const table = Array.from({ length: places * perWindow }, (_, at) => {
    let [place, tap] = [Math.floor(at / perWindow), at % perWindow];
    let position = 0;
    for (let i = sizes.length - 1; i >= 0; i--) {
      const [count, k] = [counts[i] as number, windows.kernel[i] as number];
      const start = (place % count) * (windows.stride[i] as number) - (windows.before[i] as number);
      position += (start + (tap % k) * (windows.dilation[i] as number)) * (strides[i] as number);
      place = Math.floor(place / count);
      tap = Math.floor(tap / k);
    }
    return position;
  });
  const rank = rankOf(taps) - 1;
  const placeIndex = reshape(c.b, c.b.one('iota', [], { length: dim(places), dtype: 'i32' }), [
    1,
    1,
    ...counts,
  ]);
  const lookup = add(c.b, mul(c.b, placeIndex, full(c.b, perWindow, 'i32')), best);
  const inside = gather(c.b, c.indices(table), lookup);
  const planes = c.b.one('iota', [], { length: dim(n * channels), dtype: 'i32' });
  const starts = mul(
    c.b,
    reshape(c.b, planes, [n, channels, ...new Array<number>(rank - 2).fill(1)]),
    full(c.b, plane, 'i32'),
  );
  const values = c.b.one('reduce_max', [taps], { axes: [rank], keepdims: false });
  return [cast(c.b, values, x.type.dtype), cast(c.b, add(c.b, inside, starts), 'i64')];
}

function averagePool(c: NodeContext): Value {
  const x = c.input(0);
  const sizes = spatialSizes(c, x);
  const windows = windowsOf(c, sizes, c.intList('kernel_shape') ?? []);
  const counts = c.int('count_include_pad', 0) === 1;
  const roundsUp = c.int('ceil_mode', 0) === 1;
  if (isPlainPool(windows) && !(counts && roundsUp)) {
    const padding = [...windows.before, ...windows.after];
    return c.b.one('avg_pool2d', [x], {
      kernel: windows.kernel,
      stride: windows.stride,
      padding,
      count_include_pad: counts,
    });
  }
  const sum = c.b.one('reduce_sum', [unfold(c, x, windows, 0)], { axes: [rankOf(x)], keepdims: false });
  const given = counts ? paddedSizes(c, sizes) : undefined;
  const divisors = windowCounts(windows, sizes, given);
  return div(
    c.b,
    sum,
    cast(c.b, c.constant('f32', [1, 1, ...positionsOf(windows, sizes)], divisors), x.type.dtype),
  );
}

/** Padding that the model gives counts as image; what ceil_mode adds does not. */
function paddedSizes(c: NodeContext, sizes: readonly number[]): { before: number; size: number }[] {
  const pads = listOr(c.intList('pads'), 2 * sizes.length, 0);
  return sizes.map((size, i) => ({
    before: pads[i] as number,
    size: size + (pads[i] as number) + (pads[i + sizes.length] as number),
  }));
}

/** How many taps of each window count. */
function windowCounts(
  windows: Windows,
  sizes: readonly number[],
  padded: readonly { before: number; size: number }[] | undefined,
): number[] {
  const perAxis = positionsOf(windows, sizes).map((count, i) =>
    Array.from({ length: count }, (_, place) => {
      const start = place * (windows.stride[i] as number) - (windows.before[i] as number);
      const [low, high] =
        padded?.[i] === undefined
          ? [0, sizes[i] as number]
          : [-padded[i].before, padded[i].size - padded[i].before];
      const taps = Array.from(
        { length: windows.kernel[i] as number },
        (_, k) => start + k * (windows.dilation[i] as number),
      );
      return taps.filter((at) => at >= low && at < high).length;
    }),
  );
  return perAxis.reduce<number[]>((all, own) => all.flatMap((a) => own.map((b) => a * b)), [1]);
}

function lpPool(c: NodeContext): Value {
  const x = c.input(0);
  const windows = windowsOf(c, spatialSizes(c, x), c.intList('kernel_shape') ?? []);
  const p = c.int('p', 2);
  const powers = c.b.one('pow', [c.b.one('abs', [x]), like(c.b, x, p)]);
  const taps = unfold(c, powers, windows, 0);
  const sum = c.b.one('reduce_sum', [taps], { axes: [rankOf(taps) - 1], keepdims: false });
  return c.b.one('pow', [sum, like(c.b, sum, 1 / p)]);
}

function spatialAxes(x: Value): number[] {
  return Array.from({ length: rankOf(x) - 2 }, (_, i) => i + 2);
}

/** Values back to the places they came from; everything else is 0. */
function maxUnpool(c: NodeContext): Value {
  const [x, indices] = [c.input(0), c.input(1)];
  const sizes = spatialSizes(c, x);
  const kernel = c.intList('kernel_shape') ?? [];
  const stride = listOr(c.intList('strides'), sizes.length, 1);
  const pads = listOr(c.intList('pads'), 2 * sizes.length, 0);
  const inferred = sizes.map((size, i) => {
    const padding = (pads[i] as number) + (pads[i + sizes.length] as number);
    return (size - 1) * (stride[i] as number) - padding + (kernel[i] as number);
  });
  const [n, channels] = x.type.shape.slice(0, 2).map((size) => c.size(size, 'batch and channels')) as [
    number,
    number,
  ];
  const spatial = c.has(2) ? c.knownInts(2, 'output_shape').slice(2) : inferred;
  // Indices are positions in the output that the attributes describe, whatever output is asked for.
  const planes = n * channels;
  const inner = inferred.reduce((a, size) => a * size, 1);
  const at = reshape(c.b, cast(c.b, indices, 'i32'), [1, productOfDims(indices.type.shape)]);
  const own = reshape(c.b, c.b.one('iota', [], { length: dim(planes * inner), dtype: 'i32' }), [
    planes * inner,
    1,
  ]);
  const mine = cast(c.b, c.b.one('eq', [at, own]), x.type.dtype);
  const values = reshape(c.b, x, [productOfDims(x.type.shape), 1]);
  const image = reshape(c.b, c.b.one('matmul', [mine, values]), [n, channels, ...inferred]);
  const after = spatial.map((size, i) => size - (inferred[i] as number));
  return padSpatial(c, image, { kernel, stride, dilation: [], before: after.map(() => 0), after }, 0);
}

export const convolutionOperators: OperatorTable = {
  Conv: { since: 1, limits: 'known spatial sizes', convert: conv },
  ConvTranspose: { since: 1, limits: 'known spatial sizes', convert: convTranspose },
  MaxPool: { since: 1, limits: 'known spatial sizes', convert: maxPool },
  AveragePool: { since: 1, limits: 'known spatial sizes', convert: averagePool },
  LpPool: { since: 1, limits: 'known spatial sizes', convert: lpPool },
  MaxUnpool: { since: 9, limits: 'known sizes', convert: maxUnpool },
  GlobalAveragePool: {
    since: 1,
    convert: (c) => c.b.one('reduce_mean', [c.input(0)], { axes: spatialAxes(c.input(0)), keepdims: true }),
  },
  GlobalMaxPool: {
    since: 1,
    convert: (c) => c.b.one('reduce_max', [c.input(0)], { axes: spatialAxes(c.input(0)), keepdims: true }),
  },
};
