/** `hew import`: what it refuses, whatever the format. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hew, scratchDirectory } from './run-cli.js';

const directory = scratchDirectory();

test('a path that is not there', async () => {
  const { code, stderr } = await hew(['import', join(directory, 'absent.onnx'), '-o', 'out']);
  expect(code).toBe(1);
  expect(stderr).toContain('HEW3001');
});

test('a file of no known format', async () => {
  const path = join(directory, 'model.txt');
  writeFileSync(path, 'weights');
  const { code, stderr } = await hew(['import', path, '-o', join(directory, 'out')]);
  expect(code).toBe(1);
  expect(stderr).toContain('HEW3101');
});
