/**
 * The native runtime, built with AddressSanitizer and UndefinedBehaviorSanitizer and run against a driver without a GPU
 * (runtime-native/tests/fake_driver.cpp).
 */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

function missingTool(): string | undefined {
  return ['cmake', 'g++', 'make'].find((tool) => spawnSync(tool, ['--version']).status !== 0);
}

const tool = process.platform === 'linux' ? missingTool() : 'Linux';
if (tool !== undefined) console.log(`skipping the native runtime: ${tool} is missing`);

interface Scenario {
  readonly name: string;
  readonly environment?: Readonly<Record<string, string>>;
}

const scenarios: readonly Scenario[] = [
  { name: 'units' },
  { name: 'step' },
  { name: 'truncated' },
  { name: 'synthetic' },
  { name: 'no-kernels' },
  { name: 'old-driver', environment: { HEW_FAKE_VERSION: '11080' } },
  { name: 'no-device', environment: { HEW_FAKE_DEVICES: '0' } },
  { name: 'old-gpu', environment: { HEW_FAKE_CAPABILITY: '7' } },
  { name: 'no-code', environment: { HEW_FAKE_LOAD_RESULT: '209' } },
  { name: 'no-memory', environment: { HEW_FAKE_MEMORY: '100' } },
  { name: 'context-full', environment: { HEW_FAKE_FAILURE: '1' } },
  { name: 'index', environment: { HEW_FAKE_FAILURE: '2' } },
  { name: 'rank-lost', environment: { HEW_FAKE_FAILURE: '3' } },
  { name: 'one-of-two-ranks' },
  { name: 'no-nccl', environment: { RANK: '0', WORLD_SIZE: '2', LOCAL_RANK: '0' } },
];

describe.skipIf(tool !== undefined)('runtime-native', () => {
  let build = '';
  beforeAll(() => {
    build = mkdtempSync(join(tmpdir(), 'hew-native-'));
    execFileSync('cmake', ['-DHEW_SANITIZE=ON', '-S', 'runtime-native', '-B', build]);
    execFileSync('cmake', [
      '--build',
      build,
      '--parallel',
      '2',
      '--target',
      'runtime-tests',
      'fake-cuda',
      'fake-nccl',
    ]);
  }, 900_000);
  afterAll(() => rmSync(build, { recursive: true, force: true }));

  const run = (name: string, environment: NodeJS.ProcessEnv): string => {
    const { stdout, stderr } = spawnSync(join(build, 'runtime-tests'), [name], {
      encoding: 'utf8',
      env: { ...process.env, ...environment },
    });
    return `${stdout}${stderr}`;
  };

  test.each(scenarios)('$name', ({ name, environment }) => {
    expect(run(name, { LD_LIBRARY_PATH: join(build, 'fake'), ...environment })).toBe(`${name}: pass\n`);
  });

  test.each([
    ['ranks', 29517, {}],
    ['peers', 29518, { HEW_FAKE_PEERS: '1' }],
  ])(
    'two processes meet and add: %s',
    async (scenario, port, given) => {
      const paths = ['fake', 'fake-nccl'].map((folder) => join(build, folder)).join(':');
      const startRank = (rank: number): Promise<string> =>
        new Promise((resolve) => {
          const own = { RANK: String(rank), WORLD_SIZE: '2', LOCAL_RANK: '0', MASTER_PORT: String(port) };
          const env = { ...process.env, LD_LIBRARY_PATH: paths, ...own, ...given };
          execFile(join(build, 'runtime-tests'), [scenario], { env }, (_error, stdout, stderr) =>
            resolve(`${stdout}${stderr}`),
          );
        });
      expect(await Promise.all([startRank(1), startRank(0)])).toEqual([
        `${scenario}: pass\n`,
        `${scenario}: pass\n`,
      ]);
    },
    120_000,
  );

  test('a machine without a driver is told so', ({ skip }) => {
    const loaded = spawnSync('ldconfig', ['-p'], { encoding: 'utf8' }).stdout ?? '';
    if (loaded.includes('libcuda.so.1')) skip('this machine has a driver');
    expect(run('no-driver', { LD_LIBRARY_PATH: '' })).toBe('no-driver: pass\n');
  });
});
