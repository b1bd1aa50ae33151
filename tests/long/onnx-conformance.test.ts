/** ONNX's own node tests through the wasm backend: one small module compiled per test. */
import { expect, test } from 'vitest';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import { report, runSuite } from '../onnx/lists.js';
import { missingSuite, suiteFolder } from '../onnx/suite.js';
import { instantiate } from '../wasm/run-module.js';

if (suiteFolder === undefined) console.warn(`skipped: ${missingSuite}`);

test.skipIf(suiteFolder === undefined)('node tests through wasm', () => {
  const pipeline = parsePipeline(standardPipeline);
  const totals = runSuite('node', ({ opened, inputs }) => {
    const { module } = runPipeline(opened.module, pipeline);
    return instantiate(module, { source: opened.source }).run('main', inputs);
  });
  report('wasm', totals);
  expect(totals.unexpected).toEqual([]);
  expect(totals.passing).toBeGreaterThanOrEqual(450);
});
