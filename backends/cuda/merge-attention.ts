/**
 * Decoding as one kernel: attention of one token, the appends to the two caches it reads, and the rotations of its query and
 * key. Each alone is a launch that waits for the one before, and together they read little more than the caches.
 */
import {
  countUses,
  defOf,
  type Func,
  type Module,
  modelDims,
  type OpOf,
  type Value,
} from '../../ir/module.js';
import { resolver } from '../kernel-function.js';
import { cacheTensors, plainAttention } from './emit/cache-rows.js';
import { decodeShape } from './emit/decode-attention.js';
import type { Call } from './inline.js';
import { appendsOf, makerOf } from './merge-append.js';

export interface DecodeCalls {
  readonly calls: readonly Call[];
  /** The result of attention and the caches. */
  readonly results: readonly Value[];
}

/** Calls of `func` that become one kernel; undefined when there are none left. */
export function decodeCalls(
  module: Module,
  func: Func,
  calleeOf: (op: OpOf<'kernel'>) => Func,
): DecodeCalls | undefined {
  const uses = countUses(func);
  const callOf = (value: Value): Call | undefined => {
    const op = defOf(value);
    return op?.name === 'kernel' ? { op, callee: calleeOf(op) } : undefined;
  };
  for (const op of func.body) {
    if (op.name !== 'kernel') continue;
    const found = match({ op, callee: calleeOf(op) }, module, callOf, uses);
    if (found !== undefined) return found;
  }
  return undefined;
}

function match(
  attend: Call,
  module: Module,
  callOf: (value: Value) => Call | undefined,
  uses: ReadonlyMap<Value, number>,
): DecodeCalls | undefined {
  const root = plainAttention(attend.callee.body) as OpOf<'attention'> | undefined;
  if (root === undefined || !root.attrs.causal) return undefined;
  if (decodeShape(root, resolver(modelDims(module))) === undefined) return undefined;
  const outer = (value: Value | undefined): Value | undefined =>
    attend.op.operands[attend.callee.args.indexOf(value as Value)];
  const [q, k, v, offset] = root.operands as [Value, Value, Value, Value?];
  const position = outer(offset);
  if (k === v || position === undefined) return undefined;
  const caches = [k, v].map((value) => cacheTensors(value).map((tensor) => outer(tensor) as Value));
  const [keys, values] = caches.map((tensors) => appendsOf(tensors, position, callOf, uses));
  if (keys === undefined || values === undefined) return undefined;
  const rotations = [outer(q) as Value, keys.rows, values.rows].flatMap((value) =>
    makerOf(value, callOf, uses),
  );
  return {
    calls: [...rotations, ...keys.calls, ...values.calls, attend],
    results: [attend.op.results[0] as Value, ...caches.flat()],
  };
}
