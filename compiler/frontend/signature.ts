/**
 * Binding the arguments of a call to the parameters of a definition. Dimensions of a signature are solved here:
 * a name that means a dimension with a value must agree with the argument's axis; any other name is generic and
 * takes the axis it first meets. A run-time symbol is generic too, so that a body written for T tokens also serves
 * a call with one.
 */

import type { Span } from '../../ir/diagnostics.js';
import { type Dim, printDim } from '../../ir/dim.js';
import { isFloat, type TensorType } from '../../ir/type.js';
import type { Definition, Expression, Parameter, Result, TypeDim, TypeExpression } from './ast.js';
import type { Environment } from './scope.js';
import { type Context, report } from './session.js';
import { asTensor } from './tensors.js';
import {
  agree,
  type ConstantTypeName,
  constantTypeOf,
  describeDimension,
  dtypeOf,
  evaluateDim,
  restName,
  sameSizeHint,
} from './types.js';
import {
  type Constant,
  describeValue,
  float,
  int,
  isConstant,
  poison,
  type SpecValue,
  tensor,
} from './values.js';

/** An argument after evaluation, with the place to blame. */
export interface GivenArgument {
  readonly value: SpecValue;
  readonly span: Span;
}

/**
 * Binds dimensions and constants in the environment of `callee` and returns the tensor parameters with their
 * values. `caller` is where literals become tensors. Undefined, with reports, when an argument does not fit.
 */
export function bindParameters(
  definition: Definition,
  given: ReadonlyMap<Parameter, GivenArgument>,
  callee: Context,
  caller: Context,
): Map<Parameter, SpecValue> | undefined {
  const bound = new Map<Parameter, SpecValue>();
  let sound = true;
  for (const [parameter, argument] of given) {
    const kind = constantTypeOf(parameter.type);
    const value =
      kind === undefined
        ? tensorArgument(definition, parameter, argument, callee, caller)
        : constantArgument(definition, parameter, kind, argument, caller);
    if (value.kind === 'poison') sound = false;
    if (kind !== undefined) bindConstant(callee.environment, parameter.name.name, value, parameter.span);
    else bound.set(parameter, value);
  }
  const pairs = [...bound].map(([parameter, value]) =>
    value.kind === 'tensor'
      ? axesOf(definition, parameter, value.value.type, given.get(parameter), callee)
      : [],
  );
  const axes = pairs.flatMap((pair) => pair ?? []);
  for (const axis of axes) solveOpenAxis(axis, callee);
  for (const axis of axes) if (!checkAxis(axis, callee)) sound = false;
  return sound && pairs.every((pair) => pair !== undefined) ? bound : undefined;
}

function bindConstant(environment: Environment, name: string, value: SpecValue, span: Span): void {
  environment.bind(name, { kind: 'constant', value, span });
}

function constantArgument(
  definition: Definition,
  parameter: Parameter,
  kind: ConstantTypeName,
  { value, span }: GivenArgument,
  caller: Context,
): SpecValue {
  if (value.kind === 'poison') return poison;
  const converted = isConstant(value) ? convertConstant(value, kind, caller) : undefined;
  if (converted !== undefined) return converted;
  const runtime = value.kind === 'tensor';
  const what = `'${parameter.name.name}' of ${definition.name.name}`;
  const message = runtime
    ? `${what} must be known when the model is compiled; this is ${describeValue(value)}`
    : `${what} is ${kind === 'int' ? 'an' : 'a'} ${kind}; this is ${describeValue(value)}`;
  report(caller, runtime ? 'HEW2006' : 'HEW2003', message, {
    span,
    labels: [{ span: parameter.span, text: 'declared here' }],
  });
  return poison;
}

/** A constant as another kind, where nothing is lost. */
export function convertConstant(
  value: Constant,
  kind: ConstantTypeName,
  context: Context,
): Constant | undefined {
  if (value.kind === kind) return value;
  if (kind !== 'float' || value.kind !== 'int') return undefined;
  const known = context.session.valueOf(value.dim);
  return known === undefined ? undefined : float(known);
}

function tensorArgument(
  definition: Definition,
  parameter: Parameter,
  { value, span }: GivenArgument,
  callee: Context,
  caller: Context,
): SpecValue {
  const dtype = dtypeOf(parameter.type, callee);
  if (dtype === undefined) return poison;
  const operand = asTensor(value, dtype, caller, span);
  if (operand === undefined) return poison;
  if (operand.type.dtype === dtype) return tensor(operand);
  const what = `'${parameter.name.name}' of ${definition.name.name}`;
  report(caller, 'HEW2005', `${what} is ${dtype}, but this is ${operand.type.dtype}`, {
    span,
    labels: [{ span: parameter.span, text: 'declared here' }],
    help:
      isFloat(dtype) || isFloat(operand.type.dtype)
        ? `convert it with cast(..., dtype = ${dtype})`
        : undefined,
  });
  return poison;
}

// ---- axes

interface AxisPair {
  readonly pattern: Expression;
  readonly actual: Dim;
  /** `axis 1 of 'x'` and where to point. */
  readonly what: string;
  readonly span: Span;
  readonly declared: Span;
}

function axesOf(
  definition: Definition,
  parameter: Parameter,
  type: TensorType,
  argument: GivenArgument | undefined,
  callee: Context,
): AxisPair[] | undefined {
  const span = argument?.span ?? parameter.span;
  const what = `'${parameter.name.name}' of ${definition.name.name}`;
  return pairAxes(parameter.type, type, what, span, callee);
}

/** Pairs the dimensions of a type expression with the axes of a tensor, `..` taking what is left; reports a misfit. */
function pairAxes(
  expression: TypeExpression,
  type: TensorType,
  what: string,
  span: Span,
  context: Context,
): AxisPair[] | undefined {
  const patterns = expression.dims ?? [];
  const restAt = patterns.findIndex((dim) => dim.kind === 'rest');
  const restLength = restAt < 0 ? 0 : type.shape.length - (patterns.length - 1);
  const fits = restAt < 0 ? patterns.length === type.shape.length : restLength >= 0;
  const declared = expression.span;
  if (!fits || !bindRest(restAt, restLength, type, context)) {
    const wanted = `${restAt < 0 ? '' : 'at least '}${patterns.length - (restAt < 0 ? 0 : 1)}`;
    const message = fits
      ? `the leading axes of ${what} are not those that '..' stands for in this call`
      : `${what} has ${wanted} axes, but this has ${type.shape.length}: ${describeValue(tensor({ type }))}`;
    report(context, 'HEW2004', message, { span, labels: [{ span: declared, text: 'declared here' }] });
    return undefined;
  }
  return patterns.flatMap((pattern, i) => {
    if (pattern.kind === 'rest') return [];
    const axis = restAt >= 0 && i > restAt ? i - 1 + restLength : i;
    const actual = type.shape[axis] as Dim;
    return [{ pattern, actual, what: `axis ${axis} of ${what}`, span, declared: pattern.span }];
  });
}

/** The first `..` of a signature defines the leading axes; later ones must be the same. */
function bindRest(at: number, length: number, type: TensorType, context: Context): boolean {
  if (at < 0) return true;
  const axes = type.shape.slice(at, at + length);
  const known = context.environment.own(restName);
  if (known?.kind === 'constant' && known.value.kind === 'list') {
    const items = known.value.items;
    return (
      items.length === length &&
      items.every((item, i) => item.kind === 'int' && agree(item.dim, axes[i] as Dim, context.session))
    );
  }
  const value = { kind: 'list' as const, items: axes.map((axis) => int(axis)) };
  context.environment.bind(restName, { kind: 'constant', value, span: { file: '', start: 0, end: 0 } });
  return true;
}

function solveOpenAxis({ pattern, actual, declared }: AxisPair, context: Context): void {
  if (!isOpen(pattern, context)) return;
  bindConstant(context.environment, pattern.name, int(actual), declared);
}

function isOpen(pattern: TypeDim, context: Context): pattern is Expression & { kind: 'name' } {
  if (pattern.kind !== 'name') return false;
  const own = context.environment.own(pattern.name);
  if (own !== undefined) return own.kind === 'open';
  const outer = context.environment.find(pattern.name);
  if (outer === undefined) return true;
  if (outer.kind !== 'constant' || outer.value.kind !== 'int') return false;
  const decl = context.session.draft.dims.get(pattern.name);
  return decl !== undefined && !('value' in decl) && printDim(outer.value.dim) === pattern.name;
}

function checkAxis({ pattern, actual, what, span, declared }: AxisPair, context: Context): boolean {
  const wanted = evaluateDim(pattern, context);
  if (wanted === undefined) return false;
  if (agree(wanted, actual, context.session)) return true;
  const [is, must] = [actual, wanted].map((dim) => describeDimension(dim, context.session));
  report(context, 'HEW2004', `${what} must be ${must}, not ${is}`, {
    span,
    labels: [{ span: declared, text: 'declared here' }],
    help: sameSizeHint(wanted, actual, context.session),
  });
  return false;
}

// ---- results

/** Checks one returned tensor against the declared result; open names of the result type are solved by it. */
export function checkResult(
  result: Result,
  value: SpecValue,
  what: string,
  span: Span,
  context: Context,
): boolean {
  const kind = constantTypeOf(result.type);
  if (kind !== undefined) return checkConstantResult(kind, value, what, span, context);
  const dtype = dtypeOf(result.type, context);
  if (dtype === undefined || value.kind === 'poison') return false;
  if (value.kind !== 'tensor') {
    report(context, 'HEW2008', `${what} must be a tensor, not ${describeValue(value)}`, { span });
    return false;
  }
  const { type } = value.value;
  if (type.dtype !== dtype) {
    report(context, 'HEW2005', `${what} must be ${dtype}, not ${type.dtype}`, {
      span,
      labels: [{ span: result.type.span, text: 'declared here' }],
    });
    return false;
  }
  const axes = pairAxes(result.type, type, what, span, context);
  if (axes === undefined) return false;
  for (const axis of axes) solveOpenAxis(axis, context);
  return axes.map((axis) => checkAxis(axis, context)).every(Boolean);
}

function checkConstantResult(
  kind: ConstantTypeName,
  value: SpecValue,
  what: string,
  span: Span,
  context: Context,
): boolean {
  if (value.kind === 'poison') return false;
  if (isConstant(value) && convertConstant(value, kind, context) !== undefined) return true;
  report(context, 'HEW2008', `${what} must be ${kind}, not ${describeValue(value)}`, { span });
  return false;
}
