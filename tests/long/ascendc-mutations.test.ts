/**
 * Mistakes planted into emitted kernels of every class are reported, by the verifier or by the model of the chip: a
 * sample of them here, all of them by `node --import ./tests/tools/run-script.ts tests/ascendc/mutate.ts`.
 */
import { expect, test } from 'vitest';
import { chips } from '../../backends/ascendc/chips.js';
import { allMutants, describeVerdict, judge } from '../ascendc/mutations.js';
import { hasCompiler } from '../ascendc/run-kernels.js';

const every = 8;

test.skipIf(!hasCompiler)('at least 95 % of a sample of mutants are reported (skipped without g++)', () => {
  const sampled = allMutants(chips['910b3']).filter((_, i) => i % every === 0);
  const verdicts = judge(sampled);
  const survivors = verdicts.filter(({ by }) => by === 'nothing');
  console.log(survivors.map(describeVerdict).join('\n'));
  expect(sampled.length).toBeGreaterThan(80);
  expect(survivors.length / sampled.length).toBeLessThanOrEqual(0.05);
});
