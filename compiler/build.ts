/**
 * The order from a module to something that runs: passes, lowering, emission, manifest. Bundles, checks and modules
 * that are run in memory all go this way. Backends are imported when they are needed: programs that only run models
 * start faster without Binaryen.
 */
import type { LoweredModule, WasmModule } from '../backends/wasm/compile.js';
import type { PackagedManifest } from '../backends/wasm/package.js';
import type { WeightLayouts } from '../backends/wasm/schedule.js';
import type { Module } from '../ir/module.js';
import { type PipelineOptions, type PipelineStep, parsePipeline, runPipeline } from '../passes/pipeline.js';
import { standardPipeline } from '../passes/registry.js';
import { version } from './version.js';

/** Runs the passes and lowers what they made; reports are of both. */
export async function lowerModule(
  module: Module,
  steps: readonly PipelineStep[] = parsePipeline(standardPipeline),
  options: PipelineOptions = {},
): Promise<LoweredModule> {
  const { lower } = await import('../backends/wasm/compile.js');
  const simplified = runPipeline(module, steps, options);
  const lowered = lower(simplified.module, options);
  return { module: lowered.module, reports: [...simplified.reports, ...lowered.reports] };
}

export interface EmitOptions {
  readonly relaxed?: boolean | undefined;
  /** Run Binaryen's optimiser (default true); a module that runs once is sooner done without. */
  readonly optimize?: boolean | undefined;
  /** How the weights lie, for a part of a module that has to compute as the whole does. */
  readonly layouts?: WeightLayouts | undefined;
}

/** Code for a lowered module. Fails with HEW6004. */
export async function emitModule(
  lowered: Module,
  { relaxed = false, optimize = true, layouts }: EmitOptions = {},
): Promise<WasmModule> {
  const { emitWasm } = await import('../backends/wasm/compile.js');
  return emitWasm(lowered, { relaxed, optimize, layouts });
}

/** Bytes of memory that a lowered module needs when it is run as a whole, and how its weights lie in them. */
export async function memoryOf(lowered: Module): Promise<{ bytes: number; layouts: WeightLayouts }> {
  const { scheduleModule, weightLayouts } = await import('../backends/wasm/schedule.js');
  const layouts = weightLayouts(lowered);
  return { bytes: scheduleModule(lowered, layouts).bytes.total, layouts };
}

/** What a bundle of the code says of itself. */
export async function manifestOf(
  { module, schedule, pages }: WasmModule,
  options: { readonly relaxed?: boolean | undefined; readonly tokenizerFile?: string | undefined } = {},
): Promise<PackagedManifest> {
  const { packageManifest } = await import('../backends/wasm/package.js');
  const { relaxed = false, tokenizerFile } = options;
  return packageManifest({ module, schedule, pages, relaxed, compilerVersion: version, tokenizerFile });
}
