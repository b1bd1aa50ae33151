/**
 * How the front-end sees files. It never touches the disk itself: a `SpecFiles` gives it the text of a file by a
 * path relative to the working directory, and `resolveReference` decides which paths a spec may mention.
 */
import { readFileSync, statSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Diagnostic, diagnostic, fail, type Span } from '../../ir/diagnostics.js';

export interface SpecFiles {
  /** Text of a spec or JSON file; throws a HewError when it cannot be had. */
  read(file: string): string;
}

/** The standard library is named, not located: `hew:blocks`. */
const standardPrefix = 'hew:';

export type ReferenceKind = 'import' | 'extend' | 'config-file' | 'tokenizer' | 'weights';

const allowedEndings: Readonly<Record<ReferenceKind, readonly string[]>> = {
  import: ['.hew'],
  extend: ['.hew'],
  'config-file': ['.json'],
  tokenizer: ['.json'],
  weights: ['.safetensors', '.safetensors.index.json'],
};

/**
 * The path of a file that a spec mentions: relative to the spec, with forward slashes, of an expected ending.
 * A diagnostic when the path is not allowed.
 */
export function resolveReference(
  from: string,
  path: string,
  kind: ReferenceKind,
  span: Span,
): string | Diagnostic {
  if (kind === 'import' && /^hew:[a-z][a-z0-9-]*$/.test(path)) return path;
  const problem = pathProblem(path, kind);
  if (problem === undefined && !from.startsWith(standardPrefix)) {
    const joined = posix.join(posix.dirname(from.replaceAll('\\', '/')), path);
    return joined;
  }
  return diagnostic('HEW3005', problem ?? 'the standard library cannot refer to files', {
    span,
    help: 'paths are relative to the file they stand in, with forward slashes: "../pangu/pangu.hew"',
  });
}

function pathProblem(path: string, kind: ReferenceKind): string | undefined {
  if (path === '' || path.endsWith('/')) return 'a file name is missing';
  if (/[\p{Cc}\\]/u.test(path)) return 'a path cannot contain backslashes or control characters';
  if (path.startsWith('/') || /^[A-Za-z][\w+.-]*:/.test(path)) return 'a path must be relative';
  const endings = allowedEndings[kind];
  if (endings.some((ending) => path.endsWith(ending))) return undefined;
  return `a file of this kind ends in ${endings.join(' or ')}`;
}

/** Specs and configurations are written by hand; anything longer is a mistake. */
const sizeLimit = 4 * 1024 * 1024;

/** Files of the disk, and the standard library that comes with the compiler. */
export const nodeFiles: SpecFiles = {
  read: (file) => readText(file.startsWith(standardPrefix) ? standardFile(file) : file, file),
};

function standardFile(name: string): string {
  return fileURLToPath(new URL(`../std/${name.slice(standardPrefix.length)}.hew`, import.meta.url));
}

function readText(path: string, shown: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return fail('HEW3001', `there is no file '${shown}'`);
  if (!stats.isFile()) return fail('HEW3001', `'${shown}' is not a regular file`);
  if (stats.size > sizeLimit) {
    return fail('HEW3006', `'${shown}' has ${stats.size} bytes; a text file may have ${sizeLimit}`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readFileSync(path));
  } catch (error) {
    const reason = error instanceof TypeError ? 'it is not UTF-8 text' : 'the system refuses to read it';
    return fail('HEW3001', `'${shown}' cannot be read: ${reason}`);
  }
}
