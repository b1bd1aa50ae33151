/** run, with the cache, on pangu-2m. */
import { readdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hew, parsed, scratchDirectory } from './run-cli.js';

const cache = join(scratchDirectory(), 'cache');
const env = { HEW_CACHE: cache };
const argv = ['run', 'examples/pangu-2m/model.hew', '--prompt', 'def main(', '--max-tokens', '8'];
const timeout = 120_000;

test('a spec is compiled into the cache once, and only the text goes to stdout', { timeout }, async () => {
  const first = await hew([...argv, '--greedy'], { env });
  expect(first.code).toBe(0);
  expect(first.stderr).toMatch(/^compiling examples\/pangu-2m\/model\.hew into /);
  expect(first.stdout).toMatch(/^\S.*\n/);
  expect(readdirSync(cache)).toHaveLength(1);
  const second = await hew([...argv, '--greedy'], { env });
  expect(second.stdout).toBe(first.stdout);
  expect(second.stderr).toMatch(/^\d+ prompt tokens in .*, 8 tokens generated/);
  const json = parsed((await hew([...argv, '--greedy', '--json'], { env })).stdout);
  expect(json).toMatchObject({ ok: true, prompt: 'def main(', reason: 'length' });
  expect(json.ids).toHaveLength(8);
  expect(`${json.text}\n`).toBe(first.stdout);
});

test('the seed decides the text', { timeout }, async () => {
  const texts = await Promise.all(
    ['1', '1', '2'].map(
      async (seed) => (await hew([...argv, '--temperature', '1', '--seed', seed], { env })).stdout,
    ),
  );
  expect(texts[0]).toBe(texts[1]);
  expect(texts[2]).not.toBe(texts[0]);
});

test('settings out of range are refused', { timeout }, async () => {
  for (const option of [
    ['--temperature', '-1'],
    ['--top-p', '2'],
    ['--top-k', '-3'],
    ['--max-tokens', '-1'],
  ]) {
    const { code, stderr } = await hew([...argv, ...option], { env });
    expect(code).toBe(1);
    expect(stderr).toContain('error[HEW7011]');
  }
});

test('a damaged bundle of the cache is made again', { timeout }, async () => {
  const [bundle = ''] = readdirSync(cache);
  truncateSync(join(cache, bundle, 'weights-00001.bin'), 100);
  const { code, stderr } = await hew(argv, { env });
  expect(code).toBe(0);
  expect(stderr).toContain('the cached bundle is damaged');
});
