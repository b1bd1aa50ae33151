/**
 * Cases of quantization. Results are exact: integers, and floats whose roundings are declared. Sizes are around the
 * panels, pairs and quads of integer kernels: odd, not multiples of 4, 8, 16 or of the group.
 */
import { type DimLike, dim } from '../../../ir/dim.js';
import type { DType } from '../../../ir/type.js';
import { arg, type CaseOperand, type OpCase, opCase, weightArg } from '../case.js';
import { type Generate, integers, uniform } from '../random.js';

const exact = { tolerance: { f32: { absolute: 0, relative: 0 } } };
const symbols = { T: { min: 1, max: 16, size: 5 }, d: 12, out: 9, groups: 3 };

const quantized = ['i8', 'u8', 'i4', 'u4'] as const;
type Quantized = (typeof quantized)[number];

const ranges: Record<Quantized, readonly [number, number]> = {
  i8: [-128, 127],
  u8: [0, 255],
  i4: [-8, 7],
  u4: [0, 15],
};

/** Every value of the type, its ends often. */
function whole(dtype: Quantized): Generate {
  const [low, high] = ranges[dtype];
  const any = integers(low, high);
  return (count, random) =>
    Array.from(any(count, random), (v) => (random() < 0.1 ? low : random() < 0.1 ? high : v));
}

const ints = (dtype: Quantized, shape: readonly DimLike[]): CaseOperand => arg(dtype, shape, whole(dtype));
const weights = (dtype: Quantized, shape: readonly DimLike[]): CaseOperand =>
  weightArg(dtype, shape, whole(dtype));
const scales = (shape: readonly DimLike[], dtype: DType = 'f32'): CaseOperand =>
  arg(dtype, shape, uniform(0.01, 0.1));
const weightScales = (shape: readonly DimLike[], dtype: DType = 'f32'): CaseOperand =>
  weightArg(dtype, shape, uniform(0.001, 0.01));

interface SchemeRow {
  readonly name: string;
  readonly shape: readonly DimLike[];
  readonly scale: readonly DimLike[];
  readonly axis?: number;
  readonly group?: number;
}

const schemes: readonly SchemeRow[] = [
  { name: 'one scale', shape: [5, 7], scale: [] },
  { name: 'one element', shape: [1], scale: [] },
  { name: 'a scalar', shape: [], scale: [] },
  { name: 'no element', shape: [3, 0], scale: [] },
  { name: 'per row', shape: [5, 19], scale: [5], axis: 0 },
  { name: 'per column', shape: [5, 19], scale: [19] },
  { name: 'per middle axis', shape: [2, 3, 5], scale: [3], axis: 1 },
  { name: 'per token', shape: [2, 3, 9], scale: [2, 3, 1] },
  { name: 'per batch item', shape: [2, 3, 9], scale: [2, 1, 1] },
  { name: 'per token and head', shape: [4, 3, 8], scale: [4, 3, 1] },
  { name: 'groups of 4', shape: [3, 12], scale: [3, 3], group: 4 },
  { name: 'groups of 4, a short last one', shape: [3, 10], scale: [3, 3], group: 4 },
  { name: 'groups of 64 of 203', shape: [17, 203], scale: [17, 4], group: 64 },
  { name: 'groups of rows', shape: [5, 6], scale: [3, 6], axis: 0, group: 2 },
  { name: 'groups shared by rows', shape: [5, 6], scale: [1, 3], group: 2 },
  { name: 'run-time rows', shape: ['T', 'd'], scale: ['T', 1] },
  { name: 'named groups', shape: ['out', 'd'], scale: ['out', 'groups'], group: 4 },
];

/** Each scheme meets two of the types; over all schemes, every type meets every op. */
const schemeCases: OpCase[] = schemes.flatMap(({ name, shape, scale, axis = -1, group = 0 }, row) =>
  [quantized[row % 4] as Quantized, quantized[(row + 2) % 4] as Quantized].flatMap((dtype) => {
    const zeroPoint = ints(dtype, scale);
    // A parameter's size is known at compile time.
    const weight = !shape.includes('T');
    const options = { ...exact, dims: symbols };
    const attrs = { axis, group };
    return [
      opCase('quantize', `${name}, ${dtype}`, [arg('f32', shape, uniform(-6, 6)), scales(scale)], {
        ...options,
        attrs: { ...attrs, dtype },
      }),
      opCase(
        'quantize',
        `${name}, ${dtype} with zero points`,
        [arg('f32', shape, uniform(-6, 6)), scales(scale), zeroPoint],
        { ...options, attrs: { ...attrs, dtype } },
      ),
      opCase(
        'dequantize',
        `${name}, ${dtype}`,
        [
          { ...weights(dtype, shape), weight },
          { ...weightScales(scale), weight },
        ],
        {
          ...options,
          attrs,
        },
      ),
      opCase(
        'dequantize',
        `${name}, ${dtype} with zero points`,
        [
          { ...weights(dtype, shape), weight },
          { ...weightScales(scale), weight },
          { ...weights(dtype, scale), weight },
        ],
        { ...options, attrs },
      ),
    ];
  }),
);

const typeCases: OpCase[] = [
  ...(['f16', 'bf16'] as const).flatMap((dtype) => [
    opCase('quantize', `${dtype} x and scale`, [arg(dtype, [3, 9]), scales([], dtype)], exact),
    opCase('dequantize', `${dtype} scale`, [weights('i8', [3, 9]), weightScales([3], dtype)], {
      ...exact,
      attrs: { axis: 0 },
    }),
  ]),
  opCase('dequantize', 'i32', [arg('i32', [7]), scales([])], exact),
  opCase('slice', 'i4 columns', [ints('i4', [3, 5])], { attrs: { axis: 1, start: dim(1), end: dim(4) } }),
  opCase('transpose', 'a u4 matrix', [ints('u4', [3, 5])], { attrs: { perm: [1, 0] } }),
];

const dynamicShapes: readonly (readonly DimLike[])[] = [
  [1],
  [1, 1],
  [5, 7],
  [2, 3, 16],
  [3, 33],
  [0, 4],
  ['T', 'd'],
];

const dynamicCases: OpCase[] = dynamicShapes.flatMap((shape, row) =>
  (['row', 'tensor'] as const).flatMap((granularity) => [
    ...[(['i8', 'i4'] as const)[row % 2] as Quantized].map((dtype) =>
      opCase('dynamic_quantize', `[${shape}] by ${granularity}, ${dtype}`, [arg('f32', shape)], {
        ...exact,
        dims: symbols,
        attrs: { dtype, granularity },
      }),
    ),
    ...[quantized[row % 4] as Quantized].map((dtype) =>
      opCase(
        'dynamic_quantize',
        `[${shape}] by ${granularity}, asymmetric ${dtype}`,
        [arg('f32', shape, uniform(-1, 3))],
        {
          ...exact,
          dims: symbols,
          attrs: { dtype, granularity, symmetric: false },
        },
      ),
    ),
  ]),
);

interface LinearRow {
  readonly x: readonly DimLike[];
  readonly out: DimLike;
  readonly group?: number;
  readonly groups?: DimLike;
  readonly xScale?: readonly DimLike[];
}

const linearRows: readonly LinearRow[] = [
  { x: [1], out: 1 },
  { x: [8], out: 6 },
  { x: [1, 16], out: 8 },
  { x: [3, 17], out: 9, xScale: [3, 1] },
  { x: [7, 19], out: 5, xScale: [1, 1] },
  { x: [17, 203], out: 17, xScale: [17, 1] },
  { x: [17, 203], out: 17, xScale: [17, 1], group: 64, groups: 4 },
  { x: [5, 64], out: 24, group: 32, groups: 2 },
  { x: [13, 31], out: 11, group: 3, groups: 11 },
  { x: [1, 130], out: 33, group: 64, groups: 3 },
  { x: [2, 6, 20], out: 12, xScale: [2, 1, 1] },
  { x: [3, 50, 80], out: 37, xScale: [3, 1, 1] },
  { x: [2, 6, 20], out: 12, xScale: [2, 6, 1], group: 20, groups: 1 },
  { x: [125, 12], out: 16, xScale: [125, 1] },
  { x: [0, 8], out: 4 },
  { x: [3, 0], out: 4 },
  { x: [3, 8], out: 0 },
  { x: ['T', 'd'], out: 'out', xScale: ['T', 1] },
  { x: ['T', 'd'], out: 'out', xScale: ['T', 1], group: 4, groups: 'groups' },
];

const linearCases: OpCase[] = linearRows.flatMap(({ x, out, group = 0, groups, xScale = [] }, row) => {
  const wScale = groups === undefined ? [out] : [out, groups];
  const options = { ...exact, dims: symbols, attrs: { group } };
  const text = `[${x}] to ${out}${group > 0 ? `, groups of ${group}` : ''}`;
  const inner = x.at(-1) as DimLike;
  return [
    ...(['i8', row % 2 === 0 ? 'i4' : 'u4'] as const).map((dtype) =>
      opCase(
        'quantized_linear',
        `${text}, ${dtype}`,
        [ints('i8', x), weights(dtype, [out, inner]), scales(xScale), weightScales(wScale)],
        options,
      ),
    ),
    ...([row % 2 === 0 ? 'u4' : 'u8'] as const).map((dtype) =>
      opCase(
        'quantized_linear',
        `${text}, ${dtype} with all operands`,
        [
          ints('u8', x),
          weights(dtype, [out, inner]),
          scales(xScale),
          weightScales(wScale, 'bf16'),
          weightArg('f32', [out]),
          weights(dtype, wScale),
          ints('u8', xScale),
        ],
        options,
      ),
    ),
  ];
});

/** Around the tiles of tensor cores, and rows that these cannot read. */
const integerShapes: readonly (readonly [x: readonly DimLike[], out: DimLike])[] = [
  [[16], 5],
  [[1, 16], 1],
  [[3, 17], 9],
  [[7, 48], 33],
  [[130, 144], 131],
  [[2, 70, 272], 257],
  [[0, 32], 4],
  [[3, 0], 4],
  [['T', 'd'], 'out'],
];

const integerCases: OpCase[] = integerShapes.map(([x, out]) =>
  opCase('integer_linear', `[${x}] to ${out}`, [ints('i8', x), weights('i8', [out, x.at(-1) as DimLike])], {
    dims: symbols,
  }),
);

export const quantizationCases: OpCase[] = [
  ...schemeCases,
  ...typeCases,
  ...dynamicCases,
  ...linearCases,
  ...integerCases,
];
