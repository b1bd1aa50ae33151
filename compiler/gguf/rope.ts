/**
 * Rotary positions in GGUF: a base frequency and, for stretched contexts, a type with a factor. Llama 3.1's rule is not
 * among the types; its effect is stored instead, as one divisor for each pair of channels in `rope_freqs.weight`.
 */
import { isObject, type JsonObject, own } from '../huggingface/facts.js';
import type { Metadata, MetadataValue } from './format.js';

export const frequencyTensor = 'rope_freqs.weight';

interface Llama3 {
  readonly factor: number;
  readonly low: number;
  readonly high: number;
  readonly original: number;
}

/** What frequency f_i is divided by, for each pair of a head of `width` channels. */
export function llama3Divisors(
  width: number,
  theta: number,
  { factor, low, high, original }: Llama3,
): number[] {
  return Array.from({ length: width / 2 }, (_, i) => {
    const turns = (original * theta ** ((-2 * i) / width)) / (2 * Math.PI);
    const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return 1 / ((1 - kept) / factor + kept);
  });
}

export type Problem = { readonly problem: string };

// ---- from GGUF

/** `rope_scaling` of config.json; null for none. `divisors` is the content of `rope_freqs.weight`. */
export function scalingOf(
  metadata: Metadata,
  prefix: string,
  theta: number,
  divisors: readonly number[] | undefined,
): JsonObject | null | Problem {
  const number = (key: string): number | undefined => {
    const value = metadata.get(`${prefix}.rope.scaling.${key}`)?.value;
    return typeof value === 'number' ? value : undefined;
  };
  const type = metadata.get(`${prefix}.rope.scaling.type`)?.value ?? 'none';
  const original = number('original_context_length');
  if (divisors !== undefined) return llama3Of(metadata, theta, divisors, original ?? 8192);
  const factor = number('factor') ?? 1;
  if (type === 'none') return null;
  if (type === 'linear') return { rope_type: 'linear', factor };
  if (type !== 'yarn') return { problem: `its rotary positions are of the type '${type}'` };
  const settings = {
    rope_type: 'yarn',
    factor,
    original_max_position_embeddings: original,
    beta_fast: number('yarn_beta_fast'),
    beta_slow: number('yarn_beta_slow'),
  };
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
}

/** The rule whose divisors these are, with the bounds that Llama 3.1 has unless the file says others. */
function llama3Of(
  metadata: Metadata,
  theta: number,
  divisors: readonly number[],
  original: number,
): JsonObject | Problem {
  const bound = (key: string, otherwise: number): number => {
    const value = metadata.get(key)?.value;
    return typeof value === 'number' ? value : otherwise;
  };
  const rule = {
    factor: Math.max(...divisors),
    low: bound(lowKey, 1),
    high: bound(highKey, 4),
    original,
  };
  const same = llama3Divisors(divisors.length * 2, theta, rule).every(
    (wanted, i) => Math.abs(wanted - (divisors[i] as number)) <= 1e-4 * wanted,
  );
  if (!same) return { problem: `${frequencyTensor} is not what the rule of Llama 3.1 gives` };
  return {
    rope_type: 'llama3',
    factor: rule.factor,
    low_freq_factor: rule.low,
    high_freq_factor: rule.high,
    original_max_position_embeddings: original,
  };
}

// ---- to GGUF

export interface RopeEntries {
  readonly metadata: readonly (readonly [string, MetadataValue])[];
  readonly divisors: readonly number[] | undefined;
}

const lowKey = 'hew.rope.low_freq_factor';
const highKey = 'hew.rope.high_freq_factor';

const f32 = (value: number): MetadataValue => ({ type: 'f32', value });
const u32 = (value: number): MetadataValue => ({ type: 'u32', value });
const text = (value: string): MetadataValue => ({ type: 'string', value });

/** Metadata and divisors for a configuration whose rotary positions `ropePart` accepts. */
export function ropeEntries(config: JsonObject, prefix: string, width: number): RopeEntries | Problem {
  const settings = [config.rope_parameters, config.rope_scaling].find(isObject) ?? {};
  const number = (key: string): number | undefined => {
    const value = own(settings, key);
    return typeof value === 'number' ? value : undefined;
  };
  const theta = number('rope_theta') ?? (own(config, 'rope_theta') as number | undefined) ?? 10_000;
  const longest = own(config, 'max_position_embeddings') as number;
  const key = (name: string): string => `${prefix}.rope.${name}`;
  const base = [
    [key('freq_base'), f32(theta)],
    [key('dimension_count'), u32(width)],
  ] as const;
  const kind = own(settings, 'rope_type') ?? own(settings, 'type') ?? 'default';
  const original = number('original_max_position_embeddings') ?? longest;
  const factor = number('factor') ?? longest / original;
  if (kind === 'default') return { metadata: base, divisors: undefined };
  const scaled = (type: string) =>
    [...base, [key('scaling.type'), text(type)], [key('scaling.factor'), f32(factor)]] as const;
  if (kind === 'linear') return { metadata: scaled('linear'), divisors: undefined };
  if (kind === 'llama3') {
    const [low, high] = [number('low_freq_factor') ?? 1, number('high_freq_factor') ?? 4];
    const metadata = [
      ...base,
      [key('scaling.original_context_length'), u32(original)],
      [lowKey, f32(low)],
      [highKey, f32(high)],
    ] as const;
    return { metadata, divisors: llama3Divisors(width, theta, { factor, low, high, original }) };
  }
  const plain = ['attention_factor', 'mscale', 'mscale_all_dim'].every((name) => number(name) === undefined);
  if (kind !== 'yarn' || !plain || own(settings, 'truncate') === false)
    return { problem: `rotary positions of the type '${kind}'${plain ? '' : ' with a scale of their own'}` };
  const more = [
    [key('scaling.original_context_length'), u32(original)],
    [key('scaling.yarn_beta_fast'), f32(number('beta_fast') ?? 32)],
    [key('scaling.yarn_beta_slow'), f32(number('beta_slow') ?? 1)],
  ] as const;
  return { metadata: [...scaled('yarn'), ...more], divisors: undefined };
}
