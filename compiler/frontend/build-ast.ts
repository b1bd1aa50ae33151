/**
 * Concrete tree to syntax tree: files, definitions, types and statements. Expressions are in `build-expression.ts`.
 * Called for error-free parses only. What the grammar cannot say (a bad escape, `at` behind something that is no
 * call, a tree too deep for recursive walks) is reported in `diagnostics`.
 */
import type { CstNode, IToken } from 'chevrotain';
import type { Diagnostic, Span } from '../../ir/diagnostics.js';
import type {
  Definition,
  DimDeclaration,
  Expression,
  FileReference,
  Identifier,
  IfStatement,
  Item,
  LetStatement,
  Parameter,
  RequireStatement,
  Result,
  SamplerDeclaration,
  SpecFile,
  Statement,
  StateStatement,
  TypeDim,
  TypeExpression,
  WeightStatement,
} from './ast.js';
import { buildConditional, buildExpression, buildIndexItems, buildText } from './build-expression.js';
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

export interface BuildContext {
  readonly file: string;
  readonly diagnostics: Diagnostic[];
}

export function buildSpec(cst: CstNode, context: BuildContext): SpecFile {
  const items = nodesOf(cst, 'item').map((item) => buildItem(onlyChild(item), context));
  return { file: context.file, items };
}

type Builder<T> = (node: CstNode, context: BuildContext) => T;

const itemBuilders: Readonly<Record<string, Builder<Item>>> = {
  fileReference: buildFileReference,
  configDeclaration: buildConfig,
  dimDeclaration: buildDim,
  definition: buildDefinition,
  samplerDeclaration: buildSampler,
  requireStatement: buildRequire,
  stateStatement: buildState,
  letStatement: buildLet,
};

const statementBuilders: Readonly<Record<string, Builder<Statement>>> = {
  letStatement: buildLet,
  weightStatement: buildWeight,
  stateStatement: buildState,
  assignStatement: buildAssign,
  forStatement: buildFor,
  ifStatement: buildIf,
  requireStatement: buildRequire,
  returnStatement: (node, context) => ({
    kind: 'return',
    value: buildExpression(requiredNode(node, 'expression'), context),
    span: spanOf(node, context.file),
  }),
};

function buildItem(node: CstNode, context: BuildContext): Item {
  return builderFor(itemBuilders, node)(node, context);
}

function builderFor<T>(builders: Readonly<Record<string, Builder<T>>>, node: CstNode): Builder<T> {
  const builder = builders[node.name];
  if (builder === undefined) throw new Error(`no builder for '${node.name}'`);
  return builder;
}

function onlyChild(node: CstNode): CstNode {
  const child = childrenInOrder(node)[0];
  if (child === undefined || isToken(child)) throw new Error(`the grammar promises a rule in '${node.name}'`);
  return child;
}

// ---- items

const referenceKinds = {
  import: 'import',
  extend: 'extend',
  config: 'config-file',
  tokenizer: 'tokenizer',
  weights: 'weights',
} as const;

function buildFileReference(node: CstNode, context: BuildContext): FileReference {
  const keyword = childrenInOrder(node)[0];
  const word = keyword !== undefined && isToken(keyword) ? keyword.image : '';
  return {
    kind: referenceKinds[word as keyof typeof referenceKinds],
    path: buildText(requiredToken(node, 'Text'), context),
    span: spanOf(node, context.file),
  };
}

function buildConfig(node: CstNode, context: BuildContext): Item {
  const path = tokensOf(node, 'path').map((token) => identifier(token, context));
  const first = path[0] as Identifier;
  const last = path.at(-1) as Identifier;
  return {
    kind: 'config',
    name: { name: path.map((part) => part.name).join('.'), span: join(first.span, last.span) },
    type: identifier(requiredToken(node, 'type'), context),
    fallback: optional(nodeOf(node, 'expression'), (child) => buildExpression(child, context)),
    span: spanOf(node, context.file),
  };
}

function buildDim(node: CstNode, context: BuildContext): DimDeclaration {
  const part = (label: string) => optional(nodeOf(node, label), (child) => buildConditional(child, context));
  return {
    kind: 'dim',
    name: identifier(requiredToken(node, 'Name'), context),
    value: part('value'),
    min: part('min'),
    max: part('max'),
    span: spanOf(node, context.file),
  };
}

function buildDefinition(node: CstNode, context: BuildContext): Definition {
  const keyword = tokenOf(node, 'module') ?? tokenOf(node, 'fn') ?? requiredToken(node, 'entry');
  const results = requiredNode(node, 'results');
  const generics = nodeOf(node, 'generics');
  return {
    kind: keyword.image as Definition['kind'],
    name: identifier(requiredToken(node, 'Name'), context),
    generics: generics ? tokensOf(generics, 'Name').map((token) => identifier(token, context)) : [],
    parameters: nodesOf(requiredNode(node, 'parameters'), 'parameter').map((p) => buildParameter(p, context)),
    results: buildResults(results, context),
    body: buildBlock(requiredNode(node, 'block'), context),
    signatureSpan: join(tokenSpan(keyword, context.file), spanOf(results, context.file)),
    span: spanOf(node, context.file),
  };
}

function buildParameter(node: CstNode, context: BuildContext): Parameter {
  return {
    name: identifier(requiredToken(node, 'Name'), context),
    type: buildType(requiredNode(node, 'type'), context),
    fallback: optional(nodeOf(node, 'conditional'), (child) => buildConditional(child, context)),
    span: spanOf(node, context.file),
  };
}

function buildResults(node: CstNode, context: BuildContext): Result[] {
  const single = nodeOf(node, 'type');
  if (single !== undefined) return [{ name: undefined, type: buildType(single, context) }];
  return nodesOf(node, 'result').map((result) => ({
    name: optional(tokenOf(result, 'Name'), (token) => identifier(token, context)),
    type: buildType(requiredNode(result, 'type'), context),
  }));
}

function buildSampler(node: CstNode, context: BuildContext): SamplerDeclaration {
  return {
    kind: 'sampler',
    sampler: identifier(requiredToken(node, 'Name'), context),
    settings: nodesOf(node, 'setting').map((setting) => ({
      name: identifier(requiredToken(setting, 'Name'), context),
      value: buildConditional(requiredNode(setting, 'conditional'), context),
    })),
    span: spanOf(node, context.file),
  };
}

// ---- types

function buildType(node: CstNode, context: BuildContext): TypeExpression {
  const span = spanOf(node, context.file);
  const base = tokenOf(node, 'Name');
  const dims = nodeOf(node, 'typeDims');
  return {
    base: base ? identifier(base, context) : { name: 'f32', span },
    dims: optional(dims, (list) => nodesOf(list, 'typeDim').map((entry) => buildTypeDim(entry, context))),
    span,
  };
}

function buildTypeDim(node: CstNode, context: BuildContext): TypeDim {
  const rest = tokenOf(node, 'DotDot');
  if (rest !== undefined) return { kind: 'rest', span: tokenSpan(rest, context.file) };
  return buildConditional(requiredNode(node, 'conditional'), context);
}

// ---- statements

function buildBlock(node: CstNode, context: BuildContext): Statement[] {
  return nodesOf(node, 'statement').map((statement) => {
    const inner = onlyChild(statement);
    return builderFor(statementBuilders, inner)(inner, context);
  });
}

function buildLet(node: CstNode, context: BuildContext): LetStatement {
  return {
    kind: 'let',
    names: tokensOf(node, 'Name').map((token) => identifier(token, context)),
    type: optional(nodeOf(node, 'type'), (type) => buildType(type, context)),
    value: buildExpression(requiredNode(node, 'expression'), context),
    span: spanOf(node, context.file),
  };
}

function buildWeight(node: CstNode, context: BuildContext): WeightStatement {
  const variable = tokenOf(node, 'variable');
  const count = nodeOf(node, 'count');
  return {
    kind: 'weight',
    name: identifier(requiredToken(node, 'Name'), context),
    stack:
      variable && count
        ? { variable: identifier(variable, context), count: buildConditional(count, context) }
        : undefined,
    type: buildType(requiredNode(node, 'type'), context),
    path: buildConditional(requiredNode(node, 'path'), context),
    span: spanOf(node, context.file),
  };
}

function buildState(node: CstNode, context: BuildContext): StateStatement {
  return {
    kind: 'state',
    name: identifier(requiredToken(node, 'Name'), context),
    type: buildType(requiredNode(node, 'type'), context),
    span: spanOf(node, context.file),
  };
}

function buildAssign(node: CstNode, context: BuildContext): Statement {
  return {
    kind: 'assign',
    target: identifier(requiredToken(node, 'Name'), context),
    items: optional(nodeOf(node, 'indexItems'), (items) => buildIndexItems(items, context)),
    value: buildExpression(requiredNode(node, 'expression'), context),
    span: spanOf(node, context.file),
  };
}

function buildFor(node: CstNode, context: BuildContext): Statement {
  const bounds = nodesOf(node, 'conditional').map((bound) => buildConditional(bound, context));
  return {
    kind: 'for',
    variable: identifier(requiredToken(node, 'Name'), context),
    first: bounds.length > 1 ? bounds[0] : undefined,
    end: bounds.at(-1) as Expression,
    body: buildBlock(requiredNode(node, 'block'), context),
    span: spanOf(node, context.file),
  };
}

/** `if … else if … else …` nests to the right. */
function buildIf(node: CstNode, context: BuildContext): IfStatement {
  const last = nodeOf(node, 'block');
  let otherwise = last ? buildBlock(last, context) : undefined;
  const branches = nodesOf(node, 'ifBranch').reverse();
  let statement: IfStatement | undefined;
  for (const branch of branches) {
    statement = {
      kind: 'if',
      condition: buildConditional(requiredNode(branch, 'conditional'), context),
      body: buildBlock(requiredNode(branch, 'block'), context),
      otherwise,
      span: spanOf(branch, context.file),
    };
    otherwise = [statement];
  }
  return statement as IfStatement;
}

function buildRequire(node: CstNode, context: BuildContext): RequireStatement {
  return {
    kind: 'require',
    condition: buildConditional(requiredNode(node, 'conditional'), context),
    message: optional(tokenOf(node, 'Text'), (token) => buildText(token, context)),
    span: spanOf(node, context.file),
  };
}

// ---- small parts

function identifier(token: IToken, context: BuildContext): Identifier {
  const span: Span = tokenSpan(token, context.file);
  return { name: token.image, span };
}

function optional<T, R>(value: T | undefined, make: (value: T) => R): R | undefined {
  return value === undefined ? undefined : make(value);
}
