/** `hew import`: models of other tools, as a spec that can be read and edited, and the weights it names. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Diagnostic, fail } from '../ir/diagnostics.js';

export interface ImportOptions {
  /** A file or a directory of another tool. */
  readonly path: string;
  /** Directory to write; it must not exist or be empty. */
  readonly output: string;
  /** Values the model leaves open, by name, as text. */
  readonly set?: Readonly<Record<string, string>> | undefined;
  readonly onProgress?: ((stage: string, done: number, total: number) => void) | undefined;
}

export interface ImportReport {
  readonly format: string;
  readonly output: string;
  /** Paths below `output`. */
  readonly files: readonly string[];
  readonly warnings: readonly Diagnostic[];
}

/** One format: how its models are recognised, and what reads them. */
interface Importer {
  readonly format: string;
  /** What a user gives, for the message when nothing fits. */
  readonly accepts: string;
  matches(path: string, isDirectory: boolean): boolean;
  run(options: ImportOptions): Promise<Omit<ImportReport, 'format' | 'output'>>;
}

/** Tried in order. */
const importers: readonly Importer[] = [];

/** Fails with HEW3001 when there is no such path, HEW3101 when no format fits. */
export async function importModel(options: ImportOptions): Promise<ImportReport> {
  const stats = statSync(options.path, { throwIfNoEntry: false });
  if (stats === undefined) return fail('HEW3001', `there is no '${options.path}'`);
  const importer = importers.find((each) => each.matches(options.path, stats.isDirectory()));
  if (importer === undefined) return unknownFormat(options.path);
  const result = await importer.run(options);
  return { format: importer.format, output: options.output, ...result };
}

function unknownFormat(path: string): never {
  const isSpec = path.endsWith('.hew') || existsSync(join(path, 'model.hew'));
  return fail('HEW3101', `'${path}' is no model that can be imported`, {
    help: isSpec
      ? 'it is a spec already; compile it with hew compile'
      : `formats: ${importers.map((each) => each.accepts).join(', ') || 'none'}`,
  });
}
