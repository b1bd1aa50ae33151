/**
 * The lists of conformance tests in this folder: those that pass, and those that are skipped with the reason. A test
 * that does otherwise than its list says fails; `BLESS=1` rewrites both lists.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { HewError } from '../../ir/diagnostics.js';
import type { Tensor } from '../../ir/tensor.js';
import { mismatches, openTest, Skip, type SuiteTest, testNames } from './suite.js';

const path = (name: string): URL => new URL(name, import.meta.url);
const blesses = process.env.BLESS === '1';

interface Lists {
  readonly passing: ReadonlySet<string>;
  readonly skipped: ReadonlyMap<string, string>;
}

function readLists(kind: string): Lists {
  const lines = (file: string): string[] =>
    readFileSync(path(file), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
  return {
    passing: new Set(lines(`${kind}-passing.txt`)),
    skipped: new Map(lines(`${kind}-skipped.txt`).map((line) => line.split('\t', 2) as [string, string])),
  };
}

function writeLists(kind: string, outcomes: ReadonlyMap<string, Outcome>): void {
  const [passing, skipped] = [
    [...outcomes].filter(([, o]) => o.reason === undefined),
    [...outcomes].filter(([, o]) => o.reason !== undefined),
  ];
  writeFileSync(
    path(`${kind}-passing.txt`),
    `# tests of '${kind}' that pass\n${passing.map(([name]) => `${name}\n`).join('')}`,
  );
  writeFileSync(
    path(`${kind}-skipped.txt`),
    `# tests of '${kind}' that are skipped, and why\n${skipped.map(([name, { reason }]) => `${name}\t${reason}\n`).join('')}`,
  );
}

interface Outcome {
  /** Undefined when the test passes. */
  readonly reason: string | undefined;
  readonly promoted: boolean;
}

/** Results that differ from the suite's for a reason of the suite's own. */
const knownDifferences: readonly [RegExp, string][] = [
  [
    /^test_cast(like)?_FLOAT_to_BFLOAT16/,
    'the suite cuts bits off, where ONNX since 1.13 rounds to nearest as Hew does',
  ],
  [
    /^test_(attention|celu).*_(bf16|bfloat16)$/,
    'the reference rounds every step to bf16, whose last bit is above the tolerance',
  ],
];

function outcomeOf(folder: string, name: string, run: (test: SuiteTest) => Record<string, Tensor>): Outcome {
  try {
    const test = openTest(folder, name);
    try {
      const found = mismatches(run(test), test.wanted);
      const known = knownDifferences.find(([pattern]) => pattern.test(name))?.[1];
      return {
        reason: found.length === 0 ? undefined : (known ?? found.join('; ')),
        promoted: test.promoted,
      };
    } finally {
      test.opened.store.close();
    }
  } catch (error) {
    return { reason: reasonOf(error), promoted: false };
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof Skip) return error.message;
  if (error instanceof HewError)
    return error.diagnostics.map(({ code, message }) => `${code} ${message}`).join('; ');
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

export interface Totals {
  readonly tests: number;
  readonly passing: number;
  /** Of those, tests whose inputs had to be given as constants. */
  readonly promoted: number;
  readonly unexpected: readonly string[];
}

/** Runs every test of a folder and compares with the lists whose names begin with `kind`. */
export function runSuite(
  kind: string,
  folder: string,
  run: (test: SuiteTest) => Record<string, Tensor>,
): Totals {
  const outcomes = new Map(testNames(folder).map((name) => [name, outcomeOf(folder, name, run)]));
  if (blesses) writeLists(kind, outcomes);
  const { passing, skipped } = readLists(kind);
  const unexpected = [...outcomes].flatMap(([name, { reason }]) => {
    if (reason === undefined) return passing.has(name) ? [] : [`${name} passes, but is not listed so`];
    return skipped.has(name) ? [] : [`${name}: ${reason}`];
  });
  const passed = [...outcomes.values()].filter(({ reason }) => reason === undefined);
  return {
    tests: outcomes.size,
    passing: passed.length,
    promoted: passed.filter(({ promoted }) => promoted).length,
    unexpected,
  };
}

export function report(what: string, { tests, passing, promoted }: Totals): void {
  console.log(
    `${what}: ${passing} of ${tests} node tests pass, ${promoted} of them with inputs given as constants`,
  );
}
