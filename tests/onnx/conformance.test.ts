/** ONNX's own node tests through the interpreter; tests/long runs them through wasm. */
import { describe, expect, test } from 'vitest';
import { interpretEntry } from '../../ir/interpret.js';
import { report, runSuite } from './lists.js';
import { missingSuite, suiteFolder } from './suite.js';

if (suiteFolder === undefined) console.warn(`skipped: ${missingSuite}`);

describe.skipIf(suiteFolder === undefined)('node tests', () => {
  test('through the interpreter', () => {
    const totals = runSuite('node', ({ opened, inputs }) =>
      interpretEntry(opened.module, 'main', inputs, { source: opened.source }),
    );
    report('interpreter', totals);
    expect(totals.unexpected).toEqual([]);
    expect(totals.passing).toBeGreaterThanOrEqual(520);
  });
});
