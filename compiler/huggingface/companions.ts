/** Files beside weights that belong to a model, and travel with it: tokenizer, generation settings, code of its own. */
import { copyFile, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Checkpoint } from '../checkpoint/checkpoint.js';

const companion =
  /^(generation_config\.json|tokenizer.*|special_tokens_map\.json|added_tokens\.json|vocab\.json|merges\.txt|chat_template\..*|(configuration|modeling|modular|tokenization)_\w+\.py)$/;

/** Where companions of a model are: beside its tokenizer, and beside its weights. */
export function companionDirectories(model: {
  readonly checkpoint?: Checkpoint | undefined;
  readonly tokenizerFile: string | undefined;
}): string[] {
  const weights = model.checkpoint?.tensors.values().next().value?.file;
  const files = [model.tokenizerFile, weights].filter((file) => file !== undefined);
  return [...new Set(files.map((file) => dirname(file)))];
}

/** Copies what is not there yet, the first directory first. Returns the names of what was copied. */
export async function copyCompanions(from: readonly string[], to: string): Promise<string[]> {
  const sources = new Map<string, string>();
  for (const directory of from.toReversed()) {
    const files = (await readdir(directory, { withFileTypes: true })).filter((entry) => entry.isFile());
    for (const { name } of files) if (companion.test(name)) sources.set(name, join(directory, name));
  }
  const present = new Set(await readdir(to));
  const copied = [...sources].filter(([name]) => !present.has(name));
  for (const [name, source] of copied) await copyFile(source, join(to, name));
  return copied.map(([name]) => name).sort();
}
