/** Typing of the ops: what is rejected, with messages that name the op, the dimensions and what to do. */
import { describe, expect, test } from 'vitest';
import { makeOp, moduleScope } from '../../ir/builder.js';
import { type DimLike, dim, divDims, mulDims, subDims } from '../../ir/dim.js';
import { interpretEntry } from '../../ir/interpret.js';
import { type DimDecl, emptyModule } from '../../ir/module.js';
import { type Attrs, InferError } from '../../ir/op.js';
import { opNames, opTable } from '../../ir/ops/table.js';
import { type DType, printType, type TensorType, tensorType } from '../../ir/type.js';
import { arg, type CaseOperand, caseModule, dims, opCase } from '../conformance/case.js';
import { fixed } from '../conformance/random.js';

const declared: Record<string, DimDecl> = {
  d: { value: 8 },
  width: { value: 8 },
  ffn: { value: 12 },
  heads: { value: 4 },
  kv: { value: 2 },
  three: { value: 3 },
  hd: { value: 16 },
  odd: { value: 5 },
  experts: { value: 8 },
  size: { value: 6 },
  T: { min: 1, max: 32 },
  S: { min: 1, max: 32 },
  B: { min: 1, max: 4 },
};
const scope = moduleScope({ ...emptyModule('m'), dims: new Map(Object.entries(declared)) });

const f32 = (...shape: readonly DimLike[]): TensorType => tensorType('f32', shape);
const of = (dtype: DType, ...shape: readonly DimLike[]): TensorType => tensorType(dtype, shape);
const i32 = (...shape: readonly DimLike[]): TensorType => tensorType('i32', shape);

function typesOf(op: string, types: readonly TensorType[], attrs: Attrs = {}): string[] {
  const operands = types.map((type) => ({ type }));
  return makeOp(scope, op, operands, attrs).results.map((r) => printType(r.type));
}

function errorOf(op: string, types: readonly TensorType[], attrs: Attrs): InferError {
  try {
    const found = typesOf(op, types, attrs);
    throw new Error(`${op} accepted: ${found.join(' ')}`);
  } catch (error) {
    if (error instanceof InferError) return error;
    throw error;
  }
}

interface Rejected {
  readonly op: string;
  readonly types: readonly TensorType[];
  readonly attrs?: Attrs;
  /** Parts of the message. */
  readonly says: readonly string[];
  readonly help?: string;
  readonly operand?: number;
}

const half = divDims('hd', 2);
const heads = f32('T', 'heads', 'hd');
const scale = { scale: 0.25 };
const image = f32('B', 3, 'size', 'size');
const pool = { kernel: [2, 2], stride: [2, 2] };
const slice = (axis: number, start: DimLike, end: DimLike, step = 1) => ({
  axis,
  start: dim(start),
  end: dim(end),
  step,
});

const rejected: readonly Rejected[] = [
  { op: 'add', types: [f32('T', 'd'), f32('ffn')], says: ['add', 'd (8) is not ffn (12)'], operand: 1 },
  { op: 'add', types: [f32('d'), f32('width')], says: ['d (8) is not width (8)'], help: 'names differ' },
  { op: 'add', types: [f32('d'), i32('d')], says: ['f32 and i32'], help: 'cast' },
  { op: 'exp', types: [i32('d')], says: ['exp', 'floating point', 'i32'] },
  { op: 'and', types: [f32('d'), f32('d')], says: ['and', 'bool'] },
  { op: 'matmul', types: [f32('T', 'd'), f32('ffn', 'd')], says: ['inner axes', 'd (8) is not ffn (12)'] },
  {
    op: 'linear',
    types: [f32('T', 'd'), f32('d', 'ffn')],
    says: ['linear', 'd (8)', 'ffn (12)'],
    help: '[out, in]',
  },
  {
    op: 'linear',
    types: [f32('d'), f32('ffn', 'd'), f32('d')],
    says: ['bias', 'ffn (12) is not d (8)'],
    operand: 2,
  },
  {
    op: 'grouped_linear',
    types: [f32('T', 'd'), i32('S', 2), f32('experts', 'ffn', 'd')],
    says: ['rows of x and index', 'T is not S'],
  },

  {
    op: 'rms_norm',
    types: [f32('T', 'd'), f32('ffn')],
    says: ['rms_norm', 'gamma', 'd (8) is not ffn (12)'],
    operand: 1,
  },
  { op: 'rms_norm', types: [f32()], says: ['rms_norm', 'rank 1'] },
  { op: 'rms_norm', types: [f32('d'), f32('d', 'd')], says: ['gamma must have rank 1'] },
  { op: 'rms_norm', types: [i32('d')], says: ['floating point'] },
  {
    op: 'layer_norm',
    types: [f32('d'), f32('d'), f32('width')],
    says: ['beta', 'd (8) is not width (8)'],
    operand: 2,
  },
  { op: 'softmax', types: [f32('T', 'd')], attrs: { axis: 2 }, says: ['softmax', 'axis 2', 'rank 2'] },
  {
    op: 'modulate',
    types: [f32('B', 'T', 'd'), f32('B', 'd'), f32('T', 'd')],
    says: ['modulate', 'scale', 'B is not T'],
  },
  {
    op: 'modulate',
    types: [f32('B', 'T', 'd'), f32('B', 'ffn'), f32('B', 'd')],
    says: ['shift', 'd (8) is not ffn (12)'],
  },
  { op: 'modulate', types: [f32('d'), f32('d'), f32('d')], says: ['x must have rank 2 or more'] },
  { op: 'swiglu', types: [f32('T', 'ffn'), f32('ffn')], says: ['swiglu', 'rank 2', 'rank 1'] },
  { op: 'swiglu', types: [f32('T', 'ffn'), f32('T', 'd')], says: ['axis 1', 'ffn (12) is not d (8)'] },

  {
    op: 'rope',
    types: [heads, f32('S', half), f32('T', half)],
    says: ['rope', 'cos', 'T is not S'],
    operand: 1,
  },
  {
    op: 'rope',
    types: [heads, f32('T', half), f32('T', 'hd')],
    says: ['sin', 'hd (16) is not 2*hd (32)'],
    operand: 2,
  },
  { op: 'rope', types: [f32('T', 'hd'), f32('T', half), f32('T', half)], says: ['rank 3 or more'] },
  { op: 'attention', types: [heads, heads, heads], says: ['attention', "attribute 'scale'"] },
  {
    op: 'attention',
    types: [heads, f32('S', 'three', 'hd'), f32('S', 'three', 'hd')],
    attrs: scale,
    says: ['heads (4)', 'not a multiple of three (3)'],
    help: 'same number of query heads',
  },
  {
    op: 'attention',
    types: [heads, f32('S', 'kv', 'd'), f32('S', 'kv', 'd')],
    attrs: scale,
    says: ['head size of q and k', 'hd (16) is not d (8)'],
  },
  {
    op: 'attention',
    types: [heads, f32('S', 'kv', 'hd'), f32('T', 'kv', 'hd')],
    attrs: scale,
    says: ['length of k and v', 'S is not T'],
    operand: 2,
  },
  {
    op: 'attention',
    types: [f32('B', 'T', 'heads', 'hd'), heads, heads],
    attrs: scale,
    says: ['rank 4', 'rank 3'],
    help: '[.., S, kv, hd]',
  },
  {
    op: 'attention',
    types: [heads, heads, heads, i32(1)],
    attrs: scale,
    says: ['offset must have rank 0'],
    operand: 3,
  },
  { op: 'attention', types: [heads, heads, heads, f32()], attrs: scale, says: ['i32', 'f32'], operand: 3 },
  {
    op: 'cache_append',
    types: [f32(64, 'kv', 'hd'), f32('T', 'heads', 'hd'), i32()],
    says: ['cache_append', 'axis 1', 'kv (2) is not heads (4)'],
  },
  { op: 'cache_append', types: [f32(64, 'd'), of('f16', 'T', 'd'), i32()], says: ['f32', 'f16'] },

  {
    op: 'moe_route',
    types: [f32('T', 'S')],
    attrs: { topk_per_group: 1 },
    says: ['moe_route', 'S', 'no value'],
  },
  {
    op: 'moe_route',
    types: [f32('T', 'experts')],
    attrs: { num_groups: 3, topk_per_group: 1 },
    says: ['experts (8)', '3 equal groups'],
  },
  {
    op: 'moe_route',
    types: [f32('T', 'experts')],
    attrs: { num_groups: 4, topk_per_group: 3 },
    says: ['3 of the 2 experts of a group'],
  },
  {
    op: 'moe_route',
    types: [f32('T', 'experts')],
    attrs: { topk_per_group: 1, score: 'max' },
    says: ['one of softmax, sigmoid'],
  },

  { op: 'quantize', types: [f32('T', 'd'), f32()], attrs: { dtype: 'i32' }, says: ['to i32'], help: 'i8' },
  { op: 'quantize', types: [i32('T'), f32()], says: ['floating point'] },
  { op: 'quantize', types: [f32('T', 'd'), f32('ffn')], says: ['axis 1', 'd (8) is not ffn (12)'] },
  { op: 'quantize', types: [f32('T', 1), f32('T', 'd')], says: ['must not be larger'] },
  {
    op: 'quantize',
    types: [f32('T', 'd'), f32('T', 3)],
    attrs: { group: 4 },
    says: ['d (8) elements in groups of 4 do not have 3 scales'],
  },
  { op: 'quantize', types: [f32('T', 'd'), f32('d')], attrs: { group: 4 }, says: ['rank 2'] },
  { op: 'quantize', types: [f32('T', 'd'), f32()], attrs: { group: -1 }, says: ['not -1'] },
  { op: 'quantize', types: [f32('T', 'd'), f32(), of('u8')], says: ['i8, not u8'], operand: 2 },
  {
    op: 'quantize',
    types: [f32('T', 'd'), f32('d'), of('i8')],
    says: ['zero_point must have rank 1'],
    operand: 2,
  },
  { op: 'dequantize', types: [f32('T', 'd'), f32()], says: ['i8, u8, i4, u4 or i32'] },
  {
    op: 'dynamic_quantize',
    types: [f32('T', 'd')],
    attrs: { dtype: 'u8' },
    says: ['signed'],
    help: 'symmetric = false',
  },
  {
    op: 'quantized_linear',
    types: [of('i8', 'T', 'd'), of('i8', 'ffn', 'hd'), f32(), f32('ffn')],
    says: ['last axes', 'd (8) is not hd (16)'],
  },
  {
    op: 'quantized_linear',
    types: [of('i8', 'T', 'd'), of('i8', 'ffn', 'd'), f32('T', 'd'), f32('ffn')],
    says: ['must not be larger', 'd (8)'],
  },
  {
    op: 'quantized_linear',
    types: [of('i4', 'T', 'd'), of('i8', 'ffn', 'd'), f32(), f32('ffn')],
    says: ['i8 or u8'],
    operand: 0,
  },
  {
    op: 'quantized_linear',
    types: [of('i8', 'T', 40000), of('i8', 'ffn', 40000), f32(), f32('ffn')],
    says: ['40000 products', 'at most 32768'],
    help: 'group',
  },
  {
    op: 'reshape',
    types: [f32('T', 'd')],
    attrs: { shape: dims('T', 'heads', 'kv') },
    says: ['reshape', '[T, d] to [T, heads, kv]', 'd (8) is not heads*kv (8)'],
    help: 'names differ',
  },
  {
    op: 'reshape',
    types: [f32('T', 'd')],
    attrs: { shape: dims('S', 'd') },
    says: ['T is not S'],
    help: 'product',
  },
  { op: 'reshape', types: [f32(2, 3)], attrs: { shape: dims(7) }, says: ['6 is not 7'] },
  {
    op: 'transpose',
    types: [f32('T', 'd')],
    attrs: { perm: [0, 0] },
    says: ['transpose', '[0, 0]', '2 axes'],
  },
  {
    op: 'slice',
    types: [f32('T', 'd')],
    attrs: slice(1, 2, 9),
    says: ['slice', '2 to 9', 'd (8)'],
    help: '0 <= start',
  },
  { op: 'slice', types: [f32('d')], attrs: slice(0, -1, 8), says: ['-1 to 8'] },
  { op: 'slice', types: [f32('T')], attrs: slice(0, 0, 'T', 2), says: ['steps of 2 in T'], help: 'step' },
  { op: 'slice', types: [f32('d')], attrs: slice(0, 0, 8, 0), says: ['step 0'] },
  { op: 'concat', types: [], attrs: { axis: 0 }, says: ['at least one operand'] },
  {
    op: 'concat',
    types: [f32('T', 'd'), f32('S', 'ffn')],
    attrs: { axis: 0 },
    says: ['concat', 'axis 1', 'd (8) is not ffn (12)'],
    operand: 1,
  },
  { op: 'concat', types: [f32('T', 'd'), f32('d')], says: ['rank 2', 'rank 1'] },
  {
    op: 'pad',
    types: [f32('T', 'd')],
    attrs: { before: [1], after: [0, 0] },
    says: ['pad: before is [1]'],
    help: 'per axis',
  },
  { op: 'pad', types: [f32('d')], attrs: { before: [0], after: [-1] }, says: ['after is [-1]'] },
  {
    op: 'broadcast_to',
    types: [f32('d')],
    attrs: { shape: dims('T', 'ffn') },
    says: ['d (8) is not ffn (12)'],
  },
  { op: 'broadcast_to', types: [f32('T', 'd')], attrs: { shape: dims('d') }, says: ['rank 2', 'rank 1'] },
  { op: 'gather', types: [f32('d'), f32('T')], says: ['gather', 'i32 or i64', 'f32'], operand: 1 },
  { op: 'gather', types: [f32('d'), i32('T')], attrs: { axis: 1 }, says: ['axis 1', 'rank 1'] },

  { op: 'reduce_sum', types: [f32('T', 'd')], attrs: { axes: [1, -1] }, says: ['[1, -1]', 'twice'] },
  { op: 'reduce_sum', types: [of('bool', 'd')], attrs: { axes: [0] }, says: ['number', 'bool'] },
  { op: 'reduce_mean', types: [i32('d')], attrs: { axes: [0] }, says: ['floating point'] },
  { op: 'topk', types: [f32('T', 'd')], attrs: { k: 9 }, says: ['topk', '9 of d (8)'] },
  { op: 'argmax', types: [f32()], says: ['axis -1', 'rank 0'] },
  { op: 'cumsum', types: [of('bool', 3)], says: ['number'] },

  {
    op: 'conv2d',
    types: [image, f32('ffn', 4, 3, 3)],
    says: ['conv2d', '3 channels', '4'],
    help: 'channels / groups',
  },
  {
    op: 'conv2d',
    types: [image, f32('odd', 1, 3, 3)],
    attrs: { groups: 3 },
    says: ['odd (5)', '3 equal groups'],
  },
  {
    op: 'conv2d',
    types: [f32('B', 3, 'T', 6), f32(4, 3, 3, 3)],
    says: ['height T', 'no value'],
    help: 'run-time',
  },
  { op: 'conv2d', types: [image, f32(4, 3, 7, 7)], says: ['larger', 'height 6'] },
  { op: 'conv2d', types: [image, f32(4, 3, 3, 3), f32(5)], says: ['bias', '4 is not 5'] },
  {
    op: 'conv2d',
    types: [image, f32(4, 3, 3, 3)],
    attrs: { stride: [1] },
    says: ['stride is [1]', '2 numbers'],
  },
  {
    op: 'max_pool2d',
    types: [image],
    attrs: { ...pool, padding: [2, 0, 0, 0] },
    says: ['max_pool2d', 'padding', 'not smaller'],
    help: 'touch the image',
  },
  { op: 'avg_pool2d', types: [f32(3, 6, 6)], attrs: pool, says: ['avg_pool2d', 'rank 4'] },
  { op: 'avg_pool2d', types: [image], attrs: { ...pool, kernel: [2, 0] }, says: ['kernel is [2, 0]'] },
];

describe('rejected types', () => {
  const rows = rejected.map((row, i) => ({ ...row, title: `${i}: ${row.op} says ${row.says.join(' … ')}` }));
  test.each(rows)('$title', ({ op, types, attrs = {}, says, help, operand }) => {
    const error = errorOf(op, types, attrs);
    for (const part of [op, ...says]) expect(error.message).toContain(part);
    if (help !== undefined) expect(error.parts.help).toContain(help);
    if (operand !== undefined) expect(error.parts.operand).toBe(operand);
  });
});

interface Accepted {
  readonly op: string;
  readonly types: readonly TensorType[];
  readonly attrs?: Attrs;
  readonly results: readonly string[];
}

/** Names win over integers, stay through the op, and combine into polynomials. */
const accepted: readonly Accepted[] = [
  { op: 'add', types: [f32('T', 8), f32('d')], results: ['f32[T, d]'] },
  { op: 'rms_norm', types: [f32('T', 8), of('bf16', 'd')], results: ['f32[T, d]'] },
  { op: 'linear', types: [f32('T', 'd'), f32(mulDims('heads', 'hd'), 'd')], results: ['f32[T, hd*heads]'] },
  { op: 'modulate', types: [f32('B', 'T', 'd'), f32('B', 'd'), f32('B', 'd')], results: ['f32[B, T, d]'] },
  { op: 'rope', types: [heads, f32('T', half), f32('T', half)], results: ['f32[T, heads, hd]'] },
  {
    op: 'rope',
    types: [f32('T', 'heads', 16), f32('T', half), f32('T', half)],
    results: ['f32[T, heads, hd]'],
  },
  {
    op: 'attention',
    types: [f32('B', 'T', 'heads', 'hd'), f32('B', 64, 'kv', 'hd'), f32('B', 64, 'kv', 'd'), i32()],
    attrs: scale,
    results: ['f32[B, T, heads, d]'],
  },
  {
    op: 'cache_append',
    types: [f32(64, 'kv', 'hd'), f32('T', 'kv', 'hd'), i32()],
    results: ['f32[64, kv, hd]'],
  },
  {
    op: 'moe_route',
    types: [of('bf16', 'T', 'experts')],
    attrs: { num_groups: 4, topk_per_group: 2 },
    results: ['f32[T, 8]', 'i32[T, 8]'],
  },
  {
    op: 'grouped_linear',
    types: [f32('T', 'd'), i32('T', 2), f32('experts', 'ffn', 'd')],
    results: ['f32[T, 2, ffn]'],
  },
  {
    op: 'reshape',
    types: [f32('T', mulDims('heads', 'hd'))],
    attrs: { shape: dims('T', 'heads', 'hd') },
    results: ['f32[T, heads, hd]'],
  },
  { op: 'reshape', types: [f32('T', 'd')], attrs: { shape: dims('T', 2, 4) }, results: ['f32[T, 2, 4]'] },
  { op: 'transpose', types: [f32('T', 'd')], attrs: { perm: [1, 0] }, results: ['f32[d, T]'] },
  { op: 'slice', types: [f32('T', 'd')], attrs: slice(0, subDims('T', 1), 'T'), results: ['f32[1, d]'] },
  { op: 'slice', types: [f32('T', 'd')], attrs: slice(-1, 0, divDims('d', 2)), results: ['f32[T, d/2]'] },
  { op: 'slice', types: [f32('d')], attrs: slice(0, 0, 'd', 2), results: ['f32[d/2]'] },
  { op: 'slice', types: [f32('d')], attrs: slice(0, 1, 'd', 3), results: ['f32[3]'] },
  { op: 'slice', types: [f32(mulDims('T', 2))], attrs: slice(0, 0, mulDims('T', 2), 2), results: ['f32[T]'] },
  { op: 'concat', types: [f32('T', 8), f32('S', 'd')], attrs: { axis: 0 }, results: ['f32[S + T, d]'] },
  { op: 'pad', types: [f32('T', 'd')], attrs: { before: [1, 0], after: [1, 0] }, results: ['f32[T + 2, d]'] },
  { op: 'broadcast_to', types: [f32('d')], attrs: { shape: dims('T', 'd') }, results: ['f32[T, d]'] },
  { op: 'gather', types: [of('u8', 'ffn', 'd'), i32('B', 'T')], results: ['u8[B, T, d]'] },
  { op: 'gather', types: [f32('B', 'heads', 'd'), i32('T')], attrs: { axis: 1 }, results: ['f32[B, T, d]'] },
  { op: 'reduce_max', types: [f32('T', 'd')], attrs: { axes: [-1], keepdims: true }, results: ['f32[T, 1]'] },
  { op: 'reduce_mean', types: [f32('T', 'd')], attrs: { axes: [0] }, results: ['f32[d]'] },
  { op: 'argmax', types: [f32('T', 'd')], results: ['i32[T]'] },
  { op: 'topk', types: [i32('T', 'd')], attrs: { k: 3 }, results: ['i32[T, 3]', 'i32[T, 3]'] },
  {
    op: 'conv2d',
    types: [image, f32('ffn', 3, 2, 2), f32('ffn')],
    attrs: { stride: [2, 2] },
    results: ['f32[B, ffn, 3, 3]'],
  },
  { op: 'max_pool2d', types: [image], attrs: pool, results: ['f32[B, 3, 3, 3]'] },
];

describe('accepted types', () => {
  const rows = accepted.map((row, i) => ({
    ...row,
    title: `${i}: ${row.op} gives ${row.results.join(' ')}`,
  }));
  test.each(rows)('$title', ({ op, types, attrs, results }) => {
    expect(typesOf(op, types, attrs)).toEqual(results);
  });
});

describe('run-time errors', () => {
  const failing: readonly {
    op: Parameters<typeof opCase>[0];
    operands: CaseOperand[];
    attrs?: Attrs;
    says: string;
  }[] = [
    { op: 'gather', operands: [arg('f32', [4]), arg('i32', [1], fixed(4))], says: 'index 4 is out of range' },
    {
      op: 'gather',
      operands: [arg('f32', [4]), arg('i32', [1], fixed(-1))],
      says: 'index -1 is out of range',
    },
    {
      op: 'grouped_linear',
      operands: [arg('f32', [1, 2]), arg('i32', [1, 1], fixed(3)), arg('f32', [3, 2, 2])],
      says: 'index 3 is out of range',
    },
    {
      op: 'cache_append',
      operands: [arg('f32', [4, 1]), arg('f32', [2, 1]), arg('i32', [], fixed(3))],
      says: 'rows 3 to 5 do not fit',
    },
    {
      op: 'cache_append',
      operands: [arg('f32', [4, 1]), arg('f32', [2, 1]), arg('i32', [], fixed(-1))],
      says: 'rows -1 to 1 do not fit',
    },
  ];
  test.each(failing)('$op: $says', ({ op, operands, attrs = {}, says }) => {
    const { module, inputs } = caseModule(opCase(op, says, operands, { attrs }), { weights: 'arguments' });
    expect(() => interpretEntry(module, 'main', inputs)).toThrow(says);
  });

  test('a slice beyond a run-time size', () => {
    const T = { min: 1, max: 8, size: 3 };
    const attrs = { axis: 0, start: dim(0), end: dim(5) };
    const c = opCase('slice', 'too far', [arg('f32', ['T'])], { attrs, dims: { T } });
    const { module, inputs } = caseModule(c, { weights: 'arguments' });
    expect(() => interpretEntry(module, 'main', inputs)).toThrow(
      'slice 0 to 5 is not inside an axis of size 3',
    );
  });
});

describe('declarations', () => {
  test.each(opNames)('%s is documented', (name) => {
    const decl = opTable[name];
    expect(decl.doc).not.toBe('');
    for (const operand of decl.operands) expect(operand.doc).not.toBe('');
    for (const spec of Object.values(decl.attrs)) expect(spec.doc).not.toBe('');
  });

  test.each(opNames)('%s has its optional operands last', (name) => {
    const optional = opTable[name].operands.map((o) => o.optional === true);
    expect(optional).toEqual([...optional].sort());
  });
});
