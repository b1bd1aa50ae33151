/** ONNX's own node tests through the interpreter; tests/long runs them through wasm. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { interpretEntry } from '../../ir/interpret.js';
import type { Tensor } from '../../ir/tensor.js';
import { report, runSuite } from './lists.js';
import { missingSuite, nodeTests, type SuiteTest, unpackNewerTests } from './suite.js';

if (nodeTests === undefined) console.warn(`skipped: ${missingSuite}`);

const interpret = ({ opened, inputs }: SuiteTest): Record<string, Tensor> =>
  interpretEntry(opened.module, 'main', inputs, { source: opened.source });

test.skipIf(nodeTests === undefined)('node tests up to opset 17', () => {
  const totals = runSuite('node', nodeTests as string, interpret);
  report('interpreter', totals);
  expect(totals.unexpected).toEqual([]);
  expect(totals.passing).toBeGreaterThanOrEqual(520);
});

test('node tests of opset 18 and later', () => {
  const folder = mkdtempSync(join(tmpdir(), 'hew-onnx-newer-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  unpackNewerTests(folder);
  const totals = runSuite('newer', folder, interpret);
  report('interpreter, newer opsets', totals);
  expect(totals.unexpected).toEqual([]);
});
