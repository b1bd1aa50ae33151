/** What is known of a Hugging Face checkpoint before any weight is read: config.json and the table of its tensors. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fail } from '../../ir/diagnostics.js';
import { checkpointFile, openCheckpoint, type TensorInfo } from '../checkpoint/checkpoint.js';

export type JsonObject = Readonly<Record<string, unknown>>;

export interface Facts {
  readonly directory: string;
  readonly config: JsonObject;
  /** The safetensors file, or the index of its shards. */
  readonly weights: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

/** Fails with HEW3152 for a directory that is no model, HEW3004 for a bad config.json, and as `openCheckpoint` does. */
export function readFacts(directory: string): Facts {
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory())
    fail('HEW3001', `there is no directory '${directory}'`);
  const config = readJsonObject(join(directory, 'config.json'));
  const names = readdirSync(directory);
  const lacks = (what: string, help: string): never =>
    fail('HEW3152', `${directory} has no ${what}`, { help });
  if (config === undefined) {
    return lacks('config.json', 'give the directory that a model was downloaded into, with all its files');
  }
  if (!names.some((name) => /\.safetensors(\.index\.json)?$/.test(name))) {
    return lacks(
      'safetensors',
      names.some((name) => name.endsWith('.bin'))
        ? 'save the model again with save_pretrained(directory): .bin files are programs, which Hew does not run'
        : 'give the directory that a model was downloaded into, with all its files',
    );
  }
  const weights = checkpointFile(directory);
  const checkpoint = openCheckpoint(weights);
  checkpoint.close();
  return { directory, config, weights, tensors: checkpoint.tensors };
}

/** Undefined when there is no such file. Fails with HEW3004 when it holds anything but an object. */
export function readJsonObject(file: string): JsonObject | undefined {
  if (!existsSync(file)) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    return fail('HEW3004', `'${file}' is not valid JSON: ${error instanceof Error ? error.message : error}`);
  }
  return isObject(json) ? json : fail('HEW3004', `'${file}' holds no JSON object`);
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A value of config.json as a number; undefined when it is absent or null. Fails with HEW3003 for anything else. */
export function numberIn(config: JsonObject, key: string): number | undefined {
  const value = own(config, key);
  if (value === undefined || typeof value === 'number') return value;
  return fail('HEW3003', `'${key}' in config.json must be a number; it is ${JSON.stringify(value)}`);
}

/** A value that is there; null counts as absent. */
export function own(config: JsonObject, key: string): unknown {
  const value = Object.hasOwn(config, key) ? config[key] : undefined;
  return value === null ? undefined : value;
}
