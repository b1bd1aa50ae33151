/** The model of AscendC on the host, built with g++ and the undefined-behaviour sanitizer. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = 'runtime-native/ascendc-host';
const hasCompiler = spawnSync('g++', ['--version']).status === 0;

// Compiling takes most of the time, and much longer on a busy machine.
const timeout = 600_000;

test.skipIf(!hasCompiler)(
  'right kernels run, and planted mistakes are found (skipped without g++)',
  () => {
    const directory = mkdtempSync(join(tmpdir(), 'hew-ascend-'));
    try {
      const sources = readdirSync(`${root}/src`).map((name) => `${root}/src/${name}`);
      const program = join(directory, 'model_test');
      execFileSync('g++', [
        ...['-std=c++17', '-O0', '-Wall', '-Wextra', '-Wno-clobbered', '-Werror'],
        ...['-fsanitize=undefined', '-fno-sanitize-recover=all', '-I', `${root}/include`],
        ...[...sources, `${root}/tests/model_test.cpp`, '-o', program],
      ]);
      const { stdout, status } = spawnSync(program, { encoding: 'utf8' });
      expect(stdout).toMatch(/^\d+ passed, 0 failed\n$/);
      expect(status).toBe(0);
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
  timeout,
);
