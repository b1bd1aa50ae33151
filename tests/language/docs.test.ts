/** docs/language.md is true: its examples are specs, and it names every operation, block and keyword. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { elaborate } from '../../compiler/frontend/elaborate.js';
import { formatSource } from '../../compiler/frontend/format.js';
import { keywords } from '../../compiler/frontend/lexer.js';
import { operationNames } from '../../compiler/frontend/operations.js';
import { parseSpec } from '../../compiler/frontend/parse.js';
import { memoryFiles } from './memory-files.js';

const root = new URL('../..', import.meta.url);
const text = readFileSync(new URL('docs/language.md', root), 'utf8');

/** Code blocks by kind: whole files, whole models, and bodies of a module. */
function blocks(kind: string): [string, string][] {
  const found = [...text.matchAll(/^```(.*)\n([\s\S]*?)^```$/gm)].filter((match) => match[1] === kind);
  return found.map((match) => [(match[2] ?? '').split('\n')[0] ?? '', match[2] ?? '']);
}

function indented(body: string): string {
  return `module Example(x: [T, d]) -> [T, d] {\n${body.replace(/^(?=.)/gm, '  ')}}\n`;
}

describe('docs/language.md', () => {
  it.each([...blocks('hew'), ...blocks('hew model')])('%s: parses and is formatted', (_first, code) => {
    expect(parseSpec(code, 'example.hew').diagnostics).toEqual([]);
    expect(formatSource(code)).toBe(code);
  });

  it.each(blocks('hew body'))('%s: parses and is formatted', (_first, code) => {
    expect(formatSource(indented(code))).toBe(indented(code));
  });

  it.each(blocks('hew model'))('%s: is a model', (_first, code) => {
    const { module, diagnostics } = elaborate('example.hew', { files: memoryFiles({ 'example.hew': code }) });
    expect(diagnostics).toEqual([]);
    expect(module?.functions.size).toBeGreaterThan(0);
  });

  it('names every operation', () => {
    const missing = [...operationNames].filter((name) => !text.includes(`\`${name}\``));
    expect(missing).toEqual([]);
  });

  it('names every keyword in the grammar', () => {
    const [grammar] = blocks('ebnf');
    const missing = keywords.filter((keyword) => !grammar?.[1].includes(`"${keyword}"`));
    expect(missing).toEqual([]);
  });

  it('names every definition of the standard library', () => {
    const library = readFileSync(new URL('compiler/std/blocks.hew', root), 'utf8');
    const { ast } = parseSpec(library, 'hew:blocks');
    const names = (ast?.items ?? []).flatMap((item) =>
      item.kind === 'module' || item.kind === 'fn' ? [item.name.name] : [],
    );
    expect(names.length).toBeGreaterThan(15);
    expect(names.filter((name) => !text.includes(`\`${name}[`) && !text.includes(`\`${name}(`))).toEqual([]);
  });
});
