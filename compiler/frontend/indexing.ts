/** `x[...]`: rows by an index tensor (gather), slices, and single positions, axis by axis. */
import { addDims, constantOf, type Dim, dim } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import type { Expression, IndexExpression, IndexItem } from './ast.js';
import { evaluate, evaluateTensor, fromEmitted } from './expressions.js';
import { type Context, emitOne, report } from './session.js';
import { evaluateDim } from './types.js';
import { describeValue, poison, type SpecValue } from './values.js';

export function evaluateIndex({ object, items, span }: IndexExpression, context: Context): SpecValue {
  const value = evaluateTensor(object, context);
  if (value === undefined) return poison;
  const axes = placeItems(items, value.type.shape.length, context);
  if (axes === undefined) return poison;
  let current: Value | undefined = value;
  // From the last axis to the first, so that dropping an axis does not move those still to come.
  for (const { item, axis } of axes.reverse()) {
    if (current === undefined) return poison;
    current = applyItem(current, item, axis, span, context);
  }
  return fromEmitted(current);
}

interface PlacedItem {
  readonly item: IndexItem;
  readonly axis: number;
}

function placeItems(items: readonly IndexItem[], rank: number, context: Context): PlacedItem[] | undefined {
  const restAt = items.findIndex((item) => item.kind === 'rest');
  const named = items.filter((item) => item.kind !== 'rest').length;
  const again = items.find((item, i) => item.kind === 'rest' && i !== restAt);
  if (again !== undefined) {
    report(context, 'HEW2004', "'..' can stand once in an index", { span: again.span });
    return undefined;
  }
  if (named > rank) {
    const span = items[rank]?.span ?? (items[0] as IndexItem).span;
    report(context, 'HEW2004', `this has ${rank} axes, but ${named} are indexed`, { span });
    return undefined;
  }
  return items.flatMap((item, i) => {
    if (item.kind === 'rest') return [];
    return [{ item, axis: restAt >= 0 && i > restAt ? rank - (items.length - i) : i }];
  });
}

function applyItem(
  value: Value,
  item: IndexItem,
  axis: number,
  span: IndexExpression['span'],
  context: Context,
): Value | undefined {
  if (item.kind === 'rest') return value;
  if (item.kind === 'at') return pickPosition(value, item.value, axis, span, context);
  if (item.start === undefined && item.end === undefined) return value;
  const size = value.type.shape[axis] as Dim;
  const start = item.start === undefined ? dim(0) : evaluateBound(item.start, size, context);
  const end = item.end === undefined ? size : evaluateBound(item.end, size, context);
  if (start === undefined || end === undefined) return undefined;
  return emitOne(context, 'slice', [value], { axis, start, end }, item.span);
}

/** A bound of a slice; negative numbers count from the end of the axis. */
function evaluateBound(expression: Expression, size: Dim, context: Context): Dim | undefined {
  const value = evaluate(expression, context);
  if (value.kind === 'tensor') {
    report(context, 'HEW2006', 'the bounds of a slice must be dimensions; this is a run-time value', {
      span: expression.span,
      help: 'to read rows at run-time positions, index with a tensor: x[iota(length = n) + start]',
    });
    return undefined;
  }
  const bound = value.kind === 'int' ? value.dim : evaluateDim(expression, context);
  return bound && fromEnd(bound, size);
}

function fromEnd(position: Dim, size: Dim): Dim {
  const literal = constantOf(position);
  return literal !== undefined && literal < 0 ? addDims(size, literal) : position;
}

function pickPosition(
  value: Value,
  expression: Expression,
  axis: number,
  span: IndexExpression['span'],
  context: Context,
): Value | undefined {
  const position = evaluate(expression, context);
  if (position.kind === 'poison') return undefined;
  if (position.kind === 'tensor') {
    return emitOne(context, 'gather', [value, position.value], { axis }, span, [undefined, expression.span]);
  }
  if (position.kind !== 'int') {
    report(context, 'HEW2005', `${describeValue(position)} is not an index`, { span: expression.span });
    return undefined;
  }
  const shape = value.type.shape;
  const start = fromEnd(position.dim, shape[axis] as Dim);
  const row = emitOne(context, 'slice', [value], { axis, start, end: addDims(start, 1) }, expression.span);
  if (row === undefined) return undefined;
  return emitOne(context, 'reshape', [row], { shape: shape.filter((_, i) => i !== axis) }, span);
}
