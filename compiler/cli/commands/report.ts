/** `hew report`: what an entry of a model costs on an Ascend chip. */
import type { Command } from 'commander';
import { type AscendReport, cacheDirectory, readPipeline, reportModel } from '../../api.js';
import { formatBytes, renderTable } from '../format.js';
import { addModelOptions, assignment, integer, type ModelFlags, modelOptions } from '../options.js';
import type { Output } from '../output.js';
import type { Session } from '../program.js';
import { resolveSpec } from '../source.js';

interface Flags extends ModelFlags {
  readonly chip: string;
  readonly pipeline?: string;
  readonly entry: string;
  readonly symbol?: Readonly<Record<string, string>>;
  readonly state?: Readonly<Record<string, string>>;
}

export function reportCommand(program: Command, { output }: Session): void {
  const command = program
    .command('report <spec>')
    .description('predict what an entry costs on an Ascend chip: bytes by level, work, time')
    .option('--chip <name>', 'the chip', '910b3')
    .requiredOption('--entry <name>', 'entry point, such as prefill, decode or denoise')
    .option(
      '--symbol <name=n>',
      "value of a run-time symbol; may be repeated (default: each symbol's least)",
      assignment,
    )
    .option(
      '--state <name=n>',
      'value of an integer state, such as a position; may be repeated (default: 0)',
      assignment,
    )
    .option('--pipeline <text>', 'passes to run (see hew passes)');
  addModelOptions(command)
    .addHelpText('after', example)
    .action((spec: string, flags: Flags) => run(resolveSpec(spec), flags, output));
}

const example = `
The kernels run on a model of the chip on this machine, which needs g++. Weights are not read.

Example:
  hew report examples/pangu-2m/model.hew --entry prefill --symbol T=96`;

async function run(spec: string, flags: Flags, output: Output): Promise<void> {
  const integers = (values: Readonly<Record<string, string>> = {}): Record<string, number> =>
    Object.fromEntries(Object.entries(values).map(([name, text]) => [name, integer(text)]));
  const report = await reportModel({
    ...modelOptions(spec, flags),
    chip: flags.chip,
    entry: flags.entry,
    pipeline: flags.pipeline === undefined ? undefined : readPipeline(flags.pipeline),
    symbols: integers(flags.symbol),
    states: integers(flags.state),
    cache: cacheDirectory(output.terminal.env),
    onBuild: () => output.log('compiling the kernels with g++'),
  });
  output.result({ ok: true, ...report }, reportTable(report));
}

const microseconds = (seconds: number): string => (seconds * 1e6).toFixed(2);
const percent = (part: number | undefined): string =>
  part === undefined ? '' : `${Math.round(100 * part)} %`;

function reportTable({ chip, entry, kernels, totals }: AscendReport): string {
  const columns = [
    'runs',
    'blocks',
    'memory',
    'cores',
    'L1 to L0',
    'cube',
    'vector',
    'time (us)',
    'UB',
    'L1',
  ] as const;
  const rows = kernels.map((k) => [
    k.kernel,
    String(k.runs),
    String(k.blocks),
    formatBytes(k.gm_read + k.gm_written),
    formatBytes(k.total.gm_to_ub + k.total.ub_to_gm + k.total.gm_to_l1 + k.total.l0c_out),
    formatBytes(k.total.l1_to_l0),
    String(k.busiest.cube_cycles),
    String(k.busiest.vector_cycles),
    microseconds(k.predicted),
    percent(k.occupancy.UB),
    percent(k.occupancy.L1),
    k.bound,
  ]);
  const table = renderTable(
    [
      { title: 'kernel' },
      ...columns.map((title) => ({ title, align: 'right' as const })),
      { title: 'bound' },
    ],
    rows,
  );
  const summary = [
    `${entry} on ${chip}: ${totals.launches} launches, predicted ${microseconds(totals.predicted)} us`,
    `weights ${formatBytes(totals.weightBytes)}, memory ${formatBytes(totals.memoryBytes)}, cores ${formatBytes(totals.coreBytes)}, L1 to L0 ${formatBytes(totals.l1ToL0Bytes)}`,
    `reading the weights alone takes ${microseconds(totals.byteBound)} us: ratio ${(totals.predicted / totals.byteBound).toFixed(3)}`,
  ];
  return `${table}\n${summary.join('\n')}\n`;
}
