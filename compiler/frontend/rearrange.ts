/**
 * `x : [T, (heads hd)] -> [heads, T, hd]`: split, reorder and merge axes by name. A name that is a dimension in
 * sight must agree with the axis; any other name is a label for what it meets, and one unknown name in a group
 * takes what the others leave. An axis of size 1 may be dropped or added by writing 1.
 */

import type { Span } from '../../ir/diagnostics.js';
import { type Dim, DimError, dim, dimsEqual, divDims, productOfDims } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import type { Axis, AxisAtom, AxisPattern, RearrangeExpression } from './ast.js';
import { evaluateTensor } from './expressions.js';
import { type Context, emitOne, report } from './session.js';
import { agree, describeDimension } from './types.js';
import { poison, type SpecValue, tensor } from './values.js';

/** A single axis after all groups are split; `label` is its name, or `..3` for an axis under `..`. */
interface Piece {
  readonly label: string;
  readonly size: Dim;
}

export function evaluateRearrange(expression: RearrangeExpression, context: Context): SpecValue {
  const value = evaluateTensor(expression.value, context);
  if (value === undefined) return poison;
  const from = splitAxes(expression.from, value, context);
  if (from === undefined) return poison;
  const to = arrange(expression, from, context);
  if (to === undefined) return poison;
  const result = emitMoves(value, from, to, expression.span, context);
  return result === undefined ? poison : tensor(result);
}

/** Split by a reshape, reorder by a transpose, merge by a reshape; each only where it does something. */
function emitMoves(
  value: Value,
  from: readonly Piece[],
  to: readonly (readonly Piece[])[],
  span: Span,
  context: Context,
): Value | undefined {
  const order = to.flat().map((piece) => from.indexOf(piece));
  const split = reshapeTo(
    value,
    from.map((piece) => piece.size),
    span,
    context,
  );
  const inOrder = order.every((source, i) => source === i);
  const moved = split && (inOrder ? split : emitOne(context, 'transpose', [split], { perm: order }, span));
  const merged = to.map((group) => productOfDims(group.map((piece) => piece.size)));
  return moved && reshapeTo(moved, merged, span, context);
}

function reshapeTo(value: Value, shape: readonly Dim[], span: Span, context: Context): Value | undefined {
  const same =
    shape.length === value.type.shape.length &&
    shape.every((d, i) => dimsEqual(d, value.type.shape[i] as Dim));
  return same ? value : emitOne(context, 'reshape', [value], { shape }, span);
}

// ---- the left side

function splitAxes({ axes, span }: AxisPattern, value: Value, context: Context): Piece[] | undefined {
  const shape = value.type.shape;
  const restAt = axes.findIndex((axis) => axis.kind === 'rest');
  const restLength = restAt < 0 ? 0 : shape.length - (axes.length - 1);
  if (restLength < 0 || (restAt < 0 && axes.length !== shape.length)) {
    report(context, 'HEW2012', `the value has ${shape.length} axes, the pattern ${axes.length}`, { span });
    return undefined;
  }
  const pieces: Piece[] = [];
  let at = 0;
  for (const axis of axes) {
    const count = axis.kind === 'rest' ? restLength : 1;
    const part =
      axis.kind === 'rest'
        ? shape.slice(at, at + count).map((size, i) => ({ label: `..${i}`, size }))
        : splitAxis(axis, shape[at] as Dim, context);
    if (part === undefined) return undefined;
    pieces.push(...part);
    at += count;
  }
  return checkDistinct(pieces, span, context) ? pieces : undefined;
}

function checkDistinct(pieces: readonly Piece[], span: Span, context: Context): boolean {
  const twice = pieces.find((piece, i) => pieces.findIndex((other) => other.label === piece.label) !== i);
  if (twice === undefined) return true;
  report(context, 'HEW2012', `the axis '${twice.label}' stands twice in the pattern`, { span });
  return false;
}

function splitAxis(axis: Exclude<Axis, { kind: 'rest' }>, size: Dim, context: Context): Piece[] | undefined {
  const atoms = axis.kind === 'group' ? axis.atoms : [axis];
  const known = atoms.map((atom) => knownSize(atom, context));
  const unknown = known.filter((d) => d === undefined).length;
  if (unknown > 1) {
    report(context, 'HEW2012', 'at most one axis of a group may be new', {
      span: axis.span,
      help: 'the sizes of the others must be known: use names declared with dim, or numbers',
    });
    return undefined;
  }
  const product = productOfDims(known.filter((d) => d !== undefined));
  const remaining = unknown === 1 ? quotient(size, product, context) : undefined;
  const fits = unknown === 1 ? remaining !== undefined : agree(size, product, context.session);
  if (!fits) {
    const [whole, parts] = [size, product].map((d) => describeDimension(d, context.session));
    const message =
      unknown === 1
        ? `${whole} is not a multiple of ${parts}`
        : `the axis is ${whole}, the pattern says ${parts}`;
    report(context, 'HEW2012', message, { span: axis.span });
    return undefined;
  }
  return atoms.flatMap((atom, i) => {
    if (atom.kind === 'size' && atom.size === 1) return [];
    return [{ label: labelOf(atom), size: known[i] ?? (remaining as Dim) }];
  });
}

function labelOf(atom: AxisAtom): string {
  return atom.kind === 'name' ? atom.name : String(atom.size);
}

function knownSize(atom: AxisAtom, context: Context): Dim | undefined {
  if (atom.kind === 'size') return dim(atom.size);
  const binding = context.environment.find(atom.name);
  if (binding?.kind === 'variable') {
    const value = context.frame?.read(binding.variable);
    return value?.kind === 'int' ? value.dim : undefined;
  }
  return binding?.kind === 'constant' && binding.value.kind === 'int' ? binding.value.dim : undefined;
}

function quotient(whole: Dim, part: Dim, context: Context): Dim | undefined {
  const values = [whole, part].map((d) => context.session.valueOf(d));
  const [a, b] = values;
  if (a !== undefined && b !== undefined && (b === 0 || a % b !== 0)) return undefined;
  try {
    return divDims(whole, part);
  } catch (error) {
    if (!(error instanceof DimError)) throw error;
    return a !== undefined && b !== undefined ? dim(a / b) : undefined;
  }
}

// ---- the right side

/** The pieces of the left side in the groups of the right side: each exactly once. */
function arrange(
  { from, to }: RearrangeExpression,
  pieces: readonly Piece[],
  context: Context,
): Piece[][] | undefined {
  const unused = new Set(pieces);
  const groups: Piece[][] = [];
  for (const axis of to.axes) {
    if (axis.kind === 'rest') {
      groups.push(...pieces.filter((piece) => piece.label.startsWith('..')).map((piece) => [piece]));
      for (const piece of pieces) if (piece.label.startsWith('..')) unused.delete(piece);
      continue;
    }
    const group: Piece[] = [];
    for (const atom of axis.kind === 'group' ? axis.atoms : [axis]) {
      if (atom.kind === 'size' && atom.size === 1) continue;
      const piece = pieces.find((candidate) => candidate.label === labelOf(atom));
      if (piece === undefined || !unused.delete(piece)) {
        const message = piece
          ? `the axis '${labelOf(atom)}' stands twice`
          : `there is no axis '${labelOf(atom)}' on the left`;
        report(context, 'HEW2012', message, {
          span: atom.span,
          labels: [{ span: from.span, text: 'the axes there are' }],
        });
        return undefined;
      }
      group.push(piece);
    }
    groups.push(group);
  }
  const [forgotten] = unused;
  if (forgotten === undefined) return groups;
  const name = forgotten.label.startsWith('..') ? '..' : forgotten.label;
  report(context, 'HEW2012', `the axis '${name}' is missing on the right`, {
    span: to.span,
    help: 'a rearrangement keeps every element; reduce an axis with reduce_sum, reduce_mean, ...',
  });
  return undefined;
}
