/**
 * What runs on the cube, at odd sizes: attentions of many queries with widths, windows, batches, types, and tiles that are
 * not full; products of computed matrices, with axes of one and axes that broadcast.
 */
import type { Subject } from './conformance.js';
import { type SampleText, sampleOf } from './samples.js';

interface Shape {
  readonly dtype: 'f16' | 'bf16';
  readonly tokens: number;
  readonly keys: number;
  readonly heads: number;
  readonly kv: number;
  readonly width: number;
  readonly values?: number;
  readonly batch?: number;
  readonly window?: number;
  /** Causal, from this position on. */
  readonly position?: number;
}

const shapes: readonly Shape[] = [
  { dtype: 'f16', tokens: 2, keys: 1, heads: 1, kv: 1, width: 16 },
  { dtype: 'f16', tokens: 17, keys: 63, heads: 3, kv: 1, width: 63 },
  { dtype: 'bf16', tokens: 130, keys: 257, heads: 2, kv: 2, width: 128 },
  { dtype: 'f16', tokens: 33, keys: 300, heads: 4, kv: 2, width: 256, values: 40 },
  { dtype: 'f16', tokens: 129, keys: 129, heads: 1, kv: 1, width: 20, values: 200, position: 0 },
  { dtype: 'bf16', tokens: 65, keys: 203, heads: 2, kv: 1, width: 72, position: 100 },
  { dtype: 'f16', tokens: 50, keys: 50, heads: 2, kv: 2, width: 24, batch: 3 },
  { dtype: 'f16', tokens: 31, keys: 31, heads: 2, kv: 1, width: 32, batch: 2, position: 0 },
  { dtype: 'f16', tokens: 150, keys: 410, heads: 1, kv: 1, width: 32, window: 70, position: 220 },
  { dtype: 'f16', tokens: 40, keys: 64, heads: 2, kv: 1, width: 48, window: 1, position: 7 },
  // Enough heads for tiles as large as they get.
  { dtype: 'f16', tokens: 130, keys: 140, heads: 20, kv: 4, width: 128, position: 3 },
  { dtype: 'bf16', tokens: 70, keys: 70, heads: 20, kv: 20, width: 256 },
  // Behind the end of the keys a window holds none of them.
  { dtype: 'f16', tokens: 20, keys: 64, heads: 2, kv: 1, width: 48, window: 5, position: 60 },
];

function textOf(shape: Shape): SampleText {
  const { dtype, tokens, keys, heads, kv, width, values = width, batch, window = 0, position } = shape;
  const lead = batch === undefined ? '' : `${batch}, `;
  const result = `${dtype}[${lead}${tokens}, ${heads}, ${values}]`;
  const offset = position === undefined ? '' : ', %p';
  const causal = position === undefined ? '' : `, causal=true, window=${window}`;
  return {
    name: Object.entries(shape)
      .map(([name, value]) => (name === 'dtype' ? value : `${name}_${value}`))
      .join('_'),
    args: [
      `%q: ${dtype}[${lead}${tokens}, ${heads}, ${width}]`,
      `%k: ${dtype}[${lead}${keys}, ${kv}, ${width}]`,
      `%v: ${dtype}[${lead}${keys}, ${kv}, ${values}]`,
      ...(position === undefined ? [] : ['%p: i32[]']),
    ].join(', '),
    body: [`%a = attention(%q, %k, %v${offset}${causal}, scale=${width ** -0.5}) : ${result}`],
    results: `%a: ${result}`,
    ...(position === undefined ? {} : { integers: { p: [position] } }),
  };
}

export const attentions: readonly Subject[] = shapes.map((shape) => sampleOf(textOf(shape), 1));

/** The shapes of both factors and of the product. */
const factors: readonly (readonly [dtype: 'f16' | 'bf16', left: string, right: string, product: string])[] = [
  ['f16', '1, 1', '1, 1', '1, 1'],
  ['f16', '1, 300', '300, 203', '1, 203'],
  ['bf16', '17, 63', '63, 1', '17, 1'],
  ['f16', '260, 17', '17, 140', '260, 140'],
  ['f16', '3, 2, 33, 129', '3, 2, 129, 65', '3, 2, 33, 65'],
  ['bf16', '2, 1, 20, 40', '3, 40, 30', '2, 3, 20, 30'],
  ['f16', '5, 24', '4, 24, 19', '4, 5, 19'],
];

export const products: readonly Subject[] = factors.map(([dtype, left, right, product]) =>
  sampleOf(
    {
      name: `matmul_${dtype}_${left}_by_${right}`.replaceAll(', ', '_'),
      args: `%x: ${dtype}[${left}], %y: ${dtype}[${right}]`,
      body: [`%a = matmul(%x, %y) : ${dtype}[${product}]`],
      results: `%a: ${dtype}[${product}]`,
    },
    1,
  ),
);
