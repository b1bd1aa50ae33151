/** Version of the compiler, as package.json says, and the identity of its code. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

function findVersion(): string {
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as {
        name?: string;
        version?: string;
      };
      if (name === 'hew' && version !== undefined) return version;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  throw new Error('package.json of hew is missing');
}

export const version = findVersion();

const codeFolders = ['ir', 'passes', 'backends', 'compiler'] as const;
let fingerprint: string | undefined;

/** Hash of the compiler's own code: two builds of one version need not make the same bundles. */
export function compilerFingerprint(): string {
  fingerprint ??= hashCode(fileURLToPath(new URL('..', import.meta.url)));
  return fingerprint;
}

function hashCode(root: string): string {
  const hash = createHash('sha256').update(version);
  for (const folder of codeFolders) {
    const names = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).sort();
    for (const name of names.filter((path) => /(?<!\.d)\.(?:js|ts|hew)$/.test(path))) {
      const text = readFileSync(join(root, folder, name));
      hash.update(`${folder}/${name} ${text.length}\n`).update(text);
    }
  }
  return hash.digest('hex');
}
