/** A Hew model as a directory that transformers loads: config.json, safetensors, and the files that came with the model. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fail } from '../../ir/diagnostics.js';
import { writeNewDirectory } from '../atomic-write.js';
import { type TensorEntry, writeSafetensors } from '../checkpoint/write-safetensors.js';
import { type ModelOptions, type OpenedModel, openModel } from '../compile.js';
import { companionDirectories, copyCompanions } from './companions.js';
import { bytesOf, describeModel } from './describe.js';
import { importHuggingFace } from './import.js';

export interface ExportedDirectory {
  /** Paths below the directory. */
  readonly files: readonly string[];
  readonly architecture: string;
  /** Settings of config.json that are not what they were, or new. */
  readonly config: Readonly<Record<string, unknown>>;
}

/**
 * Writes the directory, reads it back as `hew import` would, and compares tensors and functions. Fails with HEW3164 for
 * a model that no configuration describes, HEW8003 when something is there already; nothing is left then.
 */
export async function exportHuggingFace(
  model: OpenedModel,
  options: ModelOptions,
  output: string,
): Promise<ExportedDirectory> {
  const { architecture, config, tensors } = await describeModel(model, options);
  const files = ['config.json', 'model.safetensors'];
  await writeNewDirectory(output, async (directory) => {
    await writeFile(join(directory, 'config.json'), `${JSON.stringify(config, undefined, 2)}\n`);
    await writeSafetensors(join(directory, 'model.safetensors'), tensors, { format: 'pt' });
    files.push(...(await copyCompanions(companionDirectories(model), directory)));
    await checkWritten(tensors, directory);
  });
  return { files, architecture: architecture.names[0] as string, config };
}

/**
 * What transformers refuses though the formulas are clear: since version 5 its Llama configuration wants the width to be
 * a multiple of the heads, also beside a head_dim.
 */
export function refusedByTransformers({ architecture, config }: ExportedDirectory): string | undefined {
  const { hidden_size: width, num_attention_heads: heads } = config;
  if (architecture !== 'LlamaForCausalLM' || typeof width !== 'number' || typeof heads !== 'number')
    return undefined;
  return width % heads === 0
    ? undefined
    : `transformers 5 does not load it: hidden_size ${width} is no multiple of ${heads} heads`;
}

/** Imports what was written, and compares it byte for byte. */
async function checkWritten(tensors: readonly TensorEntry[], directory: string): Promise<void> {
  const scratch = join(directory, '.check');
  const { spec } = await importHuggingFace({ directory, output: scratch });
  const { checkpoint, close } = openModel({ spec });
  try {
    const wrong = tensors.find((entry) => {
      const info = checkpoint?.tensors.get(entry.name);
      return (
        !info ||
        info.dtype !== entry.dtype ||
        Buffer.compare(checkpoint?.read(entry.name) ?? empty, bytesOf(entry)) !== 0
      );
    });
    if (wrong !== undefined) fail('HEW9001', `the tensor '${wrong.name}' is not what was written`);
  } finally {
    close();
    await rm(scratch, { recursive: true });
  }
}

const empty = new Uint8Array();
