/**
 * What this backend can run, op by op: the question `hew check` asks, and every compilation before it starts. Answers
 * are for ops as passes leave them, before legalisation.
 */
import type { Op, OpOf, Value } from '../../ir/module.js';
import type { OpName } from '../../ir/ops/table.js';
import { dtypes } from '../../ir/type.js';

/** True, or why not, in words that follow the op's name. */
export type Support = true | string;

type Answers = { readonly [N in OpName]: true | ((op: OpOf<N>) => Support) };
const answers: Answers = {
  neg: true,
  abs: true,
  sign: true,
  sqrt: true,
  rsqrt: true,
  reciprocal: true,
  exp: true,
  log: true,
  sin: true,
  cos: true,
  tanh: true,
  erf: true,
  floor: true,
  ceil: true,
  round: true,
  relu: true,
  sigmoid: true,
  silu: true,
  softplus: true,
  gelu: true,
  gelu_tanh: true,
  quick_gelu: true,
  add: true,
  sub: true,
  mul: true,
  div: true,
  pow: true,
  min: true,
  max: true,
  eq: true,
  ne: true,
  lt: true,
  le: true,
  gt: true,
  ge: true,
  and: true,
  or: true,
  xor: true,
  not: true,
  where: true,
  cast: true,
  full: true,
  iota: true,
  dim_size: true,
  matmul: true,
  linear: true,
  grouped_linear: true,
  rms_norm: true,
  layer_norm: true,
  softmax: true,
  modulate: true,
  swiglu: true,
  rope: true,
  attention: true,
  cache_append: true,
  moe_route: true,
  quantize: true,
  dequantize: true,
  dynamic_quantize: true,
  quantized_linear: true,
  integer_linear: true,
  reshape: true,
  transpose: true,
  slice: true,
  split: true,
  concat: true,
  pad: true,
  broadcast_to: true,
  gather: true,
  reduce_sum: true,
  reduce_mean: true,
  reduce_max: true,
  reduce_min: true,
  reduce_prod: true,
  argmax: true,
  topk: true,
  cumsum: true,
  conv2d: true,
  max_pool2d: true,
  avg_pool2d: true,
  param: true,
  state_read: true,
  state_write: true,
  repeat: true,
  kernel: true,
  all_reduce: true,
};

/** Whether the backend can run this op. */
export function supports(op: Op): Support {
  const answer = answers[op.name] as true | ((op: Op) => Support);
  const fourBit = (values: readonly Value[]) => values.find(({ type }) => dtypes[type.dtype].bits < 8);
  const refused = readsFourBit.has(op.name)
    ? fourBit(op.name === 'param' ? [] : op.results)
    : fourBit([...op.operands, ...op.results]);
  if (refused !== undefined) return `on ${refused.type.dtype}`;
  return answer === true ? true : answer(op);
}

/** Ops that read integers of four bits where they lie, two to a byte; none writes them. */
const readsFourBit: ReadonlySet<OpName> = new Set(['param', 'dequantize', 'cast', 'quantized_linear']);
