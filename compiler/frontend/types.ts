/** Type expressions to IR types, and what a dimension written in a spec stands for. */

import { didYouMean } from '../../ir/diagnostics.js';
import { type Dim, DimError, dimNames, printDim } from '../../ir/dim.js';
import { dimsAgree } from '../../ir/ops/shared.js';
import { type DType, dtypeNames, isDType, type TensorType } from '../../ir/type.js';
import type { Expression, TypeExpression } from './ast.js';
import { evaluate } from './expressions.js';
import { type Context, report, reportTypeError, type Session } from './session.js';
import { describeValue, type IntValue } from './values.js';

export const constantTypeNames = ['int', 'float', 'bool', 'string'] as const;
export type ConstantTypeName = (typeof constantTypeNames)[number];

/** `..` of a signature is bound under this name, as a list of dimensions. */
export const restName = '..';

/** The kind of a compile-time parameter; undefined for a tensor type. */
export function constantTypeOf(type: TypeExpression): ConstantTypeName | undefined {
  if (type.dims !== undefined) return undefined;
  return constantTypeNames.find((name) => name === type.base.name);
}

export function dtypeOf(type: TypeExpression, context: Context): DType | undefined {
  const { name, span } = type.base;
  if (isDType(name)) return name;
  report(context, 'HEW2001', `there is no type '${name}'`, {
    span,
    help: didYouMean(name, [...dtypeNames, ...constantTypeNames]) ?? `types are ${dtypeNames.join(', ')}`,
  });
  return undefined;
}

/** The tensor type a type expression means; undefined, with a report, when it means none. */
export function evaluateTensorType(type: TypeExpression, context: Context): TensorType | undefined {
  if (constantTypeOf(type) !== undefined) {
    report(context, 'HEW2005', `${type.base.name} is the type of a compile-time constant, not of a tensor`, {
      span: type.span,
      help: 'tensors have the types f32, i32, ... and shapes such as [T, d]; a scalar is written i32 or f32',
    });
    return undefined;
  }
  const dtype = dtypeOf(type, context);
  const dims = (type.dims ?? []).map((dim) =>
    dim.kind === 'rest' ? restDims(dim.span, context) : evaluateAxis(dim, context),
  );
  if (dtype === undefined || dims.some((dim) => dim === undefined)) return undefined;
  return { dtype, shape: dims.flat() as Dim[] };
}

function evaluateAxis(expression: Expression, context: Context): Dim | undefined {
  const dim = evaluateDim(expression, context);
  return dim && isAxisSize(dim, expression, context) ? dim : undefined;
}

/** A dimension is at least zero. */
function isAxisSize(dim: Dim, { span }: Expression, context: Context): boolean {
  try {
    const value = context.session.valueOf(dim);
    if (value === undefined || value >= 0) return true;
    report(context, 'HEW2007', `a dimension cannot be negative: ${describeDimension(dim, context.session)}`, {
      span,
    });
  } catch (error) {
    if (!reportTypeError(context, error, span)) throw error;
  }
  return false;
}

function restDims(span: TypeExpression['span'], context: Context): Dim[] | undefined {
  const binding = context.environment.find(restName);
  if (binding?.kind === 'constant' && binding.value.kind === 'list') {
    return binding.value.items.map((item) => (item as IntValue).dim);
  }
  report(
    context,
    'HEW2007',
    "'..' stands for the leading axes of an argument, but no parameter has '..' in its type",
    {
      span,
    },
  );
  return undefined;
}

/** The dimension an expression means; undefined, with a report, when it is no whole number. */
export function evaluateDim(expression: Expression, context: Context): Dim | undefined {
  const value = evaluate(expression, context);
  if (value.kind === 'int') return value.dim;
  if (value.kind === 'poison') return undefined;
  const help =
    value.kind === 'float'
      ? 'dimensions are whole numbers: remove the decimal point, or convert with int(...)'
      : 'dimensions are made of ints and of names declared with dim';
  report(context, 'HEW2007', `${describeValue(value)} is not a dimension`, { span: expression.span, help });
  return undefined;
}

/** Value of a dimension that has one at compile time; reports when it does not. */
export function evaluateSize(
  expression: Expression,
  context: Context,
): { dim: Dim; size: number } | undefined {
  const dim = evaluateDim(expression, context);
  if (dim === undefined) return undefined;
  try {
    const size = context.session.valueOf(dim);
    if (size !== undefined) return { dim, size };
    report(context, 'HEW2006', `${printDim(dim)} is known at run time only`, { span: expression.span });
  } catch (error) {
    if (!reportTypeError(context, error, expression.span)) throw error;
  }
  return undefined;
}

/** Equal by name, or by value where one is a plain number. */
export function agree(a: Dim, b: Dim, session: Session): boolean {
  try {
    return dimsAgree(a, b, { ...noModule, valueOf: (dim) => session.valueOf(dim) });
  } catch (error) {
    if (error instanceof DimError) return false;
    throw error;
  }
}

const noModule = { paramType: unavailable, stateType: unavailable, signature: unavailable };

function unavailable(): never {
  throw new Error('dimensions are compared without a module');
}

/** `d (128)` */
export function describeDimension(dim: Dim, session: Session): string {
  const text = printDim(dim);
  try {
    const value = session.valueOf(dim);
    return value === undefined || String(value) === text ? text : `${text} (${value})`;
  } catch (error) {
    if (error instanceof DimError) return text;
    throw error;
  }
}

export function describeShape(shape: readonly Dim[], session: Session): string {
  return `[${shape.map((dim) => describeDimension(dim, session)).join(', ')}]`;
}

/** Names of run-time symbols in a dimension. */
export function runtimeSymbols(dim: Dim, session: Session): string[] {
  return [...dimNames(dim)].filter((name) => {
    const decl = session.draft.dims.get(name);
    return decl !== undefined && !('value' in decl);
  });
}

/** Two names for one size are the likeliest cause of a mismatch that numbers do not show. */
export function sameSizeHint(a: Dim, b: Dim, session: Session): string | undefined {
  const value = session.valueOf(a);
  if (value === undefined || value !== session.valueOf(b)) return undefined;
  return `${printDim(a)} and ${printDim(b)} are equal here but are different dimensions; use one name for both`;
}
