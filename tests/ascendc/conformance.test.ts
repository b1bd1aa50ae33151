/** Some cases of every op on the model of the chip; `npm run test:long` runs them all. */
import { expect, test } from 'vitest';
import { chips } from '../../backends/ascendc/chips.js';
import { opCases } from '../conformance/cases.js';
import { prepare, runCases } from './conformance.js';
import { exempt } from './exempt.js';
import { hasCompiler } from './run-kernels.js';

// Compiling takes most of the time, and much longer on a busy machine.
const timeout = 600_000;

test.skipIf(!hasCompiler)(
  'kernels agree with the interpreter (skipped without g++)',
  () => {
    const chip = chips['910b3'];
    const chosen = [...Map.groupBy(opCases, (c) => c.op).values()].flatMap((cases) =>
      cases
        .filter((c) => !exempt(c))
        .map((c) => prepare(c, chip, 3))
        .filter((p) => typeof p !== 'string')
        .filter((_, i) => i % 14 === 3),
    );
    expect(chosen.length).toBeGreaterThan(50);
    expect(runCases(chip, chosen)).toEqual([]);
  },
  timeout,
);
