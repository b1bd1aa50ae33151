/** Cases of reductions and of the ordered ops along an axis. Values that are compared are spaced apart. */
import type { OpName } from '../../../ir/ops/table.js';
import { type DType, dtypeNames, isFloat } from '../../../ir/type.js';
import { arg, type OpCase, opCase } from '../case.js';
import { distinct, fixed, type Generate, integers, uniform } from '../random.js';

const floats = dtypeNames.filter(isFloat);
const numbers = dtypeNames.filter((dtype) => dtype !== 'bool');
const symbols = { T: { min: 1, max: 16, size: 5 }, d: 6 };

interface ReduceRow {
  readonly shape: readonly number[];
  readonly axes: readonly number[];
  readonly keepdims?: boolean;
}

const reduceRows: readonly ReduceRow[] = [
  { shape: [], axes: [] },
  { shape: [1], axes: [0] },
  { shape: [9], axes: [0] },
  { shape: [33], axes: [-1], keepdims: true },
  { shape: [3, 5], axes: [0] },
  { shape: [3, 5], axes: [1] },
  { shape: [3, 5], axes: [-1], keepdims: true },
  { shape: [3, 5], axes: [0, 1] },
  { shape: [3, 5], axes: [] },
  { shape: [2, 3, 4, 5], axes: [1, 3] },
  { shape: [2, 3, 4, 5], axes: [3, 0], keepdims: true },
  { shape: [2, 1, 37], axes: [-1] },
  { shape: [3, 0], axes: [1] },
  { shape: [3, 0], axes: [0] },
  { shape: [0], axes: [0], keepdims: true },
];

function reduceCases(op: OpName, accepts: readonly DType[], values: Generate): OpCase[] {
  return [
    ...reduceRows.map(({ shape, axes, keepdims = false }) =>
      opCase(op, `[${shape}] over [${axes}]${keepdims ? ' kept' : ''}`, [arg('f32', shape, values)], {
        attrs: { axes, keepdims },
      }),
    ),
    ...accepts.map((dtype) => {
      const generate = isFloat(dtype) ? values : dtype === 'u8' ? integers(0, 3) : integers(-3, 3);
      return opCase(op, `${dtype} [4, 6] over [1]`, [arg(dtype, [4, 6], generate)], { attrs: { axes: [1] } });
    }),
    ...accepts
      .filter((dtype) => !isFloat(dtype))
      .map((dtype) => opCase(op, `${dtype} empty axis`, [arg(dtype, [2, 0])], { attrs: { axes: [1] } })),
    opCase(op, 'run-time axis', [arg('f32', ['T', 'd'], values)], { attrs: { axes: [0] }, dims: symbols }),
  ];
}

const big = integers(-(2 ** 31), 2 ** 31 - 1);

const wrapCases: OpCase[] = [
  opCase('reduce_sum', 'i32 wraps', [arg('i32', [3, 9], big)], { attrs: { axes: [1] } }),
  opCase('reduce_prod', 'i32 wraps', [arg('i32', [3, 5], big)], { attrs: { axes: [1] } }),
  opCase('cumsum', 'i32 wraps', [arg('i32', [9], big)]),
];

const laneShapes: readonly (readonly [readonly number[], number])[] = [
  [[1], -1],
  [[13], 0],
  [[5, 1], -1],
  [[1, 40], -1],
  [[3, 7], -1],
  [[3, 7], 0],
  [[2, 5, 3], 1],
  [[0, 4], 1],
  [[2, 0], 1],
];

function laneCases(op: OpName, values: Generate): OpCase[] {
  return [
    ...laneShapes.map(([shape, axis]) =>
      opCase(op, `[${shape}] axis ${axis}`, [arg('f32', shape, values)], { attrs: { axis } }),
    ),
    ...numbers.map((dtype) => opCase(op, `${dtype} [3, 6]`, [arg(dtype, [3, 6])])),
    opCase(op, 'run-time axis', [arg('f32', ['T', 'd'], values)], { attrs: { axis: 0 }, dims: symbols }),
  ];
}

const argmaxCases: OpCase[] = [
  opCase('argmax', 'first of equals', [arg('f32', [2, 5], fixed(1, 3, 3, 0, 3))]),
  opCase('argmax', 'infinities', [
    arg('f32', [2, 3], fixed(-1e30, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY)),
  ]),
  opCase('argmax', 'all minus infinity', [arg('f32', [4], fixed(Number.NEGATIVE_INFINITY))]),
];

const topkShapes: readonly (readonly [readonly number[], number])[] = [
  [[1], 1],
  [[9], 4],
  [[3, 5], 5],
  [[1, 100], 8],
  [[2, 3, 7], 2],
  [[0, 4], 2],
];

const topkCases: OpCase[] = [
  ...topkShapes.map(([shape, k]) =>
    opCase('topk', `${k} of [${shape}]`, [arg('f32', shape, distinct(-5, 5))], { attrs: { k } }),
  ),
  ...numbers.map((dtype) => {
    const values = isFloat(dtype) ? distinct(-5, 5) : undefined;
    return opCase('topk', dtype, [arg(dtype, [2, 6], values)], { attrs: { k: 3 } });
  }),
  opCase('topk', 'ties go to the lower index', [arg('f32', [2, 6], fixed(1, 2, 2, 0, 2, 1))], {
    attrs: { k: 5 },
  }),
  opCase('topk', 'run-time rows', [arg('f32', ['T', 'd'], distinct(-5, 5))], {
    attrs: { k: 2 },
    dims: symbols,
  }),
];

export const reductionCases: OpCase[] = [
  ...reduceCases('reduce_sum', numbers, uniform(-2, 2)),
  ...reduceCases('reduce_prod', numbers, uniform(0.7, 1.4)),
  ...reduceCases('reduce_max', numbers, uniform(-5, 5)),
  ...reduceCases('reduce_min', numbers, uniform(-5, 5)),
  ...reduceCases('reduce_mean', floats, uniform(-2, 2)),
  ...wrapCases,
  ...laneCases('argmax', distinct(-5, 5)),
  ...argmaxCases,
  ...laneCases('cumsum', uniform(-2, 2)),
  ...topkCases,
];
