/** ONNX's own node tests through the wasm backend: one small module compiled per test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Tensor } from '../../ir/tensor.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import { report, runSuite } from '../onnx/lists.js';
import { missingSuite, nodeTests, type SuiteTest, unpackNewerTests } from '../onnx/suite.js';
import { instantiate } from '../wasm/run-module.js';

if (nodeTests === undefined) console.warn(`skipped: ${missingSuite}`);

const pipeline = parsePipeline(standardPipeline);

function compiled({ opened, inputs }: SuiteTest): Record<string, Tensor> {
  const { module } = runPipeline(opened.module, pipeline);
  return instantiate(module, { source: opened.source }).run('main', inputs);
}

test.skipIf(nodeTests === undefined)('node tests up to opset 17 through wasm', () => {
  const totals = runSuite('node', nodeTests as string, compiled);
  report('wasm', totals);
  expect(totals.unexpected).toEqual([]);
  expect(totals.passing).toBeGreaterThanOrEqual(450);
});

test('node tests of opset 18 and later through wasm', () => {
  const folder = mkdtempSync(join(tmpdir(), 'hew-onnx-newer-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  unpackNewerTests(folder);
  const totals = runSuite('newer', folder, compiled);
  report('wasm, newer opsets', totals);
  expect(totals.unexpected).toEqual([]);
});
