/**
 * Tokens of the Hew language.
 *
 * Newlines carry no token: the parser compares line numbers where a line break matters (see `parser.ts`).
 * Comments go to their own group, so that the parser never sees them and the formatter keeps them.
 */
import { createToken, type ILexingError, type IToken, Lexer, type TokenType } from 'chevrotain';
import { type Diagnostic, diagnostic, type Span } from '../../ir/diagnostics.js';

/** Words with a meaning of their own in the grammar; `in` alone may still name a value or a dimension. */
const keywordNames = [
  'import',
  'extend',
  'config',
  'dim',
  'require',
  'module',
  'fn',
  'entry',
  'state',
  'tokenizer',
  'sampler',
  'weights',
  'weight',
  'let',
  'for',
  'in',
  'if',
  'then',
  'else',
  'return',
  'at',
  'and',
  'or',
  'not',
  'true',
  'false',
] as const;
export type Keyword = (typeof keywordNames)[number];
export const keywords: readonly Keyword[] = keywordNames;

const punctuationText = {
  Arrow: '->',
  DotDot: '..',
  Dot: '.',
  Comma: ',',
  Colon: ':',
  LParen: '(',
  RParen: ')',
  LSquare: '[',
  RSquare: ']',
  LCurly: '{',
  RCurly: '}',
  Power: '**',
  Star: '*',
  Slash: '/',
  Percent: '%',
  MatMul: '@',
  Plus: '+',
  Minus: '-',
  LessEqual: '<=',
  GreaterEqual: '>=',
  EqualEqual: '==',
  NotEqual: '!=',
  Less: '<',
  Greater: '>',
  Equals: '=',
} as const;
type Punctuation = keyof typeof punctuationText;

/** Latin and Greek letters: specs may call a scale `γ`, as the papers do. */
const identifierPattern = /[A-Za-z_\u0370-\u03FF][A-Za-z0-9_\u0370-\u03FF]*/;

const Name = createToken({ name: 'Name', pattern: identifierPattern });
const Float = createToken({
  name: 'Float',
  pattern: /[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)/,
});
const Int = createToken({ name: 'Int', pattern: /[0-9]+/ });
const Text = createToken({ name: 'Text', pattern: /"(?:[^"\\\r\n]|\\[^\r\n])*"/ });
const UnterminatedText = createToken({
  name: 'UnterminatedText',
  pattern: /"(?:[^"\\\r\n]|\\[^\r\n])*\\?/,
  categories: [Text],
});
const WhiteSpace = createToken({ name: 'WhiteSpace', pattern: /[ \t\r\n\uFEFF]+/, group: Lexer.SKIPPED });
const Comment = createToken({ name: 'Comment', pattern: /\/\/[^\r\n]*/, group: 'comments' });

function keywordToken(keyword: Keyword): TokenType {
  return createToken({
    name: keyword,
    pattern: keyword,
    longer_alt: Name,
    categories: keyword === 'in' ? [Name] : [],
  });
}

function record<K extends string, V>(keys: readonly K[], make: (key: K) => V): Record<K, V> {
  return Object.fromEntries(keys.map((key) => [key, make(key)])) as Record<K, V>;
}

const keywordTokens = record(keywordNames, keywordToken);
const punctuationTokens = record(Object.keys(punctuationText) as Punctuation[], (name) =>
  createToken({ name, pattern: punctuationText[name] }),
);

/** Every token type, by the name used in the grammar. */
export const tokens = {
  ...keywordTokens,
  ...punctuationTokens,
  Name,
  Float,
  Int,
  Text,
} as const;

/** Order is priority: comments before `/`, long punctuation before its prefixes, keywords before names. */
export const tokenVocabulary: TokenType[] = [
  WhiteSpace,
  Comment,
  Float,
  Int,
  Text,
  UnterminatedText,
  ...Object.values(punctuationTokens),
  ...Object.values(keywordTokens),
  Name,
];

const lexer = new Lexer(tokenVocabulary, { positionTracking: 'full', ensureOptimizations: true });

export interface LexResult {
  readonly tokens: IToken[];
  readonly comments: IToken[];
  readonly diagnostics: Diagnostic[];
  /** Lines with a lexical error: what the parser says about them is an echo. */
  readonly brokenLines: ReadonlySet<number>;
}

export function lex(text: string, file: string): LexResult {
  const result = lexer.tokenize(text);
  const unterminated = result.tokens.filter((token) => token.tokenType === UnterminatedText);
  return {
    tokens: result.tokens,
    comments: result.groups.comments ?? [],
    diagnostics: [
      ...result.errors.map((error) => unexpectedCharacter(error, text, file)),
      ...unterminated.map((token) => unterminatedText(token, file)),
    ],
    brokenLines: new Set([
      ...result.errors.map((error) => error.line ?? 0),
      ...unterminated.map((token) => token.startLine ?? 0),
    ]),
  };
}

/** How a token is written, for messages: `')'`, `'module'`, or a class such as `a name`. */
export function describeTokenType(name: string): string {
  const classes: Record<string, string> = {
    Name: 'a name',
    Int: 'a whole number',
    Float: 'a number',
    Text: 'a string',
    EOF: 'the end of the file',
  };
  if (name in classes) return classes[name] ?? name;
  return `'${name in punctuationText ? punctuationText[name as Punctuation] : name}'`;
}

/** How a token that is there is named in a message. */
export function describeToken(token: IToken): string {
  if (token.tokenType.name === 'EOF') return 'the end of the file';
  if (token.tokenType === Text || token.tokenType === UnterminatedText) return 'a string';
  return `'${token.image.length > 40 ? `${token.image.slice(0, 37)}...` : token.image}'`;
}

export function tokenSpan(token: IToken, file: string): Span {
  const start = Number.isFinite(token.startOffset) ? token.startOffset : 0;
  return { file, start, end: start + token.image.length };
}

const characterHints: Readonly<Record<string, string>> = {
  ';': 'statements end at the line break; remove the semicolon',
  "'": 'strings are written with double quotes: "text"',
  '#': 'comments start with //',
  '!': "use 'not' to negate and '!=' to compare",
  '&': "use 'and'",
  '|': "use 'or'",
  '·': "use '*' for an elementwise and '@' for a matrix product",
  '×': "use '*' for an elementwise and '@' for a matrix product",
  '−': "this is a typographic minus; write '-'",
  '“': 'strings are written with plain double quotes: "text"',
  '”': 'strings are written with plain double quotes: "text"',
};

function unexpectedCharacter(error: ILexingError, text: string, file: string): Diagnostic {
  const character = String.fromCodePoint(text.codePointAt(error.offset) ?? 0xfffd);
  const printable = /^[\p{L}\p{N}\p{P}\p{S}]$/u.test(character);
  const code = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
  return diagnostic('HEW1001', `unexpected character ${printable ? `'${character}'` : `U+${code}`}`, {
    span: { file, start: error.offset, end: error.offset + Math.max(1, error.length) },
    help: characterHints[character],
  });
}

function unterminatedText(token: IToken, file: string): Diagnostic {
  return diagnostic('HEW1003', 'this string is not closed', {
    span: tokenSpan(token, file),
    label: 'starts here and runs to the end of the line',
    help: 'a string ends with a double quote on the same line',
  });
}
