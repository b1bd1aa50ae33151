/**
 * The kernel classes: how each op may become, or join, a unit of work of a target.
 * A class has one root op; pointwise ops join it as an epilogue when shapes allow (see fuse.ts).
 */
import type { OpName } from '../ir/ops/table.js';

export type KernelClass =
  /** Every output element is an expression of input elements at computed indices. */
  | 'pointwise'
  /** One pass over rows of the last axis: norms and softmax. */
  | 'row'
  | 'reduction'
  /** linear, matmul and grouped linear. */
  | 'matmul'
  | 'attention'
  | 'rope'
  | 'convolution'
  | 'pool'
  /** Selection by value: topk, argmax, routing. */
  | 'selection'
  | 'scan'
  | 'append';

/** `view`: the result is the operand's buffer under another shape. `structure`: handled by the caller of kernels. */
export type OpRole = KernelClass | 'view' | 'structure';

const pointwise = 'pointwise' as const;

export const opRoles: Readonly<Record<OpName, OpRole>> = {
  neg: pointwise,
  abs: pointwise,
  sign: pointwise,
  sqrt: pointwise,
  rsqrt: pointwise,
  reciprocal: pointwise,
  exp: pointwise,
  log: pointwise,
  sin: pointwise,
  cos: pointwise,
  tanh: pointwise,
  erf: pointwise,
  floor: pointwise,
  ceil: pointwise,
  round: pointwise,
  relu: pointwise,
  sigmoid: pointwise,
  silu: pointwise,
  softplus: pointwise,
  gelu: pointwise,
  gelu_tanh: pointwise,
  quick_gelu: pointwise,
  add: pointwise,
  sub: pointwise,
  mul: pointwise,
  div: pointwise,
  pow: pointwise,
  min: pointwise,
  max: pointwise,
  eq: pointwise,
  ne: pointwise,
  lt: pointwise,
  le: pointwise,
  gt: pointwise,
  ge: pointwise,
  and: pointwise,
  or: pointwise,
  xor: pointwise,
  not: pointwise,
  where: pointwise,
  cast: pointwise,
  full: pointwise,
  iota: pointwise,
  dim_size: pointwise,
  swiglu: pointwise,
  modulate: pointwise,
  transpose: pointwise,
  slice: pointwise,
  split: pointwise,
  concat: pointwise,
  pad: pointwise,
  broadcast_to: pointwise,
  gather: pointwise,
  matmul: 'matmul',
  linear: 'matmul',
  grouped_linear: 'matmul',
  rms_norm: 'row',
  layer_norm: 'row',
  softmax: 'row',
  reduce_sum: 'reduction',
  reduce_mean: 'reduction',
  reduce_max: 'reduction',
  reduce_min: 'reduction',
  reduce_prod: 'reduction',
  cumsum: 'scan',
  argmax: 'selection',
  topk: 'selection',
  moe_route: 'selection',
  rope: 'rope',
  attention: 'attention',
  cache_append: 'append',
  conv2d: 'convolution',
  max_pool2d: 'pool',
  avg_pool2d: 'pool',
  quantize: pointwise,
  dequantize: pointwise,
  dynamic_quantize: 'row',
  quantized_linear: 'matmul',
  integer_linear: 'matmul',
  reshape: 'view',
  param: 'structure',
  state_read: 'structure',
  state_write: 'structure',
  repeat: 'structure',
  kernel: 'structure',
  all_reduce: 'structure',
};

/** Classes whose root hands each finished element to an epilogue. */
export const hostsEpilogue: ReadonlySet<KernelClass> = new Set(['row', 'matmul', 'convolution', 'pointwise']);
