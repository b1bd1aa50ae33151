/** Storage conversions of emitted code: every f16 and bf16 value both ways, and rounding at and around every tie. */
import { expect, test } from 'vitest';
import { Asm, i32, type Local, none } from '../../backends/wasm/emit/asm.js';
import { decodeBytes, encodeBytes } from '../../ir/numeric.js';
import type { DType } from '../../ir/type.js';
import { emptyWasmModule, instantiate, librariesOf } from './kernel-harness.js';

type Narrow = 'f16' | 'bf16';

/** Functions (from, to, count) that convert arrays in memory; `count` is a multiple of 4. */
function converters(dtype: Narrow) {
  const m = emptyWasmModule();
  const { memory } = librariesOf(m, { relaxed: false });
  const define = (
    name: string,
    step: number,
    body: (asm: Asm, from: Local, to: Local, i: Local) => number,
  ): void => {
    const asm = new Asm(m, { relaxed: false }, [i32, i32, i32]);
    const [from, to, count] = asm.params as [Local, Local, Local];
    asm.define(name, none, [asm.loop(0, count.get, (i) => [body(asm, from, to, i)], step)]);
    m.addFunctionExport(name, name);
  };
  const at = (asm: Asm, base: Local, i: Local, bytes: number) =>
    asm.expr(asm.add(base.get, asm.mul(i.get, bytes)));
  define('widen', 1, (asm, from, to, i) =>
    memory.store('f32', at(asm, to, i, 4), memory.load(dtype, at(asm, from, i, 2))),
  );
  define('widenVector', 4, (asm, from, to, i) =>
    memory.storeVector(at(asm, to, i, 4), memory.loadVector(dtype, at(asm, from, i, 2))),
  );
  define('narrow', 1, (asm, from, to, i) =>
    memory.store(dtype, at(asm, to, i, 2), memory.load('f32', at(asm, from, i, 4))),
  );
  define('round', 1, (asm, from, to, i) =>
    memory.store('f32', at(asm, to, i, 4), memory.round(dtype, memory.load('f32', at(asm, from, i, 4)))),
  );
  const linear = new WebAssembly.Memory({ initial: 64, maximum: 65536 });
  const exported = instantiate(m, linear);
  const [source, target] = [1024, 2 ** 21];
  return (name: string, from: DType, to: DType, values: ArrayLike<number>): Float64Array => {
    const bytes = encodeBytes(from, values);
    new Uint8Array(linear.buffer).set(bytes, source);
    exported[name]?.(source, target, values.length);
    const size = (bytes.length / encodeBytes(from, [0]).length) * encodeBytes(to, [0]).length;
    return decodeBytes(to, new Uint8Array(linear.buffer, target, size).slice());
  };
}

const everyPattern = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);

/** All values of a dtype, the points half way between neighbours, and the floats next to those. */
function aroundTies(dtype: Narrow): number[] {
  const values = [...new Set(decodeBytes(dtype, everyPattern))].filter(Number.isFinite).sort((a, b) => a - b);
  const ties = values.slice(1).map((v, i) => Math.fround((v + (values[i] as number)) / 2));
  const near = (v: number): number[] => {
    const step = Math.max(Math.abs(v) * 2 ** -23, 2 ** -149);
    return [v, Math.fround(v - step), Math.fround(v + step)];
  };
  const limits = [65504, 65519, 65519.996, 65520, 65536, 3.4e38, 2 ** -24, 2 ** -25, 2 ** -149].flatMap(
    (v) => [v, -v],
  );
  const all = [
    ...values,
    ...ties.flatMap(near),
    ...limits,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
  ];
  return [...all, ...new Array<number>((4 - (all.length % 4)) % 4).fill(0)].map(Math.fround);
}

function same(wanted: ArrayLike<number>, actual: ArrayLike<number>): string[] {
  const found: string[] = [];
  for (let i = 0; i < wanted.length; i++) {
    if (!Object.is(wanted[i], actual[i])) found.push(`[${i}] is ${actual[i]}, not ${wanted[i]}`);
  }
  return found.slice(0, 4);
}

test.each(['f16', 'bf16'] as const)('every %s widens exactly', (dtype) => {
  const convert = converters(dtype);
  const wanted = decodeBytes(dtype, everyPattern);
  for (const name of ['widen', 'widenVector']) {
    expect(same(wanted, convert(name, dtype, 'f32', wanted))).toEqual([]);
  }
});

test.each(['f16', 'bf16'] as const)('f32 rounds to the nearest %s, ties to even', (dtype) => {
  const convert = converters(dtype);
  const values = aroundTies(dtype);
  const half = Math.ceil(values.length / 8) * 4;
  for (const part of [values.slice(0, half), values.slice(half)]) {
    const wanted = decodeBytes(dtype, encodeBytes(dtype, part));
    expect(same(wanted, convert('narrow', 'f32', dtype, part))).toEqual([]);
    expect(same(wanted, convert('round', 'f32', 'f32', part))).toEqual([]);
  }
});
