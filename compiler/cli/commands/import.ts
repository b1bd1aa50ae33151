/** `hew import`: a model of another tool as spec and safetensors. */
import { type Command, Option } from 'commander';
import { type ImportReport, importModel } from '../../api.js';
import { assignment } from '../options.js';
import type { Output } from '../output.js';
import type { Session } from '../program.js';

interface Flags {
  readonly output?: string;
  readonly set?: Readonly<Record<string, string>>;
  readonly dtype?: 'f32' | 'f16' | 'bf16';
}

export function importCommand(program: Command, { output }: Session): void {
  program
    .command('import <path>')
    .description('write a model of another tool as a spec and safetensors')
    .option('-o, --output <dir>', 'directory to write (default: beside weights that need no conversion)')
    .option('--set <name=value>', 'a value the model leaves open; may be repeated', assignment)
    .addOption(
      new Option('--dtype <dtype>', 'store weights that were quantized in this type (default: f32)').choices([
        'f32',
        'f16',
        'bf16',
      ]),
    )
    .addHelpText('after', example)
    .action((path: string, flags: Flags) => run(path, flags, output));
}

const example = `
Examples:
  hew import Llama-3.2-1B
  hew import model.Q4_K_M.gguf --dtype f16 -o out/model
  hew import model.onnx -o out/model`;

async function run(path: string, flags: Flags, output: Output): Promise<void> {
  const progress = output.progress();
  try {
    const report = await importModel({
      path,
      output: flags.output,
      set: flags.set,
      dtype: flags.dtype,
      onProgress: (stage, done, total) => progress.update(stage, done, total),
    });
    progress.end();
    output.diagnostics(report.warnings);
    output.result({ ok: true, ...report }, text(report));
  } finally {
    progress.end();
  }
}

function text({ format, output, files }: ImportReport): string {
  return `${output}: ${files.join(', ')}, from ${format}\n`;
}
