/**
 * lift: raises patterns of primitive ops to the ops that say what they are, so that passes and backends see norms,
 * activations, attention and experts in models that came from elsewhere. Each rule is one identity.
 */
import { mapFunctions } from '../../ir/builder.js';
import { emptyModule, type Module } from '../../ir/module.js';
import { canonicalRules } from '../canonicalize.js';
import { definePass, Tally } from '../pass.js';
import { applyRules } from '../rules/apply.js';
import type { Rule } from '../rules/rule.js';
import { activationRules } from './activations.js';
import { attentionRules } from './attention.js';
import { expertRules, liftRoutes } from './experts.js';
import { factsOf } from './match.js';
import { normRules } from './norms.js';
import { quantizationRules } from './quantization.js';
import { shapeRules } from './shapes.js';

function rulesFor(module: Module): Rule[] {
  return [
    ...shapeRules,
    ...activationRules,
    ...normRules,
    ...attentionRules(factsOf(module)),
    ...expertRules,
    ...quantizationRules,
  ];
}

/** The rules by name, for documentation; what they know of constants is nothing. */
export const liftRules: readonly Rule[] = rulesFor(emptyModule('rules'));

export const lift = definePass({
  name: 'lift',
  summary:
    'Raises decomposed norms, activations, attention, rotary positions, experts and quantized layers to their own ops.',
  run(module) {
    const tally = new Tally();
    // Routes have two ends, so no rule finds them; what stands in their way goes first.
    const plain = applyRules(module, [...rulesFor(module), ...canonicalRules], tally);
    const facts = factsOf(plain);
    const routed = mapFunctions(plain, (func, scope) => liftRoutes(facts, func, scope, tally));
    const result = applyRules(routed, [...rulesFor(routed), ...canonicalRules], tally);
    return { module: result, report: tally.report() };
  },
});
