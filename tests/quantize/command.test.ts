/** `hew quantize`: from a spec to a bundle that runs, and what it refuses. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { checkFiles } from '../../compiler/bundle.js';
import { hew, scratchDirectory } from '../cli/run-cli.js';

const directory = scratchDirectory();
const model = 'examples/dit-1m/model.hew';
const small = ['--calib', 'sample:2,steps=2'];

test('writes a bundle of integers whose outputs are those that were measured', async () => {
  const output = join(directory, 'w8a8');
  const argv = [
    'quantize',
    model,
    ...small,
    '-o',
    output,
    '--pipeline',
    'htg{groups=2},quantize{activations=step,groups=2}',
  ];
  const { code, stdout, stderr } = await hew(argv);
  expect(stderr).not.toMatch(/error/);
  expect(code).toBe(0);
  expect(stdout).toMatch(/blocks\.\{block\}\.attn\.qkv\.weight: 8 bits, integer inputs/);
  const report = JSON.parse(readFileSync(join(output, 'quantize.json'), 'utf8'));
  expect(report.bytes.after / report.bytes.f32).toBeLessThan(0.35);
  expect(report.relativeError).toBeGreaterThan(0);
  expect(report.relativeError).toBeLessThan(0.1);
  expect(Object.keys(report.seconds)).toEqual([
    'calibration data',
    'passes',
    'evaluation',
    'bundle',
    'reload',
  ]);
  const bundle = join(output, 'bundle');
  const picture = async (name: string): Promise<string> => {
    const path = join(directory, name);
    const { code } = await hew(['sample', bundle, '--classes', '3', '--steps', '2', '-o', path]);
    expect(code).toBe(0);
    return readFileSync(path, 'base64');
  };
  const drawn = await picture('one.png');
  // Engines without dot products of bytes run the other module, with the same result.
  const path = join(bundle, 'manifest.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8'));
  expect(manifest.wasm.variants).toEqual([
    { module: 'module.byte-dot.wasm', features: ['simd128', 'byte-dot'] },
  ]);
  writeFileSync(path, JSON.stringify({ ...manifest, wasm: { ...manifest.wasm, variants: [] } }));
  expect(await picture('two.png')).toBe(drawn);
});

test('a model that is too large for memory is sampled, observed and checked layer by layer, with the same result', async () => {
  const quantized = async (name: string, more: readonly string[]) => {
    const output = join(directory, name);
    const argv = ['quantize', model, ...small, '-o', output, '--pipeline', 'htg{groups=2},quantize', ...more];
    const { code, stderr } = await hew(argv);
    expect(stderr).not.toMatch(/error/);
    expect(code).toBe(0);
    const report = JSON.parse(readFileSync(join(output, 'quantize.json'), 'utf8'));
    expect(report.readBack).toBe(more.length > 0 ? 'files' : 'outputs');
    const { relativeError } = report;
    const { files } = JSON.parse(readFileSync(join(output, 'bundle', 'manifest.json'), 'utf8'));
    return { relativeError, files };
  };
  expect(await quantized('layered', ['--resident-memory', '0'])).toEqual(await quantized('whole', []));
  const bundle = join(directory, 'layered', 'bundle');
  expect((await checkFiles(bundle)).name).toBe('dit-1m');
  const weights = join(bundle, 'weights-00001.bin');
  const bytes = readFileSync(weights);
  writeFileSync(weights, bytes.fill(bytes[1000] === 1 ? 2 : 1, 1000, 1001));
  await expect(checkFiles(bundle)).rejects.toThrow(/HEW9001.*weights-00001\.bin/);
});

test('writes bundles for native targets', async () => {
  vi.stubEnv('HEW_NVCC', '');
  const to = (target: string, ...more: string[]) =>
    hew(['quantize', model, ...small, '--target', target, ...more, '-o', join(directory, target)]);
  expect((await to('cuda')).stdout).toContain('bundle for cuda');
  const source = readFileSync(join(directory, 'cuda/bundle/kernels.cu'), 'utf8');
  expect(source).toMatch(/quantize/);
  const manifest = JSON.parse(readFileSync(join(directory, 'cuda/bundle/manifest.json'), 'utf8'));
  expect(manifest.params.filter(({ dtype }: { dtype: string }) => dtype === 'i8').length).toBeGreaterThan(3);
  const fourBits = await to(
    'cuda',
    '--pipeline',
    'htg{groups=2},quantize{scheme=w4a8,activations=step,groups=2}',
  );
  expect(fourBits.stdout).toContain('bundle for cuda');
  expect((await to('tpu')).stderr).toContain('HEW6005');
  expect((await to('cuda', '--chip', '910b3')).stderr).toContain('HEW6211');
  vi.unstubAllEnvs();
});

test('keeps what it did not make, and needs data for a language model', async () => {
  writeFileSync(join(directory, 'mine.txt'), 'x');
  const kept = await hew(['quantize', model, ...small, '-o', directory]);
  expect(kept.stderr).toMatch(/HEW8003.*was not made by hew quantize/);
  const text = await hew(['quantize', 'examples/pangu-2m/model.hew', '-o', join(directory, 'text')]);
  expect(text.stderr).toMatch(/HEW6011.*needs calibration data/);
  expect(existsSync(join(directory, 'text'))).toBe(false);
});
