/** How each op is written: as an ONNX operator, or by its decomposition into ops that are. */
import { fail } from '../../../ir/diagnostics.js';
import { constantOf, type Dim, dimsEqual } from '../../../ir/dim.js';
import type { Op, OpOf, Value } from '../../../ir/module.js';
import { castTo } from '../../../ir/numeric.js';
import type { OpName } from '../../../ir/ops/table.js';
import { isFloat } from '../../../ir/type.js';
import { codeOf } from '../dtypes.js';
import type { GraphWriter } from './graph.js';
import type { AttributeValue } from './write.js';

/** Names of the results; `decomposed` ops are replaced before. */
type Exporter<N extends OpName> = (
  g: GraphWriter,
  op: OpOf<N>,
  inputs: readonly string[],
) => readonly string[] | string;

/** `structure` ops have been flattened away, except for weights, which are initializers. */
type Entry<N extends OpName> = Exporter<N> | 'decomposed' | 'structure';

function direct(name: string, attributes: Readonly<Record<string, AttributeValue>> = {}): Exporter<OpName> {
  return (g, _op, inputs) => g.one(name, inputs, attributes);
}

/** Operands in f32: weights of narrower types are widened first. */
function wide(g: GraphWriter, op: Op, inputs: readonly string[]): string[] {
  return inputs.map((name, i) => {
    const { dtype } = (op.operands[i] as Value).type;
    return isFloat(dtype) && dtype !== 'f32' ? g.cast(name, 'f32') : name;
  });
}

type Reduction = 'reduce_sum' | 'reduce_mean' | 'reduce_max' | 'reduce_min' | 'reduce_prod';

/** The result, computed in f32, in the type of the op. */
function narrow(g: GraphWriter, op: Op, name: string): string {
  const { dtype } = (op.results[0] as Value).type;
  return dtype === 'f32' ? name : g.cast(name, dtype);
}

function reduction(name: string): Exporter<Reduction> {
  return (g, op, [x]) => {
    const { axes, keepdims } = op.attrs;
    if (axes.length === 0) return g.one('Identity', [x as string]);
    return g.one(name, [x as string, g.longs(axes)], { keepdims: Number(keepdims) });
  };
}

function pool(name: string): Exporter<'max_pool2d' | 'avg_pool2d'> {
  return (g, op, inputs) => {
    const { kernel, stride, padding } = op.attrs;
    const counts =
      'count_include_pad' in op.attrs ? { count_include_pad: Number(op.attrs.count_include_pad) } : {};
    return g.one(name, inputs, { kernel_shape: kernel, strides: stride, pads: padding, ...counts });
  };
}

function rankOf(op: Op, operand = 0): number {
  return (op.operands[operand] as Value).type.shape.length;
}

function present(names: readonly (string | undefined)[]): string[] {
  return names.filter((name) => name !== undefined);
}

interface Scaled {
  /** Scale and zero point. */
  readonly names: readonly string[];
  readonly attributes: Readonly<Record<string, number>>;
}

/**
 * Scales of operand `x` in the forms that ONNX has: one, one per element of an axis, one per block of an axis. A scale
 * per row is one block, which is the row.
 */
function scaled(
  g: GraphWriter,
  op: Op,
  [x, scale]: readonly [number, number],
  names: readonly (string | undefined)[],
  { axis, group }: { readonly axis: number; readonly group: number },
): Scaled {
  const rank = rankOf(op, x);
  const given = present(names);
  const own = Math.max(0, axis < 0 ? axis + rank : axis);
  if (group > 0) return { names: given, attributes: { axis: own, block_size: group } };
  if (rankOf(op, scale) < 2) return { names: given, attributes: { axis: own } };
  const [shape, scales] = [x, scale].map((i) => (op.operands[i] as Value).type.shape) as [Dim[], Dim[]];
  const blocks = scales.at(-1) as Dim;
  const wanted = [...shape.slice(0, -1), blocks];
  const isWhole = wanted.every((size, i) => dimsEqual(size, scales[i] as Dim));
  const [width] = g.known([shape.at(-1) as Dim]);
  const [count] = g.known([blocks]);
  return {
    names: isWhole ? given : given.map((name) => g.one('Expand', [name, g.vector(wanted)])),
    attributes: { axis: rank - 1, block_size: count === 1 ? (width ?? 1) : 1 },
  };
}

/** ONNX wraps floats that four bits cannot hold, where Hew saturates. */
function saturated(g: GraphWriter, op: OpOf<'cast'>, x: string): string {
  const { dtype } = op.attrs;
  const from = (op.operands[0] as Value).type.dtype;
  if ((dtype !== 'i4' && dtype !== 'u4') || !isFloat(from)) return x;
  const [low, high] = dtype === 'i4' ? [-8, 7] : [0, 15];
  return g.one('Clip', [x, g.constant(from, [], [low]), g.constant(from, [], [high])]);
}

const operators: { readonly [N in OpName]: Entry<N> } = {
  neg: direct('Neg'),
  abs: direct('Abs'),
  sign: direct('Sign'),
  sqrt: direct('Sqrt'),
  rsqrt: (g, _op, inputs) => g.one('Reciprocal', [g.one('Sqrt', inputs)]),
  reciprocal: direct('Reciprocal'),
  exp: direct('Exp'),
  log: direct('Log'),
  sin: direct('Sin'),
  cos: direct('Cos'),
  tanh: direct('Tanh'),
  erf: direct('Erf'),
  floor: direct('Floor'),
  ceil: direct('Ceil'),
  round: direct('Round'),
  relu: direct('Relu'),
  sigmoid: direct('Sigmoid'),
  silu: (g, _op, [x]) => g.one('Mul', [x as string, g.one('Sigmoid', [x as string])]),
  softplus: direct('Softplus'),
  gelu: direct('Gelu'),
  gelu_tanh: direct('Gelu', { approximate: 'tanh' }),
  quick_gelu: 'decomposed',
  add: direct('Add'),
  sub: direct('Sub'),
  mul: direct('Mul'),
  div: direct('Div'),
  pow: direct('Pow'),
  min: direct('Min'),
  max: direct('Max'),
  eq: direct('Equal'),
  ne: (g, _op, inputs) => g.one('Not', [g.one('Equal', inputs)]),
  lt: direct('Less'),
  le: direct('LessOrEqual'),
  gt: direct('Greater'),
  ge: direct('GreaterOrEqual'),
  and: direct('And'),
  or: direct('Or'),
  xor: direct('Xor'),
  not: direct('Not'),
  where: direct('Where'),
  cast: (g, op, [x]) => g.cast(saturated(g, op, x as string), op.attrs.dtype),
  full: (g, op) => {
    const { value, dtype, shape } = op.attrs;
    const scalar = g.constant(dtype, [], [castTo[dtype](value)]);
    return shape.length === 0 ? scalar : g.one('Expand', [scalar, g.vector(shape)]);
  },
  iota: (g, op) => {
    const { length, dtype } = op.attrs;
    const known = constantOf(g.plain(length));
    if (known !== undefined)
      return g.constant(
        dtype,
        [known],
        Array.from({ length: known }, (_, i) => i),
      );
    const [zero, one] = [0, 1].map((value) => g.constant('i64', [], [value])) as [string, string];
    const steps = g.one('Range', [zero, g.scalarSize(length, 'i64'), one]);
    return dtype === 'i64' ? steps : g.cast(steps, dtype);
  },
  dim_size: (g, op) => g.scalarSize(op.attrs.dim, 'i32'),

  matmul: direct('MatMul'),
  linear: (g, op, inputs) => {
    const [x, w, bias] = wide(g, op, inputs) as [string, string, string?];
    const product = g.one('MatMul', [x, g.one('Transpose', [w], { perm: [1, 0] })]);
    return narrow(g, op, bias === undefined ? product : g.one('Add', [product, bias]));
  },
  grouped_linear: 'decomposed',

  rms_norm: 'decomposed',
  layer_norm: (g, op, inputs) => {
    const [x, gamma, beta] = wide(g, op, inputs) as [string, string?, string?];
    const width = (op.operands[0] as Value).type.shape.at(-1) as Dim;
    const scale = gamma ?? g.one('Expand', [g.constant('f32', [], [1]), g.vector([width])]);
    const attributes = { axis: -1, epsilon: { float: op.attrs.eps } };
    const operands = beta === undefined ? [x, scale] : [x, scale, beta];
    return narrow(g, op, g.one('LayerNormalization', operands, attributes));
  },
  softmax: (g, op, inputs) => g.one('Softmax', inputs, { axis: op.attrs.axis }),
  modulate: 'decomposed',
  swiglu: 'decomposed',
  rope: 'decomposed',
  attention: 'decomposed',
  cache_append: (g, op, [cache, x, position]) => {
    const rows = (op.operands[1] as Value).type.shape[0] as Dim;
    const [zero, one] = [0, 1].map((value) => g.constant('i64', [], [value])) as [string, string];
    const steps = g.one('Range', [zero, g.scalarSize(rows, 'i64'), one]);
    const at = g.one('Add', [steps, g.cast(position as string, 'i64')]);
    return g.one('ScatterND', [cache as string, g.one('Unsqueeze', [at, g.longs([1])]), x as string]);
  },
  moe_route: 'decomposed',

  reshape: (g, op, [x]) => {
    const { shape } = op.attrs;
    // A size of 0 would be copied from the input otherwise.
    const isEmpty = g.known(shape).includes(0);
    return g.one('Reshape', [x as string, g.reshapeVector(shape)], isEmpty ? { allowzero: 1 } : {});
  },
  transpose: (g, op, inputs) => g.one('Transpose', inputs, { perm: op.attrs.perm }),
  slice: (g, op, [x]) => {
    const { axis, start, end, step } = op.attrs;
    const at = axis < 0 ? axis + rankOf(op) : axis;
    const bounds = [start, end].map((bound) => g.vector([bound]));
    return g.one('Slice', [x as string, ...bounds, g.longs([at]), g.longs([step])]);
  },
  split: (g, op, [x]) => {
    const { sizes, axis } = op.attrs;
    return g.emit('Split', [x as string, g.vector(sizes)], { axis }, sizes.length);
  },
  concat: (g, op, inputs) => g.one('Concat', inputs, { axis: op.attrs.axis }),
  pad: (g, op, [x]) => {
    const { before, after, value } = op.attrs;
    const fill = g.constant((op.operands[0] as Value).type.dtype, [], [value]);
    return g.one('Pad', [x as string, g.longs([...before, ...after]), fill]);
  },
  broadcast_to: (g, op, [x]) => g.one('Expand', [x as string, g.vector(op.attrs.shape)]),
  gather: (g, op, inputs) => g.one('Gather', inputs, { axis: op.attrs.axis }),

  reduce_sum: reduction('ReduceSum'),
  reduce_mean: reduction('ReduceMean'),
  reduce_max: reduction('ReduceMax'),
  reduce_min: reduction('ReduceMin'),
  reduce_prod: reduction('ReduceProd'),
  argmax: (g, op, inputs) => g.cast(g.one('ArgMax', inputs, { axis: op.attrs.axis, keepdims: 0 }), 'i32'),
  topk: (g, op, [x]) => {
    const [values, index] = g.emit('TopK', [x as string, g.longs([op.attrs.k])], { axis: -1 }, 2) as [
      string,
      string,
    ];
    return [values, g.cast(index, 'i32')];
  },
  cumsum: (g, op, [x]) => g.one('CumSum', [x as string, g.constant('i64', [], [op.attrs.axis])]),

  conv2d: (g, op, inputs) => {
    const { stride, padding, dilation, groups } = op.attrs;
    const attributes = { strides: stride, pads: padding, dilations: dilation, group: groups };
    return narrow(g, op, g.one('Conv', wide(g, op, inputs), attributes));
  },
  max_pool2d: pool('MaxPool'),
  avg_pool2d: pool('AveragePool'),

  quantize: (g, op, [x, scale, zero]) => {
    const point = zero === undefined ? { output_dtype: codeOf[op.attrs.dtype] as number } : {};
    const [value, factor] = wide(g, op, [x as string, scale as string]) as [string, string];
    const { names, attributes } = scaled(g, op, [0, 1], [factor, zero], op.attrs);
    return g.one('QuantizeLinear', [value, ...names], { ...attributes, ...point });
  },
  dequantize: (g, op, [x, scale, zero]) => {
    const [, factor] = wide(g, op, [x as string, scale as string]) as [string, string];
    const { names, attributes } = scaled(g, op, [0, 1], [factor, zero], op.attrs);
    return g.one('DequantizeLinear', [x as string, ...names], attributes);
  },
  dynamic_quantize: 'decomposed',
  integer_linear: (g, _op, [x, w]) =>
    g.one('MatMulInteger', [x as string, g.one('Transpose', [w as string], { perm: [1, 0] })]),
  quantized_linear: (g, op, inputs) => {
    const { group } = op.attrs;
    const [x, w, xScale, wScale, bias, wZero, xZero] = wide(g, op, inputs) as [string, string, ...string[]];
    const rows = scaled(g, op, [0, 2], [xScale, xZero], { axis: -1, group: 0 });
    const columns = scaled(g, op, [1, 3], [wScale, wZero], { axis: group > 0 ? 1 : 0, group });
    const weight = g.one('DequantizeLinear', [w, ...columns.names], columns.attributes);
    // A single row is a matrix, so that it is read back as one.
    const isRow = rankOf(op) === 1;
    const matrix = isRow ? g.one('Reshape', [x, g.longs([1, -1])]) : x;
    const product = g.one('MatMul', [
      g.one('DequantizeLinear', [matrix, ...rows.names], rows.attributes),
      g.one('Transpose', [weight], { perm: [1, 0] }),
    ]);
    const result = bias === undefined ? product : g.one('Add', [product, bias]);
    return isRow ? g.one('Reshape', [result, g.longs([-1])]) : result;
  },

  param: 'structure',
  state_read: 'structure',
  state_write: 'structure',
  repeat: 'structure',
  kernel: 'structure',
  all_reduce: () =>
    fail('HEW3114', 'the model is one rank of several, and ONNX has no operator that adds over ranks', {
      help: 'export the model before shard',
    }),
};

export const exportTable: Readonly<Record<OpName, Entry<OpName>>> = operators as unknown as Record<
  OpName,
  Entry<OpName>
>;

/** Ops that have an ONNX form only through their decomposition. */
export function isDecomposed(name: OpName): boolean {
  return exportTable[name] === 'decomposed';
}
