/**
 * Building functions. `FuncBuilder` appends type-checked ops; `rewriteFunc` copies a function while a callback
 * replaces ops, which is how most passes are written.
 */

import type { Span } from './diagnostics.js';
import { type Dim, DimError, tryEvalDim } from './dim.js';
import { type Func, type Module, modelDims, type Op } from './module.js';
import {
  type AttrKind,
  type AttrSpec,
  type Attrs,
  type AttrValue,
  type Emitter,
  type InferContext,
  InferError,
  type OpDecl,
  type Value,
} from './op.js';
import { isOpName, opTable } from './ops/table.js';
import { isDType, type TensorType } from './type.js';

/** Everything a builder must know of its surroundings; a module provides it (`moduleScope`). */
export interface Scope extends InferContext {}

export function moduleScope(module: Module, loop?: string): Scope {
  const values = modelDims(module);
  const instance = (
    kind: string,
    name: string,
    found: { type: TensorType; loop?: string | undefined } | undefined,
  ) => {
    if (found === undefined) throw new InferError(`there is no ${kind} @${name}`);
    if (found.loop !== undefined && found.loop !== loop) {
      throw new InferError(`${kind} @${name} belongs to loop ${found.loop} and cannot be read outside it`);
    }
    return found.type;
  };
  return {
    valueOf: (dim: Dim) => tryEvalDim(dim, values),
    paramType: (name) => instance('parameter', name, module.params.get(name)),
    stateType: (name) => instance('state', name, module.states.get(name)),
    signature: (name) => {
      const func = module.functions.get(name);
      if (func === undefined) throw new InferError(`there is no function @${name}`);
      return { args: func.args.map((a) => a.type), results: func.results.map((r) => r.type) };
    },
  };
}

/** Creates one type-checked op; throws InferError. */
export function makeOp(
  scope: Scope,
  name: string,
  operands: readonly Value[],
  attrs: Attrs = {},
  span?: Span,
): Op {
  if (!isOpName(name)) throw new InferError(`there is no operation '${name}'`);
  const decl: OpDecl = opTable[name];
  checkOperandCount(name, decl, operands.length);
  const complete = completeAttrs(name, decl, attrs);
  const types = inferTypes(
    name,
    decl,
    operands.map((o) => o.type),
    complete,
    scope,
  );
  const op = { name, operands, attrs: complete, span, results: [] as Value[] };
  for (const type of types) op.results.push({ type, def: op });
  return op as unknown as Op;
}

/** Runs the typing of an op so that every failure is an InferError whose message names the op. */
function inferTypes(
  name: string,
  decl: OpDecl,
  types: readonly TensorType[],
  attrs: Attrs,
  scope: Scope,
): readonly TensorType[] {
  try {
    return decl.infer(types, attrs, scope);
  } catch (error) {
    if (!(error instanceof InferError || error instanceof DimError)) throw error;
    const isNamed = [':', ' '].some((after) => error.message.startsWith(name + after));
    const named = isNamed ? error.message : `${name}: ${error.message}`;
    throw new InferError(named, error instanceof InferError ? error.parts : { kind: 'shape' });
  }
}

function checkOperandCount(name: string, decl: OpDecl, count: number): void {
  const required = decl.operands.filter((o) => !o.optional && !o.variadic).length;
  const most = decl.operands.some((o) => o.variadic) ? Number.POSITIVE_INFINITY : decl.operands.length;
  if (count >= required && count <= most) return;
  const wanted =
    required === most
      ? `${required}`
      : most === Number.POSITIVE_INFINITY
        ? `at least ${required}`
        : `${required} to ${most}`;
  throw new InferError(
    `${name} takes ${wanted} operands (${decl.operands.map((o) => o.name).join(', ')}), ${count} given`,
  );
}

/** Attributes with their defaults filled in; throws InferError for one that is unknown, missing or of the wrong kind. */
export function completeAttrs(name: string, decl: OpDecl, given: Attrs): Attrs {
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(decl.attrs, key)) {
      const known = Object.keys(decl.attrs).join(', ') || 'none';
      throw new InferError(`${name} has no attribute '${key}'`, {
        kind: 'attr',
        help: `its attributes are: ${known}`,
      });
    }
  }
  const complete: Record<string, AttrValue> = {};
  for (const [key, spec] of Object.entries(decl.attrs)) {
    const value = given[key] ?? spec.default;
    if (value === undefined)
      throw new InferError(`${name} needs the attribute '${key}'`, { kind: 'attr', help: spec.doc });
    complete[key] = checkAttr(name, key, spec, value);
  }
  return complete;
}

const isInt = (v: unknown): boolean => Number.isSafeInteger(v);
const isDim = (v: unknown): boolean => typeof v === 'object' && v !== null && 'terms' in v;

const attrChecks: Record<AttrKind, { readonly what: string; readonly accepts: (value: unknown) => boolean }> =
  {
    int: { what: 'an integer', accepts: isInt },
    float: { what: 'a number', accepts: (v) => typeof v === 'number' },
    bool: { what: 'true or false', accepts: (v) => typeof v === 'boolean' },
    string: { what: 'a string', accepts: (v) => typeof v === 'string' },
    ints: { what: 'a list of integers', accepts: (v) => Array.isArray(v) && v.every(isInt) },
    dim: { what: 'a dimension', accepts: isDim },
    dims: { what: 'a list of dimensions', accepts: (v) => Array.isArray(v) && v.every(isDim) },
    dtype: { what: 'a data type', accepts: (v) => typeof v === 'string' && isDType(v) },
    symbol: { what: 'a symbol', accepts: (v) => typeof v === 'string' },
  };

/** Whether an attribute of this kind may have this value. */
export function isAttrValue(kind: AttrKind, value: unknown): boolean {
  return attrChecks[kind].accepts(value);
}

function checkAttr(op: string, key: string, spec: AttrSpec, value: AttrValue): AttrValue {
  const check = attrChecks[spec.kind];
  if (!check.accepts(value))
    throw new InferError(`${op}: attribute '${key}' must be ${check.what}`, { kind: 'attr' });
  if (spec.oneOf && !spec.oneOf.includes(String(value))) {
    throw new InferError(
      `${op}: attribute '${key}' must be one of ${spec.oneOf.join(', ')}, not ${String(value)}`,
      { kind: 'attr' },
    );
  }
  return value;
}

export interface FuncOptions {
  readonly loop?: string | undefined;
  readonly kernel?: string | undefined;
  readonly outputs?: readonly string[] | undefined;
}

export class FuncBuilder implements Emitter {
  readonly args: Value[] = [];
  readonly body: Op[] = [];
  /** Where ops emitted from now on were asked for. */
  span: Span | undefined;

  constructor(
    readonly name: string,
    readonly scope: Scope,
    readonly options: FuncOptions = {},
  ) {}

  arg(type: TensorType, name?: string): Value {
    const value: Value = { type, name };
    this.args.push(value);
    return value;
  }

  emit(name: string, operands: readonly Value[], attrs: Attrs = {}): readonly Value[] {
    return this.append(makeOp(this.scope, name, operands, attrs, this.span));
  }

  one(name: string, operands: readonly Value[], attrs: Attrs = {}): Value {
    const [result, ...rest] = this.emit(name, operands, attrs);
    if (result === undefined || rest.length > 0)
      throw new InferError(`${name} does not have exactly one result`);
    return result;
  }

  /** Appends an op that was made for this function. */
  append(op: Op): readonly Value[] {
    this.body.push(op);
    return op.results;
  }

  finish(results: readonly Value[]): Func {
    return { name: this.name, ...this.options, args: this.args, body: this.body, results };
  }
}

/**
 * Copies `func`, asking `replace` for each op: it returns the values that take the place of the op's results (having
 * emitted what they need), or undefined to copy the op with its operands remapped.
 */
export function rewriteFunc(
  func: Func,
  scope: Scope,
  replace: (op: Op, operands: readonly Value[], builder: FuncBuilder) => readonly Value[] | undefined,
): Func {
  const { name, loop, kernel, outputs } = func;
  const builder = new FuncBuilder(name, scope, { loop, kernel, outputs });
  const mapped = new Map<Value, Value>();
  for (const arg of func.args) mapped.set(arg, builder.arg(arg.type, arg.name));
  const remap = (value: Value): Value => {
    const target = mapped.get(value);
    if (target === undefined) throw new Error(`value of @${func.name} used before its definition`);
    return target;
  };
  for (const op of func.body) {
    const operands = op.operands.map(remap);
    builder.span = op.span;
    const values = replace(op, operands, builder) ?? builder.append(copyOp(scope, op, operands));
    op.results.forEach((result, i) => {
      mapped.set(result, values[i] as Value);
    });
  }
  return builder.finish(func.results.map(remap));
}

/** The op on other operands; types are inferred anew only when an operand's type changed. */
export function copyOp(scope: Scope, op: Op, operands: readonly Value[]): Op {
  if (operands.some((o, i) => o.type !== op.operands[i]?.type)) {
    return named(makeOp(scope, op.name, operands, op.attrs, op.span), op);
  }
  const copy = { name: op.name, operands, attrs: op.attrs, span: op.span, results: [] as Value[] };
  for (const result of op.results) copy.results.push({ type: result.type, name: result.name, def: copy });
  return copy as unknown as Op;
}

function named(op: Op, original: Op): Op {
  const results = op.results as Value[];
  results.forEach((result, i) => {
    results[i] = { ...result, name: original.results[i]?.name };
  });
  return op;
}

/** Applies `change` to every function; the module itself comes back when each function does. */
export function mapFunctions(module: Module, change: (func: Func, scope: Scope) => Func): Module {
  const functions = new Map(
    [...module.functions].map(([name, f]) => [name, change(f, moduleScope(module, f.loop))]),
  );
  const changed = [...functions].some(([name, f]) => f !== module.functions.get(name));
  return changed ? { ...module, functions } : module;
}
