/** Rewrite rules: named, one line of algebra each, keyed by the op they look at. */
import type { FuncBuilder } from '../../ir/builder.js';
import { defOf, type Op, type OpOf, type Value } from '../../ir/module.js';
import type { OpName } from '../../ir/ops/table.js';
import { typesEqual } from '../../ir/type.js';

export interface Rule {
  readonly name: string;
  /** The identity the rule applies, left side as matched, right side as built. */
  readonly algebra: string;
  readonly op: OpName;
  /**
   * The values that replace the op's results, or undefined. `op` is in the old function, `operands` already in the new
   * one; `uses` counts the uses of the old function's values, for rules that must not compute something twice.
   */
  apply(
    op: Op,
    operands: readonly Value[],
    builder: FuncBuilder,
    uses?: ReadonlyMap<Value, number>,
  ): readonly Value[] | undefined;
}

type Rewrite<N extends OpName> = (
  op: OpOf<N>,
  operands: readonly Value[],
  builder: FuncBuilder,
  uses: ReadonlyMap<Value, number>,
) => readonly Value[] | Value | undefined;

const noUses: ReadonlyMap<Value, number> = new Map();

export function rule<N extends OpName>(name: N, title: string, algebra: string, rewrite: Rewrite<N>): Rule {
  return {
    name: title,
    algebra,
    op: name,
    apply(op, operands, builder, uses = noUses) {
      const result = rewrite(op as unknown as OpOf<N>, operands, builder, uses);
      return result === undefined || isList(result) ? result : [result];
    },
  };
}

function isList(result: readonly Value[] | Value): result is readonly Value[] {
  return Array.isArray(result);
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
