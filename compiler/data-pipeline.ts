/**
 * Pipelines with passes that need data. Each step says what it wants to know of the current module or of the one the
 * pipeline started from; that is measured with the calibration data, and the step is run with the answers.
 */
import { fail, HewError } from '../ir/diagnostics.js';
import { DimError } from '../ir/dim.js';
import { materialise, type TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import { InferError } from '../ir/op.js';
import { assertValid } from '../ir/verify.js';
import type { PassResult } from '../passes/pass.js';
import type { PipelineStep, StepReport } from '../passes/pipeline.js';
import type { Probe } from '../passes/probe.js';
import type { CalibrationData } from './calibration.js';
import { calibrationLoss } from './calibration-loss.js';
import { loadModule } from './in-memory.js';
import { ObservationCache } from './observation-cache.js';
import { observe, observing } from './observe.js';
import type { WorkDirectory } from './work-directory.js';

export interface DataPipelineOptions {
  readonly source: TensorSource | undefined;
  readonly data: CalibrationData;
  readonly onProgress?: ((stage: string, done: number, total: number) => void) | undefined;
  /** Called with the module after each step. */
  readonly onStep?:
    | ((step: PipelineStep, module: Module, report: StepReport) => Promise<void> | void)
    | undefined;
  readonly cache?: ObservationCache;
  /** See ExecutorOptions. */
  readonly residentBytes?: number | undefined;
  readonly workers?: number | undefined;
  /** Where passes keep what they have finished; `source` reads from it what they put there. */
  readonly work?: WorkDirectory | undefined;
}

/** Fails with HEW6009 for a pass that may not stand after an earlier one. */
export function checkOrder(steps: readonly PipelineStep[]): void {
  steps.forEach(({ pass }, i) => {
    for (const earlier of steps.slice(0, i)) {
      const why = pass.notAfter?.[earlier.pass.name];
      if (why === undefined) continue;
      fail('HEW6009', `${pass.name} cannot stand after ${earlier.pass.name}: ${why}`, {
        help: `write ${pass.name} before ${earlier.pass.name}`,
      });
    }
  });
}

/** Statistics of every call that the first step asks of the module it starts from. */
export function firstProbes(module: Module, steps: readonly PipelineStep[]): readonly Probe[] {
  const [first] = steps;
  const probes = first?.pass.data?.observe(module, first.options, { original: module }) ?? [];
  return probes.filter(({ every = 1 }) => every === 1);
}

/** Runs the steps in order and verifies the module after each. */
export async function runDataPipeline(
  module: Module,
  steps: readonly PipelineStep[],
  options: DataPipelineOptions,
): Promise<{ module: Module; reports: StepReport[] }> {
  checkOrder(steps);
  assertValid(module, 'building the module');
  const cache = options.cache ?? new ObservationCache();
  await observeOriginal(module, steps, { ...options, cache });
  let current = module;
  const reports: StepReport[] = [];
  for (const step of steps) {
    const { name } = step.pass;
    const started = performance.now();
    const { module: next, report, known = [] } = await runStep(current, module, step, { ...options, cache });
    for (const [probe, observation] of known) await cache.set(probe, options.data, observation);
    const milliseconds = performance.now() - started;
    if (next !== current) assertValid(next, `pass ${name}`);
    const { counts = {}, notes = [], details = {} } = report ?? {};
    const done: StepReport = { pass: name, milliseconds, changed: next !== current, counts, notes, details };
    reports.push(done);
    current = next;
    await options.onStep?.(step, current, done);
  }
  return { module: current, reports };
}

/**
 * One calibration run for all that the steps want of the original module (§6, step 1, of the reference). The module is
 * shown to them as a copy, so that a probe of the original is told apart from one of the module as it will be then.
 */
async function observeOriginal(
  module: Module,
  steps: readonly PipelineStep[],
  options: StepOptions,
): Promise<void> {
  const probes = steps.flatMap(({ pass, options: given }) => {
    try {
      return pass.data?.observe({ ...module }, given, { original: module }) ?? [];
    } catch (error) {
      // A step may fit the module only after the steps before it; it is asked again in its turn.
      if (error instanceof HewError) return [];
      throw error;
    }
  });
  const wanted = probes.filter((probe) => probe.module === module);
  if (wanted.length === 0) return;
  const { source, data, cache, residentBytes, workers, onProgress } = options;
  await observe(wanted, data, {
    source,
    cache,
    residentBytes,
    workers,
    onProgress: (done, total) => onProgress?.('statistics', done, total),
  });
}

type StepOptions = DataPipelineOptions & { readonly cache: ObservationCache };

async function runStep(
  module: Module,
  original: Module,
  { pass, options }: PipelineStep,
  settings: StepOptions,
): Promise<PassResult> {
  const { source, data, cache, residentBytes, workers, onProgress } = settings;
  try {
    if (pass.data === undefined) return pass.run(module, options);
    const probes = pass.data.observe(module, options, { original });
    const statistics = await observe(probes, data, {
      source,
      cache,
      residentBytes,
      workers,
      onProgress: (done, total) => onProgress?.(`${pass.name}: statistics`, done, total),
    });
    let evaluated = 0;
    return await pass.data.run(module, options, {
      original,
      statistics,
      calibration: data,
      journal: settings.work?.journal(pass.name, options, [module, original]),
      load: (part) => loadModule(part, source, observing),
      progress: (done, total) => onProgress?.(pass.name, done, total),
      weight: (owner, param, turn) => materialise(owner, param, turn, source),
      evaluate: (candidate, { first } = {}) => {
        evaluated += 1;
        const stage = `${pass.name}: candidate ${evaluated}`;
        const report = (done: number, total: number): void => onProgress?.(stage, done, total);
        return calibrationLoss(candidate, {
          source,
          data,
          original,
          first,
          residentBytes,
          workers,
          onProgress: report,
        });
      },
    });
  } catch (error) {
    if (error instanceof InferError || error instanceof DimError)
      fail('HEW5002', `in pass ${pass.name}: ${error.message}`);
    throw error;
  }
}
