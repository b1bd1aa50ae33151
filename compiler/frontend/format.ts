/**
 * `hew fmt`: one way to lay out a spec.
 *
 * The formatter rewrites white space only. Line breaks stay where the author put them; indentation, the space
 * between tokens, blank lines (one at most) and the alignment of trailing comments are normalised. So the syntax
 * tree is unchanged, every comment stays beside its line, and formatting twice changes nothing.
 */
import type { CstNode, IToken } from 'chevrotain';
import { HewError } from '../../ir/diagnostics.js';
import { childrenInOrder, elementStart, isToken, nodeOf, tokenOf } from './cst.js';
import { lex } from './lexer.js';
import { parseSpec } from './parse.js';
import { parseTokens } from './parser.js';

const indentUnit = '  ';

/** The formatted text; throws a HewError when `text` has syntax errors, since its structure is then unknown. */
export function formatSource(text: string, file = 'spec.hew'): string {
  const { diagnostics } = parseSpec(text, file);
  const { tokens, comments } = lex(text, file);
  const cst = diagnostics.length > 0 ? undefined : parseTokens(tokens).cst;
  if (cst === undefined) throw new HewError(diagnostics);
  const layout = layoutOf(cst);
  const lines = indent(splitLines(tokens, comments), layout);
  const output = alignComments(lines.map((line) => renderLine(line, layout)));
  return output.length === 0 ? '' : `${output.join('\n')}\n`;
}

// ---- what the concrete tree says about tokens, by their offset

interface Layout {
  /** Tokens that follow, or are followed, without a space. */
  readonly tightBefore: ReadonlySet<number>;
  readonly tightAfter: ReadonlySet<number>;
  /** Tokens that start an item, a statement, a setting or an else branch. */
  readonly starts: ReadonlySet<number>;
}

type Tight = 'before' | 'after' | 'both' | 'loose';

/** Grammar rule and token to its spacing; what is not listed is set off by one space on each side. */
const tightTokens: Readonly<Record<string, Readonly<Record<string, Tight>>>> = {
  configDeclaration: { Dot: 'both', Colon: 'before' },
  dimDeclaration: { DotDot: 'both' },
  generics: { LSquare: 'before' },
  parameters: { LParen: 'before' },
  parameter: { Colon: 'before' },
  result: { Colon: 'before' },
  letStatement: { Colon: 'before' },
  weightStatement: { LSquare: 'before', Colon: 'before' },
  stateStatement: { Colon: 'before' },
  indexItems: { LSquare: 'before' },
  suffix: { Dot: 'both' },
  unary: { Minus: 'after' },
  exponent: { Minus: 'after' },
};

const startRules = new Set(['item', 'statement', 'setting']);

function layoutOf(cst: CstNode): Layout {
  const layout = { tightBefore: new Set<number>(), tightAfter: new Set<number>(), starts: new Set<number>() };
  const mark = (offset: number, tight: Tight | undefined): void => {
    if (tight === 'before' || tight === 'both') layout.tightBefore.add(offset);
    if (tight === 'after' || tight === 'both') layout.tightAfter.add(offset);
  };
  const visit = (node: CstNode, parent: CstNode | undefined): void => {
    if (startRules.has(node.name)) layout.starts.add(elementStart(node));
    for (const child of childrenInOrder(node)) {
      if (!isToken(child)) {
        visit(child, node);
        continue;
      }
      if (child.tokenType.name === 'else' && node.name === 'ifStatement')
        layout.starts.add(child.startOffset);
      mark(child.startOffset, tightOf(child, node, parent));
    }
  };
  visit(cst, undefined);
  return layout;
}

function tightOf(token: IToken, node: CstNode, parent: CstNode | undefined): Tight | undefined {
  const name = token.tokenType.name;
  if (node.name === 'callArguments' && name === 'LParen')
    return parent?.name === 'suffix' ? 'before' : undefined;
  if (node.name === 'typeDims' && name === 'LSquare')
    return parent && tokenOf(parent, 'Name') ? 'before' : undefined;
  if (node.name === 'indexItem' && name === 'Colon') return sliceSpacing(node);
  return tightTokens[node.name]?.[name];
}

/** `x[0:3]` and `x[:n]`, but `x[pos : pos + T]`: a colon between anything longer than a word gets its room. */
function sliceSpacing(node: CstNode): Tight {
  const [start, end] = [nodeOf(node, 'start'), nodeOf(node, 'end')];
  const isWord = (part: CstNode | undefined): boolean => part === undefined || leafCount(part) === 1;
  return start === undefined || end === undefined || (isWord(start) && isWord(end)) ? 'both' : 'loose';
}

function leafCount(node: CstNode): number {
  return childrenInOrder(node).reduce((sum, child) => sum + (isToken(child) ? 1 : leafCount(child)), 0);
}

// ---- lines

interface Line {
  readonly tokens: IToken[];
  comment: IToken | undefined;
  readonly blankBefore: boolean;
  indent: number;
}

const openers = new Set(['LParen', 'LSquare', 'LCurly']);
const closers = new Set(['RParen', 'RSquare', 'RCurly']);

function isComment(token: IToken): boolean {
  return token.tokenType.name === 'Comment';
}

function splitLines(tokens: readonly IToken[], comments: readonly IToken[]): Line[] {
  const all = [...tokens, ...comments].sort((a, b) => a.startOffset - b.startOffset);
  const lines: Line[] = [];
  let previous: IToken | undefined;
  for (const token of all) {
    const gap = previous ? lineOf(token) - lineOf(previous) : 1;
    if (gap > 0) {
      const blankBefore = gap > 1 && !opensBlock(previous) && !closers.has(token.tokenType.name);
      lines.push({ tokens: [], comment: undefined, blankBefore, indent: 0 });
    }
    const line = lines.at(-1) as Line;
    if (isComment(token)) line.comment = token;
    else line.tokens.push(token);
    previous = token;
  }
  return lines;
}

function lineOf(token: IToken): number {
  return token.startLine ?? 1;
}

function opensBlock(token: IToken | undefined): boolean {
  return token === undefined || openers.has(token.tokenType.name);
}

/**
 * Blocks indent by one step for each enclosing `{`; inside `(` and `[` a line is one step deeper than the line
 * that opened the bracket; a line that continues an expression is one step deeper than its statement.
 */
function indent(lines: Line[], layout: Layout): Line[] {
  const open: { readonly curly: boolean; readonly outer: number; readonly inner: number }[] = [];
  for (const line of lines) {
    const first = line.tokens[0];
    const top = open.at(-1);
    const isContinuation = first !== undefined && !layout.starts.has(first.startOffset);
    if (first !== undefined && closers.has(first.tokenType.name)) line.indent = top?.outer ?? 0;
    else if (top === undefined || top.curly) line.indent = (top?.inner ?? 0) + (isContinuation ? 1 : 0);
    else line.indent = top.inner;
    for (const token of line.tokens) {
      const name = token.tokenType.name;
      if (closers.has(name)) open.pop();
      else if (openers.has(name)) {
        const curly = name === 'LCurly';
        const outer = curly ? (open.findLast((bracket) => bracket.curly)?.inner ?? 0) : line.indent;
        open.push({ curly, outer, inner: outer + 1 });
      }
    }
  }
  return lines;
}

interface RenderedLine {
  readonly blankBefore: boolean;
  readonly code: string;
  readonly comment: string;
}

function renderLine(line: Line, layout: Layout): RenderedLine {
  let code = line.tokens.length > 0 ? indentUnit.repeat(line.indent) : '';
  line.tokens.forEach((token, i) => {
    const previous = line.tokens[i - 1];
    code += previous && needsSpace(previous, token, layout) ? ` ${token.image}` : token.image;
  });
  const comment = line.comment?.image.trimEnd() ?? '';
  const alone = line.tokens.length === 0;
  return {
    blankBefore: line.blankBefore,
    code,
    comment: alone ? indentUnit.repeat(line.indent) + comment : comment,
  };
}

function needsSpace(left: IToken, right: IToken, layout: Layout): boolean {
  const [before, after] = [left.tokenType.name, right.tokenType.name];
  if (before === 'LCurly' && after === 'RCurly') return false;
  if (after === 'Comma' || after === 'RParen' || after === 'RSquare') return false;
  if (before === 'LParen' || before === 'LSquare') return false;
  if (before === 'Comma') return true;
  return !layout.tightAfter.has(left.startOffset) && !layout.tightBefore.has(right.startOffset);
}

/** Comments that trail the code of neighbouring lines start in one column. */
function alignComments(lines: readonly RenderedLine[]): string[] {
  const output: string[] = [];
  lines.forEach((line, i) => {
    if (line.blankBefore && i > 0) output.push('');
    if (line.code === '' || line.comment === '') output.push(line.code + line.comment);
    else output.push(`${line.code.padEnd(commentColumn(lines, i))}  ${line.comment}`);
  });
  return output;
}

function commentColumn(lines: readonly RenderedLine[], at: number): number {
  const trails = (line: RenderedLine | undefined): line is RenderedLine =>
    line !== undefined && line.code !== '' && line.comment !== '';
  let first = at;
  while (!lines[first]?.blankBefore && trails(lines[first - 1])) first -= 1;
  let width = 0;
  for (let i = first; trails(lines[i]) && (i <= at || !lines[i]?.blankBefore); i++) {
    width = Math.max(width, lines[i]?.code.length ?? 0);
  }
  return width;
}
