/**
 * The order from a module to something that runs: passes, lowering, emission, manifest. Bundles, checks and modules
 * that are run in memory all go this way. Backends are imported when they are needed: programs that only run models
 * start faster without Binaryen.
 */
import type { LoweredModule, WasmModule } from '../backends/wasm/compile.js';
import type { PackagedManifest } from '../backends/wasm/package.js';
import { byteDotOffset } from '../backends/wasm/runtime/byte-dot.js';
import type { WasmCode } from '../backends/wasm/runtime/manifest.js';
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
  /** Multiply integers with dot products of bytes; by default where the process that runs the code has them. */
  readonly byteDots?: boolean | undefined;
  /** Run Binaryen's optimiser (default true); a module that runs once is sooner done without. */
  readonly optimize?: boolean | undefined;
  /** How the weights lie, for a part of a module that has to compute as the whole does. */
  readonly layouts?: WeightLayouts | undefined;
}

/** Code for a lowered module. Fails with HEW6004. */
export async function emitModule(
  lowered: Module,
  { relaxed = false, byteDots = false, optimize = true, layouts }: EmitOptions = {},
): Promise<WasmModule> {
  const { emitWasm } = await import('../backends/wasm/compile.js');
  return emitWasm(lowered, { relaxed, byteDots, optimize, layouts });
}

/** Code with the same results for engines that can do more. */
export async function emitVariants(lowered: Module, options: EmitOptions = {}): Promise<WasmModule[]> {
  const { multipliesIntegers } = await import('../backends/wasm/compile.js');
  return multipliesIntegers(lowered) ? [await emitModule(lowered, { ...options, byteDots: true })] : [];
}

/** The code that is the fastest in this process. */
export async function emitForHere(lowered: Module, options: EmitOptions = {}): Promise<WasmModule> {
  const { byteDots = byteDotOffset() !== undefined } = options;
  const variants = byteDots ? await emitVariants(lowered, options) : [];
  return variants[0] ?? (await emitModule(lowered, options));
}

/** Bytes of memory that a lowered module needs when it is run as a whole, and how its weights lie in them. */
export async function memoryOf(lowered: Module): Promise<{ bytes: number; layouts: WeightLayouts }> {
  const { scheduleModule, weightLayouts } = await import('../backends/wasm/schedule.js');
  const layouts = weightLayouts(lowered);
  return { bytes: scheduleModule(lowered, layouts).bytes.total, layouts };
}

/** What a bundle of the code says of itself. */
export async function manifestOf(
  { module, schedule, pages, features }: WasmModule,
  options: { readonly variants?: readonly WasmCode[]; readonly tokenizerFile?: string | undefined } = {},
): Promise<PackagedManifest> {
  const { packageManifest } = await import('../backends/wasm/package.js');
  const { variants = [], tokenizerFile } = options;
  const compilerVersion = version;
  return packageManifest({ module, schedule, pages, features, variants, compilerVersion, tokenizerFile });
}
