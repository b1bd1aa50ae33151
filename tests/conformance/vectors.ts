/**
 * Fixed inputs and results of every op, found by hand or by a formula that does not use the op's declaration. They
 * anchor the interpreter, which in turn is the measure of the backends.
 */
import { dim } from '../../ir/dim.js';
import type { Attrs } from '../../ir/op.js';
import type { OpName } from '../../ir/ops/table.js';
import { scalar, type Tensor, tensor } from '../../ir/tensor.js';
import type { DType } from '../../ir/type.js';
import { dims } from './case.js';

export interface Vector {
  readonly inputs: readonly Tensor[];
  readonly attrs?: Attrs;
  /** One list per result, in row-major order. */
  readonly wanted: readonly (readonly number[])[];
  /** Shape of the first result, where it is not plain. */
  readonly shape?: readonly number[];
}

type StructuralOp = 'param' | 'state_read' | 'state_write' | 'repeat' | 'kernel' | 'all_reduce';

const inf = Number.POSITIVE_INFINITY;
const nan = Number.NaN;

function list(dtype: DType, ...values: readonly number[]): Tensor {
  return tensor(dtype, [values.length], values);
}

const f = (...values: readonly number[]): Tensor => list('f32', ...values);
const i = (...values: readonly number[]): Tensor => list('i32', ...values);
const flags = (...values: readonly number[]): Tensor => list('bool', ...values);

/** A matrix or more: `grid([2, 3], 1, 2, 3, 4, 5, 6)`. */
function grid(shape: readonly number[], ...values: readonly number[]): Tensor {
  return tensor('f32', shape, values);
}

/** 1, 2, 3, … in a shape. */
function count(...shape: readonly number[]): Tensor {
  const length = shape.reduce((a, n) => a * n, 1);
  return tensor(
    'f32',
    shape,
    Array.from({ length }, (_, k) => k + 1),
  );
}

function unary(values: readonly number[], wanted: readonly number[]): Vector[] {
  return [{ inputs: [f(...values)], wanted: [wanted] }];
}

/** The function applied to 0.5, -1.25 and 3, which f32 holds exactly. */
function formula(compute: (v: number) => number): Vector[] {
  const values = [0.5, -1.25, 3];
  return unary(values, values.map(compute));
}

function binary(a: Tensor, b: Tensor, ...wanted: readonly number[]): Vector {
  return { inputs: [a, b], wanted: [wanted] };
}

const truths = [flags(0, 0, 1, 1), flags(0, 1, 0, 1)] as const;
const ordered = [f(1, 2, 3), f(2, 2, 2)] as const;
const logistic = (v: number): number => 1 / (1 + Math.exp(-v));
const rms = (values: readonly number[], eps: number): number =>
  Math.sqrt(values.reduce((a, v) => a + v * v, 0) / values.length + eps);

export const vectors: Readonly<Record<Exclude<OpName, StructuralOp>, readonly Vector[]>> = {
  neg: unary([1, -2, 0.5], [-1, 2, -0.5]),
  abs: unary([1, -2, -0.5], [1, 2, 0.5]),
  sign: unary([7, -2, 0], [1, -1, 0]),
  sqrt: unary([4, 2.25, 0], [2, 1.5, 0]),
  rsqrt: unary([4, 0.25], [0.5, 2]),
  reciprocal: unary([4, -0.5], [0.25, -2]),
  exp: unary([0, 1, -1, -inf], [1, Math.E, 1 / Math.E, 0]),
  log: unary([1, 2, 0], [0, Math.LN2, -inf]),
  sin: [{ inputs: [tensor('f32', [2], [0, 0.5])], wanted: [[0, 0.479425538604203]] }],
  cos: [{ inputs: [tensor('f32', [2], [0, 0.5])], wanted: [[1, 0.8775825618903728]] }],
  tanh: unary([0, 0.5, -inf], [0, 0.4621171572600098, -1]),
  erf: unary([0, 0.5, -1, 3.5], [0, 0.5204998778130465, -0.8427007929497149, 0.9999992569016276]),
  floor: unary([1.5, -1.5, 2], [1, -2, 2]),
  ceil: unary([1.5, -1.5, 2], [2, -1, 2]),
  round: unary([0.5, 1.5, 2.5, -0.5, -1.5, 1.4], [0, 2, 2, -0, -2, 1]),
  relu: unary([1.5, -1.5, 0], [1.5, 0, 0]),
  sigmoid: formula(logistic),
  silu: formula((v) => v * logistic(v)),
  softplus: formula((v) => Math.log(1 + Math.exp(v))),
  gelu: unary([1, -1, 0], [0.8413447460685429, -0.15865525393145707, 0]),
  gelu_tanh: unary([1, -1, 0], [0.8411919906082768, -0.15880800939172324, 0]),
  quick_gelu: formula((v) => v * logistic(1.702 * v)),

  add: [
    binary(f(1, 2), f(10, 20), 11, 22),
    binary(grid([2, 1], 1, 2), f(10, 20, 30), 11, 21, 31, 12, 22, 32),
    binary(i(2147483647), i(1), -2147483648),
  ],
  sub: [binary(f(1, 2), scalar('f32', 5), -4, -3), binary(list('u8', 1), list('u8', 2), 255)],
  mul: [
    binary(f(2, 3), f(4, -5), 8, -15),
    binary(i(65537, 123456789), i(65537, 987654321), 131073, -67153019),
  ],
  div: [
    binary(f(1, -1, 3), f(4, 0, 2), 0.25, -inf, 1.5),
    binary(i(7, -7, 7, 5), i(2, 2, -2, 0), 3, -3, -3, 0),
  ],
  pow: [binary(f(2, 9, 4), f(10, 0.5, -1), 1024, 3, 0.25)],
  min: [binary(f(1, 5, nan), f(2, 3, 1), 1, 3, nan)],
  max: [binary(f(1, 5, nan), f(2, 3, 1), 2, 5, nan)],
  eq: [binary(...ordered, 0, 1, 0)],
  ne: [binary(...ordered, 1, 0, 1)],
  lt: [binary(...ordered, 1, 0, 0)],
  le: [binary(...ordered, 1, 1, 0)],
  gt: [binary(...ordered, 0, 0, 1)],
  ge: [binary(...ordered, 0, 1, 1)],
  and: [binary(...truths, 0, 0, 0, 1)],
  or: [binary(...truths, 0, 1, 1, 1)],
  xor: [binary(...truths, 0, 1, 1, 0)],
  not: [{ inputs: [flags(0, 1)], wanted: [[1, 0]] }],
  where: [{ inputs: [flags(1, 0, 1), f(1, 2, 3), scalar('f32', 9)], wanted: [[1, 9, 3]] }],
  // Ties to even, saturation, NaN; one scale per column; groups of two of which the last has one element.
  quantize: [
    {
      inputs: [f(0.5, 1.5, -2.5, 300, -300, nan), scalar('f32', 1)],
      wanted: [[0, 2, -2, 127, -128, 0]],
    },
    {
      inputs: [f(-1, 0, 1.26, 9), scalar('f32', 0.5), scalar('u4', 3)],
      attrs: { dtype: 'u4' },
      wanted: [[1, 3, 6, 15]],
    },
    { inputs: [grid([2, 2], 1, 2, 3, 4), f(1, 2)], wanted: [[1, 1, 3, 2]] },
    { inputs: [grid([2, 2], 1, 2, 3, 4), f(1, 2)], attrs: { axis: 0 }, wanted: [[1, 2, 2, 2]] },
    { inputs: [grid([1, 3], 1, 2, 3), grid([1, 2], 1, 0.5)], attrs: { group: 2 }, wanted: [[1, 2, 6]] },
  ],
  dequantize: [
    { inputs: [list('i8', -128, 0, 127), scalar('f32', 0.5)], wanted: [[-64, 0, 63.5]] },
    { inputs: [list('u8', 0, 255), scalar('f32', 2), scalar('u8', 255)], wanted: [[-510, 0]] },
    {
      inputs: [tensor('i4', [1, 3], [-8, 7, 1]), grid([1, 2], 1, 10), tensor('i4', [1, 2], [1, -1])],
      attrs: { group: 2 },
      wanted: [[-9, 6, 20]],
    },
    { inputs: [tensor('i8', [2, 2], [1, 2, 3, 4]), f(1, 10)], attrs: { axis: 0 }, wanted: [[1, 2, 30, 40]] },
  ],
  // The second row is zero, and its scale 1. The ONNX example of DynamicQuantizeLinear is the third vector.
  dynamic_quantize: [
    {
      inputs: [grid([2, 2], -254, 100, 0, 0)],
      wanted: [
        [-127, 50, 0, 0],
        [2, 1],
      ],
    },
    { inputs: [grid([1, 2], 0, 510)], attrs: { granularity: 'tensor' }, wanted: [[0, 127], [510 / 127]] },
    {
      inputs: [f(0, 2, -3, -2.5, 1.34, 0.5)],
      attrs: { dtype: 'u8', granularity: 'tensor', symmetric: false },
      wanted: [[153, 255, 0, 26, 221, 179], [5 / 255], [153]],
    },
  ],
  integer_linear: [
    {
      inputs: [tensor('i8', [2, 2], [1, -2, 127, -128]), tensor('i8', [1, 2], [-128, 127])],
      wanted: [[-382, -32512]],
    },
  ],
  // 2 * (1*3 + 2*4) + 1; the second group alone is scaled by 10; zero points are subtracted first.
  quantized_linear: [
    {
      inputs: [list('i8', 1, 2), tensor('i8', [1, 2], [3, 4]), scalar('f32', 0.5), f(4), f(1)],
      wanted: [[23]],
    },
    {
      inputs: [
        tensor('i8', [1, 3], [1, 2, 3]),
        tensor('i4', [1, 3], [1, 1, 1]),
        scalar('f32', 1),
        grid([1, 2], 1, 10),
      ],
      attrs: { group: 2 },
      wanted: [[33]],
    },
    {
      inputs: [
        tensor('u8', [2, 2], [5, 6, 0, 255]),
        tensor('u4', [1, 2], [7, 9]),
        grid([2, 1], 1, 2),
        f(1),
        f(0),
        list('u4', 8),
        tensor('u8', [2, 1], [4, 0]),
      ],
      wanted: [[1, 510]],
    },
  ],
  cast: [
    { inputs: [f(1.9, -1.9, 3e9, nan)], attrs: { dtype: 'i32' }, wanted: [[1, -1, 2147483647, 0]] },
    { inputs: [f(300, -300)], attrs: { dtype: 'u8' }, wanted: [[255, 0]] },
    { inputs: [f(1.00390625, 1.01171875)], attrs: { dtype: 'bf16' }, wanted: [[1, 1.015625]] },
    { inputs: [f(2049, 65520)], attrs: { dtype: 'f16' }, wanted: [[2048, inf]] },
    { inputs: [i(-3, 0)], attrs: { dtype: 'bool' }, wanted: [[1, 0]] },
  ],
  full: [
    { inputs: [], attrs: { value: 2.5, shape: dims(2, 2) }, wanted: [[2.5, 2.5, 2.5, 2.5]], shape: [2, 2] },
    { inputs: [], attrs: { value: 2.5, dtype: 'i32' }, wanted: [[2]], shape: [] },
  ],
  iota: [{ inputs: [], attrs: { length: dim(4) }, wanted: [[0, 1, 2, 3]] }],
  dim_size: [{ inputs: [], attrs: { dim: dim(6) }, wanted: [[6]], shape: [] }],

  matmul: [
    { inputs: [count(2, 3), count(3, 2)], wanted: [[22, 28, 49, 64]], shape: [2, 2] },
    { inputs: [count(2, 1, 2), count(2, 1)], wanted: [[5, 11]], shape: [2, 1, 1] },
    {
      inputs: [tensor('i32', [1, 2], [65537, 1]), tensor('i32', [2, 1], [65537, -1])],
      wanted: [[131072]],
    },
  ],
  linear: [
    { inputs: [f(1, 2), count(3, 2), f(10, 20, 30)], wanted: [[15, 31, 47]] },
    { inputs: [count(2, 2), grid([1, 2], 1, -1)], wanted: [[-1, -1]], shape: [2, 1] },
  ],
  grouped_linear: [
    {
      inputs: [count(2, 2), tensor('i32', [2, 2], [1, 0, 0, 0]), grid([2, 1, 2], 1, 1, 10, -10)],
      wanted: [[-10, 3, 7, 7]],
      shape: [2, 2, 1],
    },
    {
      inputs: [count(1, 2, 2), tensor('i32', [1, 2], [1, 0]), grid([2, 1, 2], 1, 1, 10, -10)],
      wanted: [[-10, 7]],
      shape: [1, 2, 1],
    },
  ],

  rms_norm: [
    { inputs: [grid([1, 2], 3, 4)], attrs: { eps: 0 }, wanted: [[3 / rms([3, 4], 0), 4 / rms([3, 4], 0)]] },
    { inputs: [f(1, -1), f(2, 3)], attrs: { eps: 3 }, wanted: [[1, -1.5]] },
  ],
  layer_norm: [
    { inputs: [f(1, 3), f(2, 2), f(10, 20)], attrs: { eps: 0 }, wanted: [[8, 22]] },
    { inputs: [f(1, 3)], attrs: { eps: 3 }, wanted: [[-0.5, 0.5]] },
  ],
  softmax: [
    { inputs: [f(0, Math.fround(Math.log(3)))], wanted: [[0.25, 0.75]] },
    { inputs: [grid([2, 2], 5, 7, 5, -inf)], attrs: { axis: 0 }, wanted: [[0.5, 1, 0.5, 0]] },
  ],
  modulate: [
    {
      inputs: [count(2, 1, 2), grid([2, 2], 10, 20, 30, 40), grid([2, 2], 0, 1, 2, 3)],
      wanted: [[11, 24, 39, 56]],
      shape: [2, 1, 2],
    },
  ],
  swiglu: [{ inputs: [f(0, 2, -1), f(5, 3, 4)], wanted: [[0, 6 * logistic(2), -4 * logistic(-1)]] }],

  rope: [
    // Quarter turn of the first pair, half turn of the second: (a, b) -> (-b, a) and (-a, -b).
    { inputs: [count(1, 1, 4), grid([1, 2], 0, -1), grid([1, 2], 1, 0)], wanted: [[-3, -2, 1, -4]] },
    {
      inputs: [count(1, 1, 4), grid([1, 2], 0, -1), grid([1, 2], 1, 0)],
      attrs: { interleaved: true },
      wanted: [[-2, 1, -3, -4]],
    },
    // The second token turns, the first does not; both heads alike.
    {
      inputs: [count(2, 2, 2), grid([2, 1], 1, 0), grid([2, 1], 0, 1)],
      wanted: [[1, 2, 3, 4, -6, 5, -8, 7]],
    },
  ],
  attention: [
    // Equal scores average the visible values: token 0 sees key 0, token 1 sees both.
    {
      inputs: [grid([2, 1, 1], 0, 0), grid([2, 1, 1], 5, 6), grid([2, 1, 1], 10, 30)],
      attrs: { causal: true, scale: 1 },
      wanted: [[10, 20]],
    },
    // The offset lets the first query see two of three keys.
    {
      inputs: [grid([1, 1, 1], 0), grid([3, 1, 1], 1, 1, 1), grid([3, 1, 1], 10, 30, 500), scalar('i32', 1)],
      attrs: { causal: true, scale: 1 },
      wanted: [[20]],
    },
    // Four query heads over two key heads: heads 0 and 1 read the first, 2 and 3 the second.
    {
      inputs: [grid([1, 4, 1], 1, 2, 3, 4), grid([1, 2, 1], 1, 1), grid([1, 2, 1], 7, 9)],
      attrs: { scale: 1 },
      wanted: [[7, 7, 9, 9]],
    },
    // Scores 0 and 2 * 0.5 weigh the values by 1 : e.
    {
      inputs: [grid([1, 1, 1], 2), grid([2, 1, 1], 0, 1), grid([2, 1, 1], 0, 1)],
      attrs: { scale: 0.5 },
      wanted: [[logistic(1)]],
    },
  ],
  cache_append: [
    {
      inputs: [count(4, 1), grid([2, 1], -1, -2), scalar('i32', 1)],
      wanted: [[1, -1, -2, 4]],
      shape: [4, 1],
    },
  ],

  moe_route: [
    // Softmax over all four experts, the best of each half: weights are e^x / (1 + 1 + 2 + 4).
    {
      inputs: [grid([1, 4], 0, 0, Math.fround(Math.log(2)), Math.fround(Math.log(4)))],
      attrs: { num_groups: 2, topk_per_group: 1 },
      wanted: [
        [1 / 8, 4 / 8],
        [0, 3],
      ],
      shape: [1, 2],
    },
    {
      inputs: [grid([1, 4], 0, 0, Math.fround(Math.log(2)), Math.fround(Math.log(4)))],
      attrs: { topk_per_group: 2, renormalize: true },
      wanted: [
        [2 / 3, 1 / 3],
        [3, 2],
      ],
    },
    {
      inputs: [grid([1, 3], 1, 2, 0)],
      attrs: { topk_per_group: 2, score: 'sigmoid' },
      wanted: [
        [logistic(2), logistic(1)],
        [1, 0],
      ],
    },
  ],

  reshape: [
    { inputs: [count(2, 3)], attrs: { shape: dims(3, 2) }, wanted: [[1, 2, 3, 4, 5, 6]], shape: [3, 2] },
  ],
  transpose: [
    { inputs: [count(2, 3)], attrs: { perm: [1, 0] }, wanted: [[1, 4, 2, 5, 3, 6]], shape: [3, 2] },
    { inputs: [count(1, 2, 2)], attrs: { perm: [2, 0, 1] }, wanted: [[1, 3, 2, 4]], shape: [2, 1, 2] },
  ],
  slice: [
    { inputs: [f(1, 2, 3, 4, 5)], attrs: { start: dim(1), end: dim(5), step: 2 }, wanted: [[2, 4]] },
    {
      inputs: [count(2, 3)],
      attrs: { axis: 1, start: dim(1), end: dim(3) },
      wanted: [[2, 3, 5, 6]],
      shape: [2, 2],
    },
  ],
  split: [
    {
      inputs: [count(2, 3)],
      attrs: { axis: 1, sizes: [dim(1), dim(2)] },
      wanted: [
        [1, 4],
        [2, 3, 5, 6],
      ],
      shape: [2, 1],
    },
  ],
  concat: [
    { inputs: [count(2, 1), count(2, 2)], attrs: { axis: 1 }, wanted: [[1, 1, 2, 2, 3, 4]], shape: [2, 3] },
  ],
  pad: [
    {
      inputs: [count(1, 2)],
      attrs: { before: [1, 0], after: [0, 1], value: 9 },
      wanted: [[9, 9, 9, 1, 2, 9]],
      shape: [2, 3],
    },
  ],
  broadcast_to: [
    {
      inputs: [count(2, 1)],
      attrs: { shape: dims(2, 2, 3) },
      wanted: [[1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]],
    },
  ],
  gather: [
    { inputs: [count(3, 2), i(2, 0, 2)], wanted: [[5, 6, 1, 2, 5, 6]], shape: [3, 2] },
    { inputs: [count(2, 3), i(2, 0)], attrs: { axis: 1 }, wanted: [[3, 1, 6, 4]], shape: [2, 2] },
    { inputs: [count(2, 3), scalar('i32', 1)], wanted: [[4, 5, 6]], shape: [3] },
  ],

  reduce_sum: [
    { inputs: [count(2, 3)], attrs: { axes: [1] }, wanted: [[6, 15]], shape: [2] },
    { inputs: [count(2, 3)], attrs: { axes: [0], keepdims: true }, wanted: [[5, 7, 9]], shape: [1, 3] },
    { inputs: [count(0, 2)], attrs: { axes: [0] }, wanted: [[0, 0]] },
  ],
  reduce_prod: [
    { inputs: [count(2, 3)], attrs: { axes: [-1] }, wanted: [[6, 120]] },
    { inputs: [count(0)], attrs: { axes: [0] }, wanted: [[1]], shape: [] },
  ],
  reduce_max: [
    { inputs: [f(1, 7, -3)], attrs: { axes: [0] }, wanted: [[7]], shape: [] },
    { inputs: [count(0)], attrs: { axes: [0] }, wanted: [[-inf]] },
    { inputs: [list('i8')], attrs: { axes: [0] }, wanted: [[-128]] },
  ],
  reduce_min: [
    { inputs: [f(1, 7, -3)], attrs: { axes: [0] }, wanted: [[-3]] },
    { inputs: [count(0)], attrs: { axes: [0] }, wanted: [[inf]] },
  ],
  reduce_mean: [
    { inputs: [count(2, 2)], attrs: { axes: [0, 1] }, wanted: [[2.5]], shape: [] },
    { inputs: [count(0)], attrs: { axes: [0] }, wanted: [[nan]] },
  ],
  argmax: [
    { inputs: [grid([2, 3], 1, 3, 3, 5, 4, 5)], wanted: [[1, 0]], shape: [2] },
    { inputs: [f(nan, 1, 2)], wanted: [[2]] },
  ],
  topk: [
    {
      inputs: [f(1, 5, 5, 7)],
      attrs: { k: 3 },
      wanted: [
        [7, 5, 5],
        [3, 1, 2],
      ],
    },
  ],
  cumsum: [
    { inputs: [count(2, 2)], attrs: { axis: 0 }, wanted: [[1, 2, 4, 6]], shape: [2, 2] },
    { inputs: [f(1, 2, 3)], wanted: [[1, 3, 6]] },
  ],

  conv2d: [
    // 3 x 3 image, 2 x 2 kernel of ones: sums of the four windows.
    {
      inputs: [count(1, 1, 3, 3), grid([1, 1, 2, 2], 1, 1, 1, 1)],
      wanted: [[12, 16, 24, 28]],
      shape: [1, 1, 2, 2],
    },
    // Padding above and to the left, stride 2, one bias.
    {
      inputs: [count(1, 1, 3, 3), grid([1, 1, 2, 2], 1, 1, 1, 1), f(100)],
      attrs: { stride: [2, 2], padding: [1, 1, 0, 0] },
      wanted: [[101, 105, 111, 128]],
    },
    // Two groups of one channel each: the kernels 2 and 3 do not mix the channels.
    {
      inputs: [count(1, 2, 1, 2), grid([2, 1, 1, 1], 2, 3)],
      attrs: { groups: 2 },
      wanted: [[2, 4, 9, 12]],
    },
    { inputs: [count(1, 1, 1, 3), grid([1, 1, 1, 2], 1, 10)], attrs: { dilation: [1, 2] }, wanted: [[31]] },
  ],
  max_pool2d: [
    {
      inputs: [grid([1, 1, 2, 2], -4, -3, -2, -1)],
      attrs: { kernel: [2, 2], stride: [1, 1], padding: [1, 0, 0, 1] },
      wanted: [[-3, -3, -1, -1]],
    },
  ],
  avg_pool2d: [
    {
      inputs: [count(1, 1, 2, 2)],
      attrs: { kernel: [2, 2], stride: [1, 1], padding: [1, 0, 0, 0] },
      wanted: [[1.5, 2.5]],
      shape: [1, 1, 2, 1],
    },
    {
      inputs: [count(1, 1, 2, 2)],
      attrs: { kernel: [2, 2], stride: [1, 1], padding: [1, 0, 0, 0], count_include_pad: true },
      wanted: [[0.75, 2.5]],
    },
  ],
};
