/** The codes of the IR itself, and that no code goes untested. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Diagnostic, diagnosticCodes, HewError } from '../../ir/diagnostics.js';
import { interpretEntry } from '../../ir/interpret.js';
import { emptyModule } from '../../ir/module.js';
import { parseModule } from '../../ir/parse.js';
import { assertValid } from '../../ir/verify.js';

function failureOf(work: () => unknown): Partial<Diagnostic> | undefined {
  try {
    work();
  } catch (error) {
    if (error instanceof HewError) return error.diagnostics[0];
    throw error;
  }
  return undefined;
}

test('IR text that cannot be parsed is HEW5001, with its place', () => {
  const found = failureOf(() => parseModule('module @m {\n  dimension n = 4\n}\n', 'm.ir'));
  expect(found?.code).toBe('HEW5001');
  expect(found?.labels?.[0]?.span.file).toBe('m.ir');
});

test('a broken invariant is HEW5002 and says what ran before', () => {
  const module = { ...emptyModule('m'), dims: new Map([['T', { min: 5, max: 2 }]]) };
  expect(failureOf(() => assertValid(module, 'pass p'))).toMatchObject({
    code: 'HEW5002',
    message: 'after pass p: dimension T has the bounds 5..2',
  });
});

test('an entry that does not exist is HEW5003', () => {
  expect(failureOf(() => interpretEntry(emptyModule('m'), 'run', {}))?.code).toBe('HEW5003');
});

test('every code is mentioned by a test', () => {
  const root = join(import.meta.dirname, '..');
  const texts = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.(?:ts|ir|snap)$/.test(path))
    .map((path) => readFileSync(join(root, path), 'utf8'));
  const untested = Object.keys(diagnosticCodes).filter((code) => !texts.some((text) => text.includes(code)));
  expect(untested).toEqual([]);
});
