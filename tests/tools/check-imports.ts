/**
 * Structural rules of the sources, checked by `npm run lint`:
 *   - imports go one way: ir <- passes <- backends <- compiler;
 *   - backends/wasm/runtime is self-contained, because it is shipped to browsers as it is (Node's own
 *     modules may be reached by `import()`, which a browser never executes);
 *   - sources import neither tests nor examples, nor the package by its own name;
 *   - no source file is longer than 600 lines.
 * Type-only imports count like any other. Relies on the formatter: statements start in the first column.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const LAYERS = ['ir', 'passes', 'backends', 'compiler'];
const RUNTIME = 'backends/wasm/runtime';
const MAX_LINES = 600;

export interface Violation {
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

interface ImportSite {
  readonly specifier: string;
  readonly line: number;
  readonly dynamic: boolean;
}

const STATIC_IMPORT = /^(?:import|export)\s(?:[^'";]*?\sfrom\s*)?(['"])(?<specifier>[^'"\n]+)\1/gm;
const DYNAMIC_IMPORT = /\bimport\(\s*(['"`])(?<specifier>[^'"`\n]+)\1/g;

function* findImports(text: string): Generator<ImportSite> {
  for (const [pattern, dynamic] of [
    [STATIC_IMPORT, false],
    [DYNAMIC_IMPORT, true],
  ] as const) {
    for (const match of text.matchAll(pattern)) {
      const line = text.slice(0, match.index).split('\n').length;
      yield { specifier: match.groups?.specifier ?? '', line, dynamic };
    }
  }
}

function isInside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

/** The rule that this import breaks, in words, or undefined. `file` is relative to the root, with `/`. */
function brokenRule(file: string, { specifier, dynamic }: ImportSite): string | undefined {
  const local = specifier.startsWith('.');
  const target = local ? posix.join(posix.dirname(file), specifier) : specifier;
  if (isInside(file, RUNTIME)) {
    const allowed = local ? isInside(target, RUNTIME) : dynamic && specifier.startsWith('node:');
    if (!allowed) return `${RUNTIME} must not import anything outside its own folder`;
  }
  if (!local) {
    return isInside(specifier, 'hew') ? 'sources must not import the package by its own name' : undefined;
  }
  const from = LAYERS.indexOf(file.split('/')[0] ?? '');
  const top = target.split('/')[0] ?? '';
  const to = LAYERS.indexOf(top);
  if (to < 0) return `sources must not import from ${top}/`;
  if (to > from) return `${LAYERS[from]} must not import ${top} (${LAYERS.join(' <- ')})`;
  return undefined;
}

/** Checks one source file, given by its path relative to the root (with `/`) and its text. */
export function checkSource(file: string, text: string): Violation[] {
  const violations: Violation[] = [];
  for (const site of findImports(text)) {
    const rule = brokenRule(file, site);
    if (rule !== undefined) {
      violations.push({ file, line: site.line, message: `imports '${site.specifier}': ${rule}` });
    }
  }
  const lines = text.replace(/\n$/, '').split('\n').length;
  if (lines > MAX_LINES) {
    violations.push({ file, line: MAX_LINES + 1, message: `has ${lines} lines: the limit is ${MAX_LINES}` });
  }
  return violations.sort((a, b) => a.line - b.line);
}

function checkTree(root: string): Violation[] {
  return LAYERS.map((layer) => join(root, layer))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && /\.[cm]?[jt]s$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .flatMap((path) => checkSource(relative(root, path).split(sep).join('/'), readFileSync(path, 'utf8')));
}

if (import.meta.main) {
  const violations = checkTree(fileURLToPath(new URL('../..', import.meta.url)));
  for (const { file, line, message } of violations) console.error(`${file}:${line}: ${message}`);
  process.exitCode = violations.length > 0 ? 1 : 0;
}
