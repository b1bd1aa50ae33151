/** Text of a spec to its syntax tree, with every syntax error that can be found in one go. */
import { type Diagnostic, diagnostic, type Span } from '../../ir/diagnostics.js';
import { nestingLimit, type SpecFile, treeDepthLimit } from './ast.js';
import { buildSpec } from './build-ast.js';
import { lex, tokenSpan } from './lexer.js';
import { type CstResult, parseTokens } from './parser.js';
import { NestingTooDeep } from './parser-base.js';
import { describeSyntaxErrors } from './syntax-errors.js';

/** Past this many, further messages help nobody. */
const maxSyntaxErrors = 50;

export interface ParseResult {
  /** Undefined when there is a syntax error. */
  readonly ast: SpecFile | undefined;
  readonly diagnostics: readonly Diagnostic[];
}

export function parseSpec(text: string, file: string): ParseResult {
  const lexed = lex(text, file);
  const parsed = parseOrTooDeep(lexed.tokens, file);
  if ('code' in parsed) {
    return { ast: undefined, diagnostics: [parsed, ...lexed.diagnostics].slice(0, maxSyntaxErrors) };
  }
  const { tokens, brokenLines } = lexed;
  const syntax = describeSyntaxErrors(parsed.errors, { file, tokens, brokenLines });
  const found = inTextOrder([...lexed.diagnostics, ...syntax]).slice(0, maxSyntaxErrors);
  if (found.length > 0 || parsed.cst === undefined) return { ast: undefined, diagnostics: found };
  const diagnostics: Diagnostic[] = [];
  const ast = buildSpec(parsed.cst, { file, diagnostics });
  const deep = deeperThan(ast, treeDepthLimit);
  if (deep !== undefined) diagnostics.push(tooDeep(deep));
  return { ast: diagnostics.length > 0 ? undefined : ast, diagnostics };
}

function parseOrTooDeep(tokens: ReturnType<typeof lex>['tokens'], file: string): CstResult | Diagnostic {
  try {
    return parseTokens(tokens);
  } catch (error) {
    if (error instanceof NestingTooDeep) return tooDeep(tokenSpan(error.token, file));
    throw error;
  }
}

function tooDeep(span: Span): Diagnostic {
  return diagnostic('HEW1004', 'this is nested too deeply', {
    span,
    help: `at most ${nestingLimit} brackets or blocks may stand inside one another; split the expression with 'let'`,
  });
}

function inTextOrder(diagnostics: readonly Diagnostic[]): Diagnostic[] {
  return diagnostics.toSorted((a, b) => (a.labels[0]?.span.start ?? 0) - (b.labels[0]?.span.start ?? 0));
}

/** Long chains such as `a + b + c + …` make deep trees out of flat text; walked without recursion here. */
function deeperThan(root: SpecFile, limit: number): Span | undefined {
  const pending: { node: object; depth: number; span: Span | undefined }[] = [
    { node: root, depth: 0, span: undefined },
  ];
  for (let entry = pending.pop(); entry !== undefined; entry = pending.pop()) {
    const { node, depth } = entry;
    const span = 'span' in node ? (node.span as Span) : entry.span;
    if (depth > limit) return span;
    for (const child of Object.values(node) as unknown[]) {
      if (typeof child === 'object' && child !== null) pending.push({ node: child, depth: depth + 1, span });
    }
  }
  return undefined;
}
