/**
 * `hew quantize`: runs a pipeline of quantization passes on calibration data and writes a bundle, with a report of what
 * was done, what it costs on the calibration data and how large the weights are.
 */
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { TypedArray } from '../backends/wasm/runtime/load.js';
import { fail } from '../ir/diagnostics.js';
import { entriesOf, type Module } from '../ir/module.js';
import { parsePipeline, runPipeline, type StepReport } from '../passes/pipeline.js';
import type { Probe } from '../passes/probe.js';
import { passes as registered, standardPipeline } from '../passes/registry.js';
import { checkFiles } from './bundle.js';
import type { CalibrationData } from './calibration.js';
import { calibrationLoss } from './calibration-loss.js';
import { openCalibration } from './calibration-sources.js';
import {
  type CompileOptions,
  checkTarget,
  checkTargetOptions,
  compileOpened,
  type ModelOptions,
  type OpenedModel,
  openModel,
  withStorage,
} from './compile.js';
import { checkOrder, firstProbes, runDataPipeline } from './data-pipeline.js';
import { evaluateTokens, readTokenFile } from './evaluate/tokens.js';
import { createExecutor, defaultResidentBytes } from './executor.js';
import { loadModule } from './in-memory.js';
import { inspectManifest, inspectModule } from './inspect.js';
import { loadBundle, readManifest } from './load.js';
import { ObservationCache } from './observation-cache.js';
import { exportOnnx } from './onnx/export/export.js';
import { checkReplaceable, writeResult } from './result-directory.js';

export interface QuantizeOptions
  extends ModelOptions,
    Pick<CompileOptions, 'target' | 'dtype' | 'chip' | 'tuning'> {
  readonly pipeline: string;
  /** Directory that is made; one that an earlier run made is replaced. */
  readonly output: string;
  /** As for `pruneModel`; by default a diffusion model draws samples. */
  readonly calibration?: string | undefined;
  readonly calibrationTensor?: string | undefined;
  /** Tokens to measure the quality on, before and after. */
  readonly evaluation?: string | undefined;
  readonly evaluationTensor?: string | undefined;
  /** Whether every entry is also written as an ONNX file, `onnx/ENTRY.onnx`. */
  readonly onnx?: boolean | undefined;
  /** Threads for calibration; as many as the machine runs at once by default. Results do not depend on them. */
  readonly workers?: number | undefined;
  /** See ExecutorOptions. */
  readonly residentBytes?: number | undefined;
  readonly onProgress?: ((stage: string, done: number, total: number) => void) | undefined;
}

export interface QuantizeReport {
  readonly output: string;
  readonly target: string;
  /** What was compared of a bundle for WebAssembly: outputs, or files where its memory is more than residentBytes. */
  readonly readBack: 'outputs' | 'files' | undefined;
  readonly pipeline: string;
  readonly passes: readonly StepReport[];
  /** Bytes of all parameters before and after the pipeline; `f32` are those before it if they were f32. */
  readonly bytes: { readonly f32: number; readonly before: number; readonly after: number };
  /** Mean NLL on the evaluation tokens. */
  readonly nll: { readonly before: number; readonly after: number } | undefined;
  /** ‖y - y₀‖ / ‖y₀‖ of the first output on calibration calls, for models without tokens. */
  readonly relativeError: number | undefined;
  readonly seconds: Readonly<Record<string, number>>;
}

const kind = { report: 'quantize.json', command: 'hew quantize' };
const defaultSamples = 'sample:36,steps=50';

/** Calls that the relative error is measured on. */
const callsJudged = 100;

/** Fails as opening, observing and writing do; nothing is left at `output` then. */
export async function quantizeModel(options: QuantizeOptions): Promise<QuantizeReport> {
  const steps = parsePipeline(options.pipeline, registered);
  checkOrder(steps);
  const { dtype, chip, tuning } = options;
  const bundleOptions = { target: options.target ?? 'wasm', dtype, chip, tuning };
  checkTarget(bundleOptions.target);
  checkTargetOptions(bundleOptions);
  const target = resolve(options.output);
  checkReplaceable(target, kind);
  const opened = openModel(withStorage(options));
  const stages = new Stages();
  try {
    const module = runPipeline(opened.module, parsePipeline(standardPipeline)).module;
    const model = { ...opened, module };
    const cache = new ObservationCache();
    const probes = firstProbes(module, steps);
    const data = await stages.timed('calibration data', () => calibrationOf(model, options, probes, cache));
    const { source } = opened;
    const { workers, residentBytes, onProgress } = options;
    const { module: changed, reports } = await stages.timed('passes', () =>
      runDataPipeline(module, steps, { source, data, cache, workers, residentBytes, onProgress }),
    );
    const quality = await stages.timed('evaluation', () => judge(model, changed, data, options));
    return await writeResult(target, kind, async (directory) => {
      const bundle = join(directory, 'bundle');
      await stages.timed('bundle', () =>
        compileOpened(
          { ...opened, module: changed },
          {
            ...bundleOptions,
            output: bundle,
            onProgress: ({ stage, done, total }) => onProgress?.(stage, done, total),
          },
        ),
      );
      const readBack =
        bundleOptions.target === 'wasm'
          ? await stages.timed('reload', () => checkReload(bundle, changed, opened, data, residentBytes))
          : undefined;
      if (options.onnx === true)
        await stages.timed('onnx', () => writeOnnx({ module: changed, source }, join(directory, 'onnx')));
      return {
        output: options.output,
        target: bundleOptions.target,
        readBack,
        pipeline: options.pipeline,
        passes: reports,
        bytes: bytesOf(module, changed),
        ...quality,
        seconds: stages.seconds,
      };
    });
  } finally {
    opened.close();
  }
}

async function writeOnnx(model: Pick<OpenedModel, 'module' | 'source'>, directory: string): Promise<void> {
  await mkdir(directory);
  for (const { name } of entriesOf(model.module))
    await exportOnnx(model, { output: join(directory, `${name}.onnx`), entry: name });
}

function bytesOf(module: Module, changed: Module): QuantizeReport['bytes'] {
  const { parameters, parameterBytes } = inspectModule(module).totals;
  return { f32: 4 * parameters, before: parameterBytes, after: inspectModule(changed).totals.parameterBytes };
}

/** How long each stage took. */
class Stages {
  readonly seconds: Record<string, number> = {};

  async timed<T>(stage: string, work: () => T | Promise<T>): Promise<T> {
    const started = performance.now();
    const result = await work();
    this.seconds[stage] = (performance.now() - started) / 1000;
    return result;
  }
}

function calibrationOf(
  model: OpenedModel,
  options: QuantizeOptions,
  probes: readonly Probe[],
  cache: ObservationCache,
): Promise<CalibrationData> {
  const isDiffusion = model.module.sampler?.kind === 'diffusion';
  const from = options.calibration ?? (isDiffusion ? defaultSamples : undefined);
  if (from === undefined) {
    return fail('HEW6011', 'a language model needs calibration data', {
      help: 'give tokens or text with --calib, or let the model write it: --calib generate:32x512',
    });
  }
  const { calibrationTensor: tensor, workers, residentBytes, onProgress } = options;
  return openCalibration(model, from, { tensor, probes, cache, workers, residentBytes, onProgress });
}

async function judge(
  { module, source }: OpenedModel,
  changed: Module,
  data: CalibrationData,
  { evaluation, evaluationTensor, workers, residentBytes, onProgress }: QuantizeOptions,
): Promise<Pick<QuantizeReport, 'nll' | 'relativeError'>> {
  if (data.windows === undefined) {
    const report = (done: number, total: number): void => onProgress?.('evaluation', done, total);
    const settings = {
      source,
      data,
      original: module,
      first: callsJudged,
      workers,
      residentBytes,
      onProgress: report,
    };
    return { nll: undefined, relativeError: await calibrationLoss(changed, settings) };
  }
  if (evaluation === undefined) return { nll: undefined, relativeError: undefined };
  const windows = readTokenFile(evaluation, { tensor: evaluationTensor });
  const nllOf = async (judged: Module, stage: string): Promise<number> =>
    evaluateTokens(await loadModule(judged, source), windows, (done, total) =>
      onProgress?.(stage, done, total),
    ).nll;
  const before = await nllOf(module, 'evaluation before');
  return { nll: { before, after: await nllOf(changed, 'evaluation after') }, relativeError: undefined };
}

/**
 * The bundle on disk computes what the module does, bit for bit; of one that does not fit `residentBytes`, the files are what
 * was written. Fails with HEW9001.
 */
async function checkReload(
  bundle: string,
  module: Module,
  { source }: OpenedModel,
  { entry, calls: [call] }: CalibrationData,
  residentBytes = defaultResidentBytes,
): Promise<'outputs' | 'files'> {
  const { memoryBytes } = inspectManifest(await readManifest(bundle));
  const [output] = module.functions.get(entry)?.outputs ?? [];
  if (call === undefined || output === undefined || memoryBytes > residentBytes) {
    await checkFiles(bundle);
    return 'files';
  }
  const run = { sequences: [[{ entry, ...call }]], outputs: [output] };
  const wanted: TypedArray[] = [];
  const executor = await createExecutor(module, source, { residentBytes });
  await executor.run(run, {
    outputs: (_sequence, _call, values) => wanted.push(values[output] as TypedArray),
  });
  const found = (await loadBundle(bundle)).run(entry, call.inputs, { outputs: [output] })[output];
  const same = wanted[0]?.length === found?.length && wanted[0]?.every((v, i) => Object.is(v, found?.[i]));
  if (same !== true) fail('HEW9001', 'the bundle that was written differs from the quantized model');
  return 'outputs';
}
