/** The sampler that a spec declares, as every target's manifest carries it. */
import { fail } from '../ir/diagnostics.js';
import type { SamplerDecl } from '../ir/module.js';
import type { Sampler } from './wasm/runtime/manifest.js';

const samplerKeys: Readonly<Record<Sampler['kind'], readonly string[]>> = {
  text: ['temperature', 'top_k', 'top_p', 'bos', 'stop'],
  diffusion: ['steps', 'schedule', 'beta_start', 'beta_end', 'predict', 'clip', 'null_class'],
};

/** Fails with HEW7011 for a kind or a setting that does not exist. */
export function samplerSpec({ kind, settings }: SamplerDecl): Sampler {
  const keys = (samplerKeys as Readonly<Record<string, readonly string[]>>)[kind];
  if (keys === undefined)
    return fail('HEW7011', `there is no sampler '${kind}'`, {
      help: `samplers: ${Object.keys(samplerKeys).join(', ')}`,
    });
  const unknown = Object.keys(settings).find((key) => !keys.includes(key));
  if (unknown !== undefined)
    return fail('HEW7011', `sampler ${kind} has no setting '${unknown}'`, {
      help: `its settings: ${keys.join(', ')}`,
    });
  return { kind, ...settings } as Sampler;
}
