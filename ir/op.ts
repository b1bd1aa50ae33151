/**
 * How an operation is declared: one `defineOp` per op holds its typing, its meaning, its cost and its
 * decomposition. Printer, parser, verifier, interpreter, language and documentation all read these declarations;
 * the table of all of them is ops/table.ts.
 *
 * This file does not know which ops exist, so declarations can be typed without a cycle; `Op` in module.ts is the
 * closed union over the table.
 */

import type { Span } from './diagnostics.js';
import type { Dim } from './dim.js';
import type { Tensor } from './tensor.js';
import type { DType, TensorType } from './type.js';

/** Attribute kinds and the types of their values. `symbol` names a function, parameter, state or loop. */
export interface AttrTypes {
  int: number;
  float: number;
  bool: boolean;
  string: string;
  ints: readonly number[];
  dim: Dim;
  dims: readonly Dim[];
  dtype: DType;
  symbol: string;
}
export type AttrKind = keyof AttrTypes;
export type AttrValue = AttrTypes[AttrKind];

export interface AttrSpec<K extends AttrKind = AttrKind> {
  readonly kind: K;
  readonly doc: string;
  readonly default?: AttrTypes[K];
  /** Allowed values of a string attribute. */
  readonly oneOf?: readonly string[];
}

export function attr<K extends AttrKind>(kind: K, doc: string, fallback?: AttrTypes[K]): AttrSpec<K> {
  return fallback === undefined ? { kind, doc } : { kind, doc, default: fallback };
}

export function choice(doc: string, oneOf: readonly string[], fallback: string): AttrSpec<'string'> {
  return { kind: 'string', doc, oneOf, default: fallback };
}

export type AttrSchema = Readonly<Record<string, AttrSpec>>;
export type AttrsOf<A extends AttrSchema> = { readonly [N in keyof A]: AttrTypes[A[N]['kind']] };
export type Attrs = Readonly<Record<string, AttrValue>>;

/** Every dimension in the attributes of an op. */
export function attrDims(attrs: Attrs): Dim[] {
  const isDim = (value: unknown): value is Dim =>
    typeof value === 'object' && value !== null && 'terms' in value;
  return Object.values(attrs).flatMap((value) =>
    Array.isArray(value) ? value.filter(isDim) : isDim(value) ? [value] : [],
  );
}

/** An SSA value: the result of an op, or an argument of a function (then `def` is undefined). */
export interface Value {
  readonly type: TensorType;
  /** A hint for readers of the text form; never part of a value's identity. */
  readonly name?: string | undefined;
  readonly def?: OpBase | undefined;
}

export interface OpBase {
  readonly name: string;
  readonly operands: readonly Value[];
  readonly attrs: Attrs;
  readonly results: readonly Value[];
  /** Where in a spec this op was asked for. */
  readonly span?: Span | undefined;
}

/** Appends ops to a function; decompositions and rewrite rules receive one. */
export interface Emitter {
  /** Where the ops will stand, for decompositions that depend on the values of dimensions. */
  readonly scope: InferContext;
  emit(name: string, operands: readonly Value[], attrs?: Attrs): readonly Value[];
  /** `emit` for ops with a single result. */
  one(name: string, operands: readonly Value[], attrs?: Attrs): Value;
}

/** What an op may ask about the module it stands in while its types are inferred. */
export interface InferContext {
  /** The value of a dimension that has no run-time symbols in it, otherwise undefined. */
  valueOf(dim: Dim): number | undefined;
  /** Type of one instance of a parameter; fails when it does not exist or belongs to another loop. */
  paramType(name: string): TensorType;
  stateType(name: string): TensorType;
  signature(functionName: string): {
    readonly args: readonly TensorType[];
    readonly results: readonly TensorType[];
  };
}

/** What an op may ask of the interpreter while it is evaluated. */
export interface EvalContext {
  dimValue(dim: Dim): number;
  /** Rounds an exact result to a dtype (in float64 mode floats stay as they are). */
  round(dtype: DType): (value: number) => number;
  param(name: string): Tensor;
  readState(name: string): Tensor;
  writeState(name: string, value: Tensor): void;
  /** How many turns a loop runs. */
  loopCount(loop: string): number;
  call(functionName: string, args: readonly Tensor[], loopIndex?: number): readonly Tensor[];
  /** The sum of a tensor over all ranks. */
  allReduce(value: Tensor): Tensor;
}

/** Type error of an op. `operand` is the index of the operand to blame, when there is one. */
export class InferError extends Error {
  constructor(
    message: string,
    readonly parts: {
      readonly help?: string;
      readonly operand?: number;
      readonly kind?: 'shape' | 'dtype' | 'attr';
    } = {},
  ) {
    super(message);
  }
}

export interface OperandSpec {
  readonly name: string;
  readonly doc: string;
  readonly optional?: boolean;
  /** This operand may be repeated (only the last one, or all of them). */
  readonly variadic?: boolean;
  /** A weight: any float dtype is accepted and widened to the compute dtype inside the op. */
  readonly widens?: boolean;
}

export function operand(name: string, doc: string): OperandSpec {
  return { name, doc };
}
export function weight(name: string, doc: string): OperandSpec {
  return { name, doc, widens: true };
}
export function optional(spec: OperandSpec): OperandSpec {
  return { ...spec, optional: true };
}
export function variadic(spec: OperandSpec): OperandSpec {
  return { ...spec, variadic: true };
}

export type OpCategory =
  | 'elementwise'
  | 'contraction'
  | 'normalization'
  | 'attention'
  | 'experts'
  | 'quantization'
  | 'movement'
  | 'reduction'
  | 'convolution'
  | 'structure';

export interface OpDecl<A extends AttrSchema = AttrSchema> {
  readonly doc: string;
  readonly category: OpCategory;
  readonly operands: readonly OperandSpec[];
  readonly attrs: A;
  /** True for ops that may write a state. Ops without effects may be merged, moved and deleted. */
  readonly effects?: boolean;
  /** Result types; throws InferError. Attributes are complete and of the declared kinds. */
  infer(types: readonly TensorType[], attrs: AttrsOf<A>, context: InferContext): readonly TensorType[];
  /** Reference meaning, exact apart from one rounding of each result element (sums are float64). */
  evaluate(inputs: readonly Tensor[], attrs: AttrsOf<A>, context: EvalContext): readonly Tensor[];
  /** The same meaning in terms of more primitive ops. */
  decompose?(emitter: Emitter, operands: readonly Value[], attrs: AttrsOf<A>): readonly Value[];
  /** Floating-point operations (a multiply-add counts two). Default: one per result element. */
  flops?(
    shapes: {
      readonly operands: readonly (readonly number[])[];
      readonly results: readonly (readonly number[])[];
    },
    attrs: AttrsOf<A>,
  ): number;
}

/** Identity that gives `infer` and `evaluate` their attribute types. */
export function defineOp<const A extends AttrSchema>(decl: OpDecl<A>): OpDecl<A> {
  return decl;
}
