/** Constants and shapes as values: these ops mostly vanish, because what they say goes into the shapes of others. */
import { constantOf, productOfDims, subDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { add, cast, dimSize, full } from '../build.js';
import type { NodeContext, OperatorTable } from '../node.js';

function constant(c: NodeContext): Value {
  const tensor = c.tensorAttribute('value');
  if (tensor !== undefined)
    return c.around.tensor({ ...tensor, name: tensor.name || (c.node.outputs[0] ?? '') });
  const ints = c.intList('value_ints');
  if (c.hasAttribute('value_ints') && ints) return c.constant('i64', [ints.length], ints);
  const floats = c.floatList('value_floats');
  if (c.hasAttribute('value_floats') && floats) return c.constant('f32', [floats.length], floats);
  if (c.hasAttribute('value_int')) return full(c.b, c.int('value_int'), 'i64');
  if (c.hasAttribute('value_float')) return full(c.b, c.float('value_float'), 'f32');
  return c.unsupported('a constant that is sparse or a string', 'a dense tensor of numbers');
}

/** The dimensions `start` to `end` of an input. */
function shape(c: NodeContext): Value {
  const { shape: dims } = c.input(0).type;
  const bound = (value: number): number =>
    Math.min(dims.length, Math.max(0, value < 0 ? value + dims.length : value));
  const start = bound(c.int('start', 0));
  const end = bound(c.int('end', dims.length));
  const chosen = dims.slice(start, Math.max(start, end));
  return chosen.length === 0 ? c.constant('i64', [0], []) : c.dimVector(chosen);
}

function constantOfShape(c: NodeContext): Value {
  const wanted = c.knownDims(0, 'shape');
  const tensor = c.tensorAttribute('value');
  if (tensor === undefined) return full(c.b, 0, 'f32', wanted);
  const value = c.valueOf(c.around.tensor({ ...tensor, name: 'fill' }));
  return full(c.b, value?.data[0] ?? 0, c.dtype(tensor.dtype), wanted);
}

function range(c: NodeContext): Value {
  const [start, limit, delta] = [0, 1, 2].map((i) => c.around.evaluator.constant(c.input(i))?.data[0]);
  const { dtype } = c.input(0).type;
  if (start !== undefined && limit !== undefined && delta !== undefined) {
    const count = Math.max(0, Math.ceil((limit - start) / delta));
    return c.constant(
      dtype,
      [count],
      Array.from({ length: count }, (_, i) => start + i * delta),
    );
  }
  if (delta === undefined) return c.fail('HEW3108', 'the step of the range depends on the data');
  if (delta !== 1) return c.unsupported('a symbolic range with a step', 'step 1');
  const [from, to] = [c.knownDims(0, 'start')[0], c.knownDims(1, 'limit')[0]];
  if (from === undefined || to === undefined) return c.fail('HEW3110', 'start and limit must be scalars');
  const steps = cast(c.b, c.b.one('iota', [], { length: subDims(to, from), dtype: 'i32' }), dtype);
  return constantOf(from) === 0 ? steps : add(c.b, steps, dimSize(c.b, from, dtype));
}

function eyeLike(c: NodeContext): Value {
  const x = c.input(0);
  const [rows, columns] = c.sizes(x, 'the input') as [number, number];
  const dtype = c.hasAttribute('dtype') ? c.dtype(c.int('dtype')) : x.type.dtype;
  const k = c.int('k', 0);
  const values = Array.from({ length: rows * columns }, (_, i) =>
    Number((i % columns) - Math.floor(i / columns) === k),
  );
  return c.constant(dtype, [rows, columns], values);
}

/** Windows of signal processing: `a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N)`. */
function window(c: NodeContext, a0: number, a1: number, a2: number): Value {
  const size = c.known(0, 'size').data[0] as number;
  const period = c.int('periodic', 1) === 1 ? size : size - 1;
  const values = Array.from({ length: size }, (_, n) => {
    const angle = (2 * Math.PI * n) / period;
    return a0 - a1 * Math.cos(angle) + a2 * Math.cos(2 * angle);
  });
  const dtype = c.dtype(c.int('output_datatype', 1));
  return cast(c.b, c.constant('f32', [size], values.map(Math.fround)), dtype);
}

/** Triangular filters on the mel scale (O'Shaughnessy 1987): mel = 2595 log10(1 + hz / 700). */
function melWeights(c: NodeContext): Value {
  const [bins, length, rate, low, high] = [0, 1, 2, 3, 4].map(
    (i) => c.known(i, 'a size').data[0] as number,
  ) as [number, number, number, number, number];
  const spectrum = Math.floor(length / 2) + 1;
  const mel = (hz: number): number => 2595 * Math.log10(1 + hz / 700);
  const step = (mel(high) - mel(low)) / (bins + 2);
  const edges = Array.from({ length: bins + 2 }, (_, i) => {
    const hz = 700 * (10 ** ((i * step + mel(low)) / 2595) - 1);
    return Math.floor(((length + 1) * hz) / rate);
  });
  const values = new Array<number>(spectrum * bins).fill(0);
  for (let i = 0; i < bins; i++) {
    const [left, centre, right] = edges.slice(i, i + 3) as [number, number, number];
    const set = (j: number, value: number): void => {
      if (j >= 0 && j < spectrum) values[j * bins + i] = Math.fround(value);
    };
    if (centre === left) set(centre, 1);
    for (let j = left; j <= centre && centre > left; j++) set(j, (j - left) / (centre - left));
    for (let j = centre; j < right; j++) set(j, (right - j) / (right - centre));
  }
  return cast(c.b, c.constant('f32', [spectrum, bins], values), c.dtype(c.int('output_datatype', 1)));
}

export const shapeOperators: OperatorTable = {
  Constant: { since: 1, limits: 'dense numbers', convert: constant },
  Shape: { since: 1, convert: shape },
  Size: { since: 1, convert: (c) => dimSize(c.b, productOfDims(c.input(0).type.shape), 'i64') },
  ConstantOfShape: { since: 9, convert: constantOfShape },
  Range: { since: 11, limits: 'known bounds, or symbolic ones with step 1', convert: range },
  EyeLike: { since: 9, convert: eyeLike },
  HannWindow: { since: 17, convert: (c) => window(c, 0.5, 0.5, 0) },
  HammingWindow: { since: 17, convert: (c) => window(c, 25 / 46, 21 / 46, 0) },
  BlackmanWindow: { since: 17, convert: (c) => window(c, 0.42, 0.5, 0.08) },
  MelWeightMatrix: { since: 17, convert: melWeights },
};
