/** Formatting of spec files in place. */
import { writeFileAtomically } from './atomic-write.js';
import { nodeFiles } from './frontend/files.js';
import { formatSource } from './frontend/format.js';

export interface FormatFileOptions {
  /** Only say whether the file would change. */
  readonly check?: boolean;
}

/**
 * Formats a `.hew` file, replacing it atomically; true when it was (or, with `check`, would be) changed.
 * Fails with every syntax error found (the file is left alone then), HEW3001, HEW3006 or HEW8003.
 */
export async function formatFile(path: string, { check = false }: FormatFileOptions = {}): Promise<boolean> {
  const text = nodeFiles.read(path);
  const formatted = formatSource(text, path);
  if (formatted === text) return false;
  if (!check) await writeFileAtomically(path, new TextEncoder().encode(formatted));
  return true;
}
