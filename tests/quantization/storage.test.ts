/** Four-bit types: recipes, the text form, sizes, and what files and bundles refuse. */
import { describe, expect, test } from 'vitest';
import { emitModule, lowerModule, manifestOf } from '../../compiler/build.js';
import { inspectModule } from '../../compiler/inspect.js';
import { tensorsOf } from '../../compiler/write-model.js';
import { convert, materialise } from '../../ir/materialise.js';
import { encodeBytes } from '../../ir/numeric.js';
import { parseModule } from '../../ir/parse.js';
import { printModule } from '../../ir/print.js';
import { verifyModule } from '../../ir/verify.js';

const base64 = (dtype: 'i4' | 'u4' | 'f32', ...values: readonly number[]): string =>
  Buffer.from(encodeBytes(dtype, values)).toString('base64');

/** Two rows of three: the second row starts in the middle of a byte. */
const rows = [
  [1, -2, 3],
  [-8, 7, 0],
] as const;

const module = parseModule(`module @m {
  dim n = 2
  loop layer over n = [0, 1]
  param @constant : i4[2, 3] = constant(i4[2, 3], "${base64('i4', ...rows[0], ...rows[1])}")
  param @stacked : i4[n, 3] = stack(n, constant(i4[3], "${base64('i4', ...rows[0])}"), constant(i4[3], "${base64('i4', ...rows[1])}"))
  param @turns in layer : i4[3] = per_index(constant(i4[3], "${base64('i4', ...rows[0])}"), constant(i4[3], "${base64('i4', ...rows[1])}"))
  param @quantized : u4[2, 3] = quantize(constant(f32[2, 3], "${base64('f32', 0, 1, 2, 3, 40, -5)}"), constant(f32[2], "${base64('f32', 0.5, 10)}"), dtype=u4, axis=0)
  entry @main(%x: f32[3]) -> (y: f32[2, 3]) {
    %w = param(name=@constant) : i4[2, 3]
    %s = full(value=0.5) : f32[]
    %d = dequantize(%w, %s) : f32[2, 3]
    %y = mul(%x, %d) : f32[2, 3]
    return %y
  }
}`);

describe('recipes', () => {
  test('are sound and round-trip through the text form', () => {
    expect(verifyModule(module)).toEqual([]);
    expect(printModule(parseModule(printModule(module)))).toBe(printModule(module));
  });

  test('give one element per slot', () => {
    const both = [...rows[0], ...rows[1]];
    expect([...materialise(module, 'constant', undefined).data]).toEqual(both);
    expect([...materialise(module, 'stacked', undefined).data]).toEqual(both);
    expect([...materialise(module, 'turns', 1).data]).toEqual([...rows[1]]);
    expect([...materialise(module, 'quantized', undefined).data]).toEqual([0, 2, 4, 0, 4, 0]);
  });

  test('of a wrong number of bytes are refused', () => {
    const text = printModule(module).replace(base64('i4', ...rows[0], ...rows[1]), base64('i4', 1, 2, 3, 4));
    expect(verifyModule(parseModule(text))[0]?.message).toContain('2 bytes, i4[2, 3] has 3');
  });

  test('convert between types of several bits, also at the border of a chunk', () => {
    const count = (1 << 16) + 3;
    const values = Array.from({ length: count }, (_, i) => (i % 16) - 8);
    const nibbles = { dtype: 'i4', shape: [count], bytes: encodeBytes('i4', values) } as const;
    const wide = convert(nibbles, 'f32');
    expect(Buffer.from(wide.bytes).equals(encodeBytes('f32', values))).toBe(true);
    expect(Buffer.from(convert(wide, 'i4').bytes).equals(nibbles.bytes)).toBe(true);
  });
});

test('hew inspect counts bits', () => {
  const bytes = Object.fromEntries(inspectModule(module).parameters.map(({ name, ...p }) => [name, p.bytes]));
  expect(bytes).toEqual({ constant: 3, stacked: 3, turns: 4, quantized: 3 });
});

test('safetensors files have no four-bit type', () => {
  expect(() => [...tensorsOf(module, undefined)]).toThrow(/HEW4010: 'constant' is i4/);
});

test('programs do not exchange four-bit values', async () => {
  const bare = parseModule(`module @m {
    entry @main(%x: i4[3]) -> (y: i8[3]) {
      %y = cast(%x, dtype=i8) : i8[3]
      return %y
    }
  }`);
  const wasm = await emitModule((await lowerModule(bare)).module, { optimize: false });
  await expect(manifestOf(wasm)).rejects.toThrow(/HEW6110: 'x' is i4/);
});
