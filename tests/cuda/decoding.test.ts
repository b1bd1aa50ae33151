/** What decoding compiles to: the same values from fewer launches, and integer weights that are read as they are. */
import { describe, expect, test } from 'vitest';
import { emitCuda, lower } from '../../backends/cuda/compile.js';
import type { ComputeDType } from '../../backends/narrow.js';
import { type DecodingCase, layerCases, productCases } from './decoding.js';
import { kernelsOf, relativeErrors } from './emitted.js';

const few = (cases: readonly DecodingCase[]): readonly DecodingCase[] => cases.filter((_, i) => i % 3 === 0);

test.each([...layerCases, ...few(productCases)])('$name keeps its meaning', (c) => {
  for (const error of relativeErrors(c, 'f32')) expect(error).toBeLessThan(1e-6);
  for (const error of relativeErrors(c, 'bf16')) expect(error).toBeLessThan(1e-2);
});

describe('launches of a layer', () => {
  test.each([0, 1, 2, 3])('of one token, case %i: products, attention, and nothing between', (i) => {
    const names = kernelsOf(layerCases[i] as DecodingCase, 'decode', 'bf16').map((name) =>
      name.replace(/_\d+m?$/, ''),
    );
    expect(names).toEqual([
      'rms_norm_cast_linears',
      'decode_attention',
      'linear_cast_add',
      expect.stringMatching(/^rms_norm_cast_linear.*silu_mul$/),
      'linear_cast_add',
    ]);
  });

  test('heads whose width is no power of two keep kernels of their own', () => {
    const names = kernelsOf(layerCases.at(-1) as DecodingCase, 'decode', 'bf16');
    expect(names.filter((name) => name.startsWith('cache_append'))).toHaveLength(2);
    expect(names.some((name) => name.startsWith('decode_attention'))).toBe(false);
  });
});

describe('integer weights', () => {
  const named = (name: string): DecodingCase => productCases.find((c) => c.name === name) as DecodingCase;
  const sourceOf = (name: string, compute: ComputeDType): string =>
    emitCuda(lower(named(name).module, compute).module).source;

  test('few rows read them as they are', () => {
    const source = sourceOf('product of 3 x 1024 with i4 by 64 with zeros [33, 1024]', 'bf16');
    expect(source).toContain('QuantizedWeights<bf16, i4, float, 1024, 64, 2, true>');
    expect(source).toContain('batch_product<3, 33, 1024, ');
  });

  test('one row meets them in fixed point', () => {
    const source = sourceOf('product of 1 x 1024 with i4 by 64 with zeros [33, 1024]', 'bf16');
    expect(source).toContain('PackedWeights<i4, float, 1024, 64, true>');
    expect(source).toContain('packed_product<33, 1, 1, 1>');
  });

  test('long rows go two at a time', () => {
    const source = sourceOf('product of 1 x 6176 with i8 [19, 6176]', 'bf16');
    expect(source).toContain('packed_product<19, 2, 6, 1>');
  });

  test('many rows, and groups that do not fit, widen them first', () => {
    for (const name of [
      'product of 40 x 512 with i4 by 128 [50, 512]',
      'product of 1 x 100 with i4 by 25 [21, 100]',
    ]) {
      const source = sourceOf(name, 'bf16');
      expect(source).not.toContain('> weights[] = {{');
      expect(source).toContain('nibble(');
    }
  });
});
