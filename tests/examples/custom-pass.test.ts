import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Op, openModel, parsePipeline, runPipeline } from 'hew';
import { afterAll, expect, test } from 'vitest';
import { noiseError, quickGelu } from '../../examples/custom-pass/quick-gelu.js';

const directory = mkdtempSync(join(tmpdir(), 'hew-custom-pass-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('a pass defined outside of Hew runs in a pipeline', () => {
  const model = openModel({ spec: 'examples/dit-1m/model.hew' });
  const steps = parsePipeline('quick-gelu', [quickGelu]);
  const { module, reports } = runPipeline(model.module, steps);
  model.close();
  expect(reports[0]?.counts).toEqual({ replaced: 1 });
  const ops: Op[] = [...module.functions.values()].flatMap((func) => func.body);
  expect(ops.filter((op) => op.name === 'gelu_tanh')).toEqual([]);
});

test('its cost in quality is measured on the compiled model', async () => {
  const error = await noiseError(directory, [quickGelu]);
  expect(error).toBeGreaterThan(1e-3);
  expect(error).toBeLessThan(1);
});
