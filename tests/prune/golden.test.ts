/** The golden figures of pangu-2m that are quick to reproduce; all of them are in tests/long/prune.test.ts. */
import { afterAll, describe, expect, test } from 'vitest';
import { goldenCases } from './golden-table.js';
import { type Judge, openJudge, reasonToSkip } from './judge.js';

const reason = reasonToSkip('pangu-2m');
if (reason !== undefined) console.log(`skipping golden figures of pruning: ${reason} is absent`);

const quick = ['prune{layers=5},clap', 'prune{d=112,ffn=336,layers=4}'];
const cases = goldenCases.filter(({ model, pipeline }) => model === 'pangu-2m' && quick.includes(pipeline));

describe.skipIf(reason !== undefined)('pangu-2m', () => {
  let judge: Judge | undefined;
  afterAll(() => judge?.close());
  test.each(cases)('$pipeline', { timeout: 180_000 }, async ({ pipeline, nll }) => {
    judge ??= openJudge('pangu-2m');
    expect(Math.abs((await judge.run(pipeline)).nll - nll)).toBeLessThan(0.005);
  });
});
