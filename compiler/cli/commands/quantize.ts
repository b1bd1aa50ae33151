/** `hew quantize`: a bundle with integer weights and activations, by passes that rest on calibration data. */
import type { Command } from 'commander';
import { type QuantizeReport, quantizeModel } from '../../api.js';
import { formatBytes, formatSeconds, renderTable } from '../format.js';
import {
  addModelOptions,
  addTargetOptions,
  integer,
  type ModelFlags,
  modelOptions,
  residentMemoryOption,
  type TargetFlags,
} from '../options.js';
import type { Output } from '../output.js';
import type { Session } from '../program.js';
import { resolveSpec } from '../source.js';

interface Flags extends ModelFlags, TargetFlags {
  readonly pipeline: string;
  readonly calib?: string;
  readonly calibTensor?: string;
  readonly eval?: string;
  readonly evalTensor?: string;
  readonly targetBits?: string;
  readonly onnx?: boolean;
  readonly workers?: number;
  readonly residentMemory?: number;
  readonly output: string;
}

export function quantizeCommand(program: Command, { output }: Session): void {
  const command = program
    .command('quantize <spec>')
    .description('make weights and activations integers, on calibration data, and write a bundle')
    .option('--pipeline <text>', 'passes to run, such as htg{groups=10},quantize{scheme=w8a8}', 'quantize')
    .option(
      '--calib <source>',
      'calibration data as for hew prune (default for diffusion models: sample:36,steps=50)',
    )
    .option('--calib-tensor <name>', 'tensor of the calibration file')
    .option('--target-bits <n>', 'mean bits of weights: layers that need it most stay in 8 bits')
    .addOption(residentMemoryOption())
    .option('--workers <n>', 'threads for calibration; results do not depend on them', integer)
    .option('--eval <file>', 'tokens to measure the quality on, before and after')
    .option('--eval-tensor <name>', 'tensor of the evaluation file')
    .option('--onnx', 'also write every entry as an ONNX file')
    .requiredOption('-o, --output <dir>', 'directory to write');
  addTargetOptions(addModelOptions(command))
    .addHelpText('after', example)
    .action((spec: string, flags: Flags) => run(resolveSpec(spec), flags, output));
}

const example = `
Examples:
  hew quantize examples/dit-1m/model.hew -o out/dit-w8a8 \\
    --pipeline "htg{groups=10},quantize{scheme=w8a8,activations=step}"
  hew quantize examples/pangu-2m/model.hew --calib generate:32x256 -o out/pangu-w4 \\
    --pipeline "quantize{scheme=w4,group=64,rounding=gptq}"`;

/** --target-bits is an option of the pass that stands last. */
function pipelineOf({ pipeline, targetBits }: Flags): string {
  if (targetBits === undefined) return pipeline;
  return pipeline.endsWith('}')
    ? pipeline.replace(/\}$/, `,target_bits=${targetBits}}`)
    : `${pipeline}{target_bits=${targetBits}}`;
}

async function run(spec: string, flags: Flags, output: Output): Promise<void> {
  const progress = output.progress();
  try {
    const report = await quantizeModel({
      ...modelOptions(spec, flags),
      pipeline: pipelineOf(flags),
      output: flags.output,
      calibration: flags.calib,
      calibrationTensor: flags.calibTensor,
      evaluation: flags.eval,
      evaluationTensor: flags.evalTensor,
      onnx: flags.onnx,
      target: flags.target,
      dtype: flags.dtype,
      chip: flags.chip,
      tuning: flags.tuning,
      workers: flags.workers,
      residentBytes: flags.residentMemory,
      onProgress: (stage, done, total) => progress.update(stage, done, total),
    });
    progress.end();
    output.result({ ok: true, ...report }, text(report));
  } finally {
    progress.end();
  }
}

function text({
  output,
  target,
  readBack,
  passes,
  bytes,
  nll,
  relativeError,
  seconds,
}: QuantizeReport): string {
  const steps = passes.map(({ pass, notes }) => `${pass}\n${notes.map((note) => `  ${note}\n`).join('')}`);
  const share = `${((bytes.after / bytes.f32) * 100).toFixed(1)} % of f32`;
  const rows = [
    ['parameters', formatBytes(bytes.before), formatBytes(bytes.after), share],
    ...(nll === undefined
      ? []
      : [['NLL', nll.before.toFixed(4), nll.after.toFixed(4), `+${(nll.after - nll.before).toFixed(4)}`]]),
    ...(relativeError === undefined
      ? []
      : [['relative error of the output', '', relativeError.toPrecision(3), '']]),
  ];
  const right = 'right' as const;
  const table = renderTable(
    [
      { title: '' },
      { title: 'before', align: right },
      { title: 'after', align: right },
      { title: '', align: right },
    ],
    rows,
  );
  const times = Object.entries(seconds).map(([stage, time]) => `${stage} ${formatSeconds(time)}`);
  const bundle =
    readBack === undefined ? `bundle for ${target}` : `bundle, read back with the same ${readBack}`;
  return `${steps.join('')}\n${table}\n${output}: ${bundle} (${times.join(', ')})\n`;
}
