/** The formatter changes white space only, and only once. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatSource } from '../../compiler/frontend/format.js';
import { lex } from '../../compiler/frontend/lexer.js';
import { parseSpec } from '../../compiler/frontend/parse.js';
import { HewError } from '../../ir/diagnostics.js';
import { specText } from './arbitrary-spec.js';
import { withoutSpans } from './tree.js';

const root = new URL('../..', import.meta.url).pathname;

function specFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.hew'))
    .map((entry) => join(entry.parentPath, entry.name));
}

function expectSameMeaning(text: string): void {
  const formatted = formatSource(text);
  const [before, after] = [parseSpec(text, 'a.hew'), parseSpec(formatted, 'a.hew')];
  expect(after.diagnostics).toEqual([]);
  expect(withoutSpans(after.ast)).toEqual(withoutSpans(before.ast));
  const comments = (source: string) => lex(source, 'a.hew').comments.map((token) => token.image.trimEnd());
  expect(comments(formatted)).toEqual(comments(text));
  expect(formatSource(formatted)).toBe(formatted);
}

describe('formatSource', () => {
  it('lays out a messy spec', () => {
    const messy = [
      'import "hew:blocks"   // lib',
      'config a:int=3 // the a',
      'config rope . c : float   =  1e-5 //x',
      '',
      '',
      '',
      'dim d=a*(2+1)',
      'dim T in 1 .. min(5,a)',
      'module A [ n ] ( x:[..,d],',
      'b : bool=false,',
      '   ) -> [ .., d] {',
      '',
      '  let y=Lin [d*2,3] (x,b) at "q"',
      '     + 3  // foo',
      '  weight g [e in n]:[d]="x.{e}.w"',
      '  if b {y=-y**-2+x.T[..,0:3,:,2,a+1:,pos:pos+T]}',
      '    else if c { k [a:a+T]=2 } else { for l in layers { y=y } }',
      '  let z=y:[T,(h w)]->[T,h,w]',
      '  let f = foo(a,',
      '     b, [1,',
      '       2],',
      '     // inside',
      '  )',
      ' return (a=y,b=not x and 3<4)',
      '',
      '}',
      'sampler text { a=1,',
      ' b = [1,2] }',
    ].join('\n');
    expect(formatSource(messy)).toMatchInlineSnapshot(`
      "import "hew:blocks"          // lib
      config a: int = 3            // the a
      config rope.c: float = 1e-5  //x

      dim d = a * (2 + 1)
      dim T in 1..min(5, a)
      module A[n](x: [.., d],
        b: bool = false,
      ) -> [.., d] {
        let y = Lin[d * 2, 3](x, b) at "q"
          + 3  // foo
        weight g[e in n]: [d] = "x.{e}.w"
        if b { y = -y ** -2 + x.T[.., 0:3, :, 2, a + 1:, pos : pos + T] }
        else if c { k[a : a + T] = 2 } else { for l in layers { y = y } }
        let z = y : [T, (h w)] -> [T, h, w]
        let f = foo(a,
          b, [1,
            2],
          // inside
        )
        return (a = y, b = not x and 3 < 4)
      }
      sampler text { a = 1,
        b = [1, 2] }
      "
    `);
    expectSameMeaning(messy);
  });

  it('keeps an empty file empty and a lone comment alone', () => {
    expect(formatSource('')).toBe('');
    expect(formatSource('\n\n  \n')).toBe('');
    expect(formatSource('   // only this   ')).toBe('// only this\n');
  });

  it('refuses a text with syntax errors', () => {
    expect(() => formatSource('let = 3')).toThrow(HewError);
  });

  it('keeps tree and comments, and is idempotent, on random specs', () => {
    fc.assert(fc.property(specText, expectSameMeaning), { numRuns: 100 });
  });

  it.each([...specFiles('examples'), ...specFiles('compiler/std')])('leaves %s as it is', (file) => {
    const text = readFileSync(file, 'utf8');
    expect(formatSource(text, file)).toBe(text);
    expectSameMeaning(text);
  });
});
