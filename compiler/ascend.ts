/** Compiles for Ascend: the backend's kernels and plan, and the bundle. */

import { type ChipName, chips } from '../backends/ascendc/chips.js';
import type { AscendModule } from '../backends/ascendc/compile.js';
import type { ComputeDType } from '../backends/narrow.js';
import { didYouMean, fail } from '../ir/diagnostics.js';
import type { Module } from '../ir/module.js';
import { type PipelineOptions, type PipelineStep, runPipeline, type StepReport } from '../passes/pipeline.js';
import { type BundleSource, writeBundle } from './bundle.js';
import type { NativeCompileOptions, NativeReport } from './cuda.js';
import { version } from './version.js';

export const defaultChip: ChipName = '910b3';

/** Fails with HEW6212 for a name that is no chip. */
export function chipNamed(name: string): ChipName {
  if (Object.hasOwn(chips, name)) return name as ChipName;
  const names = Object.keys(chips);
  return fail('HEW6212', `there is no chip '${name}'`, {
    help: didYouMean(name, names) ?? `chips: ${names.join(', ')}`,
  });
}

/** Kernels and plan of a module, and what the passes did. Fails with HEW6003. */
export async function emitForAscend(
  module: Module,
  steps: readonly PipelineStep[],
  pipelineOptions: PipelineOptions,
  chip: ChipName,
  compute: ComputeDType,
): Promise<{ readonly ascend: AscendModule; readonly reports: readonly StepReport[] }> {
  const { emitAscend, lower } = await import('../backends/ascendc/compile.js');
  const simplified = runPipeline(module, steps, pipelineOptions);
  const lowered = lower(simplified.module, chip, compute, pipelineOptions);
  return { ascend: emitAscend(lowered.module, chip), reports: [...simplified.reports, ...lowered.reports] };
}

/** Fails with HEW6003, and as writing a bundle does. */
export async function compileForAscend(
  module: Module,
  steps: readonly PipelineStep[],
  pipelineOptions: PipelineOptions,
  chip: ChipName,
  options: NativeCompileOptions,
): Promise<NativeReport> {
  const { kernelFiles, packageAscend } = await import('../backends/ascendc/package.js');
  const { hostProgram } = await import('../backends/ascendc/host-program.js');
  const { weightFiles } = await import('../backends/native/package.js');
  const { ascend, reports } = await emitForAscend(module, steps, pipelineOptions, chip, options.compute);
  const manifest = packageAscend(ascend, options.compute, {
    compilerVersion: version,
    tokenizerFile: options.tokenizer && 'tokenizer.json',
    weights: options.weights,
  });
  const encoder = new TextEncoder();
  const texts = [...kernelFiles(ascend.kernels), ...hostProgram(manifest, chip, ascend.kernels)];
  const sources = texts.map(([name, text]) => [name, encoder.encode(text)] as const);
  const files = new Map<string, BundleSource>([
    ...sources,
    ...weightFiles(ascend, options.source, options.weights, options.onTensor),
    ...(options.tokenizer === undefined ? [] : [['tokenizer.json', options.tokenizer] as const]),
  ]);
  await writeBundle(options.output, manifest, files);
  const code = sources.reduce((bytes, [, source]) => bytes + source.length, 0);
  return { passes: reports, bytes: { ...ascend.schedule.bytes, code } };
}
