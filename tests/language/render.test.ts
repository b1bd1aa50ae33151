/** Diagnostics as text: places, excerpts and carets, whatever the source looks like. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeSpan, renderDiagnostic, renderDiagnostics } from '../../compiler/render.js';
import { diagnostic } from '../../ir/diagnostics.js';

const at = (start: number, end: number, file = 'a.hew') => ({ file, start, end });

function render(text: string, start: number, end: number): string {
  return renderDiagnostic(diagnostic('HEW2001', 'wrong', { span: at(start, end) }), () => text);
}

describe('renderDiagnostic', () => {
  it('shows place, source, caret, labels, notes and help', () => {
    const text = 'let a = 1\nlet b = a + c\n';
    const d = diagnostic('HEW2001', "there is no 'c'", {
      span: at(22, 23),
      label: 'this one',
      labels: [
        { span: at(18, 19), text: 'beside it' },
        { span: at(4, 5), text: 'defined here' },
        { span: at(0, 3, 'b.hew'), text: 'elsewhere' },
      ],
      notes: ['a note\nof two lines'],
      help: 'define it',
    });
    expect(`\n${renderDiagnostic(d, (file) => (file === 'a.hew' ? text : 'abcdef'))}`).toMatchInlineSnapshot(`
      "
      a.hew:2:13: error[HEW2001]: there is no 'c'
        2 | let b = a + c
          |             ^ this one
          |         - beside it
        1 | let a = 1
          |     - defined here
        b.hew:1:1:
        1 | abcdef
          | --- elsewhere
        note: a note
              of two lines
        help: define it
      "
    `);
  });

  it('counts columns in characters and expands tabs', () => {
    expect(render('\tlet γ = 𝒙 + y', 13, 14)).toMatchInlineSnapshot(`
      "a.hew:1:13: error[HEW2001]: wrong
        1 |     let γ = 𝒙 + y
          |                 ^
      "
    `);
  });

  it('clips long lines around the caret', () => {
    const output = render(`${'a '.repeat(500)}bad${' c'.repeat(500)}`, 1000, 1003);
    const [, excerpt, caret] = output.split('\n') as [string, string, string];
    expect(excerpt.length).toBeLessThan(115);
    expect(excerpt.slice(caret.indexOf('^'), caret.lastIndexOf('^') + 1)).toBe('bad');
  });

  it('handles an empty file, the end of a file and places beyond it', () => {
    expect(render('', 0, 0)).toMatchInlineSnapshot(`
      "a.hew:1:1: error[HEW2001]: wrong
        1 |
          | ^
      "
    `);
    expect(render('let a =\n', 8, 8)).toMatchInlineSnapshot(`
      "a.hew:2:1: error[HEW2001]: wrong
        2 |
          | ^
      "
    `);
    expect(render('let a =', 7, 99)).toMatchInlineSnapshot(`
      "a.hew:1:8: error[HEW2001]: wrong
        1 | let a =
          |        ^
      "
    `);
  });

  it('names the file alone when its text is not at hand, and nothing when there is no place', () => {
    const d = diagnostic('HEW4001', 'the header is cut off', { span: at(0, 1, 'model.safetensors') });
    expect(renderDiagnostic(d, () => undefined)).toMatchInlineSnapshot(`
      "model.safetensors: error[HEW4001]: the header is cut off
      "
    `);
    expect(renderDiagnostic(diagnostic('HEW3001', 'no file'), () => undefined)).toMatchInlineSnapshot(`
      "error[HEW3001]: no file
      "
    `);
    expect(describeSpan(at(2, 3), () => 'a\nb')).toBe('a.hew:2:1');
  });

  it('colours on request only', () => {
    const d = diagnostic('HEW2001', 'wrong', { severity: 'warning', span: at(0, 1), help: 'do this' });
    expect(renderDiagnostics([d, d], () => 'abc')).not.toContain('\u001b');
    expect(renderDiagnostic(d, () => 'abc', { color: true })).toContain('\u001b[1;33mwarning[HEW2001]');
  });

  it('underlines within the excerpt for any text and span', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 150 }),
        fc.nat(200),
        fc.nat(50),
        (text, start, length) => {
          const lines = render(text, start, start + length).split('\n');
          expect(lines).toHaveLength(4);
          expect(lines[2]).toMatch(/^ +\| +\^+$/);
        },
      ),
      { numRuns: 50 },
    );
  });
});
