/**
 * The spec of a checkpoint: the parts that its architecture names, in one file, with the defaults of its configuration
 * class. Sizes and switches stay in config.json, which the spec reads.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { didYouMean, fail } from '../../ir/diagnostics.js';
import type { ConfigDeclaration } from '../frontend/ast.js';
import { formatSource } from '../frontend/format.js';
import { parseSpec } from '../frontend/parse.js';
import type { Architecture, Setting } from './architectures.js';
import { type Facts, type JsonObject, own } from './facts.js';

/** Paths that the spec mentions, relative to it, with forward slashes. */
export interface SpecReferences {
  readonly config: string;
  readonly weights: string;
  readonly tokenizer: string | undefined;
}

export interface SpecInputs {
  readonly references: SpecReferences;
  /** generation_config.json, if there is one. */
  readonly generation: JsonObject | undefined;
  /** Settings of the spec, as text. */
  readonly set: Readonly<Record<string, string>>;
}

/** Fails with HEW3008 for a setting that the spec does not declare, or that config.json decides. */
export function specOf(
  architecture: Architecture,
  facts: Facts,
  { references, generation, set }: SpecInputs,
): string {
  const [name] = architecture.names;
  const parts = architecture.parts(facts).map(readPart);
  for (const key of Object.keys(set)) checkSettable(key, settingsOf(architecture, facts), facts.config);
  const body = withDefaults(parts.join('\n'), { ...architecture.defaults(facts), ...set });
  const sampler = /^sampler /m.test(body) ? [] : [samplerOf(facts.config, generation ?? {})];
  const files = [
    `config "${references.config}"`,
    `weights "${references.weights}"`,
    ...(references.tokenizer === undefined ? [] : [`tokenizer "${references.tokenizer}"`]),
  ];
  const head = `// ${name}, as hew import found it. Sizes come from config.json; everything else is here to be read and changed.`;
  return formatSource([`${head}\nimport "hew:blocks"`, body, ...sampler, files.join('\n')].join('\n\n'));
}

/** Names of the settings that the spec of a checkpoint has. */
export function settingsOf(architecture: Architecture, facts: Facts): string[] {
  const parts = architecture.parts(facts).map(readPart);
  return configsOf(parts.join('\n')).map(({ name }) => name.name);
}

function checkSettable(key: string, declared: readonly string[], config: JsonObject): void {
  if (!declared.includes(key))
    fail('HEW3008', `the spec has no setting '${key}'`, {
      help: didYouMean(key, declared) ?? `settings are ${declared.join(', ')}`,
    });
  if (own(config, key) !== undefined)
    fail('HEW3008', `config.json says what '${key}' is`, { help: 'change it there' });
}

function readPart(name: string): string {
  return readFileSync(fileURLToPath(new URL(`specs/${name}.hew`, import.meta.url)), 'utf8');
}

/** The text with other defaults of its configuration values; a value that is not declared is of another part. */
function withDefaults(text: string, defaults: Readonly<Record<string, Setting | string>>): string {
  return configsOf(text)
    .filter(({ name }) => Object.hasOwn(defaults, name.name))
    .toSorted((a, b) => b.span.start - a.span.start)
    .reduce((current, { name, type, span }) => {
      const value = printed(defaults[name.name] as Setting | string, type.name);
      return `${current.slice(0, type.span.end)} = ${value}${current.slice(span.end)}`;
    }, text);
}

function configsOf(text: string): ConfigDeclaration[] {
  const items = parseSpec(text, 'parts').ast?.items ?? [];
  return items.filter((item): item is ConfigDeclaration => item.kind === 'config');
}

/** A literal of the language: floats keep a point or an exponent. */
function printed(value: Setting | string, type: string): string {
  const text =
    typeof value === 'number' && value !== 0 && Math.abs(value) < 1e-3
      ? value.toExponential()
      : String(value);
  return type === 'float' && /^-?\d+$/.test(text) ? `${text}.0` : text;
}

const samplerKeys = ['temperature', 'top_k', 'top_p'] as const;

/**
 * What generation_config.json says. `bos` is left to the tokenizer, whose post-processor adds it where the model wants
 * it. Any end-of-sequence token stops, and there may be several.
 */
function samplerOf(config: JsonObject, generation: JsonObject): string {
  const greedy = own(generation, 'do_sample') !== true;
  const settings = samplerKeys.flatMap((key) => {
    const value = greedy && key === 'temperature' ? 0 : own(generation, key);
    return typeof value === 'number' ? [`${key} = ${value},`] : [];
  });
  const stop = [own(generation, 'eos_token_id') ?? own(config, 'eos_token_id') ?? []].flat();
  const ids = stop.filter((id) => Number.isSafeInteger(id) && Number(id) >= 0);
  return `sampler text {\n${[...settings, `stop = [${ids.join(', ')}],`].join('\n')}\n}`;
}
