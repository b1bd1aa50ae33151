/**
 * The linear layers that write a value, so that scaling their output channels scales the value: what absorption of a
 * post-norm may go through and what not (§5 of the reference, the table of legality).
 */
import { constantOf, type Dim } from '../../ir/dim.js';
import { defOf, type Func, type Module, type Op, type Value } from '../../ir/module.js';
import { paramOf, Uses } from '../structure.js';

/** A parameter and the axis of it that ranges over the output channels. */
export interface Writer {
  readonly param: string;
  readonly axis: number;
  /** The op that reads the parameter. */
  readonly op: Op;
}

/** All writers of `value`, or why scaling them is not the same as scaling the value. */
export function writersOf(func: Func, value: Value): Writer[] | string {
  const uses = new Uses(func);
  const visit = (current: Value): Writer[] | string => {
    const op = defOf(current);
    if (op === undefined) return 'it is not computed in the loop';
    if (uses.sole(current) === undefined) return `the result of ${op.name} has a second reader`;
    const handler = handlers[op.name];
    if (handler === undefined) return `${op.name} stands between the linear layer and the norm`;
    return handler(op, visit);
  };
  return visit(value);
}

type Visit = (value: Value) => Writer[] | string;
type Handler = (op: Op, visit: Visit) => Writer[] | string;

const first = (op: Op): Value => op.operands[0] as Value;
const rankOf = (value: Value): number => value.type.shape.length;

const handlers: Readonly<Record<string, Handler>> = {
  linear: (op) => both(weightAt(op, 1, 0), op.operands[2] === undefined ? [] : weightAt(op, 2, 0)),
  grouped_linear: (op) => weightAt(op, 2, 1),
  matmul: (op) => weightAt(op, 1, rankOf(op.operands[1] as Value) - 1),
  add: (op, visit) => {
    const [a, b] = op.operands as [Value, Value];
    const side = (value: Value, at: number): Writer[] | string =>
      rankOf(value) === 1 ? weightAt(op, at, 0) : visit(value);
    return both(side(a, 0), side(b, 1));
  },
  mul: (op, visit) => {
    const carriers = op.operands.filter((operand) => !isFactor(operand));
    return carriers.length === 1
      ? visit(carriers[0] as Value)
      : 'a product of two values of its channels stands before the norm';
  },
  reduce_sum: (op, visit) => {
    const { axes } = op.attrs as { readonly axes: readonly number[] };
    const rank = rankOf(first(op));
    return axes.some((axis) => (axis + rank) % rank === rank - 1)
      ? 'a sum over its channels stands before the norm'
      : visit(first(op));
  },
  reshape: (op, visit) => {
    const [from, to] = [first(op), op.results[0] as Value].map((value) => value.type.shape.at(-1)) as [
      Dim,
      Dim,
    ];
    return JSON.stringify(from) === JSON.stringify(to)
      ? visit(first(op))
      : 'a reshape of its channels stands before the norm';
  },
};

/** Whether a value is the same for all channels. */
function isFactor(value: Value): boolean {
  const last = value.type.shape.at(-1);
  return last === undefined || constantOf(last) === 1;
}

function both(a: Writer[] | string, b: Writer[] | string): Writer[] | string {
  if (typeof a === 'string') return a;
  return typeof b === 'string' ? b : [...a, ...b];
}

/** The parameter behind an operand and which of its axes is `axis` of the operand. */
function weightAt(op: Op, operand: number, axis: number): Writer[] | string {
  const value = op.operands[operand] as Value;
  const param = paramOf(value);
  if (param === undefined) return `operand ${operand} of ${op.name} is not a weight`;
  let at = axis;
  for (let current = value; ; ) {
    const def = defOf(current);
    if (def === undefined || def.name === 'param') return [{ param, axis: at, op }];
    if (def.name === 'transpose') at = def.attrs.perm[at] as number;
    current = def.operands[0] as Value;
  }
}

/** How many ops read a parameter, in all functions. */
export function readersOf(module: Module, param: string): number {
  let count = 0;
  for (const func of module.functions.values()) {
    const uses = new Uses(func);
    const visit = (value: Value): void => {
      for (const op of uses.of(value)) {
        if (op.name === 'cast' || op.name === 'transpose') visit(op.results[0] as Value);
        else count += 1;
      }
    };
    for (const op of func.body)
      if (op.name === 'param' && op.attrs.name === param) visit(op.results[0] as Value);
  }
  return count;
}
