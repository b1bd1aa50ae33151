/**
 * Values that are read, through movements, only to be narrowed are narrowed where they are made: a product whose parts go to
 * attention then leaves 16-bit floats, rather than f32 that others narrow.
 */
import { copyOp, mapFunctions, rewriteFunc } from '../../ir/builder.js';
import type { Func, Module, Op, Value } from '../../ir/module.js';
import type { OpName } from '../../ir/ops/table.js';
import type { DType } from '../../ir/type.js';

const movements: ReadonlySet<OpName> = new Set(['reshape', 'slice', 'transpose']);

export function narrowEarly(module: Module, dtype: DType): Module {
  return mapFunctions(module, (func, scope) => {
    const early = onlyNarrowed(func, dtype);
    if (early.size === 0) return func;
    return rewriteFunc(func, scope, (op, operands, builder) => {
      if (op.name === 'cast' && operands[0]?.type.dtype === dtype && op.attrs.dtype === dtype)
        return operands;
      const [result] = op.results;
      if (result === undefined || !early.has(result)) return undefined;
      const made = builder.append(copyOp(scope, op, operands));
      return [builder.one('cast', made, { dtype })];
    });
  });
}

/** Results of computation that movements hand to casts to `dtype`, and to nothing else. */
function onlyNarrowed(func: Func, dtype: DType): Set<Value> {
  const readers = new Map<Value, Op[]>();
  for (const op of func.body)
    for (const operand of op.operands) readers.set(operand, [...(readers.get(operand) ?? []), op]);
  // What nothing reads is on its way out.
  const isNarrowed = (value: Value): boolean => {
    const own = readers.get(value) ?? [];
    const leads = (op: Op): boolean =>
      op.name === 'cast'
        ? op.attrs.dtype === dtype
        : movements.has(op.name) && isNarrowed(op.results[0] as Value);
    return !func.results.includes(value) && own.every(leads);
  };
  const values = func.body.filter((op) => !movements.has(op.name)).flatMap((op) => op.results);
  const moved = (value: Value): boolean => (readers.get(value) ?? []).some((op) => movements.has(op.name));
  return new Set(values.filter((value) => value.type.dtype === 'f32' && moved(value) && isNarrowed(value)));
}
