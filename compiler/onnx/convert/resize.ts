/**
 * Resize and Upsample. All modes are separable: along each axis, every result is a weighted sum of a few elements, and
 * the weights are known when the sizes are. So an axis is one product with a constant matrix, or a gather for `nearest`.
 */
import { constantOf } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { isFloat } from '../../../ir/type.js';
import { cast, gather, like, rankOf, sizeAlong, transpose } from '../build.js';
import type { NodeContext, OperatorTable } from '../node.js';

/** One axis: `scale` is exact even where the size of the result was rounded down. */
interface Axis {
  readonly axis: number;
  readonly size: number;
  readonly result: number;
  readonly scale: number;
  /** Region of interest, as fractions of the axis. */
  readonly start: number;
  readonly end: number;
}

interface Mode {
  readonly kind: string;
  readonly coordinates: string;
  readonly nearest: string;
  readonly antialias: boolean;
  readonly excludesOutside: boolean;
  readonly cubic: number;
}

/** Where result `x` lies on the axis, by the formulas of the operator's text. */
function coordinate(mode: string, x: number, { size, result, scale, start, end }: Axis): number {
  const whole = scale * size;
  switch (mode) {
    case 'align_corners':
      return whole === 1 ? 0 : (x * (size - 1)) / (whole - 1);
    case 'asymmetric':
      return x / scale;
    case 'pytorch_half_pixel':
      return result > 1 ? (x + 0.5) / scale - 0.5 : 0;
    case 'tf_half_pixel_for_nn':
      return (x + 0.5) / scale;
    case 'tf_crop_and_resize':
      if (result <= 1) return 0.5 * (start + end) * (size - 1);
      return start * (size - 1) + (x * (end - start) * (size - 1)) / (result - 1);
    case 'half_pixel_symmetric': {
      const adjustment = result / whole;
      return (size / 2) * (1 - adjustment) + (x + 0.5) / scale - 0.5;
    }
    default:
      return (x + 0.5) / scale - 0.5;
  }
}

function nearestIndex(mode: string, x: number): number {
  if (mode === 'floor') return Math.floor(x);
  if (mode === 'ceil') return Math.ceil(x);
  if (mode === 'round_prefer_ceil') return Math.floor(x + 0.5);
  return Math.ceil(x - 0.5);
}

/** The cubic convolution kernel (Keys 1981, equation 15). */
function cubicKernel(distance: number, a: number): number {
  const x = Math.abs(distance);
  if (x <= 1) return (a + 2) * x ** 3 - (a + 3) * x ** 2 + 1;
  return x < 2 ? a * x ** 3 - 5 * a * x ** 2 + 8 * a * x - 4 * a : 0;
}

/** Elements and weights of one result. */
function taps(x: number, { size, scale }: Axis, mode: Mode): [index: number, weight: number][] {
  const left = Number.isInteger(x) ? x - 1 : Math.floor(x);
  const ratio = x - left;
  const shrink = mode.antialias ? Math.min(scale, 1) : 1;
  const reach = mode.kind === 'cubic' ? 2 : 1;
  const first = Math.floor(-reach / shrink) + 1;
  const count = 2 * (1 - first);
  const kernel = (d: number): number =>
    mode.kind === 'cubic' ? cubicKernel(d, mode.cubic) : Math.max(0, 1 - Math.abs(d));
  const all = Array.from({ length: count }, (_, i): [number, number] => [
    left + first + i,
    kernel((first + i - ratio) * shrink),
  ]);
  const inside = mode.excludesOutside ? all.filter(([index]) => index >= 0 && index < size) : all;
  const total = inside.reduce((sum, [, weight]) => sum + weight, 0);
  const divides = mode.antialias || mode.excludesOutside;
  return inside.map(([index, weight]) => [
    Math.min(size - 1, Math.max(0, index)),
    divides ? weight / total : weight,
  ]);
}

function resizeAxis(c: NodeContext, x: Value, axis: Axis, mode: Mode): Value {
  const places = Array.from({ length: axis.result }, (_, i) => coordinate(mode.coordinates, i, axis));
  if (mode.kind === 'nearest') {
    const clamp = (i: number): number => Math.min(axis.size - 1, Math.max(0, i));
    return gather(
      c.b,
      x,
      c.indices(places.map((place) => clamp(nearestIndex(mode.nearest, place)))),
      axis.axis,
    );
  }
  const matrix = new Array<number>(axis.size * axis.result).fill(0);
  places.forEach((place, column) => {
    for (const [row, weight] of taps(place, axis, mode)) {
      const at = row * axis.result + column;
      matrix[at] = (matrix[at] as number) + weight;
    }
  });
  const rank = rankOf(x);
  const perm = Array.from({ length: rank }, (_, i) =>
    i === axis.axis ? rank - 1 : i === rank - 1 ? axis.axis : i,
  );
  const weights = c.constant('f32', [axis.size, axis.result], matrix.map(Math.fround));
  const rows = transpose(c.b, cast(c.b, x, 'f32'), perm);
  return transpose(c.b, c.b.one('matmul', [rows, weights]), perm);
}

function resizeAxes(c: NodeContext, x: Value, axes: readonly Axis[], mode: Mode): Value {
  const changed = axes.filter(
    (axis) => axis.result !== axis.size || mode.coordinates === 'tf_crop_and_resize',
  );
  const resized = changed.reduce((value, axis) => resizeAxis(c, value, axis, mode), x);
  const { dtype } = x.type;
  const rounded = isFloat(dtype) || resized.type.dtype === dtype ? resized : c.b.one('round', [resized]);
  const result = cast(c.b, rounded, dtype);
  return mode.coordinates === 'tf_crop_and_resize' ? extrapolated(c, result, axes) : result;
}

/** What lies outside the image has a value of its own. */
function extrapolated(c: NodeContext, x: Value, axes: readonly Axis[]): Value {
  const value = like(c.b, x, c.float('extrapolation_value', 0));
  return axes.reduce((current, axis) => {
    const outside = Array.from({ length: axis.result }, (_, i) => {
      const place = coordinate('tf_crop_and_resize', i, axis);
      return Number(place < 0 || place > axis.size - 1);
    });
    if (!outside.includes(1)) return current;
    const shape = Array.from({ length: rankOf(x) }, (_, i) => (i === axis.axis ? axis.result : 1));
    return c.b.one('where', [c.constant('bool', shape, outside), value, current]);
  }, x);
}

function roundHalfUp(x: number): number {
  return Math.floor(x + 0.5);
}

/** The axes that an input list speaks about, and what it says. */
function axesOf(c: NodeContext, x: Value): Axis[] {
  const rank = rankOf(x);
  const axes =
    c.intList('axes')?.map((axis) => c.axis(axis, rank)) ?? Array.from({ length: rank }, (_, i) => i);
  const [roiInput, scalesInput, sizesInput] = c.opset >= 11 ? [1, 2, 3] : [undefined, 1, undefined];
  const list = (index: number | undefined, what: string): number[] | undefined => {
    if (index === undefined || !c.has(index)) return undefined;
    const values = [...c.known(index, what).data];
    return values.length === 0 ? undefined : values;
  };
  const [roi, scales, sizes] = [
    list(roiInput, 'roi'),
    list(scalesInput, 'scales'),
    list(sizesInput, 'sizes'),
  ];
  const size = (i: number): number => {
    const own = sizeAlong(x, axes[i] as number);
    const known = constantOf(own);
    if (known !== undefined) return known;
    return scales?.[i] === 1 ? 1 : c.size(own, 'an axis that is resized');
  };
  const policy = c.string('keep_aspect_ratio_policy', 'stretch');
  const ratios = axes.map((_, i) =>
    sizes === undefined ? (scales?.[i] ?? 1) : (sizes[i] as number) / size(i),
  );
  const common =
    policy === 'not_larger'
      ? Math.min(...ratios)
      : policy === 'not_smaller'
        ? Math.max(...ratios)
        : undefined;
  return axes.map((axis, i) => {
    const scale = sizes !== undefined && common !== undefined ? common : (ratios[i] as number);
    const kept = common === undefined ? sizes?.[i] : roundHalfUp(scale * size(i));
    const result = sizes === undefined ? Math.floor(size(i) * scale + 1e-9) : (kept as number);
    return { axis, size: size(i), result, scale, start: roi?.[i] ?? 0, end: roi?.[i + axes.length] ?? 1 };
  });
}

function resize(c: NodeContext): Value {
  const x = c.input(0);
  const isOld = c.opset < 11;
  const mode: Mode = {
    kind: c.string('mode', 'nearest').replace('bilinear', 'linear'),
    coordinates: isOld ? 'asymmetric' : c.string('coordinate_transformation_mode', 'half_pixel'),
    nearest: isOld ? 'floor' : c.string('nearest_mode', 'round_prefer_floor'),
    antialias: c.int('antialias', 0) === 1,
    excludesOutside: c.int('exclude_outside', 0) === 1,
    cubic: c.float('cubic_coeff_a', -0.75),
  };
  return resizeAxes(c, x, axesOf(c, x), mode);
}

function upsample(c: NodeContext): Value {
  const x = c.input(0);
  const scales = c.opset >= 9 ? [...c.known(1, 'scales').data] : (c.floatList('scales') ?? []);
  const axes = scales.map((scale, axis): Axis => {
    const known = constantOf(sizeAlong(x, axis));
    const size = known ?? (scale === 1 ? 1 : c.size(sizeAlong(x, axis), 'an axis that is resized'));
    return { axis, size, result: Math.floor(size * scale + 1e-9), scale, start: 0, end: 1 };
  });
  const kind = c.string('mode', 'nearest').replace('bilinear', 'linear');
  return resizeAxes(c, x, axes, {
    kind,
    coordinates: 'asymmetric',
    nearest: 'floor',
    antialias: false,
    excludesOutside: false,
    cubic: -0.75,
  });
}

export const resizeOperators: OperatorTable = {
  Resize: { since: 10, limits: 'constant scales or sizes', convert: resize },
  Upsample: { since: 7, limits: 'constant scales', convert: upsample },
};
