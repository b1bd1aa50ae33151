/** Shapes, parts, joins and padding. */
import {
  addDims,
  constantOf,
  type Dim,
  dim,
  divDims,
  mulDims,
  productOfDims,
  subDims,
} from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { isFloat } from '../../../ir/type.js';
import { broadcast, cast, gather, rankOf, reshape, sizeAlong, slice, transpose } from '../build.js';
import type { NodeContext, OperatorTable } from '../node.js';

/** Axes from an attribute, or from an input since `inputSince`; sorted, counted from the front. */
export function axesOf(c: NodeContext, rank: number, inputSince: number): number[] | undefined {
  const given = c.opset >= inputSince ? (c.has(1) ? c.knownInts(1, 'axes') : undefined) : c.intList('axes');
  return given?.map((axis) => c.axis(axis, rank)).sort((a, b) => a - b);
}

function reshapeTo(c: NodeContext): Value {
  const x = c.input(0);
  const wanted = c.opset >= 5 ? c.knownDims(1, 'shape') : (c.intList('shape') ?? []).map((n) => dim(n));
  const copiesZero = c.int('allowzero', 0) === 0;
  const shape = wanted.map((size, axis) =>
    copiesZero && constantOf(size) === 0
      ? (x.type.shape[axis] ?? c.fail('HEW3110', `axis ${axis} has no size to copy`))
      : size,
  );
  const open = shape.findIndex((size) => constantOf(size) === -1);
  if (open >= 0) {
    const [own, rest] = withoutCommon(
      x.type.shape,
      shape.filter((_, axis) => axis !== open),
    );
    const others = productOfDims(rest);
    if (constantOf(others) === 0) shape[open] = dim(0);
    else shape[open] = divDims(productOfDims(own), others);
  }
  return reshape(c.b, x, shape);
}

/** Symbols cannot be divided by sums, so equal dimensions are taken out before. */
function withoutCommon(left: readonly Dim[], right: readonly Dim[]): [Dim[], Dim[]] {
  const rest = [...right];
  const own = left.filter((axis) => {
    const at = rest.findIndex((other) => JSON.stringify(other) === JSON.stringify(axis));
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
  return [own, rest];
}

function squeeze(c: NodeContext): Value {
  const x = c.input(0);
  const { shape } = x.type;
  const axes =
    axesOf(c, shape.length, 13) ?? shape.flatMap((size, axis) => (constantOf(size) === 1 ? [axis] : []));
  const wrong = axes.find((axis) => constantOf(shape[axis] as Dim) !== 1);
  if (wrong !== undefined) return c.fail('HEW3110', `axis ${wrong} does not have size 1`);
  return reshape(
    c.b,
    x,
    shape.filter((_, axis) => !axes.includes(axis)),
  );
}

function unsqueeze(c: NodeContext): Value {
  const x = c.input(0);
  const given = c.opset >= 13 ? c.knownInts(1, 'axes') : (c.intList('axes') ?? []);
  const rank = rankOf(x) + given.length;
  const axes = new Set(given.map((axis) => c.axis(axis, rank)));
  if (axes.size !== given.length) return c.fail('HEW3110', `axes [${given.join(', ')}] name an axis twice`);
  const rest = [...x.type.shape];
  const shape = Array.from({ length: rank }, (_, axis) => (axes.has(axis) ? dim(1) : (rest.shift() as Dim)));
  return reshape(c.b, x, shape);
}

function flatten(c: NodeContext): Value {
  const x = c.input(0);
  const given = c.int('axis', 1);
  const axis = given < 0 ? given + rankOf(x) : given;
  const { shape } = x.type;
  return reshape(c.b, x, [productOfDims(shape.slice(0, axis)), productOfDims(shape.slice(axis))]);
}

// ---- parts

/** The axis in reverse order. */
export function flip(c: NodeContext, x: Value, axis: number): Value {
  const n = c.size(sizeAlong(x, axis), 'an axis that is reversed');
  return gather(c.b, x, c.indices(Array.from({ length: n }, (_, i) => n - 1 - i)), axis);
}

interface Part {
  readonly axis: number;
  readonly start: Dim;
  readonly end: Dim;
  readonly step: number;
}

/** Formulas are compared with 0 only where they are numbers: `sequence - 1` counts from the start, -1 from the end. */
function fromEnd(bound: Dim, size: Dim): Dim {
  const known = constantOf(bound);
  return known !== undefined && known < 0 ? addDims(size, bound) : bound;
}

function slicePart(c: NodeContext, x: Value, { axis, start, end, step }: Part): Value {
  const size = sizeAlong(x, axis);
  const n = constantOf(size);
  if (n !== undefined && constantOf(start) !== undefined && constantOf(end) !== undefined) {
    return sliceKnown(c, x, axis, n, constantOf(start) as number, constantOf(end) as number, step);
  }
  if (step < 1) return c.unsupported(`step ${step} along a symbolic axis`, 'a positive step');
  const low = fromEnd(start, size);
  // Exporters write the greatest integer for "to the end".
  const known = constantOf(end);
  const high = known !== undefined && known >= 2 ** 31 - 1 ? size : fromEnd(end, size);
  return c.b.one('slice', [x], { axis, start: low, end: high, step });
}

/** numpy's rules: bounds are clamped to the axis. */
function sliceKnown(
  c: NodeContext,
  x: Value,
  axis: number,
  n: number,
  start: number,
  end: number,
  step: number,
): Value {
  const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));
  const absolute = (value: number): number => (value < 0 ? value + n : value);
  if (step > 0) {
    const low = clamp(absolute(start), 0, n);
    const high = Math.max(low, clamp(absolute(end), 0, n));
    return c.b.one('slice', [x], { axis, start: dim(low), end: dim(high), step });
  }
  const first = clamp(absolute(start), -1, n - 1);
  const last = end < -n ? -1 : clamp(absolute(end), -1, n - 1);
  const count = Math.max(0, Math.ceil((last - first) / step));
  return gather(c.b, x, c.indices(Array.from({ length: count }, (_, i) => first + i * step)), axis);
}

function sliceAll(c: NodeContext): Value {
  const x = c.input(0);
  const fromInputs = c.opset >= 10;
  const list = (name: string): readonly Dim[] => (c.intList(name) ?? []).map((n) => dim(n));
  const starts = fromInputs ? c.knownDims(1, 'starts') : list('starts');
  const ends = fromInputs ? c.knownDims(2, 'ends') : list('ends');
  const axes = fromInputs ? (c.has(3) ? c.knownInts(3, 'axes') : undefined) : c.intList('axes');
  const steps = fromInputs && c.has(4) ? c.knownInts(4, 'steps') : undefined;
  return starts.reduce<Value>((value, start, i) => {
    const step = steps?.[i] ?? 1;
    if (step === 0) return c.fail('HEW3110', 'a step is 0');
    const axis = c.axis(axes?.[i] ?? i, rankOf(x));
    return slicePart(c, value, { axis, start, end: ends[i] as Dim, step });
  }, x);
}

/** Sizes of the parts that Split makes of an axis. */
function splitSizes(c: NodeContext, axis: Dim): readonly Dim[] {
  const fromInput = c.opset >= 13;
  if (fromInput ? c.has(1) : c.opset >= 2 && c.hasAttribute('split')) {
    return fromInput ? c.knownDims(1, 'split') : (c.intList('split') ?? []).map((n) => dim(n));
  }
  const parts = c.opset >= 18 && c.hasAttribute('num_outputs') ? c.int('num_outputs') : c.node.outputs.length;
  const size = constantOf(axis);
  if (size === undefined) return new Array<Dim>(parts).fill(divDims(axis, parts));
  const each = Math.ceil(size / parts);
  return Array.from({ length: parts }, (_, i) => dim(Math.max(0, Math.min(each, size - i * each))));
}

export function split(c: NodeContext, x: Value, axis: number, sizes: readonly Dim[]): readonly Value[] {
  return c.b.emit('split', [x], { axis, sizes });
}

// ---- repetition

/** Axes of size 1 stretch, on both sides. */
export function expandTo(c: NodeContext, x: Value, wanted: readonly Dim[]): Value {
  const rank = Math.max(rankOf(x), wanted.length);
  const padded = (shape: readonly Dim[]): Dim[] => [
    ...new Array<Dim>(rank - shape.length).fill(dim(1)),
    ...shape,
  ];
  const own = padded(x.type.shape);
  const shape = padded(wanted).map((size, axis) => (constantOf(size) === 1 ? (own[axis] as Dim) : size));
  return broadcast(c.b, x, shape);
}

/** [n] repeated r times is [r, n] in memory. */
export function tile(c: NodeContext, x: Value, repeats: readonly Dim[]): Value {
  const { shape } = x.type;
  const interleaved = shape.flatMap((size) => [dim(1), size]);
  const stretched = shape.flatMap((size, axis) => [repeats[axis] as Dim, size]);
  const wide = broadcast(c.b, reshape(c.b, x, interleaved), stretched);
  return reshape(
    c.b,
    wide,
    shape.map((size, axis) => mulDims(size, repeats[axis] as Dim)),
  );
}

// ---- padding

/** Positions of the source for one padded axis. */
function sourcePositions(mode: string, n: number, before: number, after: number): number[] {
  return Array.from({ length: n + before + after }, (_, i) => {
    const at = i - before;
    if (mode === 'edge') return Math.min(n - 1, Math.max(0, at));
    if (mode === 'wrap') return ((at % n) + n) % n;
    const period = Math.max(1, 2 * (n - 1));
    const folded = ((at % period) + period) % period;
    return folded < n ? folded : period - folded;
  });
}

function pad(c: NodeContext): Value {
  const x = c.input(0);
  const rank = rankOf(x);
  const fromInputs = c.opset >= 11;
  const given = fromInputs
    ? c.knownInts(1, 'pads')
    : (c.intList('pads') ?? c.intList('paddings') ?? c.fail('HEW3103', "the attribute 'pads' is missing"));
  const axes =
    c.opset >= 18 && c.has(3) ? c.knownInts(3, 'axes').map((axis) => c.axis(axis, rank)) : undefined;
  const [before, after] = [new Array<number>(rank).fill(0), new Array<number>(rank).fill(0)];
  const chosen = axes ?? Array.from({ length: rank }, (_, i) => i);
  chosen.forEach((axis, i) => {
    before[axis] = given[i] ?? 0;
    after[axis] = given[i + chosen.length] ?? 0;
  });
  const mode = c.string('mode', 'constant');
  if (mode === 'constant') {
    const value = fromInputs
      ? c.has(2)
        ? (c.known(2, 'constant_value').data[0] as number)
        : 0
      : c.float('value', 0);
    return padConstant(c, x, before, after, value);
  }
  return before.reduce<Value>((value, low, axis) => {
    const high = after[axis] as number;
    if (low === 0 && high === 0) return value;
    const n = c.size(sizeAlong(value, axis), `an axis padded in mode ${mode}`);
    return gather(c.b, value, c.indices(sourcePositions(mode, n, low, high)), axis);
  }, x);
}

/** Negative padding cuts off. */
export function padConstant(
  c: NodeContext,
  x: Value,
  before: readonly number[],
  after: readonly number[],
  value: number,
): Value {
  const cut = before.reduce<Value>((part, low, axis) => {
    const [start, end] = [Math.max(0, -low), Math.max(0, -(after[axis] as number))];
    if (start === 0 && end === 0) return part;
    return slice(c.b, part, axis, start, subDims(sizeAlong(part, axis), end));
  }, x);
  const positive = (list: readonly number[]): number[] => list.map((n) => Math.max(0, n));
  const attrs = { before: positive(before), after: positive(after), value };
  if (isFloat(cut.type.dtype) || cut.type.dtype !== 'bool') return c.b.one('pad', [cut], attrs);
  return cast(c.b, c.b.one('pad', [cast(c.b, cut, 'u8')], attrs), 'bool');
}

// ---- blocks of images

function depthToSpace(c: NodeContext): Value {
  const x = c.input(0);
  const block = c.int('blocksize');
  const [n, channels, height, width] = x.type.shape as [Dim, Dim, Dim, Dim];
  const depth = divDims(channels, block * block);
  const columnsFirst = c.string('mode', 'DCR') === 'CRD';
  const split = columnsFirst
    ? [n, depth, block, block, height, width]
    : [n, block, block, depth, height, width];
  const perm = columnsFirst ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2];
  return reshape(c.b, transpose(c.b, reshape(c.b, x, split), perm), [
    n,
    depth,
    mulDims(height, block),
    mulDims(width, block),
  ]);
}

function spaceToDepth(c: NodeContext): Value {
  const x = c.input(0);
  const block = c.int('blocksize');
  const [n, channels, height, width] = x.type.shape as [Dim, Dim, Dim, Dim];
  const [rows, columns] = [divDims(height, block), divDims(width, block)];
  const split = reshape(c.b, x, [n, channels, rows, block, columns, block]);
  const perm = c.string('mode', 'DCR') === 'CRD' ? [0, 1, 3, 5, 2, 4] : [0, 3, 5, 1, 2, 4];
  return reshape(c.b, transpose(c.b, split, perm), [n, mulDims(channels, block * block), rows, columns]);
}

export const movementOperators: OperatorTable = {
  Reshape: { since: 1, convert: reshapeTo },
  Squeeze: { since: 1, convert: squeeze },
  Unsqueeze: { since: 1, convert: unsqueeze },
  Flatten: { since: 1, convert: flatten },
  Transpose: {
    since: 1,
    convert: (c) => {
      const x = c.input(0);
      const perm = c.intList('perm') ?? Array.from({ length: rankOf(x) }, (_, i) => rankOf(x) - 1 - i);
      return transpose(c.b, x, perm);
    },
  },
  Concat: {
    since: 1,
    convert: (c) => {
      const parts = c.inputs();
      return c.b.one('concat', parts, { axis: c.axis(c.int('axis', 1), rankOf(parts[0] as Value)) });
    },
  },
  Slice: {
    since: 1,
    limits: 'bounds that are constant or formulas of symbolic dimensions',
    convert: sliceAll,
  },
  Split: {
    since: 1,
    convert: (c) => {
      const x = c.input(0);
      const axis = c.axis(c.int('axis', 0), rankOf(x));
      return split(c, x, axis, splitSizes(c, sizeAlong(x, axis)));
    },
  },
  Expand: { since: 8, convert: (c) => expandTo(c, c.input(0), c.knownDims(1, 'shape')) },
  Tile: {
    since: 6,
    convert: (c) => tile(c, c.input(0), c.knownDims(1, 'repeats')),
  },
  Pad: { since: 1, limits: 'constant pads and value', convert: pad },
  DepthToSpace: { since: 1, convert: depthToSpace },
  SpaceToDepth: { since: 1, convert: spaceToDepth },
  CenterCropPad: {
    since: 18,
    convert: (c) => {
      const x = c.input(0);
      const wanted = c.knownInts(1, 'shape');
      const axes = c.intList('axes')?.map((axis) => c.axis(axis, rankOf(x))) ?? wanted.map((_, i) => i);
      const [before, after] = [new Array<number>(rankOf(x)).fill(0), new Array<number>(rankOf(x)).fill(0)];
      axes.forEach((axis, i) => {
        const more = (wanted[i] as number) - c.size(sizeAlong(x, axis), 'an axis that is cropped');
        // The odd element is cut, and added, at the end.
        before[axis] = more < 0 ? -Math.floor(-more / 2) : Math.floor(more / 2);
        after[axis] = more - (before[axis] as number);
      });
      return padConstant(c, x, before, after, 0);
    },
  },
};
