/**
 * Control flow and sequences, as far as they are decided while compiling: loops with a known number of turns are
 * unrolled, sequences are lists of tensors that never exist at run time.
 */
import { type Dim, dim, dimsEqual } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { full, rankOf, reshape, sizeAlong, slice } from '../build.js';
import { type Item, isSequence, type NodeContext, type OperatorTable } from '../node.js';

/** Turns of a loop that is unrolled. */
const maxTurns = 1024;

/** A branch that is known, or both, chosen between element by element: branches have no effects. */
function branch(c: NodeContext): readonly (Item | undefined)[] {
  const condition = c.input(0);
  const known = c.valueOf(condition)?.data[0];
  const taken = (name: string): readonly Item[] => c.around.subgraph(c.graph(name), []);
  if (known !== undefined) return taken(known !== 0 ? 'then_branch' : 'else_branch');
  const [yes, no] = [taken('then_branch'), taken('else_branch')];
  const test = reshape(c.b, condition, []);
  return yes.map((a, i) => {
    const b = no[i];
    if (b === undefined || isSequence(a) || isSequence(b) || !sameType(a, b)) {
      return c.unsupported(
        'branches whose results differ in shape',
        'a constant condition, or results of one shape',
      );
    }
    return c.b.one('where', [test, a, b]);
  });
}

function sameType(a: Value, b: Value): boolean {
  const [x, y] = [a.type.shape, b.type.shape];
  return (
    a.type.dtype === b.type.dtype && x.length === y.length && x.every((d, i) => dimsEqual(d, y[i] as Dim))
  );
}

function stacked(c: NodeContext, parts: readonly Value[], axis: number): Value {
  const [first] = parts;
  if (first === undefined)
    return c.unsupported('a loop without turns that collects results', 'at least one turn');
  const spread = parts.map((part) => reshape(c.b, part, inserted(part, axis)));
  return c.b.one('concat', spread, { axis });
}

function inserted(part: Value, axis: number): Dim[] {
  const { shape } = part.type;
  return [...shape.slice(0, axis), dim(1), ...shape.slice(axis)];
}

function loop(c: NodeContext): readonly Item[] {
  const body = c.graph('body');
  const most = c.has(0) ? (c.known(0, 'the number of turns').data[0] as number) : maxTurns + 1;
  const carriedCount = body.inputs.length - 2;
  let condition: Value = c.has(1) ? c.input(1) : full(c.b, 1, 'bool');
  let carried: readonly Item[] = Array.from({ length: carriedCount }, (_, i) => c.item(i + 2));
  const collected: Value[][] = Array.from({ length: body.outputs.length - 1 - carriedCount }, () => []);
  for (let turn = 0; turn < most; turn++) {
    const goesOn = c.valueOf(condition)?.data[0];
    if (goesOn === undefined)
      return c.unsupported('a condition that depends on the data', 'a known number of turns');
    if (goesOn === 0) break;
    if (turn >= maxTurns) return c.unsupported(`more than ${maxTurns} turns`, 'a smaller number of turns');
    const results = c.around.subgraph(body, [full(c.b, turn, 'i64'), condition, ...carried]);
    condition = results[0] as Value;
    carried = results.slice(1, 1 + carriedCount);
    results.slice(1 + carriedCount).forEach((item, i) => {
      collected[i]?.push(item as Value);
    });
  }
  return [...carried, ...collected.map((parts) => stacked(c, parts, 0))];
}

/** One turn per element of an axis of the inputs that are scanned. */
function scan(c: NodeContext): readonly Item[] {
  const body = c.graph('body');
  const count = c.int('num_scan_inputs');
  const isBatched = c.opset < 9;
  const offset = isBatched ? 1 : 0;
  const states = body.inputs.length - count;
  const scanned = Array.from({ length: count }, (_, i) => c.input(offset + states + i));
  if (isBatched) return batchedScan(c, body.outputs.length - states, states, scanned);
  const axis = (name: string, i: number, rank: number): number => c.axis(c.intList(name)?.[i] ?? 0, rank);
  const reversed = (name: string, i: number): boolean => (c.intList(name)?.[i] ?? 0) === 1;
  const initial = Array.from({ length: states }, (_, i) => c.input(i));
  const axes = scanned.map((value, i) => axis('scan_input_axes', i, rankOf(value)));
  const turns = c.size(sizeAlong(scanned[0] as Value, axes[0] as number), 'the number of turns');
  if (turns > maxTurns) return c.unsupported(`more than ${maxTurns} turns`, 'a shorter sequence');
  const element = (value: Value, i: number, turn: number): Value =>
    at(c, value, axes[i] as number, reversed('scan_input_directions', i) ? turns - 1 - turn : turn);
  const { carried, collected } = turnsOf(c, initial, scanned, turns, element);
  const outputs = collected.map((parts, i) => {
    const order = reversed('scan_output_directions', i) ? parts.toReversed() : parts;
    return stacked(c, order, axis('scan_output_axes', i, rankOf(order[0] as Value) + 1));
  });
  return [...carried, ...outputs];
}

/** Opset 8: a batch in front of everything, here of each item in turn. */
function batchedScan(
  c: NodeContext,
  outputs: number,
  states: number,
  scanned: readonly Value[],
): readonly Item[] {
  if (c.has(0)) return c.unsupported('sequence lengths of batch items', 'sequences of one length');
  const batch = c.size(sizeAlong(scanned[0] as Value, 0), 'the batch');
  const turns = c.size(sizeAlong(scanned[0] as Value, 1), 'the number of turns');
  const perItem = Array.from({ length: batch }, (_, item) => {
    const initial = Array.from({ length: states }, (_, i) => at(c, c.input(1 + i), 0, item));
    const own = scanned.map((value) => at(c, value, 0, item));
    const { carried, collected } = turnsOf(c, initial, own, turns, (value, _, turn) => at(c, value, 0, turn));
    return [...carried, ...collected.map((parts) => stacked(c, parts, 0))];
  });
  return Array.from({ length: states + outputs }, (_, i) =>
    stacked(
      c,
      perItem.map((items) => items[i] as Value),
      0,
    ),
  );
}

function turnsOf(
  c: NodeContext,
  initial: readonly Value[],
  scanned: readonly Value[],
  turns: number,
  element: (value: Value, i: number, turn: number) => Value,
): { carried: readonly Value[]; collected: readonly Value[][] } {
  const body = c.graph('body');
  let carried = initial;
  const collected: Value[][] = Array.from({ length: body.outputs.length - initial.length }, () => []);
  for (let turn = 0; turn < turns; turn++) {
    const results = c.around.subgraph(body, [
      ...carried,
      ...scanned.map((value, i) => element(value, i, turn)),
    ]) as Value[];
    carried = results.slice(0, initial.length);
    results.slice(initial.length).forEach((value, i) => {
      collected[i]?.push(value);
    });
  }
  return { carried, collected };
}

/** Element `index` of an axis, which goes away. */
export function at(c: NodeContext, x: Value, axis: number, index: number): Value {
  const { shape } = x.type;
  return reshape(
    c.b,
    slice(c.b, x, axis, index, index + 1),
    shape.filter((_, i) => i !== axis),
  );
}

// ---- sequences

function position(c: NodeContext, index: number, length: number): number {
  const given = c.known(index, 'the position').data[0] as number;
  return given < 0 ? given + length : given;
}

function splitToSequence(c: NodeContext): readonly Item[] {
  const x = c.input(0);
  const axis = c.axis(c.int('axis', 0), rankOf(x));
  const size = c.size(sizeAlong(x, axis), 'the axis that is split');
  const sizes = c.has(1) ? splitSizes(c, size) : new Array<number>(size).fill(1);
  const parts = c.b.emit('split', [x], { axis, sizes: sizes.map((n) => dim(n)) });
  const keeps = c.has(1) || c.int('keepdims', 1) === 1;
  return [
    keeps
      ? parts
      : parts.map((part) =>
          reshape(
            c.b,
            part,
            part.type.shape.filter((_, i) => i !== axis),
          ),
        ),
  ];
}

function splitSizes(c: NodeContext, size: number): number[] {
  const given = c.known(1, 'split');
  if (given.shape.length > 0) return [...given.data];
  const each = given.data[0] as number;
  return Array.from({ length: Math.ceil(size / each) }, (_, i) => Math.min(each, size - i * each));
}

function concatFromSequence(c: NodeContext): Value {
  const parts = c.sequence(0);
  const isNew = c.int('new_axis', 0) === 1;
  const rank = rankOf(parts[0] as Value);
  const axis = c.axis(c.int('axis'), rank + Number(isNew));
  return isNew ? stacked(c, parts, axis) : c.b.one('concat', parts, { axis });
}

/** The body for each tuple of elements; inputs that are tensors are the same in every turn. */
function sequenceMap(c: NodeContext): readonly Item[] {
  const turns = c.sequence(0).length;
  const body = c.graph('body');
  const results = Array.from({ length: turns }, (_, turn) =>
    c.around.subgraph(
      body,
      Array.from({ length: c.count }, (_, i) => {
        const item = c.item(i);
        return isSequence(item) ? (item[turn] as Value) : item;
      }),
    ),
  );
  return body.outputs.map((_, i) => results.map((items) => items[i] as Value));
}

export const controlOperators: OperatorTable = {
  If: { since: 1, limits: 'a constant condition, or branches with results of one shape', convert: branch },
  Loop: { since: 1, limits: 'a known number of turns; unrolled', convert: loop },
  Scan: { since: 8, limits: 'a known number of turns; unrolled', convert: scan },
  SequenceEmpty: { since: 11, convert: () => [[]] },
  SequenceConstruct: { since: 11, convert: (c) => [c.inputs()] },
  SequenceAt: {
    since: 11,
    limits: 'constant position',
    convert: (c) => {
      const items = c.sequence(0);
      return items[position(c, 1, items.length)] ?? c.fail('HEW3110', 'the position is outside the sequence');
    },
  },
  SequenceInsert: {
    since: 11,
    limits: 'constant position',
    convert: (c) => {
      const items = c.sequence(0);
      return [items.toSpliced(c.has(2) ? position(c, 2, items.length) : items.length, 0, c.input(1))];
    },
  },
  SequenceErase: {
    since: 11,
    limits: 'constant position',
    convert: (c) => {
      const items = c.sequence(0);
      return [items.toSpliced(c.has(1) ? position(c, 1, items.length) : items.length - 1, 1)];
    },
  },
  SequenceLength: { since: 11, convert: (c) => full(c.b, c.sequence(0).length, 'i64') },
  SequenceMap: { since: 17, convert: sequenceMap },
  SplitToSequence: { since: 11, limits: 'constant sizes', convert: splitToSequence },
  ConcatFromSequence: { since: 11, convert: concatFromSequence },
  Optional: { since: 15, limits: 'a value, not a type', convert: (c) => [c.item(0)] },
  OptionalGetElement: { since: 15, convert: (c) => [c.item(0)] },
  OptionalHasElement: { since: 15, convert: (c) => full(c.b, Number(c.has(0)), 'bool') },
};
