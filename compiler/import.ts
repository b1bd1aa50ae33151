/** `hew import`: models of other tools, as a spec that can be read and edited, and the weights it names. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Diagnostic, fail } from '../ir/diagnostics.js';
import { type FloatType, importGguf } from './gguf/import.js';
import { importHuggingFace } from './huggingface/import.js';
import { importOnnx } from './onnx/import.js';
import { isOnnxPath } from './onnx/model.js';

export interface ImportOptions {
  /** A file or a directory of another tool. */
  readonly path: string;
  /** Directory to write; it must not exist or be empty. */
  readonly output: string;
  /** Values the model leaves open, by name, as text. */
  readonly set?: Readonly<Record<string, string>> | undefined;
  /** What weights are stored as that Hew has to convert; f32 by default. */
  readonly dtype?: FloatType | undefined;
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
  /** Where the spec goes when nothing else is said, for weights that are used where they are. */
  defaultOutput?(path: string): string;
  run(options: ImportOptions): Promise<Omit<ImportReport, 'format' | 'output'>>;
}

/** Tried in order. */
const importers: readonly Importer[] = [
  {
    format: 'ONNX',
    accepts: 'an .onnx file',
    matches: (path, isDirectory) => !isDirectory && isOnnxPath(path),
    run: ({ path, output, set }) => importOnnx({ path, output, set }),
  },
  {
    format: 'Hugging Face',
    accepts: 'a directory with config.json and safetensors',
    matches: (path, isDirectory) => isDirectory && existsSync(join(path, 'config.json')),
    defaultOutput: (path) => path,
    run: async ({ path, output, set }) => {
      const { warnings } = await importHuggingFace({ directory: path, output, set });
      return { files: ['model.hew'], warnings };
    },
  },
  {
    format: 'GGUF',
    accepts: 'a .gguf file',
    matches: (path, isDirectory) => !isDirectory && path.endsWith('.gguf'),
    run: ({ path, output, set, dtype }) => importGguf({ file: path, output, set, dtype }),
  },
];

/** Fails with HEW3001 when there is no such path, HEW3101 when no format fits, HEW8001 when `output` is missing. */
export async function importModel(
  options: Omit<ImportOptions, 'output'> & { readonly output?: string | undefined },
): Promise<ImportReport> {
  const stats = statSync(options.path, { throwIfNoEntry: false });
  if (stats === undefined) return fail('HEW3001', `there is no '${options.path}'`);
  const importer = importers.find((each) => each.matches(options.path, stats.isDirectory()));
  if (importer === undefined) return unknownFormat(options.path);
  const output = options.output ?? importer.defaultOutput?.(options.path);
  if (output === undefined) {
    return fail(
      'HEW8001',
      `importing from ${importer.format} converts the weights, which needs a directory`,
      {
        help: 'give one with -o',
      },
    );
  }
  const result = await importer.run({ ...options, output });
  return { format: importer.format, output, ...result };
}

function unknownFormat(path: string): never {
  const isSpec = path.endsWith('.hew') || existsSync(join(path, 'model.hew'));
  return fail('HEW3101', `'${path}' is no model that can be imported`, {
    help: isSpec
      ? 'it is a spec already; compile it with hew compile'
      : `formats: ${importers.map((each) => each.accepts).join(', ') || 'none'}`,
  });
}
