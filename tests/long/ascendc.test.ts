/** The whole conformance suite on the model of an Ascend chip, on one core, a few, and all. */
import { describe, expect, test } from 'vitest';
import { chips } from '../../backends/ascendc/chips.js';
import { type Prepared, prepare, runSubjects, subjectOf } from '../ascendc/conformance.js';
import { exempt } from '../ascendc/exempt.js';
import { hasCompiler } from '../ascendc/run-kernels.js';
import { opCases } from '../conformance/cases.js';

const chip = chips['910b3'];

describe.skipIf(!hasCompiler)('conformance on the model of 910b3 (skipped without g++)', () => {
  const outcomes = opCases
    .filter((c) => !exempt(c))
    .map((c) => ({ c, prepared: prepare(subjectOf(c), chip, 3) }));
  const prepared = outcomes.flatMap(({ prepared: p }) => (typeof p === 'string' ? [] : [p]));

  test('what has no kernel says why', () => {
    const reasons = outcomes.flatMap(({ prepared: p }) => (typeof p === 'string' ? [p] : []));
    console.log(Object.fromEntries([...Map.groupBy(reasons, (r) => r)].map(([r, all]) => [r, all.length])));
    expect(prepared.length).toBeGreaterThan(1100);
  });

  test.each([1, 3, 20])('%d blocks', (blocks) => {
    const own = prepared.map((p): Prepared => ({ ...p, call: { ...p.call, blocks } }));
    expect(runSubjects(chip, blocks === 3 ? own : own.filter((_, i) => i % 5 === 0))).toEqual([]);
  });
});

describe.skipIf(!hasCompiler)('conformance on the model of 310p3 (skipped without g++)', () => {
  const fused = chips['310p3'];
  const prepared = opCases
    .filter((c, i) => !exempt(c) && i % 4 === 0)
    .map((c) => prepare(subjectOf(c), fused, 3))
    .filter((p): p is Prepared => typeof p !== 'string');

  test('a quarter of the cases', () => {
    expect(prepared.length).toBeGreaterThan(200);
    expect(runSubjects(fused, prepared)).toEqual([]);
  });
});
