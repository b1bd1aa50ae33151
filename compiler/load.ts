/** Loading of bundles with their own tokenizer attached. */

import { bundleReader } from '../backends/wasm/runtime/files.js';
import { type LoadOptions, load, type Model } from '../backends/wasm/runtime/load.js';
import { type Manifest, manifestName, parseManifest } from '../backends/wasm/runtime/manifest.js';
import { createTokenizer } from './tokenizer.js';

/**
 * Loads a bundle (a directory or a URL) with the tokenizer of its tokenizer.json; its states are zero.
 * Fails with a LoadError: HEW7001 when it is no bundle, HEW7002 for another version or target, HEW7003 when a file is
 * missing or damaged, HEW7009 when the engine cannot run it; HEW7010 (a HewError) when its tokenizer is not valid.
 */
export function loadBundle(source: string | URL, options: LoadOptions = {}): Promise<Model> {
  return load(source, { tokenizer: (json) => createTokenizer(json), ...options });
}

/** The checked manifest of a bundle, without loading its weights. Fails as `loadBundle` does. */
export async function readManifest(source: string | URL): Promise<Manifest> {
  return parseManifest(await bundleReader(source, undefined)(manifestName));
}
