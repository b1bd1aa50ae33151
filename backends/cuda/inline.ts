/** Kernels made of kernels: the function of a merged kernel, and its call in place of those that it stands for. */
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import type { Func, Module, Op, OpOf, Value } from '../../ir/module.js';

export interface Call {
  readonly op: OpOf<'kernel'>;
  readonly callee: Func;
}

/** What calls read from outside, each value once, in order. */
export function outerOperands(calls: readonly Call[]): Value[] {
  const made = new Set(calls.flatMap(({ op }) => op.results));
  return [...new Set(calls.flatMap(({ op }) => op.operands))].filter((value) => !made.has(value));
}

/** One kernel function that does what calls do, in their order, and gives `results`. */
export function inlineCalls(
  module: Module,
  name: string,
  kernel: string,
  calls: readonly Call[],
  results: readonly Value[],
): Func {
  const builder = new FuncBuilder(name, moduleScope(module), { kernel });
  const outer = new Map<Value, Value>(
    outerOperands(calls).map((value) => [value, builder.arg(value.type)] as const),
  );
  for (const { op, callee } of calls) {
    const inner = new Map<Value, Value>(
      callee.args.map((arg, i) => [arg, outer.get(op.operands[i] as Value) as Value]),
    );
    for (const { name: opName, operands, attrs, results: made } of callee.body) {
      const values = builder.emit(
        opName,
        operands.map((o) => inner.get(o) as Value),
        attrs,
      );
      made.forEach((result, i) => {
        inner.set(result, values[i] as Value);
      });
    }
    op.results.forEach((result, i) => {
      outer.set(result, inner.get(callee.results[i] as Value) as Value);
    });
  }
  return builder.finish(results.map((value) => outer.get(value) as Value));
}

/**
 * The caller with one call in place of several. It stands where the last of them stood; what reads its results moves
 * behind it. Calls that others need are `kept`.
 */
export function replaceCalls(
  func: Func,
  calls: readonly Call[],
  callee: string,
  results: readonly Value[],
  kept: readonly Op[] = [],
): Func {
  const replaced = new Set<Op>(calls.map(({ op }) => op).filter((op) => !kept.includes(op)));
  const last = func.body.findLast((op) => replaced.has(op)) as Op;
  const mapped = new Map<Value, Value>();
  const outer = (values: readonly Value[]): Value[] => values.map((v) => mapped.get(v) ?? v);
  const body: Op[] = [];
  const place = (op: Op, operands: readonly Value[], attrs: Op['attrs'], made: readonly Value[]): void => {
    const next = { name: op.name, span: op.span, attrs, operands: outer(operands), results: [] as Value[] };
    for (const result of made) {
      const value: Value = { type: result.type, name: result.name, def: next };
      next.results.push(value);
      mapped.set(result, value);
    }
    body.push(next as unknown as Op);
  };
  const keep = (op: Op): void => place(op, op.operands, op.attrs, op.results);
  const waiting = new Set<Value>(results);
  const deferred: Op[] = [];
  for (const op of func.body) {
    if (op === last) {
      place(op, outerOperands(calls), { callee }, results);
      deferred.forEach(keep);
      waiting.clear();
    } else if (!replaced.has(op)) {
      if (op.operands.some((o) => waiting.has(o))) {
        deferred.push(op);
        for (const result of op.results) waiting.add(result);
      } else keep(op);
    }
  }
  return { ...func, body, results: outer(func.results) };
}
