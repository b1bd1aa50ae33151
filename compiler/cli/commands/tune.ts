/** `hew tune`: measured choices for the GPU kernels of a model. */
import type { Command } from 'commander';
import {
  type ComputeDType,
  cacheDirectory,
  openGpu,
  readPipeline,
  type TuneReport,
  tune,
  tunedTimes,
} from '../../api.js';
import { formatSeconds, renderTable } from '../format.js';
import {
  addModelOptions,
  assignment,
  type Device,
  dtypeOption,
  gpuDevice,
  integer,
  integerList,
  type ModelFlags,
  modelOptions,
  nameList,
} from '../options.js';
import type { Output } from '../output.js';
import type { Session } from '../program.js';
import { resolveSpec } from '../source.js';

interface Flags extends ModelFlags {
  readonly output: string;
  readonly device: Device;
  readonly dtype?: ComputeDType;
  readonly pipeline?: string;
  readonly symbol?: Readonly<Record<string, string>>;
  readonly kinds?: string[];
  readonly position?: number;
}

export function tuneCommand(program: Command, { output }: Session): void {
  const command = program
    .command('tune <spec>')
    .description('measure the GPU kernels of a model, for --tuning of later compiles')
    .option('-o, --output <file>', 'file of choices; what it already has stays', 'tuning.json')
    .option('--device <name>', 'the GPU to measure on: cuda, cuda:1, …', gpuDevice, {
      target: 'cuda',
      index: 0,
    })
    .option(
      '--symbol <name=list>',
      "values of a run-time symbol, such as B=1,16; may be repeated (default: each symbol's greatest)",
      assignment,
    )
    .option('--position <n>', 'position of attention of one token (default: half of its cache)', integer)
    .option('--kinds <names>', 'kinds of kernels to measure (default: all)', nameList)
    .addOption(dtypeOption())
    .option('--pipeline <text>', 'passes to run (see hew passes)');
  addModelOptions(command)
    .addHelpText('after', example)
    .action((spec: string, flags: Flags) => run(resolveSpec(spec), flags, output));
}

const example = `
Weights are not read: operands are made up. Kernels are compiled by nvcc where it is installed.

Examples:
  hew tune examples/dit-10m/model.hew --symbol B=16 -o tuning.json
  hew compile examples/dit-10m/model.hew --target cuda --tuning tuning.json -o out/dit-10m`;

async function run(spec: string, flags: Flags, output: Output): Promise<void> {
  const lists = Object.entries(flags.symbol ?? {}).map(([name, text]) => [name, integerList(text)]);
  const progress = output.progress();
  try {
    const gpu = await openGpu({
      cache: cacheDirectory(output.terminal.env),
      device: flags.device.index,
      onBuild: () => output.log('compiling the native runtime with g++'),
    });
    const report = await tune(
      {
        ...modelOptions(spec, flags),
        output: flags.output,
        dtype: flags.dtype,
        pipeline: flags.pipeline === undefined ? undefined : readPipeline(flags.pipeline),
        symbols: Object.fromEntries(lists),
        kinds: flags.kinds,
        position: flags.position,
        onProgress: (stage, done, total) => progress.update(stage, done, total),
      },
      gpu,
    );
    progress.end();
    for (const { key, reason } of report.failed) output.log(`not measured: ${key}\n  ${reason}`);
    output.result({ ok: true, ...report }, text(report));
  } finally {
    progress.end();
  }
}

const fields = (record: Readonly<Record<string, unknown>>): string =>
  Object.entries(record)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');

function text({ output, gpu, entries, failed, seconds }: TuneReport): string {
  const right = 'right' as const;
  const rows = entries.map((entry) => {
    const { standard, chosen } = tunedTimes(entry);
    const refused = entry.measured.filter((own) => own.refused !== undefined).length;
    return [
      entry.kind,
      fields(entry.shape),
      `${entry.measured.length - refused} of ${entry.measured.length}`,
      standard.toFixed(2),
      chosen.toFixed(2),
      (standard / chosen).toFixed(3),
      entry.whole?.toFixed(3) ?? '',
      fields(entry.choice),
    ];
  });
  const table = renderTable(
    [
      { title: 'kind' },
      { title: 'shape' },
      { title: 'measured', align: right },
      { title: 'default (us)', align: right },
      { title: 'chosen (us)', align: right },
      { title: 'ratio', align: right },
      { title: 'model', align: right },
      { title: 'choice' },
    ],
    rows,
  );
  const lost = failed.length === 0 ? '' : `, ${failed.length} not measured`;
  return `${table}\n${output}: ${entries.length} shapes on ${gpu.name} (${gpu.architecture})${lost}, in ${formatSeconds(seconds)}\n`;
}
