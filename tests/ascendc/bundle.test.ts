/** Bundles for Ascend: what is written, what is refused, and what legalisation keeps. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compile, openNative } from 'hew';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { chips } from '../../backends/ascendc/chips.js';
import { legalise } from '../../backends/ascendc/legalise.js';
import type { AscendManifest, PlanStep } from '../../backends/native/manifest.js';
import { interpretEntry } from '../../ir/interpret.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { caseModule, caseTitle, differences } from '../conformance/case.js';
import { opCases } from '../conformance/cases.js';
import { hasCompiler } from './run-kernels.js';

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'hew-ascend-'));
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true, force: true });
});

const spec = 'examples/pangu-2m/model.hew';
const launched = (steps: readonly PlanStep[]): string[] =>
  steps.flatMap((step) => ('kernel' in step ? [step.kernel] : 'body' in step ? launched(step.body) : []));

test('a bundle holds a source for each kernel of its plans, and replaces an older one', async () => {
  const output = join(directory, 'plain');
  await compile({ spec, output, target: 'ascendc', chip: '910b1' });
  await compile({ spec, output, target: 'ascendc', chip: '910b1' });
  const manifest = JSON.parse(readFileSync(join(output, 'manifest.json'), 'utf8')) as AscendManifest;
  expect(manifest.ascendc).toMatchObject({ chip: '910b1', compute: 'f16' });
  const { kernels } = manifest.ascendc;
  const used = new Set(Object.values(manifest.entries).flatMap(({ plan }) => launched(plan)));
  expect([...used].sort()).toEqual(Object.keys(kernels).sort());
  for (const [name, { type, cores }] of Object.entries(kernels)) {
    const source = readFileSync(join(output, 'kernels', `${name}.cpp`), 'utf8');
    expect(source).toContain(`KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_${type});`);
    expect(cores).toBe(type === 'AIV_ONLY' ? 48 : 24);
  }
  expect(existsSync(join(output, 'kernels/hew_kernel.h'))).toBe(true);
  // Weights are f16, as the cube takes them.
  expect(manifest.params.every(({ dtype }) => dtype === 'f16')).toBe(true);
});

test.skipIf(!hasCompiler)(
  'the host program compiles in both styles of toolkit (skipped without g++)',
  async () => {
    const output = join(directory, 'program');
    await compile({ spec: 'examples/dit-1m/model.hew', output, target: 'ascendc' });
    const generated = join(directory, 'generated');
    mkdirSync(generated);
    const { ascendc } = JSON.parse(readFileSync(join(output, 'manifest.json'), 'utf8')) as AscendManifest;
    for (const name of Object.keys(ascendc.kernels))
      writeFileSync(
        join(generated, `aclrtlaunch_${name}.h`),
        [
          '#define ACLRT_LAUNCH_KERNEL(kernel) aclrtlaunch_##kernel',
          `template <typename... T> uint32_t aclrtlaunch_${name}(uint32_t, aclrtStream, T...);`,
          '',
        ].join('\n'),
      );
    const flags = ['-std=c++17', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', '-I', 'tests/ascendc/acl'];
    const check = (file: string, ...more: string[]): void => {
      execFileSync('g++', [...flags, ...more, join(output, 'host', file)]);
    };
    check('main.cpp');
    check('plan.cpp');
    check('plan.cpp', '-DHEW_GENERATED_LAUNCHERS', '-I', generated);
    const split = join(directory, 'split');
    await compile({ spec, output: split, target: 'ascendc', tensorParallel: 2 });
    const plan = join(split, 'rank-1/host/plan.cpp');
    execFileSync('g++', [...flags, plan]);
    expect(readFileSync(plan, 'utf8').match(/ AllReduce\(image/g)?.length).toBeGreaterThan(1);
    expect(readFileSync(join(split, 'rank-1/CMakeLists.txt'), 'utf8')).toContain('ascendcl hccl');
    for (const name of Object.keys(ascendc.kernels))
      expect(readFileSync(join(output, 'host', `launch_${name}.asc`), 'utf8')).toContain(`${name}<<<blocks`);
    expect(readFileSync(join(output, 'CMakeLists.txt'), 'utf8')).toContain('--npu-arch=dav-2201');
    expect(readFileSync(join(output, 'cmake-8.x/CMakeLists.txt'), 'utf8')).toContain('Ascend910B3');
  },
);

test('weights are found behind casts that no pass has moved', async () => {
  await compile({ spec, output: join(directory, 'raw'), target: 'ascendc', pipeline: 'dce' });
});

test('chips and options that do not exist', async () => {
  const output = join(directory, 'never');
  await expect(compile({ spec, output, target: 'ascendc', chip: '910b9' })).rejects.toThrow('HEW6212');
  await expect(compile({ spec, output, chip: '910b3' })).rejects.toThrow('HEW6211: --chip');
  expect(existsSync(output)).toBe(false);
});

test('without g++ the host says so', async () => {
  const output = join(directory, 'no-compiler');
  await compile({ spec, output, target: 'ascendc' });
  vi.stubEnv('PATH', directory);
  await expect(openNative(output, { cache: join(directory, 'cache') })).rejects.toMatchObject({
    diagnostics: [{ code: 'HEW6213' }],
  });
  vi.unstubAllEnvs();
});

test('convolutions of patches become linear layers with the same results', () => {
  const patches = opCases
    .filter((c) => c.op === 'conv2d')
    .map((c) => ({ c, made: caseModule(c, { weights: 'arguments' }) }));
  let rewritten = 0;
  for (const { c, made } of patches) {
    const legal = legalise(
      runPipeline(made.module, parsePipeline('canonicalize')).module,
      'f32',
      chips['910b3'],
    );
    if (legal.functions.get('main')?.body.some((op) => op.name === 'conv2d')) continue;
    rewritten++;
    const [wanted, actual] = [made.module, legal].map((m) => interpretEntry(m, 'main', made.inputs));
    expect(differences(wanted ?? {}, actual ?? {}, c.tolerance), caseTitle(c)).toEqual([]);
  }
  expect(rewritten).toBeGreaterThan(0);
});
