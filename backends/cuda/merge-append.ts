/**
 * Appends and what they append: rows that are quantized on their way into caches of bytes are found a range, rounded and
 * written, with their scales, by one kernel, which also rotates them.
 */
import { countUses, defOf, type Func, type OpOf, type Value } from '../../ir/module.js';
import type { Call } from './inline.js';

export type CallOf = (value: Value) => Call | undefined;
type Uses = ReadonlyMap<Value, number>;

export interface Appends {
  /** In execution order: the quantization, if there is one, and the appends. */
  readonly calls: readonly Call[];
  /** The rows before they are quantized. */
  readonly rows: Value;
}

/** The appends that made the tensors of a cache at one position: its floats, or its bytes with what scales them. */
export function appendsOf(
  tensors: readonly Value[],
  position: Value,
  callOf: CallOf,
  uses: Uses,
): Appends | undefined {
  const appends = tensors.map((tensor) => plainCall(callOf(tensor), 'cache_append'));
  const calls = appends.flatMap((call) => (call?.op.operands[2] === position ? [call] : []));
  const fresh = calls.map(({ op }) => op.operands[1] as Value);
  const [first] = fresh;
  if (first === undefined || calls.length < tensors.length) return undefined;
  if (tensors.length === 1) return { calls, rows: first };
  const quantizer = plainCall(callOf(first), 'dynamic_quantize');
  const results = quantizer?.op.results ?? [];
  const isAll = results.length === fresh.length && results.every((value, i) => value === fresh[i]);
  if (quantizer === undefined || !isAll || fresh.some((value) => uses.get(value) !== 1)) return undefined;
  return { calls: [quantizer, ...calls], rows: quantizer.op.operands[0] as Value };
}

/** The rotation, or pointwise kernel, that makes a value for one reader alone. */
export function makerOf(value: Value, callOf: CallOf, uses: Uses): readonly Call[] {
  const made = uses.get(value) === 1 ? callOf(value) : undefined;
  const { kernel } = made?.callee ?? {};
  return made !== undefined && (kernel === 'rope' || kernel === 'pointwise') ? [made] : [];
}

function plainCall(call: Call | undefined, name: 'cache_append' | 'dynamic_quantize'): Call | undefined {
  const [op, ...others] = call?.callee.body ?? [];
  return op?.name === name && others.length === 0 ? call : undefined;
}

/** Calls of `func` that quantize rows and append them, and the caches that they give; undefined when there are none left. */
export function appendCalls(
  func: Func,
  calleeOf: (op: OpOf<'kernel'>) => Func,
): { readonly calls: readonly Call[]; readonly results: readonly Value[] } | undefined {
  const uses = countUses(func);
  const callOf: CallOf = (value) => {
    const op = defOf(value);
    return op?.name === 'kernel' ? { op, callee: calleeOf(op) } : undefined;
  };
  const kernels = func.body.filter((op) => op.name === 'kernel');
  for (const op of kernels) {
    const quantizer = plainCall({ op, callee: calleeOf(op) }, 'dynamic_quantize');
    if (quantizer === undefined) continue;
    const tensors = quantizer.op.results.flatMap(
      (made) => kernels.find(({ operands }) => operands[1] === made)?.results ?? [],
    );
    const position = tensors[0] && callOf(tensors[0])?.op.operands[2];
    const found =
      position !== undefined && tensors.length === quantizer.op.results.length
        ? appendsOf(tensors, position, callOf, uses)
        : undefined;
    if (found !== undefined)
      return { calls: [...makerOf(found.rows, callOf, uses), ...found.calls], results: tensors };
  }
  return undefined;
}
