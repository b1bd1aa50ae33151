/**
 * Pipelines in YAML, for those too long for a command line. The file is a list of passes, each a name or a name with
 * its options; it means the same as the one-line form:
 *
 *     - canonicalize
 *     - fuse: { epilogues: false }
 */
import { parse } from 'yaml';
import { z } from 'zod';
import { fail } from '../ir/diagnostics.js';
import { nodeFiles } from './frontend/files.js';

const optionValue = z.union([z.string(), z.number(), z.boolean()]);
const step = z.union([z.string(), z.record(z.string(), z.record(z.string(), optionValue).nullable())]);
const steps = z.array(step);

/** Pipeline text; when `text` names a .yaml or .yml file, what that file says. Fails with HEW6002. */
export function readPipeline(text: string): string {
  return /\.ya?ml$/.test(text) ? pipelineOfYaml(nodeFiles.read(text), text) : text;
}

export function pipelineOfYaml(source: string, file: string): string {
  const parsed = steps.safeParse(parseYaml(source, file));
  if (!parsed.success) {
    fail('HEW6002', `'${file}' is not a list of passes`, {
      help: 'write one pass per line: "- canonicalize", or "- fuse: { epilogues: false }"',
    });
  }
  return parsed.data
    .flatMap((item) => (typeof item === 'string' ? [item] : Object.entries(item).map(stepText)))
    .join(',');
}

/** Broken syntax, and aliases that would multiply without end, are errors of the file. */
function parseYaml(source: string, file: string): unknown {
  try {
    return parse(source) as unknown;
  } catch (error) {
    return fail('HEW6002', `'${file}' is not valid YAML: ${(error as Error).message.split('\n')[0]}`);
  }
}

function stepText([name, options]: readonly [
  string,
  Readonly<Record<string, string | number | boolean>> | null,
]): string {
  const pairs = Object.entries(options ?? {}).map(([key, value]) => `${key}=${value}`);
  return pairs.length === 0 ? name : `${name}{${pairs.join(',')}}`;
}
