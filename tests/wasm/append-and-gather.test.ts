/** cache_append in place and with a copy, and the failures that kernels report to the host. */
import { describe, expect, test } from 'vitest';
import { emitAppend } from '../../backends/wasm/emit/append.js';
import { failures } from '../../backends/wasm/emit/kernel.js';
import { emitPointwise } from '../../backends/wasm/emit/pointwise.js';
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { dim } from '../../ir/dim.js';
import { emptyModule, type Func } from '../../ir/module.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { type DType, tensorType } from '../../ir/type.js';
import { HostFailure, runKernel } from './kernel-harness.js';

const builderOf = (kernel: string): FuncBuilder =>
  new FuncBuilder('k', moduleScope(emptyModule('m')), { kernel });

function range(dtype: DType, shape: readonly number[], start: number): Tensor {
  const count = shape.reduce((n, s) => n * s, 1);
  return tensor(
    dtype,
    shape,
    Array.from({ length: count }, (_, i) => start + i),
  );
}

const capacity = 6;

function appendKernel(dtype: DType): Func {
  const b = builderOf('append');
  const args = [tensorType(dtype, [capacity, 3]), tensorType(dtype, ['T', 3]), tensorType('i32', [])].map(
    (t) => b.arg(t),
  );
  return b.finish(b.emit('cache_append', args));
}

function append(dtype: DType, tokens: number, position: number, inPlace: boolean): Tensor {
  const inputs = [
    range(dtype, [capacity, 3], 1),
    range(dtype, [tokens, 3], 50),
    tensor('i32', [], [position]),
  ];
  const [result] = runKernel(
    {
      func: appendKernel(dtype),
      emit: emitAppend,
      dims: new Map(),
      symbols: new Map([['T', tokens]]),
      inPlace: inPlace ? new Map([[0, 0]]) : new Map(),
    },
    inputs,
  );
  return result as Tensor;
}

function failureOf(run: () => unknown): [number, number, number] | undefined {
  try {
    run();
  } catch (error) {
    if (error instanceof HostFailure) return [error.code, error.a, error.b];
    throw error;
  }
  return undefined;
}

describe.each(['f32', 'f16', 'i8', 'i64'] as const)('cache_append of %s', (dtype) => {
  test.each([
    [1, 0],
    [2, 4],
    [6, 0],
    [1, 5],
  ])('%i rows at %i', (tokens, position) => {
    const wanted = Array.from({ length: capacity * 3 }, (_, i) => {
      const row = Math.floor(i / 3) - position;
      return row >= 0 && row < tokens ? 50 + i - position * 3 : 1 + i;
    });
    for (const inPlace of [true, false])
      expect([...append(dtype, tokens, position, inPlace).data]).toEqual(wanted);
  });
});

test.each([
  [1, 6],
  [2, 5],
  [1, -1],
  [7, 0],
  [1, 2 ** 31 - 1],
  [3, -(2 ** 31)],
])('cache_append of %i rows at %i fails', (tokens, position) => {
  expect(failureOf(() => append('f32', tokens, position, true))).toEqual([
    failures.contextFull,
    position,
    tokens,
  ]);
});

test('cache_append of constants', () => {
  const b = builderOf('append');
  const cache = b.one('full', [], { value: 2, shape: [dim(capacity), dim(3)] });
  const rows = b.one('full', [], { value: 9, shape: [dim('T'), dim(3)] });
  const position = b.one('full', [], { value: 1, dtype: 'i32' });
  const func = b.finish(b.emit('cache_append', [cache, rows, position]));
  const [result] = runKernel({ func, emit: emitAppend, dims: new Map(), symbols: new Map([['T', 2]]) }, []);
  expect([...(result as Tensor).data]).toEqual([
    2,
    2,
    2,
    ...new Array<number>(6).fill(9),
    ...new Array<number>(9).fill(2),
  ]);
});

function gather(indexType: DType, index: number): Tensor {
  const b = builderOf('pointwise');
  const args = [b.arg(tensorType('f32', [5, 6])), b.arg(tensorType(indexType, [2]))];
  const func = b.finish(b.emit('gather', args));
  const inputs = [range('f32', [5, 6], 0), tensor(indexType, [2], [1, index])];
  return runKernel({ func, emit: emitPointwise, dims: new Map(), symbols: new Map() }, inputs)[0] as Tensor;
}

describe.each(['i32', 'i64'] as const)('gather by %s', (indexType) => {
  test('reads rows', () => {
    expect([...gather(indexType, 4).data]).toEqual([6, 7, 8, 9, 10, 11, 24, 25, 26, 27, 28, 29]);
  });

  test.each([5, -1, 2 ** 31 - 1, -(2 ** 31)])('fails at %i', (index) => {
    expect(failureOf(() => gather(indexType, index))).toEqual([failures.indexOutOfRange, index, 5]);
  });
});

test('a wide index is not cut to a valid one', () => {
  expect(failureOf(() => gather('i64', 2 ** 32 + 1))).toEqual([failures.indexOutOfRange, 1, 5]);
});

test.each(['f32', 'bf16', 'f16'] as const)('gather reads %s rows from a packed table', (dtype) => {
  const b = builderOf('pointwise');
  const table = b.arg(tensorType(dtype, [11, 6]));
  const rows = b.one('gather', [table, b.arg(tensorType('i32', ['T']))]);
  const func = b.finish([b.one('cast', [rows], { dtype: 'f32' })]);
  const indices = [10, 0, 7, 8];
  const [result] = runKernel(
    {
      func,
      emit: emitPointwise,
      dims: new Map(),
      symbols: new Map([['T', indices.length]]),
      layouts: new Map([[table, 'panels']]),
    },
    [range(dtype, [11, 6], 0), tensor('i32', [indices.length], indices)],
  );
  expect([...(result as Tensor).data]).toEqual(
    indices.flatMap((i) => [0, 1, 2, 3, 4, 5].map((k) => i * 6 + k)),
  );
});
