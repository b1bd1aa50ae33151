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
import { decodeShape } from './emit/decode-attention.js';
import type { Call } from './inline.js';

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
  const [root, ...others] = attend.callee.body;
  if (root?.name !== 'attention' || others.length > 0 || !root.attrs.causal) return undefined;
  if (decodeShape(root, resolver(modelDims(module))) === undefined) return undefined;
  const outer = (value: Value | undefined): Value | undefined =>
    attend.op.operands[attend.callee.args.indexOf(value as Value)];
  const [q, k, v, position] = root.operands.map(outer) as [Value, Value, Value, Value?];
  const appends =
    k === v || position === undefined ? [] : [k, v].map((cache) => appendOf(cache, position, callOf));
  const [keys, values] = appends;
  if (keys === undefined || values === undefined) return undefined;
  const rotations = [q, keys.op.operands[1] as Value, values.op.operands[1] as Value].flatMap((value) => {
    const made = uses.get(value) === 1 ? callOf(value) : undefined;
    const { kernel } = made?.callee ?? {};
    return made !== undefined && (kernel === 'rope' || kernel === 'pointwise') ? [made] : [];
  });
  return {
    calls: [...rotations, keys, values, attend],
    results: [attend.op.results[0] as Value, k, v],
  };
}

/** The call that appends one row to a cache, at the position from which attention counts. */
function appendOf(
  cache: Value,
  position: Value,
  callOf: (value: Value) => Call | undefined,
): Call | undefined {
  const call = callOf(cache);
  const [append, ...others] = call?.callee.body ?? [];
  const plain = append?.name === 'cache_append' && others.length === 0;
  return plain && call?.op.operands[2] === position ? call : undefined;
}
