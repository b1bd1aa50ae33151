/** Making graph values out of constants, and giving values the exact type a place needs. */
import { constantOf, printDim } from '../../ir/dim.js';
import type { Span } from '../../ir/diagnostics.js';
import type { Value } from '../../ir/module.js';
import { type DType, isFloat, printType, type TensorType, typesEqual } from '../../ir/type.js';
import { type Context, emitOne, report } from './session.js';
import { agree, describeShape } from './types.js';
import { describeValue, type IntValue, type SpecValue } from './values.js';

/** The value as a tensor; numbers become scalars of `dtype`, or of their natural dtype when it is not given. */
export function asTensor(
  value: SpecValue,
  dtype: DType | undefined,
  context: Context,
  span: Span,
): Value | undefined {
  switch (value.kind) {
    case 'tensor':
      return value.value;
    case 'int':
      return intTensor(value, dtype ?? 'i32', context, span);
    case 'float':
      if (dtype === undefined || isFloat(dtype)) return scalar(value.value, dtype ?? 'f32', context, span);
      report(context, 'HEW2005', `the number ${value.value} does not fit a tensor of ${dtype}`, {
        span,
        help: 'use a whole number, or convert the tensor with cast(x, dtype = f32)',
      });
      return undefined;
    case 'bool':
      return scalar(value.value ? 1 : 0, 'bool', context, span);
    case 'poison':
      return undefined;
    default:
      report(context, 'HEW2005', `expected a tensor, found ${describeValue(value)}`, { span });
      return undefined;
  }
}

function intTensor({ dim }: IntValue, dtype: DType, context: Context, span: Span): Value | undefined {
  const literal = constantOf(dim);
  if (literal !== undefined) return scalar(literal, dtype, context, span);
  const size = emitOne(context, 'dim_size', [], { dim }, span);
  return size === undefined || dtype === 'i32' ? size : emitOne(context, 'cast', [size], { dtype }, span);
}

function scalar(value: number, dtype: DType, context: Context, span: Span): Value | undefined {
  return emitOne(context, 'full', [], { value, dtype, shape: [] }, span);
}

/**
 * The value with exactly the wanted type: where a dimension is written as a number on one side and by name on the
 * other, a reshape gives it the name. Reports when the types do not agree; `what` starts the message.
 */
export function withType(
  value: Value,
  wanted: TensorType,
  what: string,
  context: Context,
  span: Span,
): Value | undefined {
  if (typesEqual(value.type, wanted)) return value;
  const { session } = context;
  if (value.type.dtype !== wanted.dtype) {
    report(context, 'HEW2005', `${what} must be ${wanted.dtype}, not ${value.type.dtype}`, {
      span,
      help: `convert it with cast(..., dtype = ${wanted.dtype})`,
    });
    return undefined;
  }
  const { shape } = value.type;
  const agrees =
    shape.length === wanted.shape.length &&
    wanted.shape.every((dim, i) => agree(dim, shape[i] as typeof dim, session));
  if (agrees) return emitOne(context, 'reshape', [value], { shape: wanted.shape }, span);
  const [is, must] = [describeShape(shape, session), describeShape(wanted.shape, session)];
  report(context, 'HEW2004', `${what} must be ${must}, not ${is}`, { span, help: sameValues(value.type, wanted, context) });
  return undefined;
}

/** Two names for one size are the likeliest cause of a mismatch that numbers do not show. */
function sameValues(a: TensorType, b: TensorType, { session }: Context): string | undefined {
  const pairs = a.shape.map((dim, i) => [dim, b.shape[i]] as const);
  const twin = pairs.find(
    ([x, y]) => y !== undefined && printDim(x) !== printDim(y) && session.valueOf(x) !== undefined && session.valueOf(x) === session.valueOf(y),
  );
  if (twin?.[1] === undefined || a.shape.length !== b.shape.length) return undefined;
  return `${printDim(twin[0])} and ${printDim(twin[1])} are equal here but are different dimensions; use one name for both`;
}

export function describeType(type: TensorType): string {
  return printType(type);
}
