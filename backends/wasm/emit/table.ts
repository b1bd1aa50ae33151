/** The kernels of this target by the op they are named for, with their scratch memory and how they read weights. */
import { type Dim, dim } from '../../../ir/dim.js';
import type { Func, OpOf, Value } from '../../../ir/module.js';
import { isFloat } from '../../../ir/type.js';
import { rootOf } from '../../kernel-function.js';
import { emitAppend } from './append.js';
import { attentionScratch, emitAttention } from './attention.js';
import { convolutionMatrices, convolutionScratch, emitConvolution } from './convolution.js';
import { packsIntegers } from './dequantized-panels.js';
import { emitDynamicQuantize } from './dynamic-quantize.js';
import { quantizedLinearScratch } from './integer-products.js';
import type { KernelEmitter, ScratchSize } from './kernel.js';
import {
  emitGroupedLinear,
  emitLinear,
  emitMatmul,
  groupedLinearScratch,
  linearScratch,
  matmulScratch,
} from './matmul.js';
import { emitPointwise } from './pointwise.js';
import { emitAvgPool, emitMaxPool } from './pool.js';
import { emitQuantizedLinear } from './quantized-linear.js';
import { quantizedRowScratch } from './quantized-row.js';
import { emitReduction } from './reduction.js';
import { emitRope } from './rope.js';
import { emitLayerNorm, emitRmsNorm, emitSoftmax } from './row.js';
import { emitCumsum } from './scan.js';
import { emitArgmax, emitMoeRoute, emitTopk } from './selection.js';

/** A weight that is packed: as a stack of [out, in] matrices, of floats or of integers in groups. */
export interface PackedUse {
  readonly matrices: readonly Dim[];
  readonly group?: number;
}

interface KernelEntry {
  readonly emit: KernelEmitter;
  readonly scratch?: ScratchSize;
  /** The weight operand that is packed, and its shape as a stack of [out, in] matrices; integers have a group. */
  readonly weight?: {
    readonly operand: number;
    readonly matrices: (root: never) => readonly Dim[];
    readonly group?: (root: never) => number;
  };
}

const ownShape =
  (operand: number) =>
  (root: { readonly operands: readonly Value[] }): readonly Dim[] =>
    (root.operands[operand] as Value).type.shape;

const entries = {
  linear: { emit: emitLinear, scratch: linearScratch, weight: { operand: 1, matrices: ownShape(1) } },
  matmul: { emit: emitMatmul, scratch: matmulScratch },
  grouped_linear: {
    emit: emitGroupedLinear,
    scratch: groupedLinearScratch,
    weight: { operand: 2, matrices: ownShape(2) },
  },
  quantized_linear: {
    emit: emitQuantizedLinear,
    scratch: quantizedLinearScratch,
    weight: {
      operand: 1,
      matrices: ownShape(1),
      group: (root: OpOf<'quantized_linear'>) => root.attrs.group,
    },
  },
  conv2d: {
    emit: emitConvolution,
    scratch: convolutionScratch,
    weight: { operand: 1, matrices: (root: OpOf<'conv2d'>) => convolutionMatrices(root) },
  },
  rms_norm: { emit: emitRmsNorm, scratch: quantizedRowScratch },
  layer_norm: { emit: emitLayerNorm, scratch: quantizedRowScratch },
  softmax: { emit: emitSoftmax, scratch: quantizedRowScratch },
  dynamic_quantize: { emit: emitDynamicQuantize, scratch: quantizedRowScratch },
  attention: { emit: emitAttention, scratch: attentionScratch },
  rope: { emit: emitRope },
  cache_append: { emit: emitAppend },
  reduce_sum: { emit: emitReduction },
  reduce_mean: { emit: emitReduction },
  reduce_max: { emit: emitReduction },
  reduce_min: { emit: emitReduction },
  reduce_prod: { emit: emitReduction },
  cumsum: { emit: emitCumsum },
  argmax: { emit: emitArgmax },
  topk: { emit: emitTopk },
  moe_route: { emit: emitMoeRoute },
  max_pool2d: { emit: emitMaxPool },
  avg_pool2d: { emit: emitAvgPool },
} as const satisfies Record<string, KernelEntry>;

function entryOf(func: Func): KernelEntry {
  if (func.kernel === 'pointwise') return { emit: emitPointwise };
  const { name } = rootOf(func);
  const entry = (entries as Readonly<Record<string, KernelEntry>>)[name];
  if (entry === undefined) throw new Error(`no kernel for ${name}`);
  return entry;
}

export const kernelTable = {
  emitter: (func: Func): KernelEmitter => entryOf(func).emit,

  /** Bytes of scratch memory, over the kernel's dimensions. */
  scratch: (func: Func): Dim => entryOf(func).scratch?.(func, rootOf(func), () => 'rows') ?? dim(0),

  /** How argument `index` of a kernel is read: packed as described, in any layout, or row-major only. */
  weightUse(func: Func, index: number): PackedUse | 'any' | 'rows' {
    const arg = func.args[index] as Value;
    if (func.kernel === 'pointwise')
      return arg.type.shape.length === 2 && isFloat(arg.type.dtype) ? 'any' : 'rows';
    const root = rootOf(func);
    const { weight } = entryOf(func);
    const uses = func.body.flatMap((op) =>
      op.operands.flatMap((operand, i) => (operand === arg ? [{ op, i }] : [])),
    );
    if (weight === undefined) return 'rows';
    const read = root.operands[weight.operand];
    const [only, ...others] = uses;
    if (only?.op.name === 'dequantize' && only.op.results[0] === read && only.i === 0 && others.length === 0)
      return packsIntegers(only.op) ? { matrices: arg.type.shape, group: only.op.attrs.group } : 'rows';
    if (!uses.every(({ op, i }) => op === root && i === weight.operand)) return 'rows';
    const group = weight.group?.(root as never);
    return { matrices: weight.matrices(root as never), ...(group === undefined ? {} : { group }) };
  },
} as const;
