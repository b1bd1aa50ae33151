/** `hew compile`: a spec to a bundle. */
import { basename, dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { type CompileReport, compile } from '../../api.js';
import { formatBytes, formatSeconds, renderTable } from '../format.js';
import { addCompileOptions, type CompileFlags, compileOptions, nameList } from '../options.js';
import type { Output } from '../output.js';
import type { Session } from '../program.js';
import { resolveSpec } from '../source.js';

interface Flags extends CompileFlags {
  readonly output?: string;
  readonly printAfter?: string[];
  readonly timePasses?: boolean;
  readonly withoutWeights?: boolean;
  readonly tensorParallel?: number;
}

export function compileCommand(program: Command, { output }: Session): void {
  const command = program
    .command('compile <spec>')
    .description('compile a model into a bundle')
    .option('-o, --output <dir>', 'directory of the bundle (default: out/<name of the model>)');
  addCompileOptions(command)
    .option(
      '--without-weights',
      'a GPU bundle without the weights, whose runtime can make some up to be measured',
    )
    .option('--tensor-parallel <ranks>', 'split the model over so many devices: one bundle for each', Number)
    .option(
      '--print-after <names>',
      'print the IR on stderr after these passes, or all, where they changed it',
      nameList,
    )
    .option('--time-passes', 'print what each pass did and how long it took')
    .addHelpText('after', example)
    .action((spec: string, flags: Flags) => run(resolveSpec(spec), flags, output));
}

const example = `
Examples:
  hew compile examples/pangu-2m/model.hew -o out/pangu-2m
  hew compile examples/pangu/pangu.hew --config my/config.json --weights my/model.safetensors -o out/my`;

async function run(spec: string, flags: Flags, output: Output): Promise<void> {
  const progress = output.progress();
  const { printAfter } = flags;
  try {
    const report = await compile({
      ...compileOptions(spec, flags),
      output: flags.output ?? defaultOutput(spec),
      withWeights: flags.withoutWeights !== true,
      tensorParallel: flags.tensorParallel,
      printAfter: printAfter?.includes('all') ? 'all' : printAfter,
      onDump: (pass, text) => output.log(`// after ${pass}\n${text}`),
      onProgress: ({ stage, done, total }) => progress.update(stage, done, total),
    });
    progress.end();
    output.diagnostics(report.warnings);
    if (flags.timePasses) output.log(passTable(report));
    output.result({ ok: true, ...report }, summary(report));
  } finally {
    progress.end();
  }
}

/** `examples/pangu-2m/model.hew` goes to `out/pangu-2m`. */
function defaultOutput(spec: string): string {
  const path = resolve(spec);
  const name = basename(path).replace(/\.(hew|onnx)$/i, '');
  return join('out', name === 'model' ? basename(dirname(path)) : name);
}

function summary({ output, bytes, seconds }: CompileReport): string {
  const parts = [
    `weights ${formatBytes(bytes.weights)}`,
    `code ${formatBytes(bytes.code)}`,
    `memory ${formatBytes(bytes.total)} (states ${formatBytes(bytes.states)}, intermediates ${formatBytes(bytes.arena)})`,
  ];
  return `${output}: ${parts.join(', ')}, compiled in ${formatSeconds(seconds)}\n`;
}

function passTable({ passes }: CompileReport): string {
  const rows = passes.map(({ pass, milliseconds, changed, counts, notes }) => [
    pass,
    milliseconds.toFixed(1),
    changed ? 'yes' : 'no',
    [...Object.entries(counts).map(([name, count]) => `${name} ${count}`), ...notes].join(', '),
  ]);
  return renderTable(
    [{ title: 'pass' }, { title: 'ms', align: 'right' }, { title: 'changed' }, { title: 'what it did' }],
    rows,
  );
}
