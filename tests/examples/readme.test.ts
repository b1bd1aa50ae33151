import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { format, openModel } from 'hew';
import { afterAll, expect, test } from 'vitest';

const directory = mkdtempSync(join(tmpdir(), 'hew-readme-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('the spec in the README is a formatted model', () => {
  const readme = readFileSync('README.md', 'utf8');
  const [, text = ''] = /```hew\n(.*?)```/s.exec(readme) ?? [];
  expect(format(text)).toBe(text);
  const spec = join(directory, 'readme.hew');
  writeFileSync(spec, text);
  const { module } = openModel({ spec });
  expect(module.loops.get('layer')?.indices).toHaveLength(12);
});
