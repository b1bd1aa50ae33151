/**
 * Makes a model smaller: runs a pipeline of pruning passes on calibration data, writes the result as a model (spec,
 * configuration, safetensors) and as a bundle, and checks that what was written computes what the passes made.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Outputs } from '../backends/wasm/runtime/load.js';
import { fail, HewError } from '../ir/diagnostics.js';
import { dimRange, type Func, type Module, modelDims } from '../ir/module.js';
import { symbolsOf } from '../ir/verify.js';
import { type PipelineStep, parsePipeline, runPipeline, type StepReport } from '../passes/pipeline.js';
import { passes as registered } from '../passes/registry.js';
import { hasChoices } from '../passes/split-loop.js';
import { observedEntry } from '../passes/structure.js';
import type { CalibrationData } from './calibration.js';
import { openCalibration } from './calibration-sources.js';
import { compileOpened, type ModelOptions, type OpenedModel, openModel } from './compile.js';
import { ContentStore } from './content-store.js';
import { checkOrder, runDataPipeline } from './data-pipeline.js';
import { evaluateWindows, readTokenFile } from './evaluate/tokens.js';
import { createExecutor, type Executor } from './executor.js';
import { exportHuggingFace } from './huggingface/export.js';
import { entryFlops, inspectModule } from './inspect.js';
import { ObservationCache } from './observation-cache.js';
import { checkReplaceable, writeResult } from './result-directory.js';
import { compilerFingerprint } from './version.js';
import { WorkDirectory } from './work-directory.js';
import { type WrittenModel, writeModel } from './write-model.js';

export interface PruneOptions extends ModelOptions {
  readonly pipeline: string;
  /** Directory that is made; one that an earlier run made is replaced. */
  readonly output: string;
  /** A file of tokens, inputs or text, or `generate:…` or `sample:…` (compiler/calibration-sources.ts). */
  readonly calibration: string;
  readonly calibrationTensor?: string | undefined;
  /** Tokens per window of a text, and the most windows to take. */
  readonly calibrationWindow?: number | undefined;
  readonly calibrationWindows?: number | undefined;
  /** Tokens to measure the quality on, before and after. */
  readonly evaluation?: string | undefined;
  readonly evaluationTensor?: string | undefined;
  /** Write no spec, for what specs cannot express. */
  readonly bundleOnly?: boolean | undefined;
  /** Write a directory for transformers as well, in `hf`. */
  readonly huggingFace?: boolean | undefined;
  /** See ExecutorOptions. */
  readonly residentBytes?: number | undefined;
  /** Where observations of earlier runs are, and those of this run are kept; none by default. */
  readonly cacheDirectory?: string | undefined;
  readonly onProgress?: ((stage: string, done: number, total: number) => void) | undefined;
}

/** Size and quality of a model. */
export interface Figures {
  readonly dims: Readonly<Record<string, number>>;
  readonly parameters: number;
  readonly bytes: number;
  readonly stateBytes: number;
  /** Of the largest call of the entry that calibration runs. */
  readonly flops: number;
  readonly nll: number | undefined;
}

/** One turn of a loop: what a layer holds and costs. */
export interface LayerFigures {
  readonly loop: string;
  /** Which turn of the model as it was. */
  readonly index: number;
  readonly parameters: number;
  readonly bytes: number;
  /** Of the largest call of the entry that calibration runs. */
  readonly flops: number;
}

/** What a pass did, and the model after it; the NLL where there are tokens to evaluate on. */
export interface PassFigures extends StepReport {
  readonly after: Figures;
}

export interface PruneReport {
  readonly output: string;
  readonly before: Figures;
  readonly after: Figures;
  readonly passes: readonly PassFigures[];
  /** Every layer that is left. */
  readonly layers: readonly LayerFigures[];
  readonly written: WrittenModel | undefined;
  /** Largest difference of the outputs after writing and reading back; 0 is the same bit for bit. */
  readonly reloadDifference: number | undefined;
  /** Why there is no bundle beside the model that was written. */
  readonly withoutBundle: string | undefined;
  readonly seconds: number;
}

const kind = { report: 'prune.json', command: 'hew prune' };
const huggingFaceFolder = 'hf';

/** Fails as opening, observing and writing do; nothing is left at `output` then. */
export async function pruneModel(options: PruneOptions): Promise<PruneReport> {
  const started = performance.now();
  const steps = parsePipeline(options.pipeline, registered);
  checkOrder(steps);
  const target = resolve(options.output);
  checkReplaceable(target, kind);
  const model = openModel(options);
  try {
    const identity = `${compilerFingerprint()} ${model.checkpoint?.fingerprint() ?? ''}`;
    const work = new WorkDirectory(`${target}.work`, identity);
    return await work.during(() => pruneOpened(model, steps, work, target, options, started));
  } finally {
    model.close();
  }
}

async function pruneOpened(
  model: OpenedModel,
  steps: readonly PipelineStep[],
  work: WorkDirectory,
  target: string,
  options: PruneOptions,
  started: number,
): Promise<PruneReport> {
  const { evaluation, evaluationTensor, residentBytes, onProgress } = options;
  const data = await openCalibration(model, options.calibration, {
    tensor: options.calibrationTensor,
    window: options.calibrationWindow,
    windows: options.calibrationWindows,
    onProgress,
  });
  const windows =
    evaluation === undefined ? undefined : readTokenFile(evaluation, { tensor: evaluationTensor });
  const source = work.source(model.source);
  const executorOf = (module: Module): Promise<Executor> => createExecutor(module, source, { residentBytes });
  const judge = async (stage: string, module: Module, executor?: Executor): Promise<Figures> => {
    if (windows === undefined) return figures(module);
    const report = (done: number, total: number): void => onProgress?.(stage, done, total);
    const running = executor ?? (await executorOf(module));
    return figures(module, (await evaluateWindows(running, module, windows, report)).nll);
  };
  const before = await judge('evaluation before', model.module);
  const passes: PassFigures[] = [];
  let reached = before;
  const { module: piped } = await runDataPipeline(model.module, steps, {
    source,
    data,
    cache: new ObservationCache({ store: observationStore(options, work), identity: work.identity }),
    work,
    residentBytes,
    onProgress,
    onStep: async ({ pass }, changed, report) => {
      // The last one is measured below, with the model that is written.
      const isLast = passes.length + 1 === steps.length;
      if (report.changed)
        reached = isLast ? figures(changed) : await judge(`evaluation after ${pass.name}`, changed);
      passes.push({ ...report, after: reached });
    },
  });
  // What only some turns need is not to be computed in the others.
  const module = hasChoices(piped) ? runPipeline(piped, parsePipeline('split-loop')).module : piped;
  const pruned = await executorOf(module);
  const outputs = await firstOutputs(pruned, module, data);
  checkFinite(outputs);
  const after = await judge('evaluation after', module, pruned);
  const last = passes.pop();
  if (last !== undefined) passes.push({ ...last, after });
  const result = { output: options.output, before, after, passes, layers: layerFigures(module) };
  const changed = { ...model, module, source };
  return write(target, changed, outputs, data, options, (writing) => ({
    ...result,
    ...writing,
    seconds: (performance.now() - started) / 1000,
  }));
}

/** Of all observations that are kept. */
const cacheBytes = 2 ** 30;

/** Without a cache, observations are kept for a run that goes on where this one is killed. */
function observationStore({ cacheDirectory }: PruneOptions, { store }: WorkDirectory): ContentStore {
  return cacheDirectory === undefined
    ? store
    : new ContentStore(join(cacheDirectory, 'observations'), cacheBytes);
}

/** All outputs of the first calibration call. */
async function firstOutputs(
  executor: Executor,
  module: Module,
  { entry, calls }: CalibrationData,
): Promise<Outputs> {
  const { outputs = [] } = module.functions.get(entry) as Func;
  const sequences = calls.slice(0, 1).map((call) => [{ entry, ...call }]);
  let found: Outputs = {};
  await executor.run(
    { sequences, outputs },
    {
      outputs: (_sequence, _call, values) => {
        found = values;
      },
    },
  );
  return found;
}

/** A model that computes values that are not finite is not written: NaN compares with nothing. */
function checkFinite(outputs: Outputs): void {
  const [bad] =
    Object.entries(outputs).find(([, values]) => !values.every((v) => Number.isFinite(Number(v)))) ?? [];
  if (bad === undefined) return;
  fail(
    'HEW6011',
    `output '${bad}' of the pruned model has values that are not finite on the calibration data`,
    {
      help: 'some weight of the checkpoint, or what it makes of the data, is NaN or infinite',
    },
  );
}

export function figures(module: Module, nll?: number): Figures {
  const { totals } = inspectModule(module);
  const entry = observedEntry(module);
  return {
    dims: Object.fromEntries(modelDims(module)),
    parameters: totals.parameters,
    bytes: totals.parameterBytes,
    stateBytes: totals.stateBytes,
    flops: entry === undefined ? 0 : entryFlops(module, entry, largestSymbols(module, entry)).total,
    nll,
  };
}

function largestSymbols(module: Module, entry: Func): Record<string, number> {
  return Object.fromEntries([...symbolsOf(module, entry)].map((name) => [name, dimRange(module, name).max]));
}

export function layerFigures(module: Module): LayerFigures[] {
  const entry = observedEntry(module);
  if (entry === undefined) return [];
  const symbols = largestSymbols(module, entry);
  const { parameters } = inspectModule(module);
  return [...module.loops].flatMap(([loop, { indices }]) => {
    const own = parameters.filter(({ name }) => module.params.get(name)?.loop === loop);
    const total = (key: 'elements' | 'bytes'): number =>
      own.reduce((sum, tensor) => sum + tensor[key] / tensor.count, 0);
    const body = entry.body.find((op) => op.name === 'repeat' && op.attrs.loop === loop);
    const callee = body?.name === 'repeat' ? module.functions.get(body.attrs.callee) : undefined;
    const flops = callee === undefined ? 0 : entryFlops(module, callee, symbols).total;
    return indices.map((index) => ({
      loop,
      index,
      parameters: total('elements'),
      bytes: total('bytes'),
      flops,
    }));
  });
}

async function write(
  target: string,
  model: OpenedModel,
  outputs: Outputs,
  data: CalibrationData,
  options: PruneOptions,
  reportOf: (writing: Writing) => PruneReport,
): Promise<PruneReport> {
  return writeResult(target, kind, async (directory) => {
    const bundle = { output: join(directory, 'bundle') };
    if (options.bundleOnly) {
      await compileOpened(model, bundle);
      return reportOf({ written: undefined, reloadDifference: undefined, withoutBundle: undefined });
    }
    const written = await writeModel(directory, model.module, options, model);
    return reportOf({
      written,
      ...(await bundleOfWritten(directory, bundle, model, outputs, data, options)),
    });
  });
}

type Writing = Pick<PruneReport, 'written' | 'reloadDifference' | 'withoutBundle'>;

/**
 * Compiles the model that was written, which spares computing its weights again, once it is certain that it gives the
 * outputs it should. A model that is too large for a bundle is written all the same.
 */
async function bundleOfWritten(
  directory: string,
  bundle: { readonly output: string },
  { module: { name } }: OpenedModel,
  wanted: Outputs,
  data: CalibrationData,
  { residentBytes, huggingFace }: PruneOptions,
): Promise<Omit<Writing, 'written'>> {
  const reopened = openModel({ spec: join(directory, 'model.hew') });
  try {
    const { module, source } = reopened;
    const found = await firstOutputs(await createExecutor(module, source, { residentBytes }), module, data);
    const difference = Math.max(0, ...Object.keys(wanted).map((key) => largest(wanted[key], found[key])));
    if (difference !== 0)
      fail('HEW9001', `the model that was written differs from the pruned one by ${difference}`);
    const withoutBundle = await unlessTooLarge(() =>
      compileOpened({ ...reopened, module: { ...module, name } }, bundle),
    );
    if (huggingFace) {
      const spec = join(directory, 'model.hew');
      await exportHuggingFace(reopened, { spec }, join(directory, huggingFaceFolder));
    }
    return { reloadDifference: difference, withoutBundle };
  } finally {
    reopened.close();
  }
}

/** Why there is no bundle, where the memory of WebAssembly is too small for one. */
async function unlessTooLarge(compile: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await compile();
    return undefined;
  } catch (error) {
    const tooLarge =
      error instanceof HewError ? error.diagnostics.find(({ code }) => code === 'HEW6004') : undefined;
    if (tooLarge === undefined) throw error;
    return tooLarge.message;
  }
}

function largest(
  a: ArrayLike<number | bigint> | undefined,
  b: ArrayLike<number | bigint> | undefined,
): number {
  if (a === undefined || b === undefined || a.length !== b.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(Number(a[i]) - Number(b[i]));
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
  }
  return worst;
}

/** The report that an earlier run left in its directory. */
export function readPruneReport(directory: string): PruneReport {
  return JSON.parse(readFileSync(join(directory, kind.report), 'utf8')) as PruneReport;
}
