/** The whole conformance suite on the model of Ascend chips, each case on one of several numbers of blocks. */
import { describe, expect, test } from 'vitest';
import { type CoreLayout, chips } from '../../backends/ascendc/chips.js';
import {
  onBlocks,
  type Prepared,
  prepare,
  runSubjects,
  type Subject,
  subjectOf,
} from '../ascendc/conformance.js';
import { exempt } from '../ascendc/exempt.js';
import { attentions, products } from '../ascendc/on-cube.js';
import { hasCompiler } from '../ascendc/run-kernels.js';
import { opCases } from '../conformance/cases.js';

/** Cases by turns: those that are run on so many blocks, of the numbers that there are. */
function casesOn(blocks: number, counts: readonly number[], layout: CoreLayout): Subject[] {
  const cases = opCases.filter((c) => !exempt(c, layout));
  return cases.filter((_, i) => i % counts.length === counts.indexOf(blocks)).map(subjectOf);
}

describe.skipIf(!hasCompiler)('conformance on the model of 910b3 (skipped without g++)', () => {
  const counts = [1, 2, 3, 7, 20, 40, 48];
  const reasons: string[] = [];
  let kernels = 0;

  test.each(counts)('a seventh of the cases on %d blocks', (blocks) => {
    // Kernels with a part for the cube take as many blocks as there are cube cores at most; 48 vector cores has this one.
    const chip = chips[blocks > chips['910b3'].vectorCores ? '910b1' : '910b3'];
    const outcomes = casesOn(blocks, counts, chip.layout).map((subject) => prepare(subject, chip, blocks));
    const own = outcomes.filter((p): p is Prepared => typeof p !== 'string');
    reasons.push(...outcomes.filter((p) => typeof p === 'string'));
    kernels += own.length;
    expect(
      runSubjects(
        chip,
        own.map((p) => onBlocks(p, chip, blocks)),
      ),
    ).toEqual([]);
  });

  test('what has no kernel says why', () => {
    console.log(Object.fromEntries([...Map.groupBy(reasons, (r) => r)].map(([r, all]) => [r, all.length])));
    expect(kernels).toBeGreaterThan(1100);
  });

  test.each([3, 20])('attention and products on the cube, on %d blocks', (blocks) => {
    const chip = chips['910b3'];
    const own = [...attentions, ...products].map((subject) => prepare(subject, chip, blocks) as Prepared);
    expect(own.map(({ call }) => call.kernel.type)).toEqual([
      ...attentions.map(() => 'MIX_AIC_1_2'),
      ...products.map(() => 'AIC_ONLY'),
    ]);
    expect(runSubjects(chip, own)).toEqual([]);
  });
});

describe.skipIf(!hasCompiler)('conformance on the model of 310p3 (skipped without g++)', () => {
  const chip = chips['310p3'];
  const counts = [1, 3, 8];
  let kernels = 0;

  test.each(counts)('a third of the cases on %d blocks', (blocks) => {
    const own = casesOn(blocks, counts, chip.layout)
      .map((subject) => prepare(subject, chip, blocks))
      .filter((p): p is Prepared => typeof p !== 'string');
    kernels += own.length;
    expect(runSubjects(chip, own)).toEqual([]);
  });

  test('most cases have kernels', () => {
    expect(kernels).toBeGreaterThan(800);
  });
});
