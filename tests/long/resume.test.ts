/** hew prune that is killed goes on where it was, and makes what an uninterrupted run makes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { pruneModel } from 'hew';
import { beforeAll, expect, test } from 'vitest';
import { writePanguFiles } from '../cli/pangu-files.js';
import { parsed, scratchDirectory } from '../cli/run-cli.js';

const main = fileURLToPath(new URL('../../dist/compiler/cli/main.js', import.meta.url));
const directory = scratchDirectory();
const path = (name: string): string => join(directory, name);
const layers = 16;
const pipeline = `prune{layers=${layers - 1}},prune{d=12,ffn=16},refit`;
const timeout = 240_000;
let model: readonly string[] = [];

beforeAll(async () => {
  model = await writePanguFiles(directory, { num_hidden_layers: layers });
});

/** The API's way of saying what the arguments say. */
const options = (output: string) => ({
  spec: 'examples/pangu/pangu.hew',
  config: path('config.json'),
  weights: path('model.safetensors'),
  calibration: path('tokens.safetensors'),
  pipeline,
  output: path(output),
});

/** Contents of all files of a pruned model, but for its report, which tells times. */
function contents(output: string): Map<string, string> {
  const names = readdirSync(path(output), { recursive: true, encoding: 'utf8', withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'prune.json')
    .map((entry) => join(entry.parentPath, entry.name));
  return new Map(
    names.map((name) => [name.slice(path(output).length), readFileSync(name).toString('base64')]),
  );
}

function start(output: string): ChildProcess {
  const argv = ['prune', ...model, '--pipeline', pipeline, '-o', path(output), '--no-cache', '--json'];
  return spawn(process.execPath, [main, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
}

async function finish(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name]?.on('data', (chunk: Buffer) => {
      output[name] += chunk.toString();
    });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...output };
}

/** Weights that are solved and put aside: two for each layer. */
const itemsOf = (output: string): number =>
  existsSync(path(`${output}.work`))
    ? readdirSync(path(`${output}.work`)).filter((name) => name.endsWith('.safetensors')).length
    : 0;

test('a run that is killed in refit goes on at its layer', { timeout }, async () => {
  const killed = start('killed');
  // Observations are items as well, and so is the journal.
  while (itemsOf('killed') < 14 && killed.exitCode === null) await delay(2);
  killed.kill('SIGKILL');
  await once(killed, 'close');
  expect(existsSync(path('killed'))).toBe(false);
  const found = itemsOf('killed');
  expect(found).toBeGreaterThanOrEqual(14);

  const { code, stdout, stderr } = await finish(start('killed'));
  expect(code, stderr).toBe(0);
  const { passes } = parsed(stdout) as { passes: { notes: string[]; counts: Record<string, number> }[] };
  const refit = passes.at(-1);
  const note = refit?.notes.find((text) => text.startsWith('continued'));
  expect(note).toMatch(/^continued at layer \d+ of 16$/);
  expect(Number(note?.split(' ')[3])).toBeGreaterThan(2);
  expect(refit?.counts.writers).toBe(2 * (layers - 1));
  expect(existsSync(path('killed.work'))).toBe(false);

  const whole = await finish(start('whole'));
  expect(whole.code, whole.stderr).toBe(0);
  expect(contents('killed')).toEqual(contents('whole'));
});

test('layers that are finished are not solved again', { timeout }, async () => {
  const stop = new Error('stopped at layer 5');
  const seen: number[] = [];
  const run = (onTurn: (done: number) => void) =>
    pruneModel({
      ...options('stopped'),
      onProgress: (stage, done) => {
        if (stage === 'refit') onTurn(done);
        seen.push(...(stage === 'statistics' ? [-done] : []));
      },
    });
  await expect(
    run((done) => {
      if (done === 5) throw stop;
    }),
  ).rejects.toThrow(stop);
  expect(seen).not.toHaveLength(0);
  seen.length = 0;
  await run((done) => seen.push(done));
  // Neither statistics nor layers of the first run: the first report is of what was found.
  expect(seen).toEqual(Array.from({ length: layers - 4 }, (_, i) => i + 5));
  expect(existsSync(path('stopped.work'))).toBe(false);
});

test.each([
  ['a solved weight is gone', (name: string) => rmSync(name)],
  ['a file is damaged', (name: string) => writeFileSync(name, readFileSync(name).subarray(0, -1))],
])('starts anew when %s', { timeout }, async (_, damage) => {
  const stop = new Error('stopped');
  const run = (onTurn: (done: number) => void) =>
    pruneModel({ ...options('damaged'), onProgress: (stage, done) => stage === 'refit' && onTurn(done) });
  await expect(
    run((done) => {
      if (done === 3) throw stop;
    }),
  ).rejects.toThrow(stop);
  const work = path('damaged.work');
  for (const name of readdirSync(work)) damage(join(work, name));
  const seen: number[] = [];
  await run((done) => seen.push(done));
  expect(seen[0]).toBe(1);
});

test('a weight that disappears while the run needs it is an error', { timeout }, async () => {
  const run = pruneModel({
    ...options('lost'),
    onProgress: (stage, done) => {
      if (stage === 'refit' && done === layers) rmSync(path('lost.work'), { recursive: true });
    },
  });
  await expect(run).rejects.toThrow(/HEW6032: a solved weight is no longer in .*lost\.work/);
  expect(existsSync(path('lost'))).toBe(false);
});

test('two runs do not work on one output', { timeout }, async () => {
  mkdirSync(path('taken.work'));
  // The parent of this process is alive.
  writeFileSync(path('taken.work/owner'), String(process.ppid));
  await expect(pruneModel(options('taken'))).rejects.toThrow(
    /HEW6031: process \d+ is working on the same output/,
  );
  expect(existsSync(path('taken'))).toBe(false);
});
