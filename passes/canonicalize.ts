/** canonicalize: applies the named rewrite rules until none matches. */
import { rewriteFunc, type Scope } from '../ir/builder.js';
import type { Func, Op } from '../ir/module.js';
import { mapFunctions } from '../ir/builder.js';
import { eliminateDeadOps } from './dce.js';
import { definePass, Tally } from './pass.js';
import { algebraRules } from './rules/algebra.js';
import { movementRules } from './rules/movement.js';
import type { Rule } from './rules/rule.js';
import { weightRules } from './rules/weights.js';

export const canonicalRules: readonly Rule[] = [...algebraRules, ...movementRules, ...weightRules];

/** Every rule only shortens a function or moves it to a normal form, so few rounds are ever needed. */
const maxRounds = 32;

export const canonicalize = definePass({
  name: 'canonicalize',
  summary: 'Applies algebraic identities and brings weights to the form kernels read, by named rules.',
  run(module) {
    const tally = new Tally();
    const byOp = Map.groupBy(canonicalRules, (r) => r.op as string);
    const result = mapFunctions(module, (func, scope) => toFixpoint(func, scope, byOp, tally));
    return { module: result, report: tally.report() };
  },
});

function toFixpoint(func: Func, scope: Scope, rules: ReadonlyMap<string, readonly Rule[]>, tally: Tally): Func {
  let current = func;
  for (let round = 0; round < maxRounds; round++) {
    let changed = false;
    const next = rewriteFunc(current, scope, (op, operands, builder) => {
      const values = applyFirst(rules.get(op.name) ?? [], op, operands, builder, tally);
      changed ||= values !== undefined;
      return values;
    });
    if (!changed) return current;
    current = eliminateDeadOps(next);
  }
  return current;
}

function applyFirst(rules: readonly Rule[], op: Op, operands: Op['operands'], builder: Parameters<Rule['apply']>[2], tally: Tally) {
  for (const candidate of rules) {
    const values = candidate.apply(op as never, operands, builder);
    if (values === undefined) continue;
    tally.add(candidate.name);
    return values;
  }
  return undefined;
}
