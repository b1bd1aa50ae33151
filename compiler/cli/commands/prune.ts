/** `hew prune`: a smaller model, by passes that rest on calibration data. */
import { type Command, Option } from 'commander';
import {
  cacheDirectory,
  type Figures,
  fail,
  type LayerFigures,
  type PassFigures,
  type PruneReport,
  pruneModel,
} from '../../api.js';
import { formatBytes, formatCount, formatSeconds, renderTable } from '../format.js';
import { addModelOptions, integer, type ModelFlags, modelOptions, residentMemoryOption } from '../options.js';
import type { Output } from '../output.js';
import type { Session } from '../program.js';
import { resolveSpec } from '../source.js';

interface Flags extends ModelFlags {
  readonly pipeline?: string;
  readonly targetParams?: string;
  readonly targetBytes?: string;
  readonly targetFlops?: string;
  readonly targetMs?: string;
  readonly calib: string;
  readonly calibTensor?: string;
  readonly calibWindow?: number;
  readonly calibWindows?: number;
  readonly eval?: string;
  readonly evalTensor?: string;
  readonly output: string;
  readonly bundleOnly?: boolean;
  readonly hf?: boolean;
  readonly residentMemory?: number;
  readonly cache: boolean;
}

export function pruneCommand(program: Command, { output }: Session): void {
  const command = program
    .command('prune <spec>')
    .description('make a model smaller, on calibration data, and write it as a model and as a bundle')
    .option('--pipeline <text>', 'passes to run, such as prune{layers=10,d=75%},slnp (see hew passes)')
    .option('--target-params <n>', 'first cut all axes to so many parameters: 8M, 70% or -30%')
    .option('--target-bytes <n>', 'the same for bytes of weights')
    .option('--target-flops <n>', 'the same for operations of the largest call')
    .option(
      '--target-ms <n>',
      'the same for the predicted time of decoding a token; see hew passes for the roofline',
    )
    .requiredOption(
      '--calib <source>',
      'calibration data: tokens (.safetensors, .u16, .u32), inputs by name (.safetensors), text (any other file), generate[:16x256,seed=0], or for diffusion models sample[:32,steps=20,seed=0]',
    )
    .requiredOption('-o, --output <dir>', 'directory to write')
    .option('--calib-tensor <name>', 'tensor of the calibration file')
    .option('--calib-window <n>', 'tokens per window of a text (default: as many as a call takes)', integer)
    .option('--calib-windows <n>', 'most windows to take (default: all)', integer)
    .option('--eval <file>', 'tokens to measure the quality on, before and after')
    .option('--eval-tensor <name>', 'tensor of the evaluation file')
    .addOption(
      new Option('--bundle-only', 'write the bundle, but no spec and no safetensors').conflicts('hf'),
    )
    .option('--hf', 'write a directory for transformers as well, below hf/')
    .addOption(residentMemoryOption())
    .option('--no-cache', 'neither read nor keep statistics of the calibration data in the cache directory');
  addModelOptions(command)
    .addHelpText('after', example)
    .action((spec: string, flags: Flags) => run(resolveSpec(spec), flags, output));
}

const example = `
Example:
  hew prune examples/pangu-2m/model.hew --calib calibration.safetensors -o out/small \\
    --pipeline "prune{layers=5},clap,prune{d=112,ffn=-12.5%},slnp,absorb-post-norm"
  hew prune examples/pangu-12m/model.hew --target-params 8M --pipeline refit \\
    --calib generate:16x256 -o out/budget`;

/** Limits become a budget pass in front of the pipeline. */
function pipelineOf(flags: Flags): string {
  const limits = (['params', 'bytes', 'flops', 'ms'] as const).flatMap((unit) => {
    const limit = flags[`target${unit[0]?.toUpperCase()}${unit.slice(1)}` as keyof Flags];
    return limit === undefined ? [] : [`${unit}=${limit}`];
  });
  const steps = [
    ...(limits.length > 0 ? [`budget{${limits.join(',')}}`] : []),
    ...(flags.pipeline === undefined ? [] : [flags.pipeline]),
  ];
  if (steps.length > 0) return steps.join(',');
  return fail('HEW6002', 'nothing says what to prune', {
    help: 'give --pipeline "prune{d=75%}", or a budget such as --target-params 70%',
  });
}

async function run(spec: string, flags: Flags, output: Output): Promise<void> {
  const progress = output.progress();
  try {
    const report = await pruneModel({
      ...modelOptions(spec, flags),
      pipeline: pipelineOf(flags),
      output: flags.output,
      calibration: flags.calib,
      calibrationTensor: flags.calibTensor,
      calibrationWindow: flags.calibWindow,
      calibrationWindows: flags.calibWindows,
      evaluation: flags.eval,
      evaluationTensor: flags.evalTensor,
      bundleOnly: flags.bundleOnly,
      huggingFace: flags.hf,
      residentBytes: flags.residentMemory,
      cacheDirectory: flags.cache ? cacheDirectory(output.terminal.env) : undefined,
      onProgress: (stage, done, total) => progress.update(stage, done, total),
    });
    progress.end();
    output.result({ ok: true, ...report }, text(report));
  } finally {
    progress.end();
  }
}

function text(report: PruneReport): string {
  const { output, before, after, passes, layers, written, withoutBundle, seconds } = report;
  const steps = passes.map(({ pass, notes }) => `${pass}\n${notes.map((note) => `  ${note}\n`).join('')}`);
  const bundle = withoutBundle === undefined ? ['bundle'] : [];
  const files = [...(written?.files ?? []), ...bundle].join(', ');
  const checked = written === undefined ? '' : '; read back, its outputs are the same';
  return `${steps.join('')}\n${passTable(before, passes)}\n${figuresTable(before, after)}${layersText(layers)}\n${output}: ${files}${checked} (${formatSeconds(seconds)})\n${withoutBundle === undefined ? '' : `no bundle: ${withoutBundle}\n`}`;
}

const right = 'right' as const;

/** The model after each pass. */
function passTable(before: Figures, passes: readonly PassFigures[]): string {
  const row = (name: string, { parameters, bytes, flops, nll }: Figures): string[] => [
    name,
    formatCount(parameters),
    formatBytes(bytes),
    formatCount(flops),
    ...(before.nll === undefined ? [] : [nll?.toFixed(4) ?? '']),
  ];
  const titles = ['parameters', 'weights', 'FLOPs', ...(before.nll === undefined ? [] : ['NLL'])];
  return renderTable(
    [{ title: 'after' }, ...titles.map((title) => ({ title, align: right }))],
    [row('nothing', before), ...passes.map(({ pass, after }) => row(pass, after))],
  );
}

/** Layers of a loop are alike in size, so one line says what each holds. */
function layersText(layers: readonly LayerFigures[]): string {
  const byLoop = [...Map.groupBy(layers, ({ loop }) => loop)];
  return byLoop
    .map(([loop, own]) => {
      const [{ parameters, bytes, flops }] = own as [LayerFigures];
      const each = `${formatCount(parameters)} parameters, ${formatBytes(bytes)}, ${formatCount(flops)} FLOPs`;
      return `each of ${own.length} turns of ${loop}: ${each}\n`;
    })
    .join('');
}

function figuresTable(before: Figures, after: Figures): string {
  const dims = Object.keys(before.dims).filter((name) => before.dims[name] !== after.dims[name]);
  const share = (a: number, b: number): string => `${((b / a) * 100).toFixed(1)} %`;
  const sized = (title: string, format: (n: number) => string, a: number, b: number): string[] => [
    title,
    format(a),
    format(b),
    share(a, b),
  ];
  const rows = [
    ...dims.map((name) => sized(name, String, before.dims[name] ?? 0, after.dims[name] ?? 0)),
    sized('parameters', formatCount, before.parameters, after.parameters),
    sized('weights', formatBytes, before.bytes, after.bytes),
    sized('FLOPs', formatCount, before.flops, after.flops),
    ...(before.nll === undefined || after.nll === undefined
      ? []
      : [['NLL', before.nll.toFixed(4), after.nll.toFixed(4), `+${(after.nll - before.nll).toFixed(4)}`]]),
  ];
  return renderTable(
    [
      { title: '' },
      { title: 'before', align: right },
      { title: 'after', align: right },
      { title: '', align: right },
    ],
    rows,
  );
}
