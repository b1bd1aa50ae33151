/** Bundles for CUDA: what is written, with and without nvcc, and what is refused. */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { check, compile, load } from 'hew';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { emitCuda, lower } from '../../backends/cuda/compile.js';
import type { CudaManifest } from '../../backends/native/manifest.js';
import { openModel } from '../../compiler/compile.js';
import { compileSource } from '../../compiler/cuda.js';
import { hasNvcc } from './emitted.js';

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'hew-cuda-'));
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true, force: true });
});

const spec = 'examples/pangu-2m/model.hew';

function manifestOf(bundle: string): CudaManifest {
  return JSON.parse(readFileSync(join(bundle, 'manifest.json'), 'utf8')) as CudaManifest;
}

test('without nvcc a bundle holds the source, and the image fits its parts', async () => {
  vi.stubEnv('HEW_NVCC', '');
  const output = join(directory, 'plain');
  await compile({ spec, output, target: 'cuda' });
  const manifest = manifestOf(output);
  expect(manifest.cuda).toEqual({ source: 'kernels.cu', binary: null, threads: 256, compute: 'bf16' });
  expect(Object.keys(manifest.files)).toEqual(['kernels.cu', 'tokenizer.json', 'weights-00001.bin']);
  const [segment] = manifest.weights;
  expect(segment?.bytes).toBe(statSync(join(output, 'weights-00001.bin')).size);
  expect((segment?.address ?? 0) + (segment?.bytes ?? 0)).toBe(manifest.memory.weights);
  const { decode } = manifest.entries;
  expect(decode?.symbols).toEqual([]);
  expect(decode?.plan.filter((step) => 'turns' in step)).toHaveLength(1);
  const caches = manifest.states.filter(({ name }) => name.includes('cache'));
  expect(caches.map(({ dtype }) => dtype)).toEqual(['bf16', 'bf16']);
  await expect(load(output)).rejects.toMatchObject({ code: 'HEW7002' });
});

test('a model over two GPUs is a bundle for each, with a sum behind each sub-layer', async () => {
  vi.stubEnv('HEW_NVCC', '');
  const output = join(directory, 'split');
  const stages = new Set<string>();
  await compile({
    spec,
    output,
    target: 'cuda',
    tensorParallel: 2,
    onProgress: ({ stage }) => stages.add(stage),
  });
  expect([...stages]).toEqual(['weights of rank 0, of 2', 'weights of rank 1, of 2']);
  const [first, second] = [0, 1].map((rank) => manifestOf(join(output, `rank-${rank}`)));
  expect([first?.ranks, second?.ranks]).toEqual([2, 2]);
  expect(first?.entries).toEqual(second?.entries);
  expect(first?.files).not.toEqual(second?.files);
  const loop = first?.entries.decode?.plan.find((step) => 'turns' in step);
  const sums = loop && 'turns' in loop ? loop.body.filter((step) => 'all_reduce' in step) : [];
  expect(sums).toHaveLength(2);
  // Each rank computes a half of the logits, and they are added where the output is.
  const [logits] = first?.entries.decode?.outputs ?? [];
  const last = first?.entries.decode?.plan.filter((step) => 'all_reduce' in step) ?? [];
  expect(last).toEqual([{ all_reduce: [logits?.address, logits?.address], elements: 4096, mask: 1 }]);
  expect(first?.params.map(({ elements }) => elements)).toContain(2048 * 128);
  await expect(compile({ spec, output, tensorParallel: 2 })).rejects.toThrow('HEW6211: --tensor-parallel');
  await expect(compile({ spec, output, target: 'cuda', tensorParallel: 0 })).rejects.toThrow('HEW6002');
});

test('a bundle without weights holds the constants alone', async () => {
  vi.stubEnv('HEW_NVCC', '');
  const output = join(directory, 'bare');
  await compile({ spec, output, target: 'cuda', dtype: 'f32', withWeights: false });
  const manifest = manifestOf(output);
  expect(manifest.weights.map(({ file, bytes }) => [file, bytes])).toEqual([['constants.bin', 64]]);
  expect(manifest.params.every(({ dtype }) => dtype === 'bf16')).toBe(true);
});

test('an option of another target is HEW6211', async () => {
  const output = join(directory, 'never');
  await expect(compile({ spec, output, dtype: 'f32' })).rejects.toThrow('HEW6211: --dtype');
  await expect(compile({ spec, output, target: 'cuda', relaxedSimd: true })).rejects.toThrow(
    'HEW6211: --relaxed-simd',
  );
  expect(existsSync(output)).toBe(false);
});

test('what nvcc refuses is HEW6210, and nothing is left behind', async () => {
  const nvcc = join(directory, 'nvcc');
  writeFileSync(nvcc, '#!/bin/sh\necho "kernels.cu(1): error: no" >&2\nexit 2\n');
  chmodSync(nvcc, 0o755);
  vi.stubEnv('HEW_NVCC', nvcc);
  const output = join(directory, 'never');
  await expect(compile({ spec, output, target: 'cuda' })).rejects.toMatchObject({
    diagnostics: [{ code: 'HEW6210', notes: ['kernels.cu(1): error: no'] }],
  });
  expect(existsSync(output)).toBe(false);
});

const reason = hasNvcc() ? undefined : 'nvcc is not installed';
if (reason !== undefined) console.log(`skipping the compilation of kernels: ${reason}`);

test.skipIf(reason !== undefined)('nvcc takes the kernels of pangu-2m', { timeout: 600_000 }, async () => {
  vi.stubEnv('HEW_NVCC', undefined);
  const model = openModel({ spec });
  model.close();
  const { source } = emitCuda(lower(model.module, 'bf16').module);
  const binary = await compileSource(source, ['arch=compute_90a,code=sm_90a']);
  expect(binary?.length).toBeGreaterThan(10_000);
});

test('check asks the target that is named what it supports', async () => {
  const narrow = join(directory, 'narrow.hew');
  writeFileSync(
    narrow,
    `dim T <= 16

entry main(x: [T, 8], scale: [8]) -> (y: [T, 8]) {
  return (y = dequantize(quantize(x, scale, dtype = i4), scale))
}
`,
  );
  const codes = async (target: string): Promise<string[]> =>
    (await check({ spec: narrow, target })).map(({ code }) => code);
  expect(await codes('wasm')).toEqual([]);
  expect(await codes('cuda')).toEqual(['HEW6003']);
});
