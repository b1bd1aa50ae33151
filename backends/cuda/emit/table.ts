/** The kernels of this target by the op they are named for. */
import { type Dim, dim } from '../../../ir/dim.js';
import type { Func, Module } from '../../../ir/module.js';
import { rootOf } from '../../kernel-function.js';
import type { Tuning } from '../tuning.js';
import { emitAttention } from './attention.js';
import { emitAvgPool, emitConvolution, emitMaxPool } from './convolution.js';
import { attentionScratch } from './decode-attention.js';
import { emitDynamicQuantize } from './dynamic-quantize.js';
import type { KernelEmitter } from './kernel.js';
import { emitGroupedLinear, emitLinear, emitMatmul } from './matmul.js';
import { emitPointwise } from './pointwise.js';
import { emitAppends } from './quantized-append.js';
import { emitReduction } from './reduction.js';
import { emitRope } from './rope.js';
import { emitRows } from './row.js';
import { emitCumsum } from './scan.js';
import { emitArgmax, emitMoeRoute, emitTopk } from './selection.js';

const emitters: Readonly<Record<string, KernelEmitter>> = {
  linear: emitLinear,
  integer_linear: emitLinear,
  matmul: emitMatmul,
  grouped_linear: emitGroupedLinear,
  conv2d: emitConvolution,
  rms_norm: emitRows,
  layer_norm: emitRows,
  softmax: emitRows,
  attention: emitAttention,
  dynamic_quantize: emitDynamicQuantize,
  rope: emitRope,
  cache_append: emitAppends,
  reduce_sum: emitReduction,
  reduce_mean: emitReduction,
  reduce_max: emitReduction,
  reduce_min: emitReduction,
  reduce_prod: emitReduction,
  cumsum: emitCumsum,
  argmax: emitArgmax,
  topk: emitTopk,
  moe_route: emitMoeRoute,
  max_pool2d: emitMaxPool,
  avg_pool2d: emitAvgPool,
};

const scratchSizes: Readonly<Record<string, (module: Module, func: Func, tuning: Tuning) => Dim>> = {
  attention: attentionScratch,
};

export function emitterOf(func: Func): KernelEmitter {
  if (func.kernel === 'pointwise') return emitPointwise;
  const { name } = rootOf(func);
  const emitter = emitters[name];
  if (emitter === undefined) throw new Error(`no kernel for ${name}`);
  return emitter;
}

/** Bytes of scratch memory of a kernel. */
export function scratchOf(module: Module, func: Func, tuning: Tuning): Dim {
  if (func.kernel === 'pointwise') return dim(0);
  return scratchSizes[rootOf(func).name]?.(module, func, tuning) ?? dim(0);
}
