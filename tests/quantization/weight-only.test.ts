/** Weights of integers that products of floats read: what is fused, how it is stored, and what it computes. */
import { describe, expect, test } from 'vitest';
import { emitWasm, lower } from '../../backends/wasm/compile.js';
import { interpretEntry } from '../../ir/interpret.js';
import type { Module } from '../../ir/module.js';
import { encodeBytes, roundTo } from '../../ir/numeric.js';
import { quantizedRange } from '../../ir/ops/quantization.js';
import { parseModule } from '../../ir/parse.js';
import { tensor } from '../../ir/tensor.js';
import { elementCount } from '../../ir/type.js';
import { differences } from '../conformance/case.js';
import { integers, randomFrom, uniform } from '../conformance/random.js';
import { instantiate } from '../wasm/run-module.js';

type Stored = 'i8' | 'u8' | 'i4' | 'u4';

function constant(dtype: Stored | 'f32', shape: readonly number[], seed: number): string {
  const [low, high] = dtype === 'f32' ? [0.01, 0.05] : quantizedRange[dtype];
  const generate = (dtype === 'f32' ? uniform : integers)(low, high);
  const values = Array.from(generate(elementCount(shape), randomFrom(seed)), roundTo[dtype]);
  const type = `${dtype}[${shape.join(', ')}]`;
  return `${type} = constant(${type}, "${Buffer.from(encodeBytes(dtype, values)).toString('base64')}")`;
}

interface Row {
  readonly name: string;
  readonly dtype: Stored;
  readonly shape: readonly number[];
  readonly scale: readonly number[];
  readonly attrs: string;
  readonly zeroPoint?: boolean;
  /** False where scales vary along the inner axis by element. */
  readonly packed?: boolean;
}

const matrices: readonly Row[] = [
  { name: 'i8, one scale', dtype: 'i8', shape: [9, 16], scale: [], attrs: '' },
  { name: 'i8 per channel', dtype: 'i8', shape: [17, 203], scale: [17], attrs: ', axis=0' },
  { name: 'u8 per channel', dtype: 'u8', shape: [8, 30], scale: [8], attrs: ', axis=0', zeroPoint: true },
  { name: 'i4 per channel', dtype: 'i4', shape: [17, 21], scale: [17, 1], attrs: '' },
  { name: 'i4 groups of 64', dtype: 'i4', shape: [17, 203], scale: [17, 4], attrs: ', group=64' },
  {
    name: 'u4 groups of 32',
    dtype: 'u4',
    shape: [33, 96],
    scale: [33, 3],
    attrs: ', group=32',
    zeroPoint: true,
  },
  { name: 'i8 groups of 3', dtype: 'i8', shape: [5, 13], scale: [5, 5], attrs: ', group=3', zeroPoint: true },
  { name: 'i8 by input', dtype: 'i8', shape: [5, 13], scale: [13], attrs: '', packed: false },
];

const stacks: readonly Row[] = [
  { name: 'i8 per channel', dtype: 'i8', shape: [3, 9, 18], scale: [3, 9, 1], attrs: '' },
  {
    name: 'u4 groups of 8',
    dtype: 'u4',
    shape: [3, 9, 18],
    scale: [3, 9, 3],
    attrs: ', group=8',
    zeroPoint: true,
  },
  { name: 'i4 per expert', dtype: 'i4', shape: [3, 8, 20], scale: [3], attrs: ', axis=0' },
];

function typeOf(dtype: string, shape: readonly number[]): string {
  return `${dtype}[${shape.join(', ')}]`;
}

/** `use` computes %y from %w, a widened weight. */
function moduleOf(row: Row, args: string, result: string, use: string): Module {
  const { dtype, shape, scale, attrs, zeroPoint = false } = row;
  const read = (name: string, type: string) => `%${name} = param(name=@${name}) : ${type}`;
  return parseModule(`module @m {
    dim T in 1..300
    param @q : ${constant(dtype, shape, 1)}
    param @s : ${constant('f32', scale, 2)}
    param @z : ${constant(dtype, scale, 3)}
    entry @main(${args}) -> (y: ${result}) {
      ${read('q', typeOf(dtype, shape))}
      ${read('s', typeOf('f32', scale))}
      ${zeroPoint ? read('z', typeOf(dtype, scale)) : ''}
      %w = dequantize(%q, %s${zeroPoint ? ', %z' : ''}${attrs}) : ${typeOf('f32', shape)}
      %y = ${use} : ${result}
      return %y
    }
  }`);
}

function random(shape: readonly number[], seed: number) {
  return tensor('f32', shape, Array.from(uniform(-1, 1)(elementCount(shape), randomFrom(seed)), Math.fround));
}

const tolerance = { f32: { absolute: 2e-4, relative: 1e-4 } };

describe.each([false, true])('relaxed %s', (relaxed) => {
  test.each(matrices)('linear: $name', (row) => {
    const [out, inner] = row.shape as [number, number];
    const module = moduleOf(row, `%x: f32[T, ${inner}]`, `f32[T, ${out}]`, 'linear(%x, %w)');
    const running = instantiate(module, { relaxed });
    expect(running.wasm.schedule.weights.get('q')?.layout).toBe(row.packed === false ? 'rows' : 'integers');
    for (const rows of [1, 3, 7, 130]) {
      const inputs = { x: random([rows, inner], rows) };
      const wanted = interpretEntry(module, 'main', inputs);
      expect(differences(wanted, running.run('main', inputs), tolerance)).toEqual([]);
    }
  });

  test.each(stacks)('grouped_linear: $name', (row) => {
    const [experts, out, inner] = row.shape as [number, number, number];
    const args = `%x: f32[T, ${inner}], %i: i32[T, 2]`;
    const module = moduleOf(row, args, `f32[T, 2, ${out}]`, 'grouped_linear(%x, %i, %w)');
    const running = instantiate(module, { relaxed });
    expect(running.wasm.schedule.weights.get('q')?.layout).toBe('integers');
    for (const rows of [1, 9, 40]) {
      const index = integers(0, experts - 1)(rows * 2, randomFrom(rows));
      const inputs = { x: random([rows, inner], rows), i: tensor('i32', [rows, 2], index) };
      const wanted = interpretEntry(module, 'main', inputs);
      expect(differences(wanted, running.run('main', inputs), tolerance)).toEqual([]);
    }
  });
});

test.each(matrices)('gather: $name', (row) => {
  const [rows, width] = row.shape as [number, number];
  const module = moduleOf(row, '%i: i32[T]', `f32[T, ${width}]`, 'gather(%w, %i)');
  const inputs = {
    i: tensor(
      'i32',
      [7],
      Array.from({ length: 7 }, (_, i) => (i * 5) % rows),
    ),
  };
  const wanted = interpretEntry(module, 'main', inputs);
  const exact = { f32: { absolute: 0, relative: 0 } };
  expect(differences(wanted, instantiate(module).run('main', inputs), exact)).toEqual([]);
});

test('no widened weight is in memory, and the kernel is one', () => {
  const row = matrices[4] as Row;
  const module = moduleOf(row, '%x: f32[T, 203]', 'f32[T, 17]', 'linear(%x, %w)');
  const { module: lowered } = lower(module);
  const kernels = [...lowered.functions.values()].filter((f) => f.kernel !== undefined);
  expect(kernels.map((f) => f.body.map((op) => op.name))).toEqual([['dequantize', 'linear']]);
  const { schedule } = emitWasm(lowered, { relaxed: false, optimize: false });
  const placed = schedule.weights.get('q');
  // 24 rows of 204 elements, four bits each.
  expect(placed?.stride).toBe(Math.ceil((24 * 204) / 2 / 64) * 64);
});

test('a weight that is needed as floats elsewhere is widened once', () => {
  const module = parseModule(`module @m {
    param @q : ${constant('i8', [4, 8], 1)}
    entry @main(%x: f32[3, 8]) -> (y: f32[3, 4], w: f32[4, 8]) {
      %q = param(name=@q) : i8[4, 8]
      %s = full(value=0.5) : f32[]
      %w = dequantize(%q, %s) : f32[4, 8]
      %y = linear(%x, %w) : f32[3, 4]
      return %y, %w
    }
  }`);
  const inputs = { x: random([3, 8], 1) };
  const wanted = interpretEntry(module, 'main', inputs);
  expect(differences(wanted, instantiate(module).run('main', inputs), tolerance)).toEqual([]);
});
