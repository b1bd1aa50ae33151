/**
 * The loader of compiled models, for Node and browsers, without dependencies. `load` checks a bundle and
 * returns a Model; `generate`, `score` and `sample` build on `Model.run`.
 */
import { reasonOf, refuse } from './errors.js';
import { bundleReader, type FetchFile, type ReadBundleFile, readVerified } from './files.js';
import { moduleFor, startInstance, type WasmMemory } from './instance.js';
import { type Manifest, manifestName, parseManifest, type WeightSegment } from './manifest.js';
import { Model } from './model.js';
import type { Tokenizer } from './text-stream.js';
import { wasmEngine } from './wasm-engine.js';

export type { DType, TypedArray } from './dtype.js';
export type { Engine, Step } from './engine.js';
export { LoadError, type LoadErrorCode } from './errors.js';
export type { FetchFile } from './files.js';
export {
  type EndEvent,
  encodePrompt,
  type GenerateEvent,
  type GenerateOptions,
  generate,
  type TokenEvent,
} from './generate.js';
export type {
  EntryInfo,
  EntrySpec,
  Manifest,
  ModelInfo,
  Sampler,
  StateInfo,
  TensorSlot,
} from './manifest.js';
export type { Input, Inputs, Model, Outputs, RunOptions, StateHandle, StateSnapshot } from './model.js';
export { type SampledModel, type SampleOptions, type Samples, sample } from './sample.js';
export { score } from './score.js';
export { createTextStream, type TextStream, type Tokenizer } from './text-stream.js';

/** Makes a tokenizer of the text of the bundle's tokenizer.json. */
export type TokenizerFactory = (json: string) => Tokenizer | Promise<Tokenizer>;

export interface LoadOptions {
  /** Where the files come from, instead of `source`. */
  readonly fetchFile?: FetchFile;
  /** false skips the comparison of hashes; sizes are always compared. */
  readonly verify?: boolean;
  /** A tokenizer, or what makes one of the bundle's own tokenizer.json. */
  readonly tokenizer?: Tokenizer | TokenizerFactory;
  readonly onProgress?: (bytesLoaded: number, bytesTotal: number) => void;
}

/**
 * Loads a bundle; its states are zero.
 * @param source the directory of the bundle (Node), or its URL.
 * @throws LoadError HEW7001 when it is no bundle, HEW7002 for another version or target, HEW7003 when a file
 * is missing or differs from the manifest, HEW7009 when the engine cannot run it; and whatever the tokenizer
 * factory throws.
 */
export async function load(source: string | URL, options: LoadOptions = {}): Promise<Model> {
  const { fetchFile, verify = true, onProgress } = options;
  const read = bundleReader(source, fetchFile);
  const manifest = parseManifest(await read(manifestName));
  const verified: ReadBundleFile = (name) => readVerified(manifest, name, read, verify);
  const tokenizer = await makeTokenizer(manifest, options.tokenizer, verified);
  const { module, features } = moduleFor(manifest.wasm);
  const instance = await startInstance(manifest, await verified(module), features);
  await loadWeights(manifest, instance.memory, verified, onProgress);
  return new Model(manifest, wasmEngine(manifest, instance), tokenizer);
}

async function makeTokenizer(
  manifest: Manifest,
  tokenizer: Tokenizer | TokenizerFactory | undefined,
  read: ReadBundleFile,
): Promise<Tokenizer | undefined> {
  if (typeof tokenizer !== 'function') return tokenizer;
  if (manifest.tokenizer === null) return undefined;
  const bytes = await read(manifest.tokenizer.file);
  return tokenizer(decodeText(bytes, manifest.tokenizer.file));
}

function decodeText(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    refuse('HEW7010', `'${name}' is not UTF-8 text: ${reasonOf(error)}`);
  }
}

/** One file at a time, so that at most one shard is held beside the model's memory. */
async function loadWeights(
  manifest: Manifest,
  memory: WasmMemory,
  read: ReadBundleFile,
  onProgress: LoadOptions['onProgress'],
): Promise<void> {
  const byFile = Map.groupBy(manifest.weights, ({ file }) => file);
  const total = manifest.weights.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  for (const [file, segments] of byFile) {
    copySegments(await read(file), segments, new Uint8Array(memory.buffer));
    done += segments.reduce((sum, { bytes }) => sum + bytes, 0);
    onProgress?.(done, total);
  }
}

function copySegments(source: Uint8Array, segments: readonly WeightSegment[], memory: Uint8Array): void {
  for (const { offset, bytes, address } of segments) {
    memory.set(source.subarray(offset, offset + bytes), address);
  }
}
