/** Models on the native runtime, called from Node: kernels for Ascend on the model of the chip, against WebAssembly. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { compile, load, openNative } from 'hew';
import { describe, expect, test, vi } from 'vitest';
import { hasCompiler } from '../ascendc/run-kernels.js';
import { codeOf } from '../checkpoint/hew-errors.js';
import { hew, scratchDirectory } from '../cli/run-cli.js';
import { codeOf as loadCodeOf } from '../runtime/fixture.js';

const directory = scratchDirectory();
const cache = join(directory, 'cache');
const spec = 'examples/pangu-2m/model.hew';
const hasDriver = spawnSync('nvidia-smi').status === 0;

describe.skipIf(!hasCompiler)('skipped without g++', () => {
  test('entries, states and snapshots are those of the same model in WebAssembly', async () => {
    const [own, other] = [join(directory, 'native'), join(directory, 'wasm')];
    await compile({ spec, output: own, target: 'ascendc', dtype: 'f32', weightsDtype: 'f32' });
    await compile({ spec, output: other });
    const { model, close } = await openNative(own, { cache });
    const wasm = await load(other);
    const ids = Int32Array.of(3, 14, 15, 9, 2, 6, 5);
    const logits = (tokens: Int32Array): Float32Array[] =>
      [model, wasm].map((m) => m.run('prefill', { ids: tokens }, { outputs: ['last'] }).last as Float32Array);
    const agree = ([a, b]: Float32Array[]): void => {
      expect(a?.length).toBe(b?.length);
      a?.forEach((value, i) => {
        expect(value).toBeCloseTo(b?.[i] ?? Number.NaN, 3);
      });
    };
    agree(logits(ids));
    const snapshots = [model.saveState(), wasm.saveState()];
    agree(logits(ids.slice(0, 2)));
    for (const [i, m] of [model, wasm].entries()) m.restoreState(snapshots[i] ?? new Map());
    const { states } = wasm.manifest;
    expect(model.manifest.states.map(({ name, dtype }) => [name, dtype])).toEqual(
      states.map(({ name, dtype }) => [name, dtype]),
    );
    const position = states.find(({ dtype }) => dtype === 'i32')?.name ?? '';
    expect(model.state(position).read()).toEqual(Int32Array.of(ids.length));
    agree(logits(ids.slice(2)));
    model.reset();
    expect(model.state(position).read()).toEqual(Int32Array.of(0));

    expect(await loadCodeOf(() => model.run('prefil', { ids }))).toBe('HEW7004');
    expect(await loadCodeOf(() => model.run('prefill', { ids: Float32Array.of(1) }))).toBe('HEW7005');
    close();
  });

  test.skipIf(hasDriver)('a machine without a driver is told so (skipped where there is one)', async () => {
    vi.stubEnv('HEW_NVCC', '');
    const { code, stderr } = await hew(['run', spec, '--device', 'cuda', '--prompt', 'a'], {
      env: { HEW_CACHE: cache },
    });
    vi.unstubAllEnvs();
    expect(code).toBe(1);
    expect(stderr).toMatch(/HEW6214.*driver/);
    const wrong = await hew(['run', spec, '--device', 'tpu', '--prompt', 'a']);
    expect(wrong.stderr).toContain('Write cuda, cuda:N or ascend-host.');
  });

  test('a bundle of WebAssembly is refused', async () => {
    const output = join(directory, 'line');
    await compile({ spec, output });
    expect(await codeOf(() => openNative(output, { cache }))).toBe('HEW7002');
    expect(await codeOf(() => openNative(directory, { cache }))).toBe('HEW7001');
  });
});
