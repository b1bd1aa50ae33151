/** The WebAssembly backend: lowers a module to kernels, plans memory, emits code. */
import { diagnostic, fail, HewError } from '../../ir/diagnostics.js';
import type { Module, Op } from '../../ir/module.js';
import type { PassReport } from '../../passes/pass.js';
import { type PipelineOptions, parsePipeline, runPipeline, type StepReport } from '../../passes/pipeline.js';
import { supports } from './capabilities.js';
import { emitModule, memoryPages } from './emit/module.js';
import { legalise } from './legalise.js';
import { scheduleModule, type WasmSchedule, type WeightLayouts } from './schedule.js';

/** Passes that follow legalisation; they end in a module whose work is all in kernels. */
const loweringPipeline =
  'canonicalize,cse,dce,fuse{quantized_rows,attention_epilogues,constant_operands},dce';

/** Pages of a 32-bit memory. */
const maxPages = 65536;

export interface WasmOptions {
  /** Emit fused multiply-add, of relaxed SIMD: faster, and results may differ in the last bit between machines. */
  readonly relaxed: boolean;
  /** Multiply integers with dot products of bytes, for engines where these are exact: faster, the same results. */
  readonly byteDots?: boolean | undefined;
  /** Run Binaryen's optimiser (default true). */
  readonly optimize?: boolean;
  /** How the weights lie, for a part of a module that has to compute as the whole does. */
  readonly layouts?: WeightLayouts | undefined;
}

export interface LoweredModule {
  readonly module: Module;
  readonly reports: readonly StepReport[];
}

export interface WasmModule {
  readonly module: Module;
  readonly schedule: WasmSchedule;
  readonly code: Uint8Array;
  readonly pages: number;
  /** What the code needs of an engine, as the loader names it. */
  readonly features: readonly string[];
}

/** Fails with HEW6003, listing every op that the target cannot run. */
export function checkSupport(module: Module): void {
  const problems = new Map<string, Op>();
  for (const func of module.functions.values()) {
    for (const op of func.body) {
      const answer = supports(op);
      if (answer !== true) problems.set(`${op.name}: ${answer}`, op);
    }
  }
  if (problems.size === 0) return;
  throw new HewError(
    [...problems].map(([reason, op]) =>
      diagnostic('HEW6003', `wasm cannot run ${reason}`, { span: op.span }),
    ),
  );
}

/** Legalises and fuses. */
export function lower(module: Module, options: PipelineOptions = {}): LoweredModule {
  checkSupport(module);
  const started = performance.now();
  const legal = legalise(module);
  const report: StepReport = {
    pass: 'legalise',
    milliseconds: performance.now() - started,
    changed: legal !== module,
    ...emptyReport,
  };
  const { module: fused, reports } = runPipeline(legal, parsePipeline(loweringPipeline), options);
  return { module: fused, reports: [report, ...reports] };
}

const emptyReport: PassReport = { counts: {}, notes: [] };

/** Plans and emits a lowered module. Fails with HEW6004 when it does not fit a 32-bit memory. */
export function emitWasm(module: Module, options: WasmOptions): WasmModule {
  const schedule = scheduleModule(module, options.layouts);
  if (memoryPages(schedule) > maxPages) tooLarge(schedule);
  return { module, schedule, ...emitModule(module, schedule, options), features: featuresOf(options) };
}

function featuresOf({ relaxed, byteDots = false }: WasmOptions): string[] {
  return ['simd128', ...(relaxed ? ['relaxed-simd'] : []), ...(byteDots ? ['byte-dot'] : [])];
}

/** Whether `byteDots` makes a difference. */
export function multipliesIntegers(module: Module): boolean {
  return [...module.functions.values()].some(({ body }) => body.some((op) => op.name === 'quantized_linear'));
}

function tooLarge({ bytes }: WasmSchedule): never {
  const gib = (n: number): string => `${(n / 2 ** 30).toFixed(2)} GiB`;
  return fail('HEW6004', `the model needs ${gib(bytes.total)} of memory, WebAssembly has 4 GiB`, {
    notes: [
      `weights ${gib(bytes.weights)}, states ${gib(bytes.states)}, inputs and outputs ${gib(bytes.io)}, intermediates ${gib(bytes.arena)}`,
    ],
    help: 'use a narrower dtype for the weights, a shorter context, or a smaller bound of the run-time symbols',
  });
}
