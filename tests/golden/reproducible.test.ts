/** The same inputs give the same bundle, byte for byte, wherever it is written. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compile } from '../../compiler/api.js';

test.each(['examples/pangu-2m/model.hew', 'examples/dit-1m/model.hew'])('%s', async (spec) => {
  const folder = mkdtempSync(join(tmpdir(), 'hew-same-'));
  try {
    const outputs = [join(folder, 'first'), join(folder, 'second')] as const;
    for (const output of outputs) await compile({ spec, output });
    const [first, second] = outputs.map((output) => readdirSync(output).sort());
    expect(second).toEqual(first);
    for (const name of first ?? []) {
      const [a, b] = outputs.map((output) => readFileSync(join(output, name))) as [Buffer, Buffer];
      expect(a.equals(b), name).toBe(true);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
