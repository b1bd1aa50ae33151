/** Plants every mutation into every sample kernel and prints what reports them, by kind, and what survives. */
import { type ChipName, chips } from '../../backends/ascendc/chips.js';
import { allMutants, describeVerdict, judge } from './mutations.js';

const chip = chips[(process.argv[2] ?? '910b3') as ChipName];
const verdicts = judge(allMutants(chip), chip);
const by = (what: string): number => verdicts.filter((verdict) => verdict.by === what).length;
console.log(
  `${verdicts.length} mutants on ${chip.name}: ${by('verifier')} reported by the verifier, ${by('model')} by the model, ${by('nothing')} survive`,
);
for (const [kind, own] of Map.groupBy(verdicts, ({ mutant }) => mutant.kind)) {
  const reported = own.filter((verdict) => verdict.by !== 'nothing').length;
  console.log(`${kind.padEnd(18)} ${reported} of ${own.length}`);
}
for (const verdict of verdicts) if (verdict.by === 'nothing') console.log(describeVerdict(verdict));
