/** Products of integers by dot products of bytes: the same integers as the interpreter, however an engine reads bytes. */
import binaryen from 'binaryen';
import { describe, expect, test } from 'vitest';
import { byteDotOffset, offsetOf } from '../../backends/wasm/runtime/byte-dot.js';
import { interpretEntry } from '../../ir/interpret.js';
import { parseModule } from '../../ir/parse.js';
import { tensor } from '../../ir/tensor.js';
import {
  arg,
  type CaseOperand,
  caseModule,
  differences,
  type OpCase,
  opCase,
  weightArg,
} from '../conformance/case.js';
import { quantizationCases } from '../conformance/cases/quantization.js';
import { type Generate, integers } from '../conformance/random.js';
import { instantiate, runOnce } from '../wasm/run-module.js';

/** Inputs that every engine reads alike when `offset` is added to them as signed bytes. */
const harmless: Readonly<Record<number, Record<'i8' | 'u8', Generate>>> = {
  0: { i8: integers(0, 127), u8: integers(128, 255) },
  128: { i8: integers(-128, -1), u8: integers(0, 127) },
};

const ones: Generate = (count) => new Array<number>(count).fill(1);
const constant =
  (value: number): Generate =>
  (count) =>
    new Array<number>(count).fill(value);

/** The greatest products there are, over a long inner axis. */
const extremes: OpCase[] = [
  [-128, -127],
  [-128, 127],
  [127, 127],
].map(([x, w]) =>
  opCase('quantized_linear', `${x} times ${w}, 4099 of them`, [
    arg('i8', [7, 4099], constant(x as number)),
    weightArg('i8', [9, 4099], constant(w as number)),
    arg('f32', [], ones),
    weightArg('f32', [9], ones),
  ]),
);

const cases = [...quantizationCases.filter(({ op }) => op === 'quantized_linear'), ...extremes];

function check(c: OpCase, dotOffset: number): void {
  const { module, inputs } = caseModule(c, { weights: 'parameters' });
  const found = runOnce(module, 'main', inputs, { byteDots: true, dotOffset });
  expect(differences(interpretEntry(module, 'main', inputs), found, c.tolerance)).toEqual([]);
}

describe.each([0, 128])('bytes with %i added, where readings agree', (offset) => {
  test.each(cases.map((c) => ({ name: c.name, c })))('$name', ({ c }) => {
    const [x, ...others] = c.operands as [CaseOperand, ...CaseOperand[]];
    const generate = harmless[offset]?.[x.dtype as 'i8' | 'u8'] as Generate;
    check({ ...c, operands: [{ ...x, generate }, ...others] }, offset);
  });
});

describe.skipIf(byteDotOffset() === undefined)('as this engine reads them', () => {
  test.each(cases.map((c) => ({ name: c.name, c })))('$name', ({ c }) => check(c, byteDotOffset() as number));
});

describe('bias and zero points that are one number', () => {
  const text = (bias: number, wZero: number, xZero: number): string => `module @m {
    param @w : i8[11, 18] = source("w", i8[11, 18])
    entry @main(%x: i8[7, 18], %t: f32[11]) -> (y: f32[7, 11]) {
      %w = param(name=@w) : i8[11, 18]
      %s = full(value=0.5) : f32[]
      %b = full(value=${bias}, shape=[11]) : f32[11]
      %wz = full(value=${wZero}, dtype=i8, shape=[11]) : i8[11]
      %xz = full(value=${xZero}, dtype=i8, shape=[]) : i8[]
      %y = quantized_linear(%x, %w, %s, %t, %b, %wz, %xz) : f32[7, 11]
      return %y
    }
  }`;
  const whole = (count: number, low: number): number[] =>
    Array.from({ length: count }, (_, i) => low + ((i * 37) % 128));
  const stored = { dtype: 'i8', shape: [11, 18], bytes: new Uint8Array(whole(198, -64)) } as const;
  const source = { read: () => stored };
  const inputs = { x: tensor('i8', [7, 18], whole(126, 0)), t: tensor('f32', [11], whole(11, 1)) };

  test.each([
    [0, 0, 0],
    [0, 0, 5],
    [0, -3, 0],
    [0.25, 0, -7],
    [0, -3, 5],
  ])('%f, %i, %i', (...constants) => {
    const module = parseModule(text(...constants));
    const wanted = interpretEntry(module, 'main', inputs, { source });
    for (const byteDots of [false, true]) {
      const found = runOnce(module, 'main', inputs, { source, byteDots, dotOffset: 0 });
      expect(differences(wanted, found, {})).toEqual([]);
    }
  });
});

test('constants of the product leave its epilogue in vectors', () => {
  const { wasm } = instantiate(
    parseModule(`module @m {
      param @w : i8[8, 16] = source("w", i8[8, 16])
      entry @main(%x: i8[7, 16], %t: f32[8]) -> (y: i8[7, 8]) {
        %w = param(name=@w) : i8[8, 16]
        %s = full(value=0.5) : f32[]
        %b = full(value=0, shape=[8]) : f32[8]
        %z = full(value=0, dtype=i8, shape=[8]) : i8[8]
        %p = quantized_linear(%x, %w, %s, %t, %b, %z) : f32[7, 8]
        %g = gelu_tanh(%p) : f32[7, 8]
        %y = quantize(%g, %s) : i8[7, 8]
        return %y
      }
    }`),
    { source: { read: () => ({ dtype: 'i8', shape: [8, 16], bytes: new Uint8Array(128) }) } },
  );
  const text = binaryen.readBinary(wasm.code).emitText();
  expect(text).toContain('v128.store32_lane');
  expect(text).not.toMatch(/\(i32\.store8/);
});

test('modules that multiply bytes import how they are read, others do not', () => {
  const imports = (c: OpCase, byteDots: boolean): string[] => {
    const { wasm } = instantiate(caseModule(c, { weights: 'parameters' }).module, { byteDots });
    return WebAssembly.Module.imports(new WebAssembly.Module(wasm.code as BufferSource)).map(
      ({ name }) => name,
    );
  };
  const [c] = cases as [OpCase];
  expect(imports(c, true)).toContain('dot_offset');
  expect(imports(c, false)).not.toContain('dot_offset');
});

describe('what an engine does with bytes', () => {
  const bytesOf = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value << (24 - shift)) >> 24);
  const dot =
    (read: (byte: number) => number, pair: (sum: number) => number = (sum) => sum) =>
    (a: number, b: number): number => {
      const products = bytesOf(a).map((byte, i) => byte * read(bytesOf(b)[i] as number));
      return (
        pair((products[0] as number) + (products[1] as number)) +
        pair((products[2] as number) + (products[3] as number))
      );
    };
  const saturated = (sum: number): number => Math.max(-32768, Math.min(32767, sum));
  const wrapped = (sum: number): number => (sum << 16) >> 16;
  const unsigned = (byte: number): number => byte & 0xff;

  test.each([
    ['signed', dot((byte) => byte), 0],
    ['unsigned', dot(unsigned), 128],
    ['unsigned, pairs that saturate', dot(unsigned, saturated), undefined],
    ['signed, pairs that wrap', dot((byte) => byte, wrapped), undefined],
    ['only seven bits', dot((byte) => byte & 0x7f), undefined],
    ['nothing', () => 0, undefined],
  ])('%s', (_, engine, wanted) => expect(offsetOf(engine)).toBe(wanted));
});
