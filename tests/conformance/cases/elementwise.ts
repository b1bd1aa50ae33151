/** Cases of the elementwise ops: every dtype they accept, broadcasting, edges of the number ranges. */
import { dim, mulDims } from '../../../ir/dim.js';
import type { OpName } from '../../../ir/ops/table.js';
import { type DType, dtypeNames, isFloat } from '../../../ir/type.js';
import { arg, dims, type OpCase, opCase } from '../case.js';
import { fixed, type Generate, integers, uniform } from '../random.js';

const floats = dtypeNames.filter(isFloat);
const numbers = dtypeNames.filter((dtype) => dtype !== 'bool');
const inf = Number.POSITIVE_INFINITY;
const nan = Number.NaN;

/** Sizes around the widths of vector units, empty and scalar ones included. */
const unaryShapes = [[], [1], [3], [4], [17], [2, 0, 3], [3, 5], [2, 3, 7], [3, 2, 1]];

interface UnaryRow {
  readonly accepts: readonly DType[];
  readonly values: Generate;
  /** Exact edge values, in f32. */
  readonly edges: readonly number[];
}

function float(low: number, high: number, ...edges: readonly number[]): UnaryRow {
  return { accepts: floats, values: uniform(low, high), edges };
}

const halves = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0, 2 ** 23 + 1, -(2 ** 31), 0.49999997, inf, -inf, nan];
const zeros = [0, -0, 1, -1, inf, -inf, nan];

const unaryRows = {
  neg: { accepts: numbers, values: uniform(-9, 9), edges: zeros },
  abs: { accepts: numbers, values: uniform(-9, 9), edges: zeros },
  sign: { accepts: numbers, values: uniform(-3, 3), edges: zeros },
  relu: { accepts: numbers, values: uniform(-9, 9), edges: zeros },
  sqrt: float(0, 100, 0, 1, 4, inf, 1e-30, 1e30, -1, nan),
  rsqrt: float(0.01, 100, 0, 1, 4, inf, 1e-30, 1e30),
  reciprocal: float(0.1, 9, 0, -0, 1, -2, inf, -inf, 1e30, nan),
  exp: float(-8, 8, 0, -0, 1, -1, 88, -87, 89, -104, 1000, -1000, inf, -inf, nan),
  log: float(0.01, 100, 0, 1, Math.E, inf, 1e-30, 1e30, -1, nan),
  sin: float(-7, 7, 0, 1, -1, 100, -512, 1000.5, inf, nan),
  cos: float(-7, 7, 0, 1, -1, 100, -512, 1000.5, inf, nan),
  tanh: float(-4, 4, 0, 1e-4, -1e-4, 0.3, 9, -9, 100, -100, inf, -inf, nan),
  erf: float(-4, 4, 0, 1e-4, -1e-4, 0.5, 1, 6, -6, 100, -100, inf, -inf, nan),
  floor: float(-9, 9, ...halves),
  ceil: float(-9, 9, ...halves),
  round: float(-9, 9, ...halves),
  sigmoid: float(-9, 9, 0, 20, -20, 80, -80, 200, -200, inf, -inf, nan),
  silu: float(-9, 9, 0, 20, -20, 80, -80, 200, -200, nan),
  softplus: float(-9, 9, 0, 20, -20, 80, -80, 200, -200, inf, -inf, nan),
  gelu: float(-5, 5, 0, 1, -1, 6, -6, 20, -20, 200, nan),
  gelu_tanh: float(-5, 5, 0, 1, -1, 6, -6, 20, -20, 200, nan),
  quick_gelu: float(-5, 5, 0, 1, -1, 6, -6, 20, -20, 50, -50, nan),
} as const satisfies Partial<Record<OpName, UnaryRow>>;

function unaryCases(op: OpName, { accepts, values, edges }: UnaryRow): OpCase[] {
  const shaped = unaryShapes.map((shape) => opCase(op, `f32 [${shape}]`, [arg('f32', shape, values)]));
  const typed = accepts
    .filter((dtype) => dtype !== 'f32')
    .map((dtype) => {
      const generate = isFloat(dtype) ? values : dtype === 'u8' ? integers(0, 255) : integers(-128, 127);
      return opCase(op, `${dtype} [3, 5]`, [arg(dtype, [3, 5], generate)]);
    });
  return [...shaped, ...typed, opCase(op, 'f32 edge values', [arg('f32', [edges.length], fixed(...edges))])];
}

/** Pairs of shapes that broadcast: equal, scalar, row, column, both sides, leading axes, empty. */
const pairShapes: readonly (readonly [readonly number[], readonly number[]])[] = [
  [[], []],
  [[5], [5]],
  [
    [2, 7],
    [2, 7],
  ],
  [[3, 4], []],
  [[], [3, 4]],
  [[3, 5], [5]],
  [
    [3, 5],
    [3, 1],
  ],
  [
    [4, 1],
    [1, 6],
  ],
  [
    [2, 1, 3, 1],
    [5, 1, 2],
  ],
  [[7], [2, 3, 7]],
  [
    [0, 3],
    [1, 3],
  ],
  [
    [2, 0],
    [2, 1],
  ],
];

interface BinaryRow {
  readonly accepts: readonly DType[];
  readonly left: Generate;
  readonly right: Generate;
}

const anyNumber: BinaryRow = { accepts: numbers, left: uniform(-3, 3), right: uniform(-3, 3) };
/** Few distinct values, so that equal pairs occur. */
const small: BinaryRow = { accepts: dtypeNames, left: integers(0, 2), right: integers(0, 2) };
const logical: BinaryRow = { accepts: ['bool'], left: integers(0, 1), right: integers(0, 1) };

const binaryRows = {
  add: anyNumber,
  sub: anyNumber,
  mul: anyNumber,
  div: { ...anyNumber, right: uniform(0.5, 3) },
  pow: { accepts: floats, left: uniform(0.1, 3), right: uniform(-2, 2) },
  min: anyNumber,
  max: anyNumber,
  eq: small,
  ne: small,
  lt: small,
  le: small,
  gt: small,
  ge: small,
  and: logical,
  or: logical,
  xor: logical,
} as const satisfies Partial<Record<OpName, BinaryRow>>;

function binaryCases(op: OpName, { accepts, left, right }: BinaryRow): OpCase[] {
  const first = accepts.includes('f32') ? 'f32' : (accepts[0] as DType);
  const shaped = pairShapes.map(([a, b]) =>
    opCase(op, `${first} [${a}] and [${b}]`, [arg(first, a, left), arg(first, b, right)]),
  );
  const typed = accepts.map((dtype) => {
    const whole = dtype === 'u8' ? integers(0, 20) : integers(-9, 9);
    const pick = (generate: Generate) =>
      isFloat(dtype) || dtype === 'bool' || accepts === dtypeNames ? generate : whole;
    return opCase(op, `${dtype} [3, 5] and [5]`, [
      arg(dtype, [3, 5], pick(left)),
      arg(dtype, [5], pick(right)),
    ]);
  });
  return [...shaped, ...typed];
}

function pairsOf(
  op: OpName,
  name: string,
  dtype: DType,
  pairs: readonly (readonly [number, number])[],
): OpCase {
  const side = (i: 0 | 1) => arg(dtype, [pairs.length], fixed(...pairs.map((p) => p[i])));
  return opCase(op, name, [side(0), side(1)]);
}

const least = -(2 ** 31);
const most = 2 ** 31 - 1;

const edgeCases: OpCase[] = [
  pairsOf('add', 'i32 wraps', 'i32', [
    [most, 1],
    [least, -1],
    [most, most],
  ]),
  pairsOf('sub', 'i32 wraps', 'i32', [
    [least, 1],
    [0, least],
    [most, -1],
  ]),
  pairsOf('mul', 'i32 wraps', 'i32', [
    [65537, 65537],
    [most, most],
    [least, -1],
    [-123456789, 987654321],
  ]),
  pairsOf('add', 'i8 wraps', 'i8', [
    [127, 1],
    [-128, -1],
  ]),
  pairsOf('add', 'u8 wraps', 'u8', [
    [255, 1],
    [200, 100],
  ]),
  pairsOf('sub', 'u8 wraps', 'u8', [
    [0, 1],
    [5, 200],
  ]),
  pairsOf('mul', 'u8 wraps', 'u8', [
    [255, 255],
    [16, 17],
  ]),
  pairsOf('div', 'i32 truncates and survives zero', 'i32', [
    [7, 2],
    [-7, 2],
    [7, -2],
    [-7, -2],
    [5, 0],
    [0, 0],
    [least, -1],
    [least, 1],
  ]),
  pairsOf('div', 'f32 edge values', 'f32', [
    [1, 0],
    [-1, 0],
    [0, 0],
    [inf, inf],
    [1, inf],
    [1e30, 1e-30],
  ]),
  pairsOf('pow', 'f32 whole exponents', 'f32', [
    [-2, 2],
    [-2, 3],
    [2, -1],
    [0, 0],
    [0, 2],
    [9, 0.5],
    [1.5, 10],
  ]),
  pairsOf('min', 'f32 NaN and infinities', 'f32', [
    [nan, 1],
    [1, nan],
    [inf, 1],
    [-inf, 1],
    [2, 2],
  ]),
  pairsOf('max', 'f32 NaN and infinities', 'f32', [
    [nan, 1],
    [1, nan],
    [inf, 1],
    [-inf, 1],
    [2, 2],
  ]),
  ...(['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const).map((op) =>
    pairsOf(op, 'f32 NaN, zeros and infinities', 'f32', [
      [nan, nan],
      [nan, 1],
      [1, nan],
      [0, -0],
      [inf, inf],
      [-inf, inf],
      [1, 1.0000001],
    ]),
  ),
];

const logicCases: OpCase[] = [
  ...[[], [5], [2, 0], [3, 7]].map((shape) => opCase('not', `[${shape}]`, [arg('bool', shape)])),
  ...dtypeNames.map((dtype) =>
    opCase('where', `${dtype} [3, 5]`, [arg('bool', [3, 5]), arg(dtype, [3, 5]), arg(dtype, [3, 5])]),
  ),
  opCase('where', 'broadcast condition', [arg('bool', [3, 1]), arg('f32', [5]), arg('f32', [])]),
  opCase('where', 'scalar condition', [arg('bool', []), arg('f32', [2, 9]), arg('f32', [9])]),
  opCase('where', 'empty', [arg('bool', [0]), arg('f32', [0]), arg('f32', [1])]),
];

/** Conversions are exact roundings. */
const exact = { absolute: 0, relative: 0 };
const castValues = [
  0,
  1,
  -1,
  0.5,
  1.9,
  -1.9,
  127.5,
  -128.7,
  300,
  -300,
  65504,
  1e6,
  3e9,
  -3e9,
  inf,
  -inf,
  nan,
];
const wholeValues = [0, 1, -1, 7, 100, 127, -128, 255, 300, -300, 32768, 100000, most, least];

const castCases: OpCase[] = dtypeNames.flatMap((from) =>
  dtypeNames.map((to) => {
    const values = isFloat(from) ? castValues : wholeValues;
    return opCase('cast', `${from} to ${to}`, [arg(from, [values.length], fixed(...values))], {
      attrs: { dtype: to },
      tolerance: { f32: exact, f16: exact, bf16: exact },
    });
  }),
);

const symbols = { T: { min: 1, max: 9, size: 5 }, d: 6, heads: 3, hd: 4 };

const sourceCases: OpCase[] = [
  ...dtypeNames.map((dtype) =>
    opCase('full', dtype, [], { attrs: { value: 3.7, dtype, shape: dims(2, 3) } }),
  ),
  opCase('full', 'scalar', [], { attrs: { value: -0.25 } }),
  opCase('full', 'empty', [], { attrs: { value: 1, shape: dims(0, 4) } }),
  opCase('full', 'infinite', [], { attrs: { value: -inf, shape: dims(5) } }),
  opCase('full', 'run-time size', [], { attrs: { value: 2, shape: dims('T', 'd') }, dims: symbols }),
  ...(['i32', 'i64', 'f32'] as const).map((dtype) =>
    opCase('iota', dtype, [], { attrs: { length: dim(11), dtype } }),
  ),
  opCase('iota', 'empty', [], { attrs: { length: dim(0) } }),
  opCase('iota', 'run-time size', [], { attrs: { length: dim('T') }, dims: symbols }),
  opCase('dim_size', 'integer', [], { attrs: { dim: dim(7) } }),
  opCase('dim_size', 'model dimension', [], { attrs: { dim: mulDims('heads', 'hd') }, dims: symbols }),
  opCase('dim_size', 'run-time symbol', [], { attrs: { dim: mulDims('T', 'd') }, dims: symbols }),
];

export const elementwiseCases: OpCase[] = [
  ...Object.entries(unaryRows).flatMap(([op, row]) => unaryCases(op as OpName, row)),
  ...Object.entries(binaryRows).flatMap(([op, row]) => binaryCases(op as OpName, row)),
  opCase('mul', 'run-time tokens', [arg('f32', ['T', 'd']), arg('f32', ['d'])], { dims: symbols }),
  ...edgeCases,
  ...logicCases,
  ...castCases,
  ...sourceCases,
];
