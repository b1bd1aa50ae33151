/** Compiling into a directory of bundles that are named by the hash of everything that decides them. */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { manifestName } from '../backends/wasm/runtime/manifest.js';
import { type CompileOptions, type CompileReport, cacheKey, compile } from './compile.js';

export type CachedCompileOptions = Omit<CompileOptions, 'output'>;

export interface CachedBundle {
  /** The directory of the bundle. */
  readonly output: string;
  /** Undefined when the bundle was there already. */
  readonly report: CompileReport | undefined;
}

/** `$HEW_CACHE`, or `hew` in the user's cache directory. */
export function cacheDirectory(env: Readonly<Record<string, string | undefined>>): string {
  if (env.HEW_CACHE) return env.HEW_CACHE;
  return env.XDG_CACHE_HOME ? join(env.XDG_CACHE_HOME, 'hew') : join(homedir(), '.cache', 'hew');
}

/**
 * Compiles a model unless `directory` has its bundle. `onCompile` is called before a compilation starts. Passes given
 * in `passes` count by their names alone: give a changed pass another name, or another directory.
 */
export async function compileCached(
  options: CachedCompileOptions,
  directory: string,
  onCompile: (output: string) => void = () => {},
): Promise<CachedBundle> {
  const output = join(directory, cacheKey({ ...options, output: directory }).slice(0, 32));
  if (existsSync(join(output, manifestName))) return { output, report: undefined };
  onCompile(output);
  return { output, report: await compile({ ...options, output }) };
}

/** Removes a bundle of the cache, such as one that turned out to be damaged. */
export async function dropCached(bundle: CachedBundle): Promise<void> {
  await rm(bundle.output, { recursive: true, force: true });
}
