/** The Ascend backend: lowers a module to kernels, plans memory, emits AscendC and the plan of each entry. */

import { diagnostic, HewError } from '../../ir/diagnostics.js';
import { dim } from '../../ir/dim.js';
import { entriesOf, type Func, type Module, modelDims, type Op } from '../../ir/module.js';
import { type PipelineOptions, parsePipeline, runPipeline, type StepReport } from '../../passes/pipeline.js';
import { kernelSymbols } from '../kernel-function.js';
import type { ComputeDType } from '../narrow.js';
import type { NativeModule } from '../native/package.js';
import { calledKernels, planEntry } from '../native/plan.js';
import { scheduleModule } from '../native/schedule.js';
import { supports } from './capabilities.js';
import { type ChipName, chips } from './chips.js';
import type { EmittedKernel } from './emit/kernel.js';
import { emitFunc } from './emit/table.js';
import { legalise } from './legalise.js';

/** Passes before legalisation, which looks for weights where they are stored, not behind casts. */
const preparingPipeline = 'canonicalize,dce';
/** Passes that follow legalisation; they end in a module whose work is all in kernels. */
const loweringPipeline = 'canonicalize,cse,dce,fuse,dce';

export interface AscendModule extends NativeModule {
  readonly chip: ChipName;
  /** In the order in which entries call them. */
  readonly kernels: readonly EmittedKernel[];
}

/** Fails with HEW6003, listing every op that the chip cannot run. */
function checkSupport(module: Module, chip: ChipName): void {
  const problems = new Map<string, Op>();
  for (const func of module.functions.values()) {
    for (const op of func.body) {
      const answer = supports(op, chips[chip]);
      if (answer !== true) problems.set(`${op.name}: ${answer}`, op);
    }
  }
  if (problems.size === 0) return;
  throw new HewError(
    [...problems].map(([reason, op]) =>
      diagnostic('HEW6003', `${chip} cannot run ${reason}`, { span: op.span }),
    ),
  );
}

/** Legalises and fuses. */
export function lower(
  module: Module,
  chip: ChipName,
  compute: ComputeDType,
  options: PipelineOptions = {},
): { readonly module: Module; readonly reports: readonly StepReport[] } {
  const prepared = runPipeline(module, parsePipeline(preparingPipeline), options);
  const started = performance.now();
  const legal = legalise(prepared.module, compute, chips[chip]);
  checkSupport(legal, chip);
  const report: StepReport = {
    pass: 'legalise',
    milliseconds: performance.now() - started,
    changed: legal !== prepared.module,
    counts: {},
    notes: [],
  };
  const { module: fused, reports } = runPipeline(legal, parsePipeline(loweringPipeline), options);
  return { module: fused, reports: [...prepared.reports, report, ...reports] };
}

/** Plans and emits a lowered module. */
export function emitAscend(module: Module, chip: ChipName): AscendModule {
  const emitted = new Map<string, EmittedKernel>(
    calledKernels(module).map((func) => [func.name, emitFunc(module, func, chips[chip])]),
  );
  const of = (name: string): EmittedKernel => emitted.get(name) ?? noKernel(name);
  const schedule = scheduleModule(module, (kernel) => dim(of(kernel.name).scratchBytes));
  const dims = modelDims(module);
  const lookup = (callee: string) => {
    const { name, blocks } = of(callee);
    return {
      launches: [{ name, grid: [{ count: blocks, per: 1 }] }],
      symbols: kernelSymbols(module.functions.get(callee) as Func, dims),
      alwaysTakesScratch: true,
    };
  };
  return {
    module,
    schedule,
    chip,
    kernels: [...emitted.values()],
    plans: new Map(entriesOf(module).map(({ name }) => [name, planEntry(module, schedule, name, lookup)])),
  };
}

function noKernel(callee: string): never {
  throw new Error(`no kernel was emitted for @${callee}`);
}
