/** Which dense layers have biases: transformers decides it for all layers of a kind at once, by switches of config.json. */
import { fail } from '../../ir/diagnostics.js';
import type { JsonObject } from './facts.js';

/** By the last part of a layer's name: the switch that gives it a bias, or whether it always has one. Others have none. */
export type BiasRules = Readonly<Record<string, string | true>>;

const together = (names: readonly string[], rule: string | true): BiasRules =>
  Object.fromEntries(names.map((name) => [name, rule]));

const attention = ['q_proj', 'k_proj', 'v_proj', 'o_proj'];
const feedForward = ['gate_proj', 'up_proj', 'down_proj'];

export const llamaBiases: BiasRules = {
  ...together(attention, 'attention_bias'),
  ...together(feedForward, 'mlp_bias'),
};
export const attentionBiases: BiasRules = together(attention, 'attention_bias');
export const qwen2Biases: BiasRules = together(['q_proj', 'k_proj', 'v_proj'], true);

/** The configuration with its switches set to what the tensors are. Fails with HEW3164 when no setting gives them. */
export function withBiases(config: JsonObject, names: ReadonlySet<string>, rules: BiasRules): JsonObject {
  const settings: Record<string, boolean> = {};
  const first = new Map<string, string>();
  for (const name of names) {
    const [, layer, kind] = /^(.*\.(\w+))\.weight$/.exec(name) ?? [];
    if (layer === undefined || kind === undefined) continue;
    const rule = Object.hasOwn(rules, kind) ? rules[kind] : undefined;
    const has = names.has(`${layer}.bias`);
    const wanted = typeof rule === 'string' ? (settings[rule] ?? has) : rule === true;
    if (has !== wanted) {
      const other = typeof rule === 'string' ? `; ${first.get(rule)} has ${has ? 'none' : 'one'}` : '';
      fail(
        'HEW3164',
        `${layer} has ${has ? 'a' : 'no'} bias, unlike what the architecture gives it${other}`,
        {
          help: 'transformers gives biases to all layers of a kind or to none',
        },
      );
    }
    if (typeof rule !== 'string') continue;
    settings[rule] = has;
    if (!first.has(rule)) first.set(rule, layer);
  }
  const said = Object.entries(settings).filter(([key, has]) => has || Object.hasOwn(config, key));
  return { ...config, ...Object.fromEntries(said) };
}
