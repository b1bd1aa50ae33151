/**
 * The quality of pruned models: evaluation NLL after each pipeline beside the figure of an independent implementation.
 * `npm run bench:prune` prints the table; arguments name models or parts of a description, --slow adds the cases that
 * judge every candidate by the calibration data.
 */
import { goldenCases } from '../prune/golden-table.js';
import { type Judge, openJudge, reasonToSkip } from '../prune/judge.js';
import { printTable } from './measure.js';

const wanted = process.argv.slice(2).filter((arg) => arg !== '--slow');
const slow = process.argv.includes('--slow');
const cases = goldenCases.filter(
  ({ model, what, column, slow: isSlow }) =>
    (slow || !isSlow) &&
    (wanted.length === 0 || wanted.some((text) => `${model} ${column} ${what}`.includes(text))),
);

for (const [model, own] of Map.groupBy(cases, (c) => c.model)) {
  const reason = reasonToSkip(model);
  if (reason !== undefined) {
    console.log(`${model}: ${reason} is absent`);
    continue;
  }
  const judge: Judge = openJudge(model);
  const rows: string[][] = [];
  for (const { what, column, pipeline, nll: wantedNll } of own) {
    const { nll, parameters, seconds } = await judge.run(pipeline);
    const difference = nll - wantedNll;
    rows.push([
      what,
      column,
      pipeline,
      (parameters / 1e6).toFixed(2),
      nll.toFixed(4),
      wantedNll.toFixed(4),
      `${difference >= 0 ? '+' : ''}${difference.toFixed(4)}`,
      seconds.toFixed(0),
    ]);
    console.error(`${model} ${what} (${column}): ${nll.toFixed(4)}`);
  }
  judge.close();
  printTable(
    `${model}: evaluation NLL in float32`,
    ['case', 'column', 'pipeline', 'M parameters', 'NLL', 'reference', 'difference', 's'],
    rows,
  );
}
