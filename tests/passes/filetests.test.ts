/**
 * Filetests: IR text, the pipeline to run on it, and the exact text that comes out.
 *
 *     // pipeline: canonicalize,dce
 *     // what the test shows
 *     module @m { … }
 *     // result:
 *     module @m { … }
 *
 * `BLESS=1 npx vitest run tests/passes/filetests.test.ts` rewrites what follows `// result:`.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseModule } from '../../ir/parse.js';
import { printModule } from '../../ir/print.js';
import { canonicalRules } from '../../passes/canonicalize.js';
import { liftRules } from '../../passes/lift/lift.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';

const folder = join(import.meta.dirname, 'filetests');
const marker = '// result:\n';
const bless = process.env.BLESS === '1';

interface FileTest {
  readonly name: string;
  readonly input: string;
  readonly wanted: string;
  readonly pipeline: string;
}

function readFileTest(name: string): FileTest {
  const text = readFileSync(join(folder, name), 'utf8');
  const at = text.indexOf(marker);
  const pipeline = /^\/\/ pipeline: (.+)\n/.exec(text)?.[1];
  if (at < 0 || pipeline === undefined) throw new Error(`${name} needs '// pipeline: …' and '// result:'`);
  return { name, input: text.slice(0, at), wanted: text.slice(at + marker.length), pipeline };
}

function runFileTest({ name, input, pipeline }: FileTest): { text: string; counts: Record<string, number> } {
  const { module, reports } = runPipeline(parseModule(input, name), parsePipeline(pipeline));
  return { text: printModule(module), counts: Object.assign({}, ...reports.map((r) => r.counts)) };
}

const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.ir'),
);
const fileTests = names.sort().map(readFileTest);

describe('filetests', () => {
  test.each(fileTests)('$name', (fileTest) => {
    const { text } = runFileTest(fileTest);
    if (bless) writeFileSync(join(folder, fileTest.name), fileTest.input + marker + text);
    else expect(text).toBe(fileTest.wanted);
    expect(printModule(parseModule(text))).toBe(text);
  });
});

/** The route of a mixture of experts is found by a function of its own, since it has two ends. */
const liftNames = [...liftRules.map((rule) => rule.name), 'lift-moe-route'];

describe('every rule', () => {
  test.each(canonicalRules)('$name is hit by its own filetest', ({ name }) => {
    const own = fileTests.find((fileTest) => fileTest.name === join('canonicalize', `${name}.ir`));
    expect(own, `canonicalize/${name}.ir`).toBeDefined();
    expect(runFileTest(own as FileTest).counts[name]).toBeGreaterThan(0);
  });

  test.each(liftNames)('%s of lift is hit by its own filetest', (name) => {
    const own = fileTests.find((fileTest) => fileTest.name === join('lift', `${name}.ir`));
    expect(own, `lift/${name}.ir`).toBeDefined();
    expect(runFileTest(own as FileTest).counts[name]).toBeGreaterThan(0);
  });

  test('has a name of its own', () => {
    const titles = [...canonicalRules.map((rule) => rule.name), ...liftNames];
    expect(new Set(titles).size).toBe(titles.length);
  });
});
