/** The CUDA backend: lowers a module to kernels, plans memory, emits CUDA C++ and the plan of each entry. */
import { diagnostic, HewError } from '../../ir/diagnostics.js';
import { entriesOf, type Func, type Module, type Op } from '../../ir/module.js';
import type { PassReport } from '../../passes/pass.js';
import { type PipelineOptions, parsePipeline, runPipeline, type StepReport } from '../../passes/pipeline.js';
import type { ComputeDType } from '../narrow.js';
import type { NativeModule } from '../native/package.js';
import { calledKernels, planEntry } from '../native/plan.js';
import { scheduleModule } from '../native/schedule.js';
import { supports } from './capabilities.js';
import type { Library } from './emit/kernel.js';
import { emitKernels, sourceText } from './emit/module.js';
import { scratchOf } from './emit/table.js';
import { legalise } from './legalise.js';
import { mergeKernels } from './merge.js';
import { type Tuning, untuned } from './tuning.js';

/** Passes that follow legalisation; they end in a module whose work is all in kernels. */
const loweringPipeline = 'canonicalize,cse,dce,fuse{narrow_caches},dce';

export interface LoweredModule {
  readonly module: Module;
  readonly reports: readonly StepReport[];
}

export interface CudaModule extends NativeModule {
  /** CUDA C++ that needs no header. */
  readonly source: string;
}

/** Fails with HEW6003, listing every op that the target cannot run. */
function checkSupport(module: Module): void {
  const problems = new Map<string, Op>();
  for (const func of module.functions.values()) {
    for (const op of func.body) {
      const answer = supports(op);
      if (answer !== true && !isZeroPoint(op, func)) problems.set(`${op.name}: ${answer}`, op);
    }
  }
  if (problems.size === 0) return;
  throw new HewError(
    [...problems].map(([reason, op]) =>
      diagnostic('HEW6003', `cuda cannot run ${reason}`, { span: op.span }),
    ),
  );
}

/** Whether only integer layers read these zeros: legalisation leaves none of them. */
function isZeroPoint({ name, results }: Op, { body, results: returned }: Func): boolean {
  if (name !== 'full' || results.some((value) => returned.includes(value))) return false;
  const readers = body.filter(({ operands }) => operands.some((value) => results.includes(value)));
  return readers.every((reader) => reader.name === 'quantized_linear');
}

/** Legalises and fuses. */
export function lower(module: Module, compute: ComputeDType, options: PipelineOptions = {}): LoweredModule {
  checkSupport(module);
  const started = performance.now();
  const legal = legalise(module, compute);
  const report: StepReport = {
    pass: 'legalise',
    milliseconds: performance.now() - started,
    changed: legal !== module,
    ...emptyReport,
  };
  const { module: fused, reports } = runPipeline(legal, parsePipeline(loweringPipeline), options);
  return { module: mergeKernels(fused), reports: [report, ...reports] };
}

const emptyReport: PassReport = { counts: {}, notes: [] };

export interface EmitOptions {
  /** Stands before the names of the kernels. */
  readonly prefix?: string;
  readonly tuning?: Tuning;
}

/** Plans and emits a lowered module. */
export function emitCuda(module: Module, { prefix = '', tuning = untuned }: EmitOptions = {}): CudaModule {
  const schedule = scheduleModule(module, (kernel) => scratchOf(module, kernel, tuning));
  const used = new Set<Library>();
  if (addsOverRanks(module)) used.add('collectives');
  const kernels = emitKernels(module, calledKernels(module), used, tuning, prefix);
  const lookup = (callee: string) => kernels.get(callee) ?? noKernel(callee);
  return {
    module,
    schedule,
    source: sourceText(module.name, used, kernels.values()),
    plans: new Map(entriesOf(module).map(({ name }) => [name, planEntry(module, schedule, name, lookup)])),
  };
}

function addsOverRanks(module: Module): boolean {
  return [...module.functions.values()].some(({ body }) => body.some(({ name }) => name === 'all_reduce'));
}

function noKernel(callee: string): never {
  throw new Error(`no kernel was emitted for @${callee}`);
}
