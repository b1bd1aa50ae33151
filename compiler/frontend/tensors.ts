/** Making graph values out of constants, and giving values the exact type a place needs. */

import type { Span } from '../../ir/diagnostics.js';
import { constantOf, type Dim } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import { type DType, isFloat, type TensorType, typesEqual } from '../../ir/type.js';
import { type Context, emitOne, report } from './session.js';
import { agree, describeShape, sameSizeHint } from './types.js';
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
  const wrong =
    shape.length === wanted.shape.length
      ? shape.findIndex((dim, i) => !agree(dim, wanted.shape[i] as Dim, session))
      : -1;
  const help = wrong < 0 ? undefined : sameSizeHint(shape[wrong] as Dim, wanted.shape[wrong] as Dim, session);
  report(context, 'HEW2004', `${what} must be ${must}, not ${is}`, { span, help });
  return undefined;
}
