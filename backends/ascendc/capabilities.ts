/** Which ops this target has kernels for; the others with the reason. See legalise.ts for what is rewritten before. */
import { defOf, type Op, type Value } from '../../ir/module.js';
import type { OpName } from '../../ir/ops/table.js';
import type { DType } from '../../ir/type.js';
import { opRoles } from '../../passes/kernel-class.js';
import type { Chip } from './chips.js';
import { formulas } from './emit/elementwise.js';
import { rootsWithKernels } from './emit/table.js';

/** Ops whose integers are computed, not only moved or compared. */
const arithmetic: ReadonlySet<OpName> = new Set([
  'neg',
  'abs',
  'add',
  'sub',
  'mul',
  'div',
  'reduce_sum',
  'reduce_prod',
  'matmul',
  'cumsum',
]);

const notComputed: readonly DType[] = ['i8', 'u8', 'i64'];
const packed: readonly DType[] = ['i4', 'u4'];

/** Movement ops and sources, which become the addresses of leaves; split has no form of its own. */
const moved: ReadonlySet<OpName> = new Set([
  'transpose',
  'slice',
  'concat',
  'pad',
  'broadcast_to',
  'gather',
  'full',
  'iota',
  'dim_size',
]);

/** True, or why there is no kernel for this op on this chip. */
export function supports(op: Op, chip: Chip): true | string {
  const role = opRoles[op.name];
  if (role === 'view' || role === 'structure') return true;
  const dtypes = [...op.operands, ...op.results].map((value) => value.type.dtype);
  if (chip.layout === 'fused') {
    const missing = (['bf16', 'i64'] as const).find((dtype) => dtypes.includes(dtype));
    if (missing !== undefined) return `${chip.name} has no ${missing}`;
    if (op.name === 'quantized_linear') return `the cube of ${chip.name} has no kernel yet`;
  }
  const half = packed.find((dtype) => dtypes.includes(dtype));
  if (half !== undefined) return `there is no kernel for ${half} yet`;
  const integers = notComputed.find((dtype) => dtypes.includes(dtype));
  if (arithmetic.has(op.name) && integers !== undefined)
    return `the vector unit does not compute in ${integers}`;
  if (op.name === 'cast' && op.attrs.dtype === 'i64') return 'the vector unit rounds to i64 through f32';
  if (op.name === 'quantize' || op.name === 'dequantize') return true;
  if (op.name === 'gather' && defOf(op.operands[0] as Value)?.name === 'dequantize')
    return 'tables are widened before they are read';
  if (role === 'pointwise')
    return moved.has(op.name) || Object.hasOwn(formulas, op.name) ? true : 'it is decomposed first';
  if (!rootsWithKernels.has(op.name)) return 'there is no kernel for it yet';
  return rootSupport(op);
}

function rootSupport(op: Op): true | string {
  const [first] = op.operands as [Value];
  const rank = first.type.shape.length;
  if (op.name.startsWith('reduce_') && rank === 0) return 'a single number has nothing to reduce';
  const axis = (op.attrs as { axis?: number }).axis;
  if (
    (op.name === 'softmax' || op.name === 'argmax') &&
    axis !== undefined &&
    (axis + rank) % rank !== rank - 1
  )
    return 'it goes along the last axis only';
  if (op.name === 'linear' || op.name === 'grouped_linear') {
    const weight = op.operands[op.name === 'linear' ? 1 : 2] as Value;
    if (weight.type.dtype !== first.type.dtype) return 'the cube takes one type for both factors';
    if (defOf(weight)?.name === 'dequantize') return 'weights are widened before the cube reads them';
  }
  if (op.name === 'conv2d' && defOf(op.operands[1] as Value)?.name === 'dequantize')
    return 'weights are widened before they are read';
  return op.name === 'quantized_linear' ? quantizedSupport(op) : true;
}

function quantizedSupport(op: Op): true | string {
  const [x, weight, , , , weightZero, xZero] = op.operands as readonly (Value | undefined)[];
  if (x?.type.dtype !== 'i8' || weight?.type.dtype !== 'i8') return 'the cube multiplies i8 by i8';
  if (weightZero !== undefined || xZero !== undefined) return 'the cube multiplies without zero points';
  return (op.attrs as { group: number }).group === 0 ? true : 'the cube sums over the whole inner axis';
}
