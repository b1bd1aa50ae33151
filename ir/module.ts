/**
 * The graph: a module of functions in SSA form with explicit parameters, states and loops.
 *
 * Modules and functions are immutable; a pass builds new ones (see builder.ts). Order of `body` is execution order.
 */
import type { Dim } from './dim.js';
import type { Attrs, AttrsOf, OpBase, Value } from './op.js';
import type { OpName, Ops } from './ops/table.js';
import type { Recipe } from './recipe.js';
import type { TensorType } from './type.js';

export type { Value } from './op.js';

export type AttrsOfOp<N extends OpName> = AttrsOf<Ops[N]['attrs']>;

/** One operation, a union discriminated by `name`, so that `op.name === 'linear'` narrows `op.attrs`. */
export type Op = { [N in OpName]: OpOf<N> }[OpName];
export interface OpOf<N extends OpName> extends OpBase {
  readonly name: N;
  readonly attrs: AttrsOfOp<N> & Attrs;
}

/** The op that computes a value; undefined for an argument. */
export function defOf(value: Value): Op | undefined {
  return value.def as Op | undefined;
}

/** A model dimension with a value, or a run-time symbol with inclusive bounds. */
export type DimDecl = { readonly value: number } | { readonly min: number; readonly max: number };

/**
 * A repetition: how often it runs (a model dimension) and which checkpoint index each turn reads. Its turns are
 * numbered from `first`, 0 by default, in a checkpoint that is written anew.
 */
export interface Loop {
  readonly count: Dim;
  readonly first?: Dim | undefined;
  readonly indices: readonly number[];
}

/** A weight. With `loop`, one instance per turn of that loop, all of one type. */
export interface Param {
  readonly type: TensorType;
  readonly loop?: string | undefined;
  readonly recipe: Recipe;
}

/** A value that lives between calls of entries; zero after a reset. With `loop`, one instance per turn. */
export interface State {
  readonly type: TensorType;
  readonly loop?: string | undefined;
}

export interface Func {
  readonly name: string;
  /** The loop whose turns call this function; parameters and states of that loop are reached through it. */
  readonly loop?: string | undefined;
  /** Set on outlined kernels: the kernel class (see passes/fuse.ts). */
  readonly kernel?: string | undefined;
  /** Set on entry points: names of the results; arguments are named by their values. */
  readonly outputs?: readonly string[] | undefined;
  readonly args: readonly Value[];
  readonly body: readonly Op[];
  readonly results: readonly Value[];
}

export interface TokenizerDecl {
  /** Path as the spec wrote it, resolved by the driver. */
  readonly file: string;
}

/** `kind` and settings of a sampler, as the spec declares them. */
export interface SamplerDecl {
  readonly kind: string;
  readonly settings: Readonly<Record<string, number | string | boolean | readonly number[]>>;
}

export interface Module {
  readonly name: string;
  readonly dims: ReadonlyMap<string, DimDecl>;
  readonly loops: ReadonlyMap<string, Loop>;
  readonly params: ReadonlyMap<string, Param>;
  readonly states: ReadonlyMap<string, State>;
  readonly functions: ReadonlyMap<string, Func>;
  readonly tokenizer?: TokenizerDecl | undefined;
  readonly sampler?: SamplerDecl | undefined;
}

export function emptyModule(name: string): Module {
  return {
    name,
    dims: new Map(),
    loops: new Map(),
    params: new Map(),
    states: new Map(),
    functions: new Map(),
  };
}

export function entriesOf(module: Module): Func[] {
  return [...module.functions.values()].filter((f) => f.outputs !== undefined);
}

/** Values of the model dimensions; run-time symbols are absent. */
export function modelDims(module: Module): Map<string, number> {
  const values = new Map<string, number>();
  for (const [name, decl] of module.dims) if ('value' in decl) values.set(name, decl.value);
  return values;
}

/** Bounds of a dimension name; a model dimension has equal bounds. */
export function dimRange(module: Module, name: string): { readonly min: number; readonly max: number } {
  const decl = module.dims.get(name);
  if (decl === undefined) throw new RangeError(`dimension ${name} is not declared`);
  return 'value' in decl ? { min: decl.value, max: decl.value } : decl;
}

/** The module with these functions alone; callees stand before their callers. */
export function withFunctions(module: Module, functions: Iterable<Func>): Module {
  return { ...module, functions: new Map([...functions].map((f) => [f.name, f])) };
}

/** How often each value is used in a function, its results included. */
export function countUses(func: Func): Map<Value, number> {
  const uses = new Map<Value, number>();
  const use = (value: Value) => uses.set(value, (uses.get(value) ?? 0) + 1);
  for (const op of func.body) op.operands.forEach(use);
  func.results.forEach(use);
  return uses;
}

/** Names of the functions an op calls. */
export function calleesOf(op: Op): string[] {
  return op.name === 'repeat' || op.name === 'kernel' ? [op.attrs.callee] : [];
}
