/** Candidates of kernels: nvcc takes them, and `hew tune` measures them through the native runtime, on a driver without a GPU. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readTuning } from 'hew';
import { afterAll, describe, expect, test } from 'vitest';
import { candidatesOf, requestsOf } from '../../backends/cuda/candidates.js';
import { lower } from '../../backends/cuda/compile.js';
import { untuned } from '../../backends/cuda/tuning.js';
import { compileSource } from '../../compiler/cuda.js';
import { layerCases, productCases } from '../cuda/decoding.js';
import { streamingCases } from '../cuda/streaming.js';

const has = (tool: string): boolean => spawnSync(tool, ['--version']).status === 0;
const main = 'dist/compiler/cli/main.js';
const [nvcc, compiler] = [has('nvcc'), has('g++') && process.platform === 'linux' && existsSync(main)];
if (!nvcc) console.log('skipping the compilation of candidates: nvcc is not installed');
if (!compiler)
  console.log('skipping hew tune on a driver without a GPU: it needs g++, Linux and npm run build');

const cases = [...layerCases, ...productCases, ...streamingCases];

/** One case for each kind of kernel. */
const sample = [
  'layer of 1 x 64',
  'product of 1 x 1056',
  'product of 17 x 1024 with i8',
  'product of 1 x 1024 with i4',
  'product of 33 x 1056',
  'layer_norm: long rows',
  'softmax: odd rows',
  'reduce_mean: two axes',
  'add: rows of fours in bf16',
  'attention: many queries of wide heads',
  'grouped_linear: few slots',
];

test.skipIf(!nvcc).each(sample)('nvcc takes every candidate for: %s', async (name) => {
  const found = cases.find((c) => c.name.startsWith(name));
  const module = lower((found as (typeof cases)[number]).module, 'bf16').module;
  const requests = new Map(requestsOf(module).map((request) => [request.kind, request]));
  expect(requests.size).toBeGreaterThan(0);
  for (const request of requests.values()) {
    const { cuda } = candidatesOf(module, request, untuned);
    const binary = await compileSource(cuda.source, ['arch=compute_90a,code=sm_90a']);
    expect(binary?.length).toBeGreaterThan(5_000);
  }
});

describe.skipIf(!compiler)('hew tune', () => {
  const directory = mkdtempSync(join(tmpdir(), 'hew-tune-test-'));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  test('kernels of a model are compiled, checked, measured and stored', () => {
    const driver = join(directory, 'fake');
    mkdirSync(driver);
    const library = ['-shared', '-fPIC', '-std=c++17', '-o', join(driver, 'libcuda.so.1')];
    execFileSync('g++', [...library, 'runtime-native/tests/fake_driver.cpp']);
    const stub = join(directory, 'nvcc');
    writeFileSync(stub, '#!/bin/sh\necho code > kernels.fatbin\n');
    chmodSync(stub, 0o755);
    const output = join(directory, 'tuning.json');
    const tune = (...more: string[]) =>
      spawnSync(process.execPath, [main, 'tune', 'examples/pangu-2m/model.hew', '-o', output, ...more], {
        encoding: 'utf8',
        env: { ...process.env, LD_LIBRARY_PATH: driver, HEW_NVCC: stub, HEW_CACHE: join(directory, 'cache') },
      });
    const first = tune('--symbol', 'T=16,64');
    expect(first.status, first.stderr).toBe(0);
    const { gpu, entries } = readTuning(output);
    expect(gpu).toEqual({ name: 'fake GPU', architecture: 'sm_90a', multiprocessors: 132 });
    expect(new Set(entries.map(({ kind }) => kind))).toEqual(
      new Set(['decode', 'flash', 'pointwise', 'row', 'tile', 'vector']),
    );
    // This driver takes a millisecond for everything, and all results are the same.
    for (const { choice, measured } of entries) {
      expect(choice).toEqual(measured[0]?.parameters);
      expect(measured.every(({ microseconds }) => (microseconds ?? 0) > 0)).toBe(true);
    }
    expect(tune('--device', 'cuda:1').stderr).toContain('HEW6214');
  });
});
