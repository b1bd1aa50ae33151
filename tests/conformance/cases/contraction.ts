/** Cases of the matrix products. Sizes are around the tiles and vectors of targets: 1, odd, non-multiples of 4 and 8. */
import { mulDims } from '../../../ir/dim.js';
import { type DType, dtypeNames, isFloat } from '../../../ir/type.js';
import { arg, type OpCase, opCase, weightArg } from '../case.js';
import { fixed, indices, integers, uniform } from '../random.js';

const floats = dtypeNames.filter(isFloat);
const symbols = { T: { min: 1, max: 16, size: 5 }, d: 12, heads: 3, hd: 4, ffn: 20, experts: 4 };

const matmulShapes: readonly (readonly [readonly number[], readonly number[]])[] = [
  [
    [1, 1],
    [1, 1],
  ],
  [
    [1, 7],
    [7, 5],
  ],
  [
    [3, 1],
    [1, 9],
  ],
  [
    [5, 13],
    [13, 1],
  ],
  [
    [9, 16],
    [16, 17],
  ],
  [
    [33, 31],
    [31, 35],
  ],
  [
    [4, 0],
    [0, 3],
  ],
  [
    [0, 4],
    [4, 3],
  ],
  [
    [4, 3],
    [3, 0],
  ],
  [
    [2, 3, 5],
    [2, 5, 4],
  ],
  [
    [2, 3, 5],
    [5, 4],
  ],
  [
    [3, 5],
    [2, 5, 4],
  ],
  [
    [2, 1, 3, 5],
    [3, 5, 2],
  ],
  [
    [1, 3, 5],
    [4, 5, 2],
  ],
  [
    [0, 3, 5],
    [1, 5, 2],
  ],
];

const matmulTypes: readonly DType[] = ['f16', 'bf16', 'i32', 'i64', 'i8', 'u8'];

/** Sums of products of 31 values below 2: the usual bound of a dot product, n * epsilon * sum |a b|. */
const long = { f32: { absolute: 4e-5, relative: 1e-5 } };

const matmulCases: OpCase[] = [
  ...matmulShapes.map(([a, b]) =>
    opCase('matmul', `f32 [${a}] and [${b}]`, [arg('f32', a), arg('f32', b)], { tolerance: long }),
  ),
  ...matmulTypes.map((dtype) =>
    opCase('matmul', `${dtype} [3, 6] and [6, 5]`, [arg(dtype, [3, 6]), arg(dtype, [6, 5])]),
  ),
  opCase('matmul', 'i32 wraps', [
    arg('i32', [2, 3], integers(-(2 ** 31), 2 ** 31 - 1)),
    arg('i32', [3, 2], integers(-(2 ** 31), 2 ** 31 - 1)),
  ]),
  opCase('matmul', 'run-time rows', [arg('f32', ['T', 'd']), arg('f32', ['d', 'ffn'])], { dims: symbols }),
  opCase('matmul', 'run-time inner axis', [arg('f32', ['d', 'T']), arg('f32', ['T', 'ffn'])], {
    dims: symbols,
  }),
];

interface LinearRow {
  readonly x: readonly number[];
  readonly out: number;
  readonly bias?: boolean;
}

const linearRows: readonly LinearRow[] = [
  { x: [8], out: 6, bias: true },
  { x: [1, 1], out: 1 },
  { x: [1, 16], out: 8 },
  { x: [1, 33], out: 17, bias: true },
  { x: [1, 100], out: 3 },
  { x: [2, 7], out: 9 },
  { x: [5, 24], out: 10, bias: true },
  { x: [7, 19], out: 1, bias: true },
  { x: [17, 32], out: 33 },
  { x: [2, 3, 12], out: 5, bias: true },
  { x: [0, 8], out: 4, bias: true },
  { x: [3, 0], out: 4, bias: true },
  { x: [3, 4], out: 0 },
  // Several tiles of kernels that take many rows and columns at a time.
  { x: [150, 72], out: 200, bias: true },
  { x: [300, 136], out: 33 },
  { x: [2, 40, 600], out: 264 },
];

const linearCases: OpCase[] = [
  ...linearRows.map(({ x, out, bias }) => {
    const w = weightArg('f32', [out, x.at(-1) as number]);
    const operands = [arg('f32', x), w, ...(bias ? [weightArg('f32', [out])] : [])];
    return opCase('linear', `[${x}] to ${out}${bias ? ' with bias' : ''}`, operands, { tolerance: long });
  }),
  ...floats.flatMap((x) =>
    floats.map((w) =>
      opCase('linear', `${x} x, ${w} weight`, [
        arg(x, [3, 20], uniform(-1, 1)),
        weightArg(w, [7, 20], uniform(-1, 1)),
        weightArg(w, [7]),
      ]),
    ),
  ),
  opCase(
    'linear',
    'named dimensions',
    [
      arg('f32', ['T', 'd']),
      weightArg('f32', [mulDims('heads', 'hd'), 'd']),
      weightArg('f32', [mulDims('heads', 'hd')]),
    ],
    { dims: symbols },
  ),
  opCase('linear', 'run-time T is 1', [arg('f32', ['T', 'd']), weightArg('bf16', ['ffn', 'd'])], {
    dims: { ...symbols, T: { min: 1, max: 512, size: 1 } },
  }),
];

interface GroupedRow {
  readonly tokens: number;
  readonly slots: number;
  readonly experts: number;
  readonly inner: number;
  readonly out: number;
  readonly perSlot?: boolean;
}

const groupedRows: readonly GroupedRow[] = [
  { tokens: 1, slots: 1, experts: 1, inner: 1, out: 1 },
  { tokens: 1, slots: 2, experts: 4, inner: 16, out: 12 },
  { tokens: 5, slots: 3, experts: 4, inner: 9, out: 7 },
  { tokens: 5, slots: 3, experts: 4, inner: 9, out: 7, perSlot: true },
  { tokens: 9, slots: 8, experts: 16, inner: 20, out: 8, perSlot: true },
  { tokens: 0, slots: 2, experts: 3, inner: 4, out: 5 },
  { tokens: 3, slots: 0, experts: 3, inner: 4, out: 5 },
  { tokens: 3, slots: 2, experts: 3, inner: 0, out: 5 },
];

const groupedCases: OpCase[] = [
  ...groupedRows.map(({ tokens, slots, experts, inner, out, perSlot }) =>
    opCase(
      'grouped_linear',
      `T ${tokens}, K ${slots}, E ${experts}, ${inner} to ${out}${perSlot ? ', per slot' : ''}`,
      [
        arg('f32', perSlot ? [tokens, slots, inner] : [tokens, inner]),
        arg('i32', [tokens, slots], indices(experts)),
        weightArg('f32', [experts, out, inner]),
      ],
    ),
  ),
  ...floats.map((dtype) =>
    opCase('grouped_linear', `${dtype} weight`, [
      arg('f32', [3, 10]),
      arg('i32', [3, 2], indices(4)),
      weightArg(dtype, [4, 6, 10]),
    ]),
  ),
  opCase('grouped_linear', 'i64 index, one expert for all', [
    arg('f32', [4, 6]),
    arg('i64', [4, 2], fixed(2)),
    weightArg('f32', [3, 5, 6]),
  ]),
  opCase(
    'grouped_linear',
    'named dimensions',
    [arg('f32', ['T', 'd']), arg('i32', ['T', 2], indices(4)), weightArg('f32', ['experts', 'ffn', 'd'])],
    { dims: symbols },
  ),
];

export const contractionCases: OpCase[] = [...matmulCases, ...linearCases, ...groupedCases];
