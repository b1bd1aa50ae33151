/**
 * Turns chevrotain's recognition errors into diagnostics for people: what was expected and why, where, and a hint.
 * The grammar's token and rule names never reach a message.
 */
import { EOF, type IParserErrorMessageProvider, type IRecognitionException, type IToken } from 'chevrotain';
import { type Diagnostic, diagnostic, didYouMean, type Label, type Span } from '../../ir/diagnostics.js';
import { describeToken, describeTokenType, keywords, tokens as t, tokenSpan } from './lexer.js';

/**
 * Chevrotain lets a provider make only the message of an error, so the message carries what `describeSyntaxError`
 * needs and cannot know otherwise: the name of the token type that was expected.
 */
export const expectationProvider: IParserErrorMessageProvider = {
  buildMismatchTokenMessage: ({ expected }) => expected.name,
  buildNotAllInputParsedMessage: () => EOF.name,
  buildNoViableAltMessage: () => '',
  buildEarlyExitMessage: () => '',
};

interface SyntaxContext {
  readonly file: string;
  readonly tokens: readonly IToken[];
  readonly brokenLines: ReadonlySet<number>;
}

interface Explanation {
  readonly message: string;
  readonly help?: string | undefined;
  readonly label?: string;
  /** The bracket that the missing one would close. */
  readonly opener?: IToken | undefined;
}

interface Failure {
  readonly rule: string;
  readonly expected: string;
  readonly actual: IToken;
  readonly previous: IToken | undefined;
  readonly beforePrevious: IToken | undefined;
  readonly context: SyntaxContext;
}

/** One diagnostic per line at most: a later error on the same line is nearly always an echo of the first. */
export function describeSyntaxErrors(
  errors: readonly IRecognitionException[],
  context: SyntaxContext,
): Diagnostic[] {
  const lines = new Set<number>(context.brokenLines);
  const diagnostics: Diagnostic[] = [];
  for (const error of errors) {
    const failure = failureOf(error, context);
    const line = anchorToken(failure).startLine ?? 0;
    if (lines.has(line)) continue;
    lines.add(line);
    diagnostics.push(describeFailure(failure));
  }
  return diagnostics;
}

function failureOf(error: IRecognitionException, context: SyntaxContext): Failure {
  const index = context.tokens.indexOf(error.token);
  const at = index < 0 ? context.tokens.length : index;
  return {
    rule: error.context.ruleStack.at(-1) ?? 'spec',
    expected: error.message,
    actual: error.token,
    previous: context.tokens[at - 1],
    beforePrevious: context.tokens[at - 2],
    context,
  };
}

/** What is missing at the end of a line is shown there, not at the start of the next one. */
function anchorToken(failure: Failure): IToken {
  const { actual, previous } = failure;
  if (previous === undefined) return actual;
  const onLaterLine = actual.tokenType === EOF || (actual.startLine ?? 0) > (previous.endLine ?? 0);
  return onLaterLine && !isMisplaced(failure) ? previous : actual;
}

/** Errors about a token that should not be there at all. */
function isMisplaced(failure: Failure): boolean {
  return (
    failure.actual.tokenType !== EOF &&
    (failure.rule === 'spec' ||
      failure.rule === 'item' ||
      (failure.rule === 'block' && failure.expected === 'RCurly'))
  );
}

function anchorSpan(failure: Failure): Span {
  const anchor = isSecondValue(failure) ? (failure.previous as IToken) : anchorToken(failure);
  const span = tokenSpan(anchor, failure.context.file);
  return anchor === failure.actual || isSecondValue(failure)
    ? span
    : { ...span, start: span.end, end: span.end + 1 };
}

function describeFailure(failure: Failure): Diagnostic {
  const { message, help, label, opener } = explain(failure);
  const labels: Label[] = opener
    ? [{ span: tokenSpan(opener, failure.context.file), text: `this '${opener.image}' is still open` }]
    : [];
  return diagnostic('HEW1002', message, {
    span: anchorSpan(failure),
    ...(label === undefined ? {} : { label }),
    labels,
    help,
  });
}

function explain(failure: Failure): Explanation {
  const special = specialCases.map((explainer) => explainer(failure)).find((found) => found !== undefined);
  if (special !== undefined) return special;
  const wanted = expectations[failure.rule]?.[failure.expected] ?? expectations[failure.rule]?.['*'];
  const expected =
    wanted ?? (failure.expected === '' ? 'something else' : describeTokenType(failure.expected));
  const [what, help] = typeof expected === 'string' ? [expected, undefined] : expected;
  return {
    message: `expected ${what}, found ${describeToken(failure.actual)}`,
    help,
    opener: openerFor(failure),
  };
}

/** What each rule was waiting for: token type name to words, with a hint where one helps. */
const expectations: Readonly<Record<string, Readonly<Record<string, string | readonly [string, string]>>>> = {
  fileReference: { Text: ['a file name in double quotes', 'for example: import "./blocks.hew"'] },
  configDeclaration: {
    Name: ['the name of a configuration value', 'for example: config hidden_size: int'],
    Colon: ["':' and the kind of the value", 'for example: config rms_norm_eps: float = 1e-5'],
    '*': ['the name of a configuration value', 'for example: config hidden_size: int'],
  },
  dimDeclaration: {
    Name: ['the name of a dimension', 'for example: dim d = hidden_size'],
    DotDot: ["'..' and the upper bound", 'for example: dim T in 1..512'],
    '*': ["'=', '<=' or 'in' after the name of the dimension", 'for example: dim d = 128, or dim T <= 512'],
  },
  definition: {
    Name: 'a name',
    Arrow: ["'->' and the type of the result", 'for example: module Head(h: [T, d]) -> [T, vocab] { ... }'],
    LParen: ["'(' and the parameters", 'a definition without parameters has an empty list: ()'],
  },
  generics: { Name: 'the name of a dimension', RSquare: "',' or ']' in the list of dimensions" },
  parameters: {
    LParen: ["'(' and the parameters", 'a definition without parameters has an empty list: ()'],
    RParen: "',' or ')' in the parameter list",
    Name: 'the name of a parameter',
  },
  parameter: {
    Name: 'the name of a parameter',
    Colon: ["':' and a type after the name of the parameter", 'for example: h: [T, d], or eps: float = 1e-5'],
  },
  results: { RParen: "',' or ')' in the result list", '*': 'a result type' },
  result: { '*': 'a result type' },
  type: { '*': ['a type', 'for example: [T, d], i32[T], f32 or int'] },
  typeDims: { RSquare: "',' or ']' in the type" },
  typeDim: { '*': 'a dimension' },
  samplerDeclaration: {
    Name: [
      "the kind of the sampler, 'text' or 'diffusion'",
      'for example: sampler text { temperature = 0.8 }',
    ],
    LCurly: "'{' and the settings of the sampler",
    RCurly: "a setting or '}'",
  },
  setting: { Equals: "'=' after the name of the setting" },
  block: { LCurly: "'{' to start the body", RCurly: "a statement or '}'" },
  statement: { '*': 'a statement' },
  letStatement: {
    Equals: ["'=' and a value", 'for example: let h = RMSNorm(x, eps)'],
    RParen: "',' or ')' in the list of names",
    '*': ['the name to define', 'for example: let h = ..., or let (cos, sin) = ...'],
  },
  weightStatement: {
    Name: 'the name of the weight',
    Colon: ["':' and the type of the weight", 'for example: weight w: [out, in] = "weight"'],
    Equals: ["'=' and the name of the tensor", 'for example: weight w: [out, in] = "weight"'],
    in: [
      "'in' and the number of tensors",
      'for example: weight w[e in experts]: [f, d] = "experts.{e}.weight"',
    ],
    RSquare: "']' after the number of tensors",
  },
  stateStatement: {
    Name: 'the name of the state',
    Colon: ["':' and the type of the state", 'for example: state k_cache: [context, kv, hd]'],
  },
  forStatement: {
    Name: ['the name of the loop variable', 'for example: for layer in layers { ... }'],
    in: ["'in' and the number of repetitions", 'for example: for layer in layers { ... }'],
  },
  requireStatement: { Text: 'a message in double quotes' },
  axisPattern: {
    LSquare: ["'[' and the names of the axes", 'for example: x : [T, (heads hd)] -> [T, heads, hd]'],
    RSquare: "',' or ']' in the list of axes",
  },
  expression: {
    Arrow: ["'->' and the new order of the axes", 'for example: x : [T, (heads hd)] -> [T, heads, hd]'],
  },
  axis: { '*': ['an axis', "an axis is a name, a size, a group such as (heads hd), or '..'"] },
  axisAtom: { '*': 'the name of an axis' },
  axisGroup: { RParen: "')' to close the group of axes", '*': 'the name of an axis' },
  conditional: {
    [t.then.name]: ["'then'", 'a choice between values is written: if condition then a else b'],
    else: ["'else'", 'a choice between values needs both: if condition then a else b'],
    '*': 'an expression',
  },
  callArguments: { RParen: "',' or ')' in the argument list" },
  indexItems: { RSquare: "',' or ']' in the index" },
  indexItem: { '*': 'an index or a slice' },
  list: { RSquare: "',' or ']' in the list" },
  suffix: { Name: "a name after '.'" },
  primary: { '*': 'an expression' },
};

type Explainer = (failure: Failure) => Explanation | undefined;

/** Mistakes with a better message than "expected X, found Y", most specific first. */
const specialCases: readonly Explainer[] = [
  closesNothing,
  doubledComma,
  twoValuesInARow,
  valueAfterStatement,
  wordThatStartsNothing,
  statementOutsideDefinition,
  missingAtEndOfFile,
  assignmentInsideExpression,
];

function closesNothing(failure: Failure): Explanation | undefined {
  if (failure.rule !== 'spec' || failure.actual.tokenType !== t.RCurly) return undefined;
  return { message: "this '}' closes nothing" };
}

function doubledComma({ actual, previous }: Failure): Explanation | undefined {
  if (actual.tokenType !== t.Comma || previous === undefined) return undefined;
  if (previous.tokenType !== t.Comma && !openers.has(previous.tokenType.name)) return undefined;
  return { message: `unexpected ',' after ${describeToken(previous)}`, help: 'remove the comma' };
}

/** `let x = a b`: the parser takes `b` for the start of an assignment, and misses its `=`. */
function twoValuesInARow(failure: Failure): Explanation | undefined {
  if (!isSecondValue(failure)) return undefined;
  const [first, second] = [failure.beforePrevious as IToken, failure.previous as IToken];
  const keyword = startsLine(first, failure) ? keywordHint(first.image) : undefined;
  if (keyword !== undefined) return { message: `unexpected ${describeToken(first)}`, help: keyword };
  return {
    message: `expected an operator between ${describeToken(first)} and ${describeToken(second)}`,
    help: 'a new statement starts on a line of its own',
  };
}

function isSecondValue({ rule, expected, previous, beforePrevious }: Failure): boolean {
  if (rule !== 'assignStatement' || expected !== 'Equals' || !previous || !beforePrevious) return false;
  return beforePrevious.endLine === previous.startLine && endsValue(beforePrevious);
}

function startsLine(token: IToken, { context }: Failure): boolean {
  const before = context.tokens[context.tokens.indexOf(token) - 1];
  return before === undefined || before.endLine !== token.startLine;
}

/** `let x = f(a) 2`, which cannot even start an assignment. */
function valueAfterStatement(failure: Failure): Explanation | undefined {
  const { rule, expected, actual, previous } = failure;
  if (rule !== 'block' || expected !== 'RCurly' || !previous || !endsValue(previous)) return undefined;
  if (actual.startLine !== previous.endLine || !startsValue(actual)) return undefined;
  return { message: `expected an operator between ${describeToken(previous)} and ${describeToken(actual)}` };
}

const foreignKeywords: Readonly<Record<string, string>> = {
  def: 'fn',
  func: 'fn',
  function: 'fn',
  class: 'module',
  const: 'let',
  var: 'let',
  val: 'let',
  param: 'weight',
  parameter: 'weight',
  elif: 'else if',
  include: 'import',
  assert: 'require',
};

/** A name where only keywords can start something: a misspelt keyword, or one of another language. */
function wordThatStartsNothing(failure: Failure): Explanation | undefined {
  const isAssignment = failure.rule === 'assignStatement' && failure.expected === 'Equals';
  const word = isAssignment ? failure.previous : failure.rule === 'spec' ? failure.actual : undefined;
  if (word === undefined || word.tokenType !== t.Name) return undefined;
  const help = keywordHint(word.image);
  if (isAssignment) {
    return {
      message: `expected '=' after ${describeToken(word)}, found ${describeToken(failure.actual)}`,
      help: help ?? 'a statement defines or updates a name: let h = ..., h = ..., cache[a : b] = ...',
    };
  }
  return { message: `expected a declaration, found ${describeToken(word)}`, help: help ?? declarationHelp };
}

function keywordHint(word: string): string | undefined {
  const foreign = Object.hasOwn(foreignKeywords, word) ? foreignKeywords[word] : undefined;
  return foreign === undefined ? didYouMean(word, keywords) : `did you mean '${foreign}'?`;
}

const declarationHelp =
  'a file consists of: import, extend, config, dim, require, let, state, module, fn, entry, tokenizer, sampler, weights';

function statementOutsideDefinition({ rule, actual }: Failure): Explanation | undefined {
  if (rule !== 'spec' && rule !== 'item') return undefined;
  const inBody = [t.weight, t.for, t.if, t.return].includes(actual.tokenType);
  if (inBody) return { message: `'${actual.image}' belongs inside the body of a module, fn or entry` };
  return { message: `expected a declaration, found ${describeToken(actual)}`, help: declarationHelp };
}

function missingAtEndOfFile(failure: Failure): Explanation | undefined {
  if (failure.actual.tokenType !== EOF || failure.expected !== 'RCurly') return undefined;
  return { message: "expected '}' before the end of the file", opener: openerFor(failure) };
}

function assignmentInsideExpression({ actual, rule }: Failure): Explanation | undefined {
  if (actual.tokenType !== t.Equals || rule === 'configDeclaration' || rule === 'parameter') return undefined;
  if (rule === 'weightStatement' || rule === 'stateStatement' || rule === 'letStatement') return undefined;
  return { message: "unexpected '=' in an expression", help: "use '==' to compare" };
}

const openers = new Map([
  ['LParen', 'RParen'],
  ['LSquare', 'RSquare'],
  ['LCurly', 'RCurly'],
]);
const closers = new Set(openers.values());

/** The innermost bracket still open before the error, when it is a bracket of the expected kind on another token. */
function openerFor(failure: Failure): IToken | undefined {
  if (!closers.has(failure.expected)) return undefined;
  const { tokens } = failure.context;
  const end = failure.actual.tokenType === EOF ? tokens.length : tokens.indexOf(failure.actual);
  let depth = 0;
  for (let i = end - 1; i >= 0; i--) {
    const token = tokens[i];
    if (token === undefined) return undefined;
    if (closers.has(token.tokenType.name)) depth += 1;
    else if (openers.has(token.tokenType.name)) {
      if (depth === 0) return openers.get(token.tokenType.name) === failure.expected ? token : undefined;
      depth -= 1;
    }
  }
  return undefined;
}

function endsValue(token: IToken): boolean {
  return [t.Name, t.Int, t.Float, t.Text, t.RParen, t.RSquare, t.true, t.false].includes(token.tokenType);
}

function startsValue(token: IToken): boolean {
  return [t.Name, t.Int, t.Float, t.Text, t.true, t.false].includes(token.tokenType);
}
