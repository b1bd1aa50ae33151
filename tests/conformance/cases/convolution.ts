/** Cases of convolution and pooling: strides, one-sided padding, dilation, groups, single pixels. */
import { type DType, dtypeNames, isFloat } from '../../../ir/type.js';
import { arg, type OpCase, opCase, weightArg } from '../case.js';

const floats = dtypeNames.filter(isFloat);
const symbols = { B: { min: 1, max: 4, size: 2 }, channels: 4, features: 6, size: 8 };

interface ConvRow {
  readonly x: readonly number[];
  readonly w: readonly number[];
  readonly bias?: boolean;
  readonly stride?: readonly number[];
  readonly padding?: readonly number[];
  readonly dilation?: readonly number[];
  readonly groups?: number;
}

const convRows: readonly ConvRow[] = [
  { x: [1, 1, 1, 1], w: [1, 1, 1, 1], bias: true },
  { x: [2, 3, 5, 7], w: [4, 3, 1, 1], bias: true },
  { x: [1, 2, 6, 5], w: [3, 2, 3, 3], padding: [1, 1, 1, 1] },
  { x: [1, 3, 8, 8], w: [5, 3, 2, 2], stride: [2, 2], bias: true },
  { x: [1, 1, 9, 7], w: [2, 1, 3, 2], stride: [2, 3], padding: [1, 0, 2, 1], bias: true },
  { x: [1, 2, 9, 9], w: [2, 2, 3, 3], dilation: [2, 3], padding: [2, 3, 2, 3] },
  { x: [2, 4, 5, 5], w: [6, 2, 3, 3], groups: 2, bias: true },
  { x: [1, 5, 4, 4], w: [5, 1, 3, 3], groups: 5, padding: [1, 1, 1, 1] },
  { x: [0, 2, 4, 4], w: [3, 2, 3, 3], bias: true },
  { x: [1, 0, 4, 4], w: [3, 0, 3, 3], bias: true },
  { x: [1, 2, 3, 3], w: [2, 2, 5, 5], padding: [1, 1, 1, 1] },
];

function convName({
  x,
  w,
  stride = [1, 1],
  padding = [0, 0, 0, 0],
  dilation = [1, 1],
  groups = 1,
}: ConvRow): string {
  return `[${x}] by [${w}], stride ${stride}, padding ${padding}, dilation ${dilation}, groups ${groups}`;
}

const convCases: OpCase[] = [
  ...convRows.map((row) => {
    const { x, w, bias, ...attrs } = row;
    const operands = [
      arg('f32', x),
      weightArg('f32', w),
      ...(bias ? [weightArg('f32', [w[0] as number])] : []),
    ];
    return opCase('conv2d', convName(row), operands, { attrs });
  }),
  ...floats.flatMap((x) =>
    floats.map((w) =>
      opCase('conv2d', `${x} x, ${w} weight`, [
        arg(x, [1, 2, 4, 5]),
        weightArg(w, [3, 2, 3, 3]),
        weightArg(w, [3]),
      ]),
    ),
  ),
  opCase(
    'conv2d',
    'named dimensions',
    [
      arg('f32', ['B', 'channels', 'size', 'size']),
      weightArg('f32', ['features', 'channels', 2, 2]),
      weightArg('f32', ['features']),
    ],
    { attrs: { stride: [2, 2] }, dims: symbols },
  ),
];

interface PoolRow {
  readonly x: readonly number[];
  readonly kernel: readonly number[];
  readonly stride: readonly number[];
  readonly padding?: readonly number[];
}

const poolRows: readonly PoolRow[] = [
  { x: [1, 1, 1, 1], kernel: [1, 1], stride: [1, 1] },
  { x: [2, 3, 6, 8], kernel: [2, 2], stride: [2, 2] },
  { x: [1, 2, 7, 5], kernel: [3, 2], stride: [2, 1], padding: [1, 1, 1, 0] },
  { x: [1, 1, 5, 5], kernel: [3, 3], stride: [1, 1], padding: [2, 2, 2, 2] },
  { x: [1, 2, 4, 9], kernel: [4, 9], stride: [1, 1] },
  { x: [0, 2, 4, 4], kernel: [2, 2], stride: [2, 2] },
  { x: [2, 0, 4, 4], kernel: [2, 2], stride: [2, 2] },
];

function poolCases(op: 'max_pool2d' | 'avg_pool2d', extra: Record<string, boolean>, note: string): OpCase[] {
  const typed = (dtype: DType) =>
    opCase(op, `${dtype}${note}`, [arg(dtype, [1, 2, 5, 5])], {
      attrs: { kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1], ...extra },
    });
  return [
    ...poolRows.map(({ x, ...attrs }) =>
      opCase(
        op,
        `[${x}] by [${attrs.kernel}] every [${attrs.stride}] padded [${attrs.padding ?? ''}]${note}`,
        [arg('f32', x)],
        {
          attrs: { ...attrs, ...extra },
        },
      ),
    ),
    ...floats.map(typed),
    opCase(op, `named dimensions${note}`, [arg('f32', ['B', 'channels', 'size', 'size'])], {
      attrs: { kernel: [2, 2], stride: [2, 2], ...extra },
      dims: symbols,
    }),
  ];
}

export const convolutionCases: OpCase[] = [
  ...convCases,
  ...poolCases('max_pool2d', {}, ''),
  ...poolCases('avg_pool2d', {}, ''),
  ...poolCases('avg_pool2d', { count_include_pad: true }, ', padding counted'),
];
