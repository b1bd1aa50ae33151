/** `hew export`: a model for other tools. */
import { type Command, Option } from 'commander';
import { type ExportReport, exportFormats, exportModel } from '../../api.js';
import { addModelOptions, type ModelFlags, modelOptions } from '../options.js';
import type { Output } from '../output.js';
import type { Session } from '../program.js';
import { resolveSpec } from '../source.js';

interface Flags extends ModelFlags {
  readonly format: string;
  readonly output: string;
  readonly entry?: string;
  readonly type?: 'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0';
}

export function exportCommand(program: Command, { output }: Session): void {
  const command = program
    .command('export <spec>')
    .description('write a model in the format of another tool')
    .addOption(
      new Option('--format <name>', 'what to write').choices([...exportFormats]).makeOptionMandatory(),
    )
    .requiredOption('-o, --output <path>', 'file or directory to write');
  addModelOptions(command)
    .addOption(
      new Option('--type <type>', 'GGUF: type of the matrices (default: F16)').choices([
        'F32',
        'F16',
        'BF16',
        'Q8_0',
        'Q4_0',
      ]),
    )
    .option('--entry <name>', 'ONNX: the entry to write, when the model has several')
    .addHelpText('after', example)
    .action((spec: string, flags: Flags) => run(resolveSpec(spec), flags, output));
}

const example = `
Examples:
  hew export out/small --format hf -o out/small-hf
  hew export out/small --format gguf --type Q8_0 -o small.gguf
  hew export examples/pangu-2m/model.hew --format onnx --entry prefill -o pangu.onnx`;

async function run(spec: string, flags: Flags, output: Output): Promise<void> {
  const progress = output.progress();
  try {
    const report = await exportModel({
      ...modelOptions(spec, flags),
      format: flags.format,
      output: flags.output,
      type: flags.type,
      entry: flags.entry,
      onProgress: (stage, done, total) => progress.update(stage, done, total),
    });
    progress.end();
    output.result({ ok: true, ...report }, text(report));
  } finally {
    progress.end();
  }
}

function text({ output, files, notes }: ExportReport): string {
  const listed = files.length === 0 ? '' : `: ${files.join(', ')}`;
  return `${output}${listed}\n${notes.map((note) => `  ${note}\n`).join('')}`;
}
