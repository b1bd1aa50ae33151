/** What only a process shows: signals, closed pipes and exit codes. Runs the built program in dist. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { load } from '../../compiler/api.js';
import { writeSafetensors } from '../../compiler/checkpoint/write-safetensors.js';
import { writeLineModel } from './fixture.js';
import { scratchDirectory } from './run-cli.js';

const main = fileURLToPath(new URL('../../dist/compiler/cli/main.js', import.meta.url));
const directory = scratchDirectory();
const timeout = 120_000;
let spec = '';
beforeAll(async () => {
  if (!existsSync(main)) throw new Error('the program is not built: npm run build');
  spec = await writeLineModel(directory);
});

function start(argv: readonly string[]): ChildProcess {
  return spawn(process.execPath, [main, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
}

async function finish(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const output = { stdout: '', stderr: '' };
  child.stdout?.on('data', (chunk: Buffer) => {
    output.stdout += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    output.stderr += chunk.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...output };
}

test('the exit code is that of the program', { timeout }, async () => {
  expect(await finish(start(['check', spec]))).toMatchObject({ code: 0, stderr: '' });
  const { code, stderr } = await finish(start(['check', 'absent.hew']));
  expect(code).toBe(1);
  expect(stderr).not.toMatch(/^\s+at /m);
});

test('a reader that goes away ends the program quietly', { timeout }, async () => {
  const child = start(['inspect', spec]);
  child.stdout?.destroy();
  const { code, stderr } = await finish(child);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
});

/** Large enough for a compilation to be killed while it writes. */
const size = 3072;

test('a compilation that is killed leaves no partial bundle', { timeout }, async () => {
  const weights = join(directory, 'large.safetensors');
  const row = new Uint8Array(size * 4).fill(1);
  const rows = function* (): Generator<Uint8Array> {
    for (let i = 0; i < size; i++) yield row;
  };
  await writeSafetensors(weights, [{ name: 'w', dtype: 'f32', shape: [size, size], data: rows }]);
  const folder = join(directory, 'killed');
  mkdirSync(folder);
  const output = join(folder, 'bundle');
  const argv = ['compile', spec, '--weights', weights, '--set', `size=${size}`, '-o', output];
  for (const wait of [0, 30]) {
    const child = start(argv);
    const ended = finish(child);
    while (readdirSync(folder).length === 0 && child.exitCode === null) await delay(2);
    await delay(wait);
    child.kill('SIGKILL');
    await ended;
    if (existsSync(output)) await load(output);
  }
  expect(await finish(start(argv))).toMatchObject({ code: 0 });
  expect(readdirSync(folder)).toEqual(['bundle']);
  await load(output);
});
