/** Cases of the ops that only move elements: every dtype, empty and size-1 axes, run-time sizes. */
import { addDims, type DimLike, dim, mulDims, subDims } from '../../../ir/dim.js';
import { dtypeNames } from '../../../ir/type.js';
import { arg, type CaseDim, dims, type OpCase, opCase } from '../case.js';
import { fixed, indices } from '../random.js';

const symbols: Record<string, CaseDim> = {
  T: { min: 1, max: 16, size: 5 },
  S: { min: 1, max: 16, size: 3 },
  d: 6,
  heads: 2,
  hd: 4,
};

const reshapeRows: readonly (readonly [readonly number[], readonly number[]])[] = [
  [[], []],
  [[], [1, 1]],
  [[1], []],
  [[6], [2, 3]],
  [
    [2, 3, 4],
    [4, 6],
  ],
  [
    [2, 3],
    [1, 6, 1],
  ],
  [
    [0, 3],
    [5, 0],
  ],
];

const reshapeCases: OpCase[] = [
  ...reshapeRows.map(([from, to]) =>
    opCase('reshape', `[${from}] to [${to}]`, [arg('f32', from)], { attrs: { shape: dims(...to) } }),
  ),
  ...dtypeNames.map((dtype) =>
    opCase('reshape', dtype, [arg(dtype, [2, 6])], { attrs: { shape: dims(3, 4) } }),
  ),
  opCase('reshape', 'splits named heads', [arg('f32', ['T', mulDims('heads', 'hd')])], {
    attrs: { shape: dims('T', 'heads', 'hd') },
    dims: symbols,
  }),
  opCase('reshape', 'joins run-time axes', [arg('f32', ['T', 'S', 'd'])], {
    attrs: { shape: dims(mulDims('T', 'S'), 'd') },
    dims: symbols,
  }),
];

const transposeRows: readonly (readonly [readonly number[], readonly number[]])[] = [
  [[], []],
  [[5], [0]],
  [
    [3, 7],
    [1, 0],
  ],
  [
    [1, 9],
    [1, 0],
  ],
  [
    [2, 3, 5],
    [1, 0, 2],
  ],
  [
    [2, 3, 5],
    [2, 0, 1],
  ],
  [
    [2, 3, 4, 5],
    [0, 2, 1, 3],
  ],
  [
    [2, 3, 4, 5],
    [3, 2, 1, 0],
  ],
  [
    [0, 4],
    [1, 0],
  ],
];

const transposeCases: OpCase[] = [
  ...transposeRows.map(([shape, perm]) =>
    opCase('transpose', `[${shape}] by [${perm}]`, [arg('f32', shape)], { attrs: { perm } }),
  ),
  ...dtypeNames.map((dtype) => opCase('transpose', dtype, [arg(dtype, [3, 5])], { attrs: { perm: [1, 0] } })),
  opCase('transpose', 'run-time tokens', [arg('f32', ['T', 'heads', 'hd'])], {
    attrs: { perm: [1, 0, 2] },
    dims: symbols,
  }),
];

interface SliceRow {
  readonly shape: readonly DimLike[];
  readonly axis: number;
  readonly start: DimLike;
  readonly end: DimLike;
  readonly step?: number;
  readonly name?: string;
}

const sliceRows: readonly SliceRow[] = [
  { shape: [7], axis: 0, start: 0, end: 7 },
  { shape: [7], axis: 0, start: 2, end: 5 },
  { shape: [7], axis: 0, start: 3, end: 3 },
  { shape: [7], axis: 0, start: 7, end: 7 },
  { shape: [7], axis: 0, start: 0, end: 7, step: 2 },
  { shape: [8], axis: 0, start: 1, end: 8, step: 3 },
  { shape: [3, 5], axis: -1, start: 1, end: 4 },
  { shape: [3, 5], axis: 0, start: 2, end: 3 },
  { shape: [2, 6, 3], axis: 1, start: 1, end: 6, step: 2 },
  { shape: [0, 4], axis: 1, start: 1, end: 3 },
  { shape: ['T', 'd'], axis: 0, start: subDims('T', 1), end: 'T', name: 'last token' },
  { shape: ['T', 'd'], axis: 0, start: 1, end: 'T', name: 'all but the first token' },
  { shape: ['T', 'd'], axis: 1, start: 1, end: 'd', step: 2, name: 'odd channels' },
];

const sliceCases: OpCase[] = [
  ...sliceRows.map(({ shape, axis, start, end, step = 1, name }) =>
    opCase('slice', name ?? `[${shape}] axis ${axis} ${start} to ${end} by ${step}`, [arg('f32', shape)], {
      attrs: { axis, start: dim(start), end: dim(end), step },
      dims: name === undefined ? {} : symbols,
    }),
  ),
  ...dtypeNames.map((dtype) =>
    opCase('slice', dtype, [arg(dtype, [4, 5])], { attrs: { axis: 1, start: dim(1), end: dim(4) } }),
  ),
  opCase('slice', 'last token of one', [arg('f32', ['T', 'd'])], {
    attrs: { axis: 0, start: subDims('T', 1), end: dim('T') },
    dims: { ...symbols, T: { min: 1, max: 16, size: 1 } },
  }),
];

interface ConcatRow {
  readonly shapes: readonly (readonly number[])[];
  readonly axis: number;
}

const concatRows: readonly ConcatRow[] = [
  { shapes: [[5]], axis: 0 },
  { shapes: [[2], [3]], axis: 0 },
  {
    shapes: [
      [2, 3],
      [1, 3],
      [4, 3],
    ],
    axis: 0,
  },
  {
    shapes: [
      [2, 3],
      [2, 1],
      [2, 5],
    ],
    axis: -1,
  },
  {
    shapes: [
      [2, 2, 3],
      [2, 4, 3],
    ],
    axis: 1,
  },
  {
    shapes: [
      [0, 3],
      [2, 3],
    ],
    axis: 0,
  },
  {
    shapes: [
      [2, 0],
      [2, 0],
    ],
    axis: 1,
  },
];

const splitCases: OpCase[] = [
  opCase('split', '[7] into 3, 0, 4', [arg('f32', [7])], { attrs: { sizes: dims(3, 0, 4) } }),
  opCase('split', '[2,9,3] into 1, 8 along the middle', [arg('f32', [2, 9, 3])], {
    attrs: { sizes: dims(1, 8), axis: 1 },
  }),
  opCase('split', '[0,4] along the last', [arg('f32', [0, 4])], { attrs: { sizes: dims(1, 3), axis: -1 } }),
  opCase('split', 'one part', [arg('i32', [5])], { attrs: { sizes: dims(5) } }),
  ...dtypeNames.map((dtype) =>
    opCase('split', dtype, [arg(dtype, [3, 5])], { attrs: { sizes: dims(2, 3), axis: 1 } }),
  ),
  opCase('split', 'run-time rows', [arg('f32', [addDims('T', 'd'), 3])], {
    attrs: { sizes: dims('T', 'd') },
    dims: symbols,
  }),
];

const concatCases: OpCase[] = [
  ...concatRows.map(({ shapes, axis }) =>
    opCase(
      'concat',
      `${shapes.map((s) => `[${s}]`).join(' ')} axis ${axis}`,
      shapes.map((s) => arg('f32', s)),
      {
        attrs: { axis },
      },
    ),
  ),
  ...dtypeNames.map((dtype) =>
    opCase('concat', dtype, [arg(dtype, [2, 3]), arg(dtype, [2, 2])], { attrs: { axis: 1 } }),
  ),
  opCase('concat', 'run-time rows', [arg('f32', ['T', 'd']), arg('f32', ['S', 'd']), arg('f32', [1, 'd'])], {
    attrs: { axis: 0 },
    dims: symbols,
  }),
];

interface PadRow {
  readonly shape: readonly number[];
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly value?: number;
}

const padRows: readonly PadRow[] = [
  { shape: [], before: [], after: [] },
  { shape: [3], before: [2], after: [1], value: 7.5 },
  { shape: [2, 3], before: [0, 1], after: [2, 0], value: -1 },
  { shape: [2, 3], before: [0, 0], after: [0, 0] },
  { shape: [0, 2], before: [1, 0], after: [1, 1], value: 3 },
  { shape: [1, 2, 3, 3], before: [0, 0, 1, 2], after: [0, 0, 2, 1] },
  { shape: [2], before: [1], after: [1], value: Number.NEGATIVE_INFINITY },
];

const padCases: OpCase[] = [
  ...padRows.map(({ shape, before, after, value = 0 }) =>
    opCase('pad', `[${shape}] by [${before}] and [${after}] with ${value}`, [arg('f32', shape)], {
      attrs: { before, after, value },
    }),
  ),
  ...dtypeNames.map((dtype) =>
    opCase('pad', dtype, [arg(dtype, [2, 3])], { attrs: { before: [1, 0], after: [0, 2], value: 1 } }),
  ),
  opCase('pad', 'run-time rows', [arg('f32', ['T', 'd'])], {
    attrs: { before: [2, 0], after: [1, 0] },
    dims: symbols,
  }),
];

const broadcastRows: readonly (readonly [readonly DimLike[], readonly DimLike[]])[] = [
  [[], []],
  [[], [3]],
  [[3], [2, 3]],
  [
    [3, 1],
    [3, 4],
  ],
  [
    [1, 3, 1],
    [2, 5, 3, 4],
  ],
  [[1], [0]],
  [
    [0, 1],
    [0, 3],
  ],
];

const broadcastCases: OpCase[] = [
  ...broadcastRows.map(([from, to]) =>
    opCase('broadcast_to', `[${from}] to [${to}]`, [arg('f32', from)], { attrs: { shape: dims(...to) } }),
  ),
  ...dtypeNames.map((dtype) =>
    opCase('broadcast_to', dtype, [arg(dtype, [3, 1])], { attrs: { shape: dims(2, 3, 2) } }),
  ),
  opCase('broadcast_to', 'run-time rows', [arg('f32', ['d'])], {
    attrs: { shape: dims('T', 'd') },
    dims: symbols,
  }),
];

interface GatherRow {
  readonly shape: readonly number[];
  readonly index: readonly number[];
  readonly axis?: number;
}

const gatherRows: readonly GatherRow[] = [
  { shape: [7], index: [] },
  { shape: [7, 3], index: [] },
  { shape: [7, 3], index: [4] },
  { shape: [1, 5], index: [3] },
  { shape: [9, 33], index: [1] },
  { shape: [4, 5], index: [2, 3] },
  { shape: [3, 4, 5], index: [6], axis: 1 },
  { shape: [3, 4, 5], index: [2, 2], axis: -1 },
  { shape: [4, 5], index: [0] },
  { shape: [4, 0], index: [3] },
];

const gatherCases: OpCase[] = [
  ...gatherRows.map(({ shape, index, axis = 0 }) =>
    opCase(
      'gather',
      `[${shape}] at [${index}] axis ${axis}`,
      [arg('f32', shape), arg('i32', index, indices(shape.at(axis) as number))],
      { attrs: { axis } },
    ),
  ),
  ...dtypeNames.map((dtype) => opCase('gather', dtype, [arg(dtype, [5, 4]), arg('i32', [3], indices(5))])),
  opCase('gather', 'i64 index', [arg('f32', [5, 4]), arg('i64', [2], fixed(4, 0))]),
  opCase('gather', 'embedding of run-time tokens', [arg('f32', [11, 'd']), arg('i32', ['T'], indices(11))], {
    dims: symbols,
  }),
  opCase('gather', 'of a sum of axes', [arg('f32', [addDims('d', 2), 3]), arg('i32', [4], indices(8))], {
    dims: symbols,
  }),
];

export const movementCases: OpCase[] = [
  ...reshapeCases,
  ...transposeCases,
  ...sliceCases,
  ...splitCases,
  ...concatCases,
  ...padCases,
  ...broadcastCases,
  ...gatherCases,
];
