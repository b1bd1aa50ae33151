/** A Hugging Face directory as a spec: model.hew, bound to the config.json, the weights and the tokenizer that are there. */
import { existsSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { type Diagnostic, fail, HewError } from '../../ir/diagnostics.js';
import { withTemporary } from '../atomic-write.js';
import { openModel } from '../compile.js';
import { architectureOf } from './architectures.js';
import { readFacts, readJsonObject } from './facts.js';
import { type SpecReferences, specOf } from './spec.js';

export interface HuggingFaceImport {
  readonly directory: string;
  /** Directory that gets model.hew; the checkpoint's own by default. */
  readonly output?: string | undefined;
  /** Settings of the spec that config.json does not have, such as context_length. */
  readonly set?: Readonly<Record<string, string>> | undefined;
}

export interface ImportedSpec {
  readonly architecture: string;
  /** The spec, and what elaborating it says of tensors that it does not use. */
  readonly spec: string;
  readonly warnings: readonly Diagnostic[];
}

const specName = 'model.hew';

/**
 * Writes a spec that elaborates against the checkpoint, or nothing. Fails as `readFacts`, `architectureOf` and its
 * checks do, with HEW8003 when there is a model.hew already, and with the diagnostics of the spec.
 */
export async function importHuggingFace(options: HuggingFaceImport): Promise<ImportedSpec> {
  const { directory, output = directory } = options;
  const facts = readFacts(directory);
  const architecture = architectureOf(facts);
  for (const check of architecture.checks) check(facts);
  const spec = join(output, specName);
  if (existsSync(spec)) {
    fail('HEW8003', `${spec} exists already`, { help: 'remove it, or choose another directory with -o' });
  }
  await mkdir(output, { recursive: true });
  const to = (file: string): string => relative(output, file).replaceAll('\\', '/') || basename(file);
  const tokenizer = join(directory, 'tokenizer.json');
  const references: SpecReferences = {
    config: to(join(directory, 'config.json')),
    weights: to(facts.weights),
    tokenizer: existsSync(tokenizer) ? to(tokenizer) : undefined,
  };
  const generation = readJsonObject(join(directory, 'generation_config.json'));
  const text = specOf(architecture, facts, { references, generation, set: options.set ?? {} });
  const warnings: Diagnostic[] = [];
  await withTemporary(spec, async (temporary) => {
    await writeFile(temporary, text);
    warnings.push(...elaborated(temporary));
    await rename(temporary, spec);
  });
  return { architecture: architecture.names[0] as string, spec, warnings };
}

/** The warnings of a spec that fits its checkpoint. Its errors are told without places: the file does not last. */
function elaborated(spec: string): readonly Diagnostic[] {
  try {
    const model = openModel({ spec });
    model.close();
    return model.warnings;
  } catch (error) {
    if (!(error instanceof HewError)) throw error;
    throw new HewError(error.diagnostics.map((d) => ({ ...d, labels: [] })));
  }
}
