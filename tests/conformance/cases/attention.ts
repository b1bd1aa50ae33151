/** Cases of rope, attention and the key/value cache: group sizes, offsets, single tokens, odd head sizes. */
import { divDims } from '../../../ir/dim.js';
import { dtypeNames, isFloat } from '../../../ir/type.js';
import { arg, type OpCase, opCase } from '../case.js';
import { fixed, uniform } from '../random.js';

const floats = dtypeNames.filter(isFloat);
const symbols = {
  T: { min: 1, max: 16, size: 3 },
  heads: 4,
  kv: 2,
  hd: 8,
  context: 16,
};

/** Shapes [.., T, heads, hd] of rotated heads. */
const ropeShapes = [
  [1, 1, 2],
  [1, 4, 16],
  [5, 3, 24],
  [7, 2, 10],
  [3, 1, 32],
  [2, 3, 2, 8],
  [0, 2, 8],
  [3, 0, 8],
  [3, 2, 0],
];

const angle = uniform(-1, 1);

const ropeCases: OpCase[] = [false, true].flatMap((interleaved) => {
  const kind = interleaved ? 'interleaved' : 'halves';
  const options = { attrs: { interleaved } };
  return [
    ...ropeShapes.map((shape) => {
      const table = [shape.at(-3) as number, (shape.at(-1) as number) / 2];
      const operands = [arg('f32', shape), arg('f32', table, angle), arg('f32', table, angle)];
      return opCase('rope', `${kind} [${shape}]`, operands, options);
    }),
    ...floats.map((dtype) => {
      const table = arg(dtype, [3, 4], angle);
      return opCase('rope', `${kind} ${dtype}`, [arg(dtype, [3, 2, 8]), table, table], options);
    }),
    opCase(
      'rope',
      `${kind} named dimensions`,
      [
        arg('f32', ['T', 'heads', 'hd']),
        arg('f32', ['T', divDims('hd', 2)], angle),
        arg('f32', ['T', divDims('hd', 2)], angle),
      ],
      { ...options, dims: symbols },
    ),
  ];
});

export interface AttentionRow {
  readonly tokens: number;
  readonly length: number;
  readonly heads: number;
  readonly kv: number;
  readonly width: number;
  readonly values?: number;
  readonly causal?: boolean;
  readonly offset?: number;
  readonly batch?: readonly number[];
  readonly window?: number;
}

const attentionRows: readonly AttentionRow[] = [
  { tokens: 1, length: 1, heads: 1, kv: 1, width: 1 },
  { tokens: 3, length: 3, heads: 2, kv: 2, width: 16, causal: true },
  { tokens: 5, length: 5, heads: 4, kv: 2, width: 24, causal: true },
  { tokens: 4, length: 9, heads: 6, kv: 2, width: 10 },
  { tokens: 7, length: 16, heads: 8, kv: 1, width: 32, causal: true, offset: 4 },
  { tokens: 1, length: 16, heads: 4, kv: 4, width: 16, causal: true, offset: 0 },
  { tokens: 1, length: 16, heads: 4, kv: 2, width: 16, causal: true, offset: 9 },
  { tokens: 1, length: 16, heads: 4, kv: 2, width: 16, causal: true, offset: 15 },
  { tokens: 1, length: 16, heads: 3, kv: 1, width: 7, causal: true, offset: 30 },
  { tokens: 4, length: 8, heads: 2, kv: 2, width: 6, offset: 3 },
  { tokens: 2, length: 5, heads: 4, kv: 2, width: 8, values: 12, causal: true, offset: 1 },
  { tokens: 3, length: 6, heads: 2, kv: 1, width: 9, values: 1 },
  { tokens: 4, length: 4, heads: 2, kv: 2, width: 8, batch: [2] },
  { tokens: 3, length: 5, heads: 4, kv: 2, width: 8, batch: [2, 3], causal: true, offset: 2 },
  { tokens: 37, length: 37, heads: 2, kv: 1, width: 16, causal: true },
  { tokens: 0, length: 4, heads: 2, kv: 1, width: 8 },
  { tokens: 2, length: 0, heads: 2, kv: 1, width: 8 },
  { tokens: 2, length: 3, heads: 2, kv: 1, width: 8, batch: [0] },
  { tokens: 2, length: 3, heads: 2, kv: 1, width: 8, values: 0 },
  { tokens: 7, length: 7, heads: 4, kv: 2, width: 8, causal: true, window: 3 },
  { tokens: 5, length: 16, heads: 2, kv: 1, width: 12, values: 6, causal: true, offset: 9, window: 4 },
  { tokens: 1, length: 16, heads: 3, kv: 3, width: 7, causal: true, offset: 15, window: 1 },
  { tokens: 6, length: 32, heads: 4, kv: 1, width: 16, causal: true, offset: 20, window: 17 },
  { tokens: 3, length: 8, heads: 2, kv: 2, width: 8, batch: [2], causal: true, offset: 2, window: 100 },
  // One token over so many keys that tensor cores gain.
  { tokens: 1, length: 500, heads: 6, kv: 2, width: 64, causal: true, offset: 470 },
  { tokens: 1, length: 330, heads: 8, kv: 1, width: 128, causal: true, offset: 329, window: 290 },
  // Several tiles of kernels that take many queries and keys at a time.
  { tokens: 150, length: 150, heads: 2, kv: 1, width: 72 },
  { tokens: 40, length: 150, heads: 4, kv: 2, width: 128, causal: true, offset: 97 },
  { tokens: 140, length: 210, heads: 2, kv: 2, width: 64, causal: true, offset: 65, window: 70 },
  { tokens: 17, length: 70, heads: 3, kv: 1, width: 24, batch: [2], causal: true, offset: 30 },
  { tokens: 300, length: 300, heads: 2, kv: 1, width: 64, causal: true },
  { tokens: 20, length: 700, heads: 2, kv: 2, width: 64, batch: [2] },
  { tokens: 130, length: 400, heads: 3, kv: 1, width: 128, batch: [2], causal: true, offset: 270 },
  { tokens: 33, length: 140, heads: 4, kv: 2, width: 32, causal: true, offset: 100 },
  { tokens: 70, length: 260, heads: 3, kv: 3, width: 80, causal: true, offset: 150, window: 60 },
  { tokens: 130, length: 130, heads: 2, kv: 2, width: 128, batch: [2] },
  // More heads than a GPU has multiprocessors.
  { tokens: 17, length: 200, heads: 140, kv: 20, width: 64, causal: true, offset: 180 },
];

function attentionCase(row: AttentionRow): OpCase {
  const {
    tokens,
    length,
    heads,
    kv,
    width,
    values = width,
    causal = false,
    offset,
    batch = [],
    window = 0,
  } = row;
  const operands = [
    arg('f32', [...batch, tokens, heads, width]),
    arg('f32', [...batch, length, kv, width]),
    arg('f32', [...batch, length, kv, values]),
    ...(offset === undefined ? [] : [arg('i32', [], fixed(offset))]),
  ];
  const name = `[${batch}] T ${tokens} S ${length}, heads ${heads}/${kv}, sizes ${width} ${values}, ${causal ? 'causal' : 'full'}, offset ${offset ?? 'absent'}${window > 0 ? `, window ${window}` : ''}`;
  return opCase('attention', name, operands, { attrs: { causal, window, scale: width ** -0.5 } });
}

const attentionCases: OpCase[] = [
  ...attentionRows.map(attentionCase),
  ...floats.map((dtype) =>
    opCase('attention', dtype, [arg(dtype, [3, 2, 8]), arg(dtype, [5, 1, 8]), arg(dtype, [5, 1, 8])], {
      attrs: { scale: 0.35 },
    }),
  ),
  opCase(
    'attention',
    'large scores',
    [arg('f32', [4, 2, 8], uniform(-30, 30)), arg('f32', [4, 2, 8], uniform(-30, 30)), arg('f32', [4, 2, 8])],
    { attrs: { causal: true, scale: 1 }, tolerance: { f32: { absolute: 1e-3, relative: 1e-3 } } },
  ),
  ...[1, 3].map((size) =>
    opCase(
      'attention',
      `named dimensions over a cache, T = ${size}`,
      [
        arg('f32', ['T', 'heads', 'hd']),
        arg('f32', ['context', 'kv', 'hd']),
        arg('f32', ['context', 'kv', 'hd']),
        arg('i32', [], fixed(5)),
      ],
      { attrs: { causal: true, scale: 8 ** -0.5 }, dims: { ...symbols, T: { ...symbols.T, size } } },
    ),
  ),
  opCase(
    'attention',
    'named dimensions, keys of the same tokens',
    [arg('f32', ['T', 'heads', 'hd']), arg('f32', ['T', 'kv', 'hd']), arg('f32', ['T', 'kv', 'hd'])],
    { attrs: { causal: true, scale: 8 ** -0.5 }, dims: { ...symbols, T: { ...symbols.T, size: 6 } } },
  ),
];

interface CacheRow {
  readonly cache: readonly number[];
  readonly tokens: number;
  readonly position: number;
}

const cacheRows: readonly CacheRow[] = [
  { cache: [1], tokens: 1, position: 0 },
  { cache: [8, 2, 5], tokens: 3, position: 0 },
  { cache: [8, 2, 5], tokens: 3, position: 5 },
  { cache: [8, 2, 5], tokens: 1, position: 7 },
  { cache: [8, 3], tokens: 8, position: 0 },
  { cache: [8, 3], tokens: 0, position: 8 },
  { cache: [4, 0], tokens: 2, position: 1 },
];

const cacheCases: OpCase[] = [
  ...cacheRows.map(({ cache, tokens, position }) =>
    opCase('cache_append', `[${cache}] gets ${tokens} rows at ${position}`, [
      arg('f32', cache),
      arg('f32', [tokens, ...cache.slice(1)]),
      arg('i32', [], fixed(position)),
    ]),
  ),
  ...dtypeNames.map((dtype) =>
    opCase('cache_append', dtype, [arg(dtype, [6, 3]), arg(dtype, [2, 3]), arg('i32', [], fixed(3))]),
  ),
  opCase(
    'cache_append',
    'named dimensions',
    [arg('f32', ['context', 'kv', 'hd']), arg('f32', ['T', 'kv', 'hd']), arg('i32', [], fixed(13))],
    { dims: symbols },
  ),
];

export const attentionOpCases: OpCase[] = [...ropeCases, ...attentionCases, ...cacheCases];
