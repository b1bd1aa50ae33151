/** canonicalize: applies the named rewrite rules until none matches. */
import { definePass, Tally } from './pass.js';
import { algebraRules } from './rules/algebra.js';
import { applyRules } from './rules/apply.js';
import { collectiveRules } from './rules/collectives.js';
import { movementRules } from './rules/movement.js';
import type { Rule } from './rules/rule.js';
import { weightRules } from './rules/weights.js';

export const canonicalRules: readonly Rule[] = [
  ...algebraRules,
  ...movementRules,
  ...weightRules,
  ...collectiveRules,
];

export const canonicalize = definePass({
  name: 'canonicalize',
  summary: 'Applies algebraic identities and brings weights to the form kernels read, by named rules.',
  run(module) {
    const tally = new Tally();
    const result = applyRules(module, canonicalRules, tally);
    return { module: result, report: tally.report() };
  },
});
