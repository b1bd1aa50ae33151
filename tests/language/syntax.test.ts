/** The grammar: what a text means as a tree, and what is reported where there is none. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Expression, Statement } from '../../compiler/frontend/ast.js';
import { parseSpec } from '../../compiler/frontend/parse.js';
import { renderDiagnostics } from '../../compiler/render.js';
import { specText } from './arbitrary-spec.js';

function statements(body: string): readonly Statement[] {
  const { ast, diagnostics } = parseSpec(`fn f() -> f32 {\n${body}\n}`, 'a.hew');
  expect(diagnostics).toEqual([]);
  const item = ast?.items[0];
  return item?.kind === 'fn' ? item.body : [];
}

/** An expression with every grouping written out. */
function grouped(expression: Expression): string {
  switch (expression.kind) {
    case 'number':
      return String(expression.value);
    case 'name':
      return expression.name;
    case 'bool':
      return String(expression.value);
    case 'unary':
      return `(${expression.operator} ${grouped(expression.operand)})`;
    case 'binary':
      return `(${grouped(expression.left)} ${expression.operator} ${grouped(expression.right)})`;
    case 'conditional':
      return `(if ${[expression.condition, expression.whenTrue, expression.whenFalse].map(grouped).join(' ? ')})`;
    case 'call': {
      const args = expression.arguments.map((a) => (a.name ? `${a.name.name}=` : '') + grouped(a.value));
      const dims = expression.dims.length > 0 ? `[${expression.dims.map(grouped).join(', ')}]` : '';
      return `${expression.callee.name}${dims}(${args.join(', ')})${expression.at ? ` at ${grouped(expression.at)}` : ''}`;
    }
    case 'text':
      return JSON.stringify(
        expression.parts.map((p) => (typeof p === 'string' ? p : `{${p.name}}`)).join(''),
      );
    case 'member':
      return `${grouped(expression.object)}.${expression.member.name}`;
    case 'index':
      return `${grouped(expression.object)}[${expression.items.map((item) => item.kind).join(', ')}]`;
    case 'rearrange':
      return `(${grouped(expression.value)} : ${expression.from.axes.length} -> ${expression.to.axes.length})`;
    case 'list':
      return `[${expression.items.map(grouped).join(', ')}]`;
    case 'tuple':
      return `<${expression.items.map((item) => grouped(item.value)).join(', ')}>`;
  }
}

function meaning(expression: string): string {
  const [statement] = statements(`return ${expression}`);
  return statement?.kind === 'return' ? grouped(statement.value) : '';
}

describe('expressions', () => {
  it.each([
    ['a + b * c - d', '((a + (b * c)) - d)'],
    ['a @ b.T + c', '((a @ b.T) + c)'],
    ['-a ** 2', '(- (a ** 2))'],
    ['a ** -b ** c', '(a ** (- (b ** c)))'],
    ['2 ** 3 ** 2', '(2 ** (3 ** 2))'],
    ['not a == b and c or d', '(((not (a == b)) and c) or d)'],
    ['if a then b else if c then d else e', '(if a ? b ? (if c ? d ? e))'],
    ['h + Norm(a) at "x" * 2', '(h + (Norm(a) at "x" * 2))'],
    [
      'Linear[2 * d](x, bias = true) at "q" : [T, (a b)] -> [T, a, b]',
      '(Linear[(2 * d)](x, bias=true) at "q" : 2 -> 3)',
    ],
    ['x[a:b, :, 0, ..][ids]', 'x[slice, slice, at, rest][at]'],
    ['(a, b = c)', '<a, c>'],
    ['((a))', 'a'],
    ['a - b - c', '((a - b) - c)'],
    ['a % b / c', '((a % b) / c)'],
  ])('%s', (text, expected) => {
    expect(meaning(text)).toBe(expected);
  });

  it('continues on a line that starts with an operator, at or .T', () => {
    expect(meaning('a\n  + b\n  @ c\n  .T')).toBe('(a + (b @ c.T))');
    expect(meaning('Norm(a)\n  at "x"')).toBe('Norm(a) at "x"');
  });

  it('does not call or index across a line break', () => {
    const { diagnostics } = parseSpec('let a = b\n(c)\n', 'a.hew');
    expect(diagnostics.map((d) => d.code)).toEqual(['HEW1002']);
  });
});

describe('statements', () => {
  it('need no separators', () => {
    const kinds = statements(
      'let a = b c = d state s: i32 weight w[e in n]: [2] = "w.{e}" s = 1 for i in 3 { } if a { } else if b { } return a',
    );
    expect(kinds.map((s) => s.kind)).toEqual([
      'let',
      'assign',
      'state',
      'weight',
      'assign',
      'for',
      'if',
      'return',
    ]);
  });
});

describe('syntax errors', () => {
  const broken = {
    'several in one file':
      'module A(x: [T, d] -> [T] {\n\tlet y = foo(x, 3\n  let z = x x\n  retrun z\n}\ndfn f(x: i32) -> i32 { return x }\nconfig a int\ndim T < 3\nlet q = 2 $ 3\nmodule b',
    'a body that is not closed': 'fn f(x: i32) -> i32 {\n  return x\n',
    'a bracket too many': 'fn f(x: i32) -> i32 { return x } }\nlet b = 1',
    'a missing value': 'let a = \nlet b = [1 2]\nlet c = if x then 2\nlet d = f(1,,2)',
    'characters of other languages': "let a = 1;\nlet b = 'text'\nlet c = a && b\n# comment\nlet d = a · b",
    'a string that is not closed': 'import "hew:blocks\nlet a = "b\\',
    'bad escapes': 'let a = "\\q {x} {1}"',
    'a missing operator': 'fn f(x: i32) -> i32 {\n  y = x 2\n  return x y\n}',
    'words of other languages': 'def f(x: i32) -> i32 { return x }\nclass A { }\nassert x',
    'statements at the top': 'for i in 3 { }\nreturn 2',
    'a call alone': 'fn f(x: i32) -> i32 {\n  print(x)\n  return x\n}',
    'at without a call': 'let a = (b + c) at "x"\nlet d = (a)(b)',
    'brackets nested too deeply': `let a = ${'('.repeat(100)}1${')'.repeat(100)}`,
    'a sum that is too long': `let a = 1${' + 1'.repeat(2000)}`,
    'a number that is too large': 'dim d = 99999999999999999999\nlet e = 1e999',
    'a very long line': `let a = ${'1 + '.repeat(100)}$ + 2${' + 3'.repeat(100)}`,
    'nothing where a definition starts': 'module',
  };

  it.each(Object.entries(broken))('%s', (_name, text) => {
    const { ast, diagnostics } = parseSpec(text, 'bad.hew');
    expect(ast).toBeUndefined();
    expect(`\n${renderDiagnostics(diagnostics, () => text)}`).toMatchSnapshot();
  });

  it('are all that a cut or scrambled spec leads to', () => {
    const codes = new Set(['HEW1001', 'HEW1002', 'HEW1003', 'HEW1004']);
    fc.assert(
      fc.property(specText, fc.nat(), fc.nat(), fc.string(), (text, from, length, inserted) => {
        const at = from % (text.length + 1);
        const damaged = text.slice(0, at) + inserted + text.slice(at + (length % 20));
        const { ast, diagnostics } = parseSpec(damaged, 'a.hew');
        expect(ast === undefined).toBe(diagnostics.length > 0);
        for (const d of diagnostics) expect(codes).toContain(d.code);
        expect(renderDiagnostics(diagnostics, () => damaged)).not.toContain('undefined');
      }),
      { numRuns: 100 },
    );
  });

  it('never exhaust the stack', () => {
    for (const text of [
      '(',
      '[',
      '-',
      'not ',
      'f(',
      'if a then ',
      'x[',
      '2 ** ',
      'a.b',
      'fn f() -> f32 { if a {',
    ]) {
      const { diagnostics } = parseSpec(`let a = ${text.repeat(20_000)}`, 'a.hew');
      expect(diagnostics.length).toBeGreaterThan(0);
    }
  });
});
