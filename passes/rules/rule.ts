/** Rewrite rules: named, one line of algebra each, keyed by the op they look at. */
import type { FuncBuilder } from '../../ir/builder.js';
import { defOf, type Op, type OpOf, type Value } from '../../ir/module.js';
import type { OpName } from '../../ir/ops/table.js';
import { typesEqual } from '../../ir/type.js';

export interface Rule<N extends OpName = OpName> {
  readonly name: string;
  /** The identity the rule applies, left side as matched, right side as built. */
  readonly algebra: string;
  readonly op: N;
  /** Operands are already in the new function; returns the values that replace the results, or undefined. */
  apply(op: OpOf<N>, operands: readonly Value[], builder: FuncBuilder): readonly Value[] | undefined;
}

export function rule<N extends OpName>(
  op: N,
  name: string,
  algebra: string,
  apply: (op: OpOf<N>, operands: readonly Value[], builder: FuncBuilder) => readonly Value[] | Value | undefined,
): Rule {
  const applyList: Rule<N>['apply'] = (found, operands, builder) => {
    const result = apply(found, operands, builder);
    return result === undefined || Array.isArray(result) ? (result as readonly Value[] | undefined) : [result as Value];
  };
  return { name, algebra, op, apply: applyList } as unknown as Rule;
}

/** The op that made `value`, when it is a `name`. */
export function madeBy<N extends OpName>(value: Value | undefined, name: N): OpOf<N> | undefined {
  const op: Op | undefined = value === undefined ? undefined : defOf(value);
  return op?.name === name ? (op as unknown as OpOf<N>) : undefined;
}

/** The value every element of `value` has, when it is known from a `full`. */
export function fullValue(value: Value | undefined): number | undefined {
  return madeBy(value, 'full')?.attrs.value;
}

/** `value` if it has exactly the type of the op's first result, so that it may stand in for it. */
export function standsFor(value: Value, op: Pick<Op, 'results'>): Value | undefined {
  const [result] = op.results;
  return result !== undefined && typesEqual(value.type, result.type) ? value : undefined;
}
