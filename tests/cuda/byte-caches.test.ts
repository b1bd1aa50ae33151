/** Caches of bytes: attention reads them as they are, and rows are quantized by the kernel that appends them. */
import { describe, expect, test, vi } from 'vitest';
import { emitCuda, lower } from '../../backends/cuda/compile.js';
import type { ComputeDType } from '../../backends/narrow.js';
import { compileSource } from '../../compiler/cuda.js';
import { parseModule } from '../../ir/parse.js';
import { appendCases, attentionCases, byteLayerCases } from './byte-caches.js';
import type { DecodingCase } from './decoding.js';
import { hasNvcc, kernelsOf, relativeErrors } from './emitted.js';

describe('lowering keeps the meaning', () => {
  const some = byteLayerCases.filter((_, i) => i % 3 === 0);
  test.each([...attentionCases, ...some])('$name', (c) => {
    for (const error of relativeErrors(c, 'f32')) expect(error).toBeLessThan(1e-6);
    for (const error of relativeErrors(c, 'bf16')) expect(error).toBeLessThan(1e-2);
  });

  test.each(appendCases)('$name', (c) => {
    for (const error of relativeErrors(c, 'f32')) expect(error).toBe(0);
  });
});

const launched = (c: DecodingCase, entry: string, compute: ComputeDType): string[] =>
  kernelsOf(c, entry, compute).map((name) => name.replace(/_\d+m?$/, ''));

describe('launches', () => {
  test.each(['bf16', 'f32'] as const)('attention over bytes is one kernel in %s', (compute) => {
    for (const c of attentionCases) {
      const names = launched(c, 'main', compute).filter((name) => name !== 'cast');
      expect(names, c.name).toEqual(['attention']);
    }
  });

  test('a layer of one token has the kernels that it has over floats', () => {
    for (const c of byteLayerCases.slice(0, 4))
      expect(launched(c, 'decode', 'bf16'), c.name).toEqual([
        'rms_norm_cast_linears',
        'decode_attention',
        'linear_cast_add',
        expect.stringMatching(/^rms_norm_cast_linear.*silu_mul$/),
        'linear_cast_add',
      ]);
  });

  test('rows are rotated, quantized and appended by one kernel where attention does not', () => {
    const names = launched(byteLayerCases[6] as DecodingCase, 'decode', 'bf16');
    expect(names.filter((name) => name === 'quantized_append')).toHaveLength(2);
    expect(names.some((name) => name === 'rope' || name === 'dynamic_quantize')).toBe(false);
    for (const c of appendCases) expect(launched(c, 'main', 'f32'), c.name).toEqual(['quantized_append']);
  });

  test('tensor cores multiply the bytes of one token in bf16, where heads fit', () => {
    const calls = (i: number, compute: ComputeDType): readonly string[] => {
      const { source } = emitCuda(lower((attentionCases[i] as DecodingCase).module, compute).module);
      return [...source.matchAll(/^ {2}(attend_\w+)</gm)].flatMap(([, name]) => name ?? []);
    };
    for (const i of [0, 1, 2]) {
      expect(calls(i, 'bf16')).toEqual(['attend_tiles']);
      expect(calls(i, 'f16')).toEqual(['attend_cached']);
      expect(calls(i, 'f32')).toEqual(['attend_cached']);
    }
    // Values in floats.
    for (const i of [6, 8]) expect(calls(i, 'bf16')).toEqual(['attend_tiles']);
    // Heads of 32, 16 and 256 channels.
    for (const i of [3, 4, 5]) expect(calls(i, 'bf16')).toEqual(['attend_cached']);
  });

  test('scales of 16-bit compute stay exact', () => {
    const { states } = lower((byteLayerCases[0] as DecodingCase).module, 'bf16').module;
    expect([...states.values()].map(({ type }) => type.dtype)).toEqual(['i8', 'f32', 'i8', 'f32']);
  });

  test('scales that rows do not have of their own are applied before attention', () => {
    const module = parseModule(`module @m {
      entry @main(%q: f32[40, 2, 32], %k: i8[50, 1, 32], %s: f32[1], %v: f32[50, 1, 32]) -> (y: f32[40, 2, 32]) {
        %w = dequantize(%k, %s) : f32[50, 1, 32]
        %y = attention(%q, %w, %v, scale=0.2) : f32[40, 2, 32]
        return %y
      }
    }`);
    const names = launched({ name: 'one scale', module, calls: [] }, 'main', 'bf16');
    expect(names).toContain('dequantize_cast');
    const { source } = emitCuda(lower(module, 'bf16').module);
    expect(source).not.toMatch(/= ByteRows/);
  });

  test('what else reads a widened cache keeps it in memory', () => {
    const module = parseModule(`module @m {
      entry @main(%q: f32[40, 1, 32], %k: i8[40, 1, 32], %s: f32[40, 1, 1]) -> (y: f32[40, 1, 32], z: f32[40, 1, 32]) {
        %w = dequantize(%k, %s) : f32[40, 1, 32]
        %y = attention(%q, %w, %w, scale=0.2) : f32[40, 1, 32]
        return %y, %w
      }
    }`);
    const names = launched({ name: 'two readers', module, calls: [] }, 'main', 'bf16');
    expect(names.some((name) => name.startsWith('dequantize'))).toBe(true);
  });
});

test.skipIf(!hasNvcc())('nvcc takes kernels of all kinds', { timeout: 300_000 }, async () => {
  vi.stubEnv('HEW_NVCC', undefined);
  const some = [attentionCases[1], attentionCases[14], byteLayerCases[7]];
  for (const { module } of some as DecodingCase[]) {
    for (const compute of ['bf16', 'f32'] as const) {
      const { source } = emitCuda(lower(module, compute).module);
      // PTX alone: the front end finds the mistakes of templates, and code for a GPU takes several times as long.
      expect((await compileSource(source, ['arch=compute_80,code=compute_80']))?.length).toBeGreaterThan(
        1000,
      );
    }
  }
});
