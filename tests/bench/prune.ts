/**
 * The quality of pruned models: evaluation NLL after each pipeline beside the figure of an independent implementation.
 * `npm run bench:prune` prints the table; arguments name models or parts of a description, --slow adds the cases that
 * judge every candidate by the calibration data. `npm run bench:prune -- tables [MODEL | COLUMN]…` prints quality against
 * size of every family, or of the models and columns that are named.
 */
import { goldenCases } from '../prune/golden-table.js';
import { type Judge, type Judged, openJudge, reasonToSkip } from '../prune/judge.js';
import { type SizeCase, sizeTables } from '../prune/size-table.js';
import { printTable } from './measure.js';

const [, , first, ...names] = process.argv;
if (first === 'tables') await printSizeTables(names);
else await printGoldenTables();

async function printSizeTables(names: readonly string[]): Promise<void> {
  const all = ['plain', 'paper', 'refit'] as const;
  const chosen = <T extends string>(list: readonly T[]): readonly T[] => {
    const named = list.filter((item) => names.includes(item));
    return named.length > 0 ? named : list;
  };
  const columns = chosen(all);
  for (const model of chosen(Object.keys(sizeTables))) {
    const cases = sizeTables[model] ?? [];
    const reason = reasonToSkip(model);
    if (reason !== undefined) {
      console.log(`${model}: ${reason} is absent`);
      continue;
    }
    const judge = openJudge(model);
    const results = new Map<SizeCase, Map<string, Judged>>(cases.map((c) => [c, new Map()]));
    for (const column of columns) {
      for (const one of cases) {
        const pipeline = one[column];
        if (pipeline === undefined) continue;
        const judged = await judge.run(pipeline);
        results.get(one)?.set(column, judged);
        const { parameters, seconds } = judged;
        console.error(
          `${model} ${pipeline}: ${quality(judged)}, ${parameters} parameters, ${seconds.toFixed(0)} s`,
        );
      }
    }
    const rows = [...results].map(([{ what }, found]) => [
      what,
      (([...found.values()][0]?.parameters ?? 0) / 1e6).toFixed(2),
      ...all.map((column) => quality(found.get(column))),
    ]);
    judge.close();
    printTable(
      `${model}: ${model.startsWith('dit') ? 'relative error of eps, PSNR of DDIM-20 in dB' : 'evaluation NLL'}, float32`,
      ['case', 'M parameters', 'plain', 're-init', 'refit'],
      rows,
    );
  }
}

function quality(judged: Judged | undefined): string {
  if (judged === undefined) return '';
  const { nll, eps, psnr } = judged;
  return Number.isNaN(nll) ? `${eps.toFixed(4)}, ${psnr.toFixed(1)}` : nll.toFixed(4);
}

async function printGoldenTables(): Promise<void> {
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
}
