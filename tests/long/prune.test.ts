/** Every golden figure of pruning: NLL within 0.005 of an independent implementation. The slow ones need HEW_SLOW=1. */
import { afterAll, describe, expect, test } from 'vitest';
import { goldenCases } from '../prune/golden-table.js';
import { type Judge, openJudge, reasonToSkip } from '../prune/judge.js';

const slow = process.env.HEW_SLOW === '1';

describe.each(['pangu-2m', 'pangu-12m'] as const)('%s', (model) => {
  const reason = reasonToSkip(model);
  if (reason !== undefined) console.log(`skipping ${model}: ${reason} is absent`);
  const cases = goldenCases.filter((c) => c.model === model && (slow || !c.slow));
  let judge: Judge | undefined;
  afterAll(() => judge?.close());
  test.skipIf(reason !== undefined).each(cases)(
    '$column: $what',
    { timeout: 3_600_000 },
    async ({ column, pipeline, nll }) => {
      judge ??= openJudge(model);
      const difference = (await judge.run(pipeline)).nll - nll;
      if (column === 'least squares') expect(difference).toBeLessThan(0.01);
      else expect(Math.abs(difference)).toBeLessThan(0.005);
    },
  );
});
