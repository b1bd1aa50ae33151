/** The kernels of this target by the op they are named for. */
import { HewError } from '../../../ir/diagnostics.js';
import type { Func, Module } from '../../../ir/module.js';
import { rootOf } from '../../kernel-function.js';
import type { Chip } from '../chips.js';
import { verifyKernel } from '../verify/verify.js';
import { emitProduct, emitRunningSum } from './accumulate.js';
import { emitAppend } from './append.js';
import { emitAttention } from './attention.js';
import { emitConvolution, emitPool } from './convolution.js';
import { emitCubeAttention } from './cube-attention.js';
import { emitCubeProduct } from './cube-product.js';
import {
  type EmittedKernel,
  emitKernel,
  type KernelBody,
  type KernelContext,
  kernelContext,
} from './kernel.js';
import { emitMatmul } from './matmul.js';
import { emitPointwise } from './pointwise.js';
import { emitDynamicQuantize } from './quantize.js';
import { emitReduction } from './reduction.js';
import { emitRope } from './rope.js';
import { emitLayerNorm, emitRmsNorm, emitSoftmax } from './row.js';
import { emitRowProduct } from './row-product.js';
import { emitArgmax, emitMoeRoute, emitTopk } from './selection.js';

type Emitter = (context: KernelContext) => KernelBody;

/** On the cube of split chips; the vector unit of the others. */
const emitLinear: Emitter = (context) =>
  context.chip.layout === 'split' ? emitMatmul(context) : emitRowProduct(context);

const emitters: Readonly<Record<string, Emitter>> = {
  matmul: (context) => emitCubeProduct(context) ?? emitProduct(context),
  conv2d: emitConvolution,
  max_pool2d: emitPool,
  avg_pool2d: emitPool,
  cumsum: emitRunningSum,
  linear: emitLinear,
  quantized_linear: emitMatmul,
  dynamic_quantize: emitDynamicQuantize,
  grouped_linear: emitLinear,
  rms_norm: emitRmsNorm,
  layer_norm: emitLayerNorm,
  softmax: emitSoftmax,
  attention: (context) => emitCubeAttention(context) ?? emitAttention(context),
  rope: emitRope,
  cache_append: emitAppend,
  reduce_sum: emitReduction,
  reduce_mean: emitReduction,
  reduce_max: emitReduction,
  reduce_min: emitReduction,
  reduce_prod: emitReduction,
  argmax: emitArgmax,
  topk: emitTopk,
  moe_route: emitMoeRoute,
};

export const rootsWithKernels: ReadonlySet<string> = new Set(Object.keys(emitters));

export function emitFunc(module: Module, func: Func, chip: Chip): EmittedKernel {
  const context = kernelContext(module, func, chip);
  const emitter = func.kernel === 'pointwise' ? emitPointwise : emitters[rootOf(func).name];
  if (emitter === undefined) throw new Error(`no kernel for ${rootOf(func).name}`);
  const kernel = emitKernel(context, emitter(context));
  const problems = verifyKernel(kernel, chip);
  if (problems.length > 0) throw new HewError(problems);
  return kernel;
}
