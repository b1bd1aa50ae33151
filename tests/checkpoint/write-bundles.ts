/**
 * Writes copies of a bundle to another path, one over the other, until it is killed; speaks up when the first
 * is written. Arguments: the bundle, the path.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseManifest } from '../../backends/wasm/runtime/manifest.js';
import { writeBundle } from '../../compiler/bundle.js';

const [, , original = '', target = ''] = process.argv;
const { files, ...manifest } = parseManifest(await readFile(join(original, 'manifest.json')));
const names = Object.keys(files);
const contents = new Map(
  await Promise.all(names.map(async (name) => [name, await readFile(join(original, name))] as const)),
);
for (let round = 1; ; round++) {
  await writeBundle(target, { ...manifest, name: `bundle-${round}` }, contents);
  if (round === 1) console.log('begun');
}
