/** Applying rewrite rules until none matches. */
import { type FuncBuilder, mapFunctions, rewriteFunc, type Scope } from '../../ir/builder.js';
import { countUses, type Func, type Module, type Op, type Value } from '../../ir/module.js';
import { InferError } from '../../ir/op.js';
import { typesEqual } from '../../ir/type.js';
import { eliminateDeadOps } from '../dce.js';
import type { Tally } from '../pass.js';
import type { Rule } from './rule.js';

/** Every rule only shortens a function or moves it to a normal form, so few rounds are ever needed. */
const maxRounds = 32;

/** The module after all rules have been applied to all functions, as often as they match. */
export function applyRules(module: Module, rules: readonly Rule[], tally: Tally): Module {
  const rulesByOp = Map.groupBy(rules, (rule) => rule.op as string);
  return mapFunctions(module, (func, scope) => toFixpoint(module, func, scope, rulesByOp, tally));
}

function toFixpoint(
  module: Module,
  func: Func,
  scope: Scope,
  rulesByOp: ReadonlyMap<string, readonly Rule[]>,
  tally: Tally,
): Func {
  let current = func;
  for (let round = 0; round < maxRounds; round++) {
    const uses = countUses(current);
    let changed = false;
    const next = rewriteFunc(current, scope, (op, operands, builder) => {
      const values = applyFirst(rulesByOp.get(op.name) ?? [], op, operands, builder, uses, tally);
      changed ||= values !== undefined;
      return values;
    });
    if (!changed) return current;
    current = eliminateDeadOps(module, next);
  }
  return current;
}

function applyFirst(
  rules: readonly Rule[],
  op: Op,
  operands: readonly Value[],
  builder: FuncBuilder,
  uses: ReadonlyMap<Value, number>,
  tally: Tally,
): readonly Value[] | undefined {
  for (const rule of rules) {
    const values = applyTyped(rule, op, operands, builder, uses);
    if (values === undefined) continue;
    tally.add(rule.name);
    return values;
  }
  return undefined;
}

/**
 * What the rule makes of the op, if it has the op's types. An identity may have no type where names of dimensions
 * differ and only their values agree: x: [d] as [8] is [e] when both are 8, but [d] as [e] is not.
 */
function applyTyped(
  rule: Rule,
  op: Op,
  operands: readonly Value[],
  builder: FuncBuilder,
  uses: ReadonlyMap<Value, number>,
): readonly Value[] | undefined {
  try {
    const values = rule.apply(op, operands, builder, uses);
    return values?.every((value, i) => typesEqual(value.type, (op.results[i] as Value).type))
      ? values
      : undefined;
  } catch (error) {
    if (error instanceof InferError) return undefined;
    throw error;
  }
}
