/** Attention over keys and values in bytes: what is fused, and what it computes over odd sizes. */
import { describe, expect, test } from 'vitest';
import { lower } from '../../backends/wasm/compile.js';
import { interpretEntry } from '../../ir/interpret.js';
import type { Module } from '../../ir/module.js';
import { parseModule } from '../../ir/parse.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { elementCount } from '../../ir/type.js';
import { differences } from '../conformance/case.js';
import { integers, randomFrom, uniform } from '../conformance/random.js';
import { instantiate } from '../wasm/run-module.js';

interface Row {
  readonly name: string;
  readonly dtype: 'i8' | 'u8';
  readonly keys: number;
  readonly heads: number;
  readonly kv: number;
  readonly width: number;
  readonly valueWidth: number;
  readonly zeroPoint?: boolean;
  readonly window?: number;
  /** Leading axes, in front of the tokens. */
  readonly lead?: readonly number[];
}

const rows: readonly Row[] = [
  { name: 'groups of heads', dtype: 'i8', keys: 37, heads: 6, kv: 2, width: 32, valueWidth: 32 },
  { name: 'zero points', dtype: 'i8', keys: 20, heads: 2, kv: 1, width: 16, valueWidth: 24, zeroPoint: true },
  { name: 'unsigned', dtype: 'u8', keys: 9, heads: 2, kv: 2, width: 12, valueWidth: 20, zeroPoint: true },
  { name: 'odd widths', dtype: 'i8', keys: 11, heads: 3, kv: 3, width: 7, valueWidth: 5, zeroPoint: true },
  { name: 'wide heads', dtype: 'i8', keys: 6, heads: 1, kv: 1, width: 4, valueWidth: 92 },
  {
    name: 'a window',
    dtype: 'i8',
    keys: 30,
    heads: 4,
    kv: 2,
    width: 8,
    valueWidth: 8,
    window: 5,
    zeroPoint: true,
  },
  { name: 'a batch', dtype: 'i8', keys: 10, heads: 2, kv: 1, width: 8, valueWidth: 12, lead: [3] },
];

function moduleOf(row: Row, scaleShape = (shape: readonly number[]) => [...shape.slice(0, -1), 1]): Module {
  const { dtype, keys, heads, kv, width, valueWidth, zeroPoint, window = 0, lead = [] } = row;
  const type = (of: string, ...shape: (number | string)[]) => `${of}[${[...lead, ...shape].join(', ')}]`;
  const cache = (name: string, size: number) => {
    const scales = scaleShape([...lead, keys, kv, size]);
    const parts = [`%${name}: ${type(dtype, keys, kv, size)}`, `%${name}s: f32[${scales.join(', ')}]`];
    if (zeroPoint) parts.push(`%${name}z: ${dtype}[${scales.join(', ')}]`);
    return parts.join(', ');
  };
  const widened = (name: string, size: number) =>
    `dequantize(%${name}, %${name}s${zeroPoint ? `, %${name}z` : ''}) : ${type('f32', keys, kv, size)}`;
  return parseModule(`module @m {
    dim T in 1..8
    entry @main(%q: ${type('f32', 'T', heads, width)}, ${cache('k', width)}, ${cache('v', valueWidth)}, %pos: i32[]) -> (y: ${type('f32', 'T', heads, valueWidth)}) {
      %a = ${widened('k', width)}
      %b = ${widened('v', valueWidth)}
      %y = attention(%q, %a, %b, %pos, causal=true, window=${window}, scale=0.3) : ${type('f32', 'T', heads, valueWidth)}
      return %y
    }
  }`);
}

function inputsOf({ dtype, keys, heads, kv, width, valueWidth, zeroPoint, lead = [] }: Row, tokens: number) {
  const random = randomFrom(tokens + width);
  const floats = (shape: readonly number[], low: number, high: number): Tensor =>
    tensor('f32', shape, Array.from(uniform(low, high)(elementCount(shape), random), Math.fround));
  const codes = (shape: readonly number[]): Tensor =>
    tensor(
      dtype,
      shape,
      integers(...((dtype === 'i8' ? [-128, 127] : [0, 255]) as [number, number]))(
        elementCount(shape),
        random,
      ),
    );
  const cache = (name: string, size: number): Record<string, Tensor> => ({
    [name]: codes([...lead, keys, kv, size]),
    [`${name}s`]: floats([...lead, keys, kv, 1], 0.001, 0.02),
    ...(zeroPoint && { [`${name}z`]: codes([...lead, keys, kv, 1]) }),
  });
  return {
    q: floats([...lead, tokens, heads, width], -1, 1),
    ...cache('k', width),
    ...cache('v', valueWidth),
    pos: tensor('i32', [], [keys - tokens]),
  };
}

const kernelsOf = (module: Module): string[][] =>
  [...lower(module).module.functions.values()]
    .filter((func) => func.kernel !== undefined)
    .map((func) => func.body.map((op) => op.name));

describe.each([false, true])('relaxed %s', (relaxed) => {
  test.each(rows)('$name', (row) => {
    const module = moduleOf(row);
    expect(kernelsOf(module)).toEqual([['dequantize', 'dequantize', 'attention']]);
    const running = instantiate(module, { relaxed });
    for (const tokens of [1, 5]) {
      const inputs = inputsOf(row, tokens);
      const wanted = interpretEntry(module, 'main', inputs);
      const tolerance = { f32: { absolute: 2e-5, relative: 2e-5 } };
      expect(differences(wanted, running.run('main', inputs), tolerance)).toEqual([]);
    }
  });
});

test('scales of another form are applied in front of attention', () => {
  const [row] = rows as [Row];
  const perChannel = moduleOf(row, (shape) => [shape.at(-1) as number]);
  // Both caches are widened by one kernel, because they are alike.
  expect(kernelsOf(perChannel)).toEqual([['dequantize'], ['attention']]);
  const scales = (size: number): Tensor =>
    tensor(
      'f32',
      [size],
      Array.from({ length: size }, (_, i) => 0.001 * (i + 1)),
    );
  const inputs = { ...inputsOf(row, 3), ks: scales(row.width), vs: scales(row.valueWidth) };
  const wanted = interpretEntry(perChannel, 'main', inputs);
  const tolerance = { f32: { absolute: 2e-5, relative: 2e-5 } };
  expect(differences(wanted, instantiate(perChannel).run('main', inputs), tolerance)).toEqual([]);
});
