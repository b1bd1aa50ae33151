/** Cases of norms, softmax, adaLN modulation and SwiGLU. */
import { type DType, dtypeNames, isFloat } from '../../../ir/type.js';
import { arg, type CaseOperand, type OpCase, opCase, weightArg } from '../case.js';
import { fixed, uniform } from '../random.js';

const floats = dtypeNames.filter(isFloat);
const rowShapes = [[1], [9], [1, 1], [1, 8], [3, 5], [4, 32], [2, 3, 33], [0, 6], [3, 0], [1, 130]];
const symbols = { T: { min: 1, max: 16, size: 3 }, B: { min: 1, max: 4, size: 2 }, d: 10, ffn: 14 };

function vectors(dtype: DType, width: number | string, count: number): CaseOperand[] {
  return Array.from({ length: count }, () => weightArg(dtype, [width]));
}

/** Norms that take up to `most` vectors after x. */
function normCases(op: 'rms_norm' | 'layer_norm', most: number): OpCase[] {
  const counts = Array.from({ length: most + 1 }, (_, i) => i);
  return [
    ...rowShapes.flatMap((shape) =>
      counts.map((count) =>
        opCase(op, `[${shape}] with ${count} vectors`, [
          arg('f32', shape),
          ...vectors('f32', shape.at(-1) as number, count),
        ]),
      ),
    ),
    ...floats.flatMap((x) =>
      floats.map((gamma) =>
        opCase(op, `${x} x, ${gamma} vectors`, [arg(x, [3, 12]), ...vectors(gamma, 12, most)]),
      ),
    ),
    opCase(op, 'eps dominates', [arg('f32', [2, 6], uniform(-1e-4, 1e-4)), ...vectors('f32', 6, 1)], {
      attrs: { eps: 0.5 },
    }),
    opCase(op, 'zero rows', [arg('f32', [2, 6], fixed(0)), ...vectors('f32', 6, 1)]),
    opCase(op, 'large values', [arg('f32', [2, 24], uniform(-1e4, 1e4)), ...vectors('f32', 24, 1)]),
    opCase(op, 'named dimensions', [arg('f32', ['T', 'd']), ...vectors('f32', 'd', most)], { dims: symbols }),
  ];
}

interface SoftmaxRow {
  readonly shape: readonly number[];
  readonly axis?: number;
}

const softmaxRows: readonly SoftmaxRow[] = [
  { shape: [1] },
  { shape: [13] },
  { shape: [1, 1] },
  { shape: [5, 1] },
  { shape: [3, 8] },
  { shape: [2, 3, 37] },
  { shape: [4, 0] },
  { shape: [0, 4] },
  { shape: [3, 5], axis: 0 },
  { shape: [2, 7, 3], axis: 1 },
  { shape: [2, 7, 3], axis: -2 },
];

const softmaxCases: OpCase[] = [
  ...softmaxRows.map(({ shape, axis = -1 }) =>
    opCase('softmax', `[${shape}] axis ${axis}`, [arg('f32', shape, uniform(-6, 6))], { attrs: { axis } }),
  ),
  ...floats.map((dtype) => opCase('softmax', `${dtype} [3, 11]`, [arg(dtype, [3, 11])])),
  opCase('softmax', 'large values', [arg('f32', [3, 6], uniform(-1000, 1000))]),
  opCase('softmax', 'masked values', [arg('f32', [2, 4], fixed(1, Number.NEGATIVE_INFINITY, 2))]),
  opCase('softmax', 'run-time axis', [arg('f32', ['d', 'T'])], { dims: symbols }),
];

const modulateShapes = [
  [1, 1],
  [2, 5],
  [2, 3, 8],
  [1, 7, 24],
  [3, 2, 2, 5],
  [0, 3, 4],
  [2, 0, 4],
  [2, 3, 0],
];

const modulateCases: OpCase[] = [
  ...modulateShapes.map((shape) => {
    const perItem = [shape[0] as number, shape.at(-1) as number];
    return opCase('modulate', `[${shape}]`, [arg('f32', shape), arg('f32', perItem), arg('f32', perItem)]);
  }),
  ...floats.map((dtype) =>
    opCase('modulate', `${dtype} [2, 3, 9]`, [arg(dtype, [2, 3, 9]), arg(dtype, [2, 9]), arg(dtype, [2, 9])]),
  ),
  opCase(
    'modulate',
    'named dimensions',
    [arg('f32', ['B', 'T', 'd']), arg('f32', ['B', 'd']), arg('f32', ['B', 'd'])],
    {
      dims: symbols,
    },
  ),
];

const swigluCases: OpCase[] = [
  ...[[], [1], [7], [1, 16], [3, 33], [2, 0]].map((shape) =>
    opCase('swiglu', `[${shape}]`, [arg('f32', shape, uniform(-6, 6)), arg('f32', shape)]),
  ),
  ...floats.map((dtype) => opCase('swiglu', `${dtype} [2, 9]`, [arg(dtype, [2, 9]), arg(dtype, [2, 9])])),
  opCase('swiglu', 'saturated gate', [arg('f32', [5], fixed(100, -100, 0, 30, -30)), arg('f32', [5])]),
  opCase('swiglu', 'named dimensions', [arg('f32', ['T', 'ffn']), arg('f32', ['T', 'ffn'])], {
    dims: symbols,
  }),
];

export const normalizationCases: OpCase[] = [
  ...normCases('rms_norm', 1),
  ...normCases('layer_norm', 2),
  ...softmaxCases,
  ...modulateCases,
  ...swigluCases,
];
