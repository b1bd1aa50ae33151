/** Concrete tree to syntax tree: expressions, from the loosest to the tightest binding as in the grammar. */
import type { CstElement, CstNode, IToken } from 'chevrotain';
import { diagnostic, type Span } from '../../ir/diagnostics.js';
import type {
  Argument,
  Axis,
  AxisAtom,
  AxisPattern,
  BinaryOperator,
  CallExpression,
  Expression,
  Identifier,
  IndexItem,
  TextLiteral,
  UnaryOperator,
} from './ast.js';
import type { BuildContext } from './build-ast.js';
import {
  childrenInOrder,
  isToken,
  join,
  nodeOf,
  nodesOf,
  requiredNode,
  requiredToken,
  spanOf,
  tokenOf,
  tokensOf,
} from './cst.js';
import { tokenSpan } from './lexer.js';

export function buildExpression(node: CstNode, context: BuildContext): Expression {
  const patterns = nodesOf(node, 'axisPattern');
  let value = buildConditional(requiredNode(node, 'conditional'), context);
  for (let i = 0; i + 1 < patterns.length; i += 2) {
    const from = buildAxisPattern(patterns[i] as CstNode, context);
    const to = buildAxisPattern(patterns[i + 1] as CstNode, context);
    value = { kind: 'rearrange', value, from, to, span: join(value.span, to.span) };
  }
  return value;
}

export function buildConditional(node: CstNode, context: BuildContext): Expression {
  const [condition] = nodesOf(node, 'disjunction');
  const [whenTrue, whenFalse] = nodesOf(node, 'conditional');
  const first = buildDisjunction(condition as CstNode, context);
  if (whenTrue === undefined || whenFalse === undefined) return first;
  return {
    kind: 'conditional',
    condition: first,
    whenTrue: buildConditional(whenTrue, context),
    whenFalse: buildConditional(whenFalse, context),
    span: spanOf(node, context.file),
  };
}

type Builder = (node: CstNode, context: BuildContext) => Expression;

/** `a op b op c`, grouped to the left: operands and operators alternate in the text. */
function leftAssociative(operand: Builder): Builder {
  return (node, context) => {
    const parts = childrenInOrder(node);
    let left = operand(parts[0] as CstNode, context);
    for (let i = 1; i + 1 < parts.length; i += 2) {
      const right = operand(parts[i + 1] as CstNode, context);
      left = binary(parts[i] as IToken, left, right, context);
    }
    return left;
  };
}

const buildSum = leftAssociative((node, context) => buildProduct(node, context));
const buildProduct = leftAssociative((node, context) => buildUnary(node, context));
const buildComparison = leftAssociative(buildSum);
const buildConjunction = leftAssociative((node, context) =>
  buildPrefixed(node, 'not', buildComparison, context),
);
const buildDisjunction = leftAssociative(buildConjunction);

function buildUnary(node: CstNode, context: BuildContext): Expression {
  return buildPrefixed(node, 'Minus', buildPower, context);
}

function buildPrefixed(node: CstNode, operator: string, operand: Builder, context: BuildContext): Expression {
  const inner = childrenInOrder(node).find((child): child is CstNode => !isToken(child)) as CstNode;
  return prefix(tokensOf(node, operator), operand(inner, context), context);
}

function prefix(operators: readonly IToken[], operand: Expression, context: BuildContext): Expression {
  return operators.reduceRight<Expression>(
    (value, token) => ({
      kind: 'unary',
      operator: token.image as UnaryOperator,
      operand: value,
      span: join(tokenSpan(token, context.file), value.span),
    }),
    operand,
  );
}

/** `a ** -b ** c` is `a ** (-(b ** c))`. */
function buildPower(node: CstNode, context: BuildContext): Expression {
  const operators = tokensOf(node, 'Power');
  const exponents = nodesOf(node, 'exponent');
  let exponent: Expression | undefined;
  for (let i = exponents.length - 1; i >= 0; i--) {
    const part = exponents[i] as CstNode;
    const base = buildPostfix(requiredNode(part, 'postfix'), context);
    const raised = exponent ? binary(operators[i + 1] as IToken, base, exponent, context) : base;
    exponent = prefix(tokensOf(part, 'Minus'), raised, context);
  }
  const base = buildPostfix(requiredNode(node, 'postfix'), context);
  return exponent ? binary(operators[0] as IToken, base, exponent, context) : base;
}

function binary(token: IToken, left: Expression, right: Expression, context: BuildContext): Expression {
  return {
    kind: 'binary',
    operator: token.image as BinaryOperator,
    operatorSpan: tokenSpan(token, context.file),
    left,
    right,
    span: join(left.span, right.span),
  };
}

// ---- calls, indices and members

function buildPostfix(node: CstNode, context: BuildContext): Expression {
  const primary = buildPrimary(requiredNode(node, 'primary'), context);
  return nodesOf(node, 'suffix').reduce<Expression>(
    (value, suffix) => applySuffix(value, suffix, context),
    primary,
  );
}

function applySuffix(object: Expression, node: CstNode, context: BuildContext): Expression {
  const span = join(object.span, spanOf(node, context.file));
  const call = nodeOf(node, 'callArguments');
  if (call !== undefined) return buildCall(object, buildArguments(call, context), span, context);
  const index = nodeOf(node, 'indexItems');
  if (index !== undefined) return { kind: 'index', object, items: buildIndexItems(index, context), span };
  const path = nodeOf(node, 'primary');
  if (path !== undefined) return placeCall(object, buildPrimary(path, context), span, context);
  const member = requiredToken(node, 'Name');
  return {
    kind: 'member',
    object,
    member: { name: member.image, span: tokenSpan(member, context.file) },
    span,
  };
}

/** `Linear[out](x)`: what was read as an index of a name turns out to be the list of dimensions of a call. */
function buildCall(object: Expression, args: Argument[], span: Span, context: BuildContext): Expression {
  const callee = object.kind === 'index' ? object.object : object;
  const items = object.kind === 'index' ? object.items : [];
  const dims = items.flatMap((item) => (item.kind === 'at' ? [item.value] : []));
  if (callee.kind !== 'name' || dims.length !== items.length) {
    report(
      context,
      object.span,
      'only a name can be called',
      'a call is written name(...) or name[dims](...)',
    );
    return object;
  }
  return {
    kind: 'call',
    callee: { name: callee.name, span: callee.span },
    dims,
    arguments: args,
    at: undefined,
    span,
  };
}

function placeCall(object: Expression, path: Expression, span: Span, context: BuildContext): Expression {
  if (object.kind === 'call' && object.at === undefined) {
    const placed: CallExpression = { ...object, at: path, span };
    return placed;
  }
  const help = 'for example: Linear[out](x) at "o_proj"';
  report(context, span, "'at' places the weights of one call and must follow it", help);
  return object;
}

function buildArguments(node: CstNode, context: BuildContext): Argument[] {
  return nodesOf(node, 'argument').map((argument) => {
    const name = tokenOf(argument, 'Name');
    return {
      name: name ? { name: name.image, span: tokenSpan(name, context.file) } : undefined,
      value: buildExpression(requiredNode(argument, 'expression'), context),
    };
  });
}

export function buildIndexItems(node: CstNode, context: BuildContext): IndexItem[] {
  return nodesOf(node, 'indexItem').map((item) => buildIndexItem(item, context));
}

function buildIndexItem(node: CstNode, context: BuildContext): IndexItem {
  const span = spanOf(node, context.file);
  if (tokenOf(node, 'DotDot')) return { kind: 'rest', span };
  const part = (label: string): Expression | undefined => {
    const child = nodeOf(node, label);
    return child ? buildConditional(child, context) : undefined;
  };
  const start = part('start');
  if (tokenOf(node, 'Colon') === undefined && start !== undefined) return { kind: 'at', value: start, span };
  return { kind: 'slice', start, end: part('end'), span };
}

// ---- primaries

const primaryBuilders: Readonly<Record<string, (token: IToken, context: BuildContext) => Expression>> = {
  Name: (token, context) => ({ kind: 'name', name: token.image, span: tokenSpan(token, context.file) }),
  Int: (token, context) => buildNumber(token, true, context),
  Float: (token, context) => buildNumber(token, false, context),
  Text: buildText,
  true: (token, context) => ({ kind: 'bool', value: true, span: tokenSpan(token, context.file) }),
  false: (token, context) => ({ kind: 'bool', value: false, span: tokenSpan(token, context.file) }),
};

function buildPrimary(node: CstNode, context: BuildContext): Expression {
  const tuple = nodeOf(node, 'tuple');
  if (tuple !== undefined) return buildTuple(tuple, context);
  const list = nodeOf(node, 'list');
  if (list !== undefined) {
    const items = nodesOf(list, 'conditional').map((item) => buildConditional(item, context));
    return { kind: 'list', items, span: spanOf(list, context.file) };
  }
  const [kind, children] = Object.entries(node.children)[0] as [string, CstElement[]];
  return (primaryBuilders[kind] as (typeof primaryBuilders)[string])(children[0] as IToken, context);
}

function buildTuple(node: CstNode, context: BuildContext): Expression {
  const items = buildArguments(node, context);
  const [only] = items;
  if (items.length === 1 && only && only.name === undefined && tokensOf(node, 'Comma').length === 0)
    return only.value;
  return { kind: 'tuple', items, span: spanOf(node, context.file) };
}

function buildNumber(token: IToken, isInt: boolean, context: BuildContext): Expression {
  const value = Number(token.image);
  const span = tokenSpan(token, context.file);
  if (isInt && !Number.isSafeInteger(value)) {
    report(context, span, 'this whole number is too large', 'whole numbers go up to 2^53 - 1');
  } else if (!Number.isFinite(value)) {
    report(context, span, 'this number is too large', 'numbers go up to about 1.8e308');
  }
  return { kind: 'number', value, isInt, span };
}

const escapes: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  '"': '"',
  '\\': '\\',
  '{': '{',
  '}': '}',
};

/** Pieces of a string: plain characters, an escape, `{name}`, or a brace that opens or closes nothing. */
const textPiece =
  /\\(?<escaped>.)|\{(?<name>[A-Za-z_\u0370-\u03FF][\w.\u0370-\u03FF]*)\}|(?<brace>[{}])|[^\\{}]+/gu;

export function buildText(token: IToken, context: BuildContext): TextLiteral {
  const parts: (string | Identifier)[] = [];
  const contentStart = token.startOffset + 1;
  for (const match of token.image.slice(1, -1).matchAll(textPiece)) {
    const start = contentStart + match.index;
    const span = { file: context.file, start, end: start + match[0].length };
    parts.push(buildTextPiece(match, span, context));
  }
  return { kind: 'text', parts: mergeText(parts), span: tokenSpan(token, context.file) };
}

function buildTextPiece(match: RegExpExecArray, span: Span, context: BuildContext): string | Identifier {
  const { escaped, name, brace } = match.groups ?? {};
  if (name !== undefined) return { name, span: { ...span, start: span.start + 1, end: span.end - 1 } };
  if (brace !== undefined) {
    report(
      context,
      span,
      `'${brace}' in a string belongs to {name}`,
      `write \\${brace} for the character itself`,
    );
  }
  if (escaped === undefined) return match[0];
  const character = escapes[escaped];
  if (character === undefined) {
    report(context, span, `unknown escape '\\${escaped}'`, 'known escapes: \\n \\t \\" \\\\ \\{ \\}');
  }
  return character ?? escaped;
}

function mergeText(parts: readonly (string | Identifier)[]): (string | Identifier)[] {
  const merged: (string | Identifier)[] = [];
  for (const part of parts) {
    const last = merged.at(-1);
    if (typeof part === 'string' && typeof last === 'string') merged[merged.length - 1] = last + part;
    else merged.push(part);
  }
  return merged;
}

// ---- axes

function buildAxisPattern(node: CstNode, context: BuildContext): AxisPattern {
  return {
    axes: nodesOf(node, 'axis').map((axis) => buildAxis(axis, context)),
    span: spanOf(node, context.file),
  };
}

function buildAxis(node: CstNode, context: BuildContext): Axis {
  const span = spanOf(node, context.file);
  if (tokenOf(node, 'DotDot')) return { kind: 'rest', span };
  const atom = nodeOf(node, 'axisAtom');
  if (atom !== undefined) return buildAxisAtom(atom, context);
  const group = requiredNode(node, 'axisGroup');
  return {
    kind: 'group',
    atoms: nodesOf(group, 'axisAtom').map((part) => buildAxisAtom(part, context)),
    span,
  };
}

function buildAxisAtom(node: CstNode, context: BuildContext): AxisAtom {
  const span = spanOf(node, context.file);
  const name = tokenOf(node, 'Name');
  if (name !== undefined) return { kind: 'name', name: name.image, span };
  return { kind: 'size', size: Number(requiredToken(node, 'Int').image), span };
}

function report(context: BuildContext, span: Span, message: string, help: string): void {
  context.diagnostics.push(diagnostic('HEW1002', message, { span, help }));
}
