/**
 * Rotary positions as configurations describe them: `rope_scaling` with `type` or `rope_type`, or `rope_parameters`,
 * which newer ones have and which holds `rope_theta` as well. Formulas are in the standard library.
 */
import { fail } from '../../ir/diagnostics.js';
import { isObject, type JsonObject, own } from './facts.js';

/** The part of a spec for each kind, and the settings that it cannot do without. */
export const ropeKinds = {
  default: { part: 'rope-default', needs: [] },
  linear: { part: 'rope-linear', needs: ['factor'] },
  dynamic: { part: 'rope-dynamic', needs: ['factor'] },
  llama3: {
    part: 'rope-llama3',
    needs: ['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'],
  },
  yarn: { part: 'rope-yarn', needs: ['factor'] },
} as const;

export type RopePart = (typeof ropeKinds)[keyof typeof ropeKinds]['part'];

/** Fails with HEW3153 for a kind, or a description, that is not known. */
export function ropePart(config: JsonObject): RopePart {
  const [key, settings] = ropeSettings(config);
  const kind = own(settings, 'rope_type') ?? own(settings, 'type') ?? 'default';
  const known = Object.keys(ropeKinds).join(', ');
  if (typeof kind !== 'string' || !Object.hasOwn(ropeKinds, kind)) {
    return fail('HEW3153', `${key} asks for rotary positions of the type ${JSON.stringify(kind)}`, {
      help: `the types that Hew knows are ${known}; others can be written in a spec as frequencies`,
    });
  }
  const { part, needs } = ropeKinds[kind as keyof typeof ropeKinds];
  const missing = needs.filter((name) => typeof own(settings, name) !== 'number');
  const first = missing[0];
  if (first !== undefined && !(kind === 'yarn' && own(settings, 'original_max_position_embeddings')))
    fail('HEW3153', `${key} of the type ${kind} has no number '${first}'`);
  const share = own(config, 'partial_rotary_factor') ?? own(settings, 'partial_rotary_factor');
  if (share !== undefined && share !== 1)
    fail('HEW3153', `only ${share} of the channels of a head are rotary; Hew turns all of them`);
  return part;
}

function ropeSettings(config: JsonObject): [string, JsonObject] {
  for (const key of ['rope_parameters', 'rope_scaling']) {
    const settings = own(config, key);
    if (settings === undefined) continue;
    if (isObject(settings) && !Object.values(settings).some(isObject)) return [key, settings];
    return fail('HEW3153', `${key} in config.json is not one set of settings for all layers`);
  }
  return ['rope_scaling', {}];
}
