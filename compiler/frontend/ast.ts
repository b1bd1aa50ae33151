/**
 * The syntax tree of a spec. Every node carries its span, for diagnostics.
 *
 * Invariants: a tree exists only for a text without syntax errors, and its depth is at most `treeDepthLimit`,
 * so that recursive walks cannot exhaust the stack.
 */
import type { Span } from '../../ir/diagnostics.js';

/** How deep brackets and blocks may nest in the text. */
export const nestingLimit = 64;

/** How many objects deep the tree may be; a chain of operators adds one level for each. */
export const treeDepthLimit = 500;

export interface Identifier {
  readonly name: string;
  readonly span: Span;
}

export interface SpecFile {
  readonly file: string;
  readonly items: readonly Item[];
}

// ---- expressions

export type UnaryOperator = '-' | 'not';
export type BinaryOperator =
  | '+'
  | '-'
  | '*'
  | '/'
  | '%'
  | '@'
  | '**'
  | '=='
  | '!='
  | '<'
  | '<='
  | '>'
  | '>='
  | 'and'
  | 'or';

export type Expression =
  | NumberLiteral
  | TextLiteral
  | BoolLiteral
  | NameExpression
  | UnaryExpression
  | BinaryExpression
  | ConditionalExpression
  | CallExpression
  | IndexExpression
  | MemberExpression
  | RearrangeExpression
  | ListExpression
  | TupleExpression;

export interface NumberLiteral {
  readonly kind: 'number';
  readonly value: number;
  /** `1` is an int and `1.0` a float: only ints may be dimensions. */
  readonly isInt: boolean;
  readonly span: Span;
}

/** `"model.layers.{layer}"`: text pieces and the names between braces. */
export interface TextLiteral {
  readonly kind: 'text';
  readonly parts: readonly (string | Identifier)[];
  readonly span: Span;
}

export interface BoolLiteral {
  readonly kind: 'bool';
  readonly value: boolean;
  readonly span: Span;
}

export interface NameExpression {
  readonly kind: 'name';
  readonly name: string;
  readonly span: Span;
}

export interface UnaryExpression {
  readonly kind: 'unary';
  readonly operator: UnaryOperator;
  readonly operand: Expression;
  readonly span: Span;
}

export interface BinaryExpression {
  readonly kind: 'binary';
  readonly operator: BinaryOperator;
  readonly operatorSpan: Span;
  readonly left: Expression;
  readonly right: Expression;
  readonly span: Span;
}

export interface ConditionalExpression {
  readonly kind: 'conditional';
  readonly condition: Expression;
  readonly whenTrue: Expression;
  readonly whenFalse: Expression;
  readonly span: Span;
}

/** `callee[dims](arguments) at path`: a module, a fn, an operation or a compile-time function. */
export interface CallExpression {
  readonly kind: 'call';
  readonly callee: Identifier;
  readonly dims: readonly Expression[];
  readonly arguments: readonly Argument[];
  readonly at: Expression | undefined;
  readonly span: Span;
}

export interface Argument {
  readonly name: Identifier | undefined;
  readonly value: Expression;
}

export interface IndexExpression {
  readonly kind: 'index';
  readonly object: Expression;
  readonly items: readonly IndexItem[];
  readonly span: Span;
}

export type IndexItem =
  | { readonly kind: 'at'; readonly value: Expression; readonly span: Span }
  | {
      readonly kind: 'slice';
      readonly start: Expression | undefined;
      readonly end: Expression | undefined;
      readonly span: Span;
    }
  /** `..`: every axis not named otherwise. */
  | { readonly kind: 'rest'; readonly span: Span };

/** `w.T`, or a piece of a dotted configuration name. */
export interface MemberExpression {
  readonly kind: 'member';
  readonly object: Expression;
  readonly member: Identifier;
  readonly span: Span;
}

/** `value : [T, (heads hd)] -> [heads, T, hd]` */
export interface RearrangeExpression {
  readonly kind: 'rearrange';
  readonly value: Expression;
  readonly from: AxisPattern;
  readonly to: AxisPattern;
  readonly span: Span;
}

export interface AxisPattern {
  readonly axes: readonly Axis[];
  readonly span: Span;
}

export type Axis =
  | AxisAtom
  | { readonly kind: 'group'; readonly atoms: readonly AxisAtom[]; readonly span: Span }
  | { readonly kind: 'rest'; readonly span: Span };

export type AxisAtom =
  | { readonly kind: 'name'; readonly name: string; readonly span: Span }
  | { readonly kind: 'size'; readonly size: number; readonly span: Span };

export interface ListExpression {
  readonly kind: 'list';
  readonly items: readonly Expression[];
  readonly span: Span;
}

/** `(a, b)` or `(logits = a, last = b)`; a single unnamed value in parentheses is that value. */
export interface TupleExpression {
  readonly kind: 'tuple';
  readonly items: readonly Argument[];
  readonly span: Span;
}

// ---- types

export interface TypeExpression {
  /** `f32` where it is left out: `[T, d]`. */
  readonly base: Identifier;
  /** Undefined for a scalar such as `i32` or `float`. */
  readonly dims: readonly TypeDim[] | undefined;
  readonly span: Span;
}

export type TypeDim = Expression | { readonly kind: 'rest'; readonly span: Span };

// ---- statements

export type Statement =
  | LetStatement
  | WeightStatement
  | StateStatement
  | AssignStatement
  | ForStatement
  | IfStatement
  | RequireStatement
  | ReturnStatement;

export interface LetStatement {
  readonly kind: 'let';
  readonly names: readonly Identifier[];
  readonly type: TypeExpression | undefined;
  readonly value: Expression;
  readonly span: Span;
}

/** `weight gate[e in experts]: [f, d] = "experts.{e}.gate_proj.weight"` */
export interface WeightStatement {
  readonly kind: 'weight';
  readonly name: Identifier;
  readonly stack: { readonly variable: Identifier; readonly count: Expression } | undefined;
  readonly type: TypeExpression;
  readonly path: Expression;
  readonly span: Span;
}

export interface StateStatement {
  readonly kind: 'state';
  readonly name: Identifier;
  readonly type: TypeExpression;
  readonly span: Span;
}

/** `h = ...`, or `cache[pos : pos + T] = ...` */
export interface AssignStatement {
  readonly kind: 'assign';
  readonly target: Identifier;
  readonly items: readonly IndexItem[] | undefined;
  readonly value: Expression;
  readonly span: Span;
}

export interface ForStatement {
  readonly kind: 'for';
  readonly variable: Identifier;
  /** The number of the first turn: `for layer in first : end`. */
  readonly first: Expression | undefined;
  /** The number after the last turn; without `first`, how many there are. */
  readonly end: Expression;
  readonly body: readonly Statement[];
  readonly span: Span;
}

export interface IfStatement {
  readonly kind: 'if';
  readonly condition: Expression;
  readonly body: readonly Statement[];
  readonly otherwise: readonly Statement[] | undefined;
  readonly span: Span;
}

export interface RequireStatement {
  readonly kind: 'require';
  readonly condition: Expression;
  readonly message: TextLiteral | undefined;
  readonly span: Span;
}

export interface ReturnStatement {
  readonly kind: 'return';
  readonly value: Expression;
  readonly span: Span;
}

// ---- items of a file

export type Item =
  | FileReference
  | ConfigDeclaration
  | DimDeclaration
  | Definition
  | SamplerDeclaration
  | RequireStatement
  | StateStatement
  | LetStatement;

export interface FileReference {
  readonly kind: 'import' | 'extend' | 'config-file' | 'tokenizer' | 'weights';
  readonly path: TextLiteral;
  readonly span: Span;
}

export interface ConfigDeclaration {
  readonly kind: 'config';
  /** Dots reach into nested objects: `rope_scaling.factor`. */
  readonly name: Identifier;
  readonly type: Identifier;
  readonly fallback: Expression | undefined;
  readonly span: Span;
}

/** `dim d = hidden_size`, `dim T <= 512` or `dim T in 1..512` */
export interface DimDeclaration {
  readonly kind: 'dim';
  readonly name: Identifier;
  readonly value: Expression | undefined;
  readonly min: Expression | undefined;
  readonly max: Expression | undefined;
  readonly span: Span;
}

export interface Definition {
  readonly kind: 'module' | 'fn' | 'entry';
  readonly name: Identifier;
  readonly generics: readonly Identifier[];
  readonly parameters: readonly Parameter[];
  readonly results: readonly Result[];
  readonly body: readonly Statement[];
  /** From the keyword to the end of the signature, for labels. */
  readonly signatureSpan: Span;
  readonly span: Span;
}

export interface Parameter {
  readonly name: Identifier;
  readonly type: TypeExpression;
  readonly fallback: Expression | undefined;
  readonly span: Span;
}

export interface Result {
  readonly name: Identifier | undefined;
  readonly type: TypeExpression;
}

/** `sampler text { temperature = 0.8, stop = [eos_token_id] }` */
export interface SamplerDeclaration {
  readonly kind: 'sampler';
  readonly sampler: Identifier;
  readonly settings: readonly { readonly name: Identifier; readonly value: Expression }[];
  readonly span: Span;
}
