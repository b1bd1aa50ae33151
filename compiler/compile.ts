/**
 * The driver: from files to a bundle. `openModel` reads a spec, its configuration and its checkpoint into a module;
 * `compile` runs the passes and a backend and writes the bundle.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { untuned } from '../backends/cuda/tuning.js';
import type { ComputeDType } from '../backends/narrow.js';
import type { WasmModule } from '../backends/wasm/compile.js';
import { type Diagnostic, diagnostic, didYouMean, fail, HewError } from '../ir/diagnostics.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import { printModule } from '../ir/print.js';
import type { Pass } from '../passes/pass.js';
import {
  type PipelineOptions,
  type PipelineStep,
  parsePipeline,
  type StepReport,
} from '../passes/pipeline.js';
import { passes as registeredPasses, standardPipeline } from '../passes/registry.js';
import { chipNamed, compileForAscend, defaultChip } from './ascend.js';
import { writeNewDirectory } from './atomic-write.js';
import { emitModule, emitVariants, lowerModule, manifestOf } from './build.js';
import type { BundleSource } from './bundle.js';
import { writeBundle } from './bundle.js';
import { type Checkpoint, openCheckpoint } from './checkpoint/checkpoint.js';
import { tensorSource } from './checkpoint/dtypes.js';
import { compileForCuda, type NativeCompileOptions } from './cuda.js';
import { elaborate, type References, specReferences } from './frontend/elaborate.js';
import { nodeFiles } from './frontend/files.js';
import { isOnnxPath, openOnnx } from './onnx/model.js';
import { createTokenizer } from './tokenizer.js';
import { choicesIn, readTuning } from './tuning/file.js';
import { compilerFingerprint } from './version.js';

/** What decides a model: paths are relative to the working directory. */
export interface ModelOptions {
  /** A `.hew` or `.onnx` file. */
  readonly spec: string;
  /** JSON configuration; default is the one the spec names. */
  readonly config?: string | undefined;
  /** Configuration values that win over the JSON, as text. */
  readonly set?: Readonly<Record<string, string>> | undefined;
  /** A safetensors file, an index, or a directory; default is the one the spec names. */
  readonly weights?: string | undefined;
  /** Storage dtype of floating-point weights; default is the checkpoint's own. */
  readonly weightsDtype?: 'f32' | 'f16' | 'bf16' | undefined;
}

export interface OpenedModel {
  readonly module: Module;
  readonly checkpoint: Checkpoint | undefined;
  readonly source: TensorSource | undefined;
  readonly tokenizerFile: string | undefined;
  readonly warnings: readonly Diagnostic[];
  close(): void;
}

export const targets = ['wasm', 'cuda', 'ascendc'] as const;

export interface CompileOptions extends ModelOptions {
  /** Directory of the bundle. */
  readonly output: string;
  readonly target?: string | undefined;
  /** Passes to run before the backend's own; default `standardPipeline`. */
  readonly pipeline?: string | undefined;
  readonly relaxedSimd?: boolean | undefined;
  /** What kernels of native targets compute in; default bf16 for CUDA, f16 for Ascend. */
  readonly dtype?: ComputeDType | undefined;
  /** The Ascend chip to compile for; default `defaultChip`. */
  readonly chip?: string | undefined;
  /** A file of choices for GPU kernels, which `hew tune` wrote. */
  readonly tuning?: string | undefined;
  /** Over how many GPUs to split the model: `output` gets one bundle for each, rank-0, rank-1, … (docs/cuda.md). */
  readonly tensorParallel?: number | undefined;
  /** False leaves the weights out of a bundle for a GPU, whose runtime can make some up for measurements. */
  readonly withWeights?: boolean | undefined;
  readonly printAfter?: readonly string[] | 'all' | undefined;
  readonly onDump?: ((pass: string, text: string) => void) | undefined;
  readonly onProgress?:
    | ((event: { readonly stage: string; readonly done: number; readonly total: number }) => void)
    | undefined;
  /** Passes the pipeline may name beside the registered ones. */
  readonly passes?: readonly Pass[] | undefined;
}

export interface CompileReport {
  readonly output: string;
  readonly passes: readonly StepReport[];
  /** Sizes of the parts of the memory image and of the code, in bytes. */
  readonly bytes: {
    readonly weights: number;
    readonly states: number;
    readonly io: number;
    readonly arena: number;
    readonly total: number;
    readonly code: number;
  };
  readonly seconds: number;
  readonly warnings: readonly Diagnostic[];
}

/** Reads spec, configuration and checkpoint. Fails with every error found, as one HewError. */
export function openModel(options: ModelOptions): OpenedModel {
  return isOnnxPath(options.spec) ? openOnnxModel(options) : openSpec(options);
}

/** An ONNX model holds its sizes and weights itself; `set` is about its symbolic dimensions. */
function openOnnxModel({ spec, config, set, weights, weightsDtype }: ModelOptions): OpenedModel {
  const given = config ?? weights;
  if (given !== undefined) {
    fail(
      'HEW3111',
      `'${given}' cannot be used with an ONNX model, which holds its sizes and weights itself`,
      {
        help: 'give its symbolic dimensions with --set',
      },
    );
  }
  const { store, ...opened } = openOnnx(spec, { set, weightsDtype });
  return { ...opened, checkpoint: store, close: () => store.close() };
}

function openSpec(options: ModelOptions): OpenedModel {
  const references = specReferences(options.spec, nodeFiles);
  const weights = options.weights ?? existing(references.weights);
  const checkpoint = weights === undefined ? undefined : openCheckpoint(weights);
  try {
    const { module, warnings } = elaborateModel(options, checkpoint);
    const tokenizerFile = findTokenizer(references, weights);
    return {
      module,
      checkpoint,
      source: checkpoint === undefined ? undefined : tensorSource(checkpoint),
      tokenizerFile,
      warnings,
      close: () => checkpoint?.close(),
    };
  } catch (error) {
    checkpoint?.close();
    throw error;
  }
}

/** A checkpoint the spec names may be absent: the model can be inspected without it. */
function existing(path: string | undefined): string | undefined {
  return path !== undefined && existsSync(path) ? path : undefined;
}

function elaborateModel(
  options: ModelOptions,
  checkpoint: Checkpoint | undefined,
): { module: Module; warnings: Diagnostic[] } {
  const { module, diagnostics, weightsUsed } = elaborate(options.spec, {
    files: nodeFiles,
    config: {
      ...(options.config === undefined ? {} : { json: readConfig(options.config) }),
      overrides: options.set ?? {},
    },
    tensors: checkpoint && {
      tensor: (name) => tensorInfo(checkpoint, name),
      names: () => checkpoint.tensors.keys(),
    },
    weightsDType: options.weightsDtype,
  });
  if (module === undefined) throw new HewError(diagnostics);
  const unused =
    checkpoint === undefined ? [] : [...checkpoint.tensors.keys()].filter((name) => !weightsUsed.has(name));
  return { module, warnings: [...diagnostics, ...unusedWarning(unused)] };
}

function tensorInfo(
  checkpoint: Checkpoint,
  name: string,
): { dtype: string; shape: readonly number[] } | undefined {
  const found = checkpoint.tensors.get(name);
  return found && { dtype: found.dtype.toLowerCase(), shape: found.shape };
}

const namesShown = 5;

function unusedWarning(names: readonly string[]): Diagnostic[] {
  if (names.length === 0) return [];
  const more = names.length > namesShown ? `, and ${names.length - namesShown} more` : '';
  const message = `${names.length} tensor${names.length === 1 ? '' : 's'} of the checkpoint are not used: ${names.slice(0, namesShown).join(', ')}${more}`;
  return [diagnostic('HEW4004', message, { severity: 'warning' })];
}

function readConfig(path: string): unknown {
  const text = nodeFiles.read(path);
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    return fail('HEW3004', `'${path}' is not valid JSON: ${(error as Error).message}`);
  }
}

/** The spec's tokenizer, beside the spec or, if it is not there, beside the weights. */
function findTokenizer({ tokenizer }: References, weights: string | undefined): string | undefined {
  if (tokenizer === undefined) return undefined;
  const besideWeights =
    weights === undefined ? undefined : join(dirname(weights), tokenizer.split('/').at(-1) as string);
  return existing(tokenizer) ?? existing(besideWeights);
}

/** Compiles a model and writes its bundle. Nothing is left at `output` when it fails. */
export async function compile(options: CompileOptions): Promise<CompileReport> {
  const started = performance.now();
  checkTarget(options.target ?? 'wasm');
  const steps = pipelineOf(options);
  const model = openModel(withStorage(options));
  try {
    const report = await compileRanks(model, options, steps);
    return { ...report, seconds: (performance.now() - started) / 1000 };
  } finally {
    model.close();
  }
}

/** One bundle, or one for each rank of a model that is split over devices. */
async function compileRanks(
  model: OpenedModel,
  options: OutputOptions,
  steps: readonly PipelineStep[],
): Promise<CompileReport> {
  const { tensorParallel = 1, output } = options;
  checkTargetOptions(options);
  if (tensorParallel === 1) return compileOpened(model, options, steps);
  // What a split head gains was measured on GPUs alone.
  const head = options.target === 'cuda';
  let report: CompileReport | undefined;
  await writeNewDirectory(output, async (temporary) => {
    for (let rank = 0; rank < tensorParallel; rank++) {
      const own = [...steps, ...parsePipeline(`shard{tp=${tensorParallel},rank=${rank},head=${head}}`)];
      const ofRank: OutputOptions = {
        ...options,
        output: join(temporary, `rank-${rank}`),
        onProgress: (event) =>
          options.onProgress?.({ ...event, stage: `${event.stage} of rank ${rank}, of ${tensorParallel}` }),
      };
      report = await compileOpened(model, ofRank, own);
    }
  });
  return { ...(report as CompileReport), output };
}

/** For Ascend, weights are stored as what the cube multiplies, unless something else is asked for. */
export function withStorage<Options extends Pick<CompileOptions, 'target' | 'weightsDtype' | 'dtype'>>(
  options: Options,
): Options {
  if (options.target !== 'ascendc' || options.weightsDtype !== undefined) return options;
  return { ...options, weightsDtype: options.dtype ?? 'f16' };
}

function pipelineOf({ pipeline, passes }: OutputOptions): PipelineStep[] {
  return parsePipeline(pipeline ?? standardPipeline, [...registeredPasses, ...(passes ?? [])]);
}

/** What decides a bundle beside the model. */
export type OutputOptions = Omit<CompileOptions, keyof ModelOptions>;

/** `compile` for a model that is open already, such as one that passes have changed. */
export async function compileOpened(
  model: OpenedModel,
  options: OutputOptions,
  steps: readonly PipelineStep[] = pipelineOf(options),
): Promise<CompileReport> {
  const started = performance.now();
  checkTargetOptions(options);
  if (model.checkpoint === undefined && options.withWeights !== false && needsCheckpoint(model.module)) {
    fail('HEW4006', 'the model has weights, but no checkpoint is given', {
      help: 'give one with --weights, or name it in the spec: weights "model.safetensors"',
    });
  }
  const pipelineOptions: PipelineOptions = {
    ...(options.printAfter && { printAfter: options.printAfter }),
    ...(options.onDump && { onDump: options.onDump }),
  };
  if (options.target === 'cuda' || options.target === 'ascendc') {
    const native: NativeCompileOptions = {
      output: options.output,
      compute: options.dtype ?? (options.target === 'cuda' ? 'bf16' : 'f16'),
      weights: options.withWeights ?? true,
      tokenizer: model.tokenizerFile === undefined ? undefined : readTokenizer(model.tokenizerFile),
      source: model.source,
      tuning: options.tuning === undefined ? untuned : choicesIn(readTuning(options.tuning)),
      onTensor: (done, total) => options.onProgress?.({ stage: 'weights', done, total }),
    };
    const report =
      options.target === 'cuda'
        ? await compileForCuda(model.module, steps, pipelineOptions, native)
        : await compileForAscend(
            model.module,
            steps,
            pipelineOptions,
            chipNamed(options.chip ?? defaultChip),
            native,
          );
    const seconds = (performance.now() - started) / 1000;
    return { output: options.output, ...report, seconds, warnings: model.warnings };
  }
  const lowered = await lowerModule(model.module, steps, pipelineOptions);
  const wasm = await emitModule(lowered.module, { relaxed: options.relaxedSimd });
  const faster = await emitVariants(lowered.module, { relaxed: options.relaxedSimd });
  await writeWasmBundle(wasm, faster, model, options);
  return {
    output: options.output,
    passes: lowered.reports,
    bytes: {
      ...wasm.schedule.bytes,
      code: [wasm, ...faster].reduce((sum, { code }) => sum + code.length, 0),
    },
    seconds: (performance.now() - started) / 1000,
    warnings: model.warnings,
  };
}

/** Fails with HEW6005 for a name that is no target. */
export function checkTarget(target: string): void {
  if ((targets as readonly string[]).includes(target)) return;
  fail('HEW6005', `there is no target '${target}'`, {
    help: didYouMean(target, targets) ?? `targets: ${targets.join(', ')}`,
  });
}

/** Fails with HEW6211 for an option that belongs to another target. */
export function checkTargetOptions(options: Omit<OutputOptions, 'output'>): void {
  const { target = 'wasm', dtype, chip, tuning, relaxedSimd, withWeights, tensorParallel = 1 } = options;
  if (!Number.isInteger(tensorParallel) || tensorParallel < 1)
    fail('HEW6002', `a model cannot be split over ${tensorParallel} devices`);
  const ownOptions: readonly (readonly [option: string, given: boolean, targets: readonly string[]])[] = [
    ['--dtype', dtype !== undefined, ['cuda', 'ascendc']],
    ['--chip', chip !== undefined, ['ascendc']],
    ['--tuning', tuning !== undefined, ['cuda']],
    ['--tensor-parallel', tensorParallel > 1, ['cuda', 'ascendc']],
    ['--without-weights', withWeights === false, ['cuda', 'ascendc']],
    ['--relaxed-simd', relaxedSimd === true, ['wasm']],
  ];
  const wrong = ownOptions.find(([, given, own]) => given && !own.includes(target));
  if (wrong === undefined) return;
  fail('HEW6211', `${wrong[0]} has no meaning for target ${target}`, {
    help: `it belongs to --target ${wrong[2].join(' and ')}`,
  });
}

function needsCheckpoint(module: Module): boolean {
  return [...module.params.values()].some((param) => param.recipe.kind !== 'constant');
}

async function writeWasmBundle(
  wasm: WasmModule,
  faster: readonly WasmModule[],
  model: OpenedModel,
  options: OutputOptions,
): Promise<void> {
  const { weightFiles } = await import('../backends/wasm/package.js');
  const tokenizer = model.tokenizerFile === undefined ? undefined : readTokenizer(model.tokenizerFile);
  const variants = faster.map(({ code, features }) => ({
    module: `module.${features.at(-1)}.wasm`,
    features,
    code,
  }));
  const manifest = await manifestOf(wasm, {
    variants: variants.map(({ module, features }) => ({ module, features })),
    tokenizerFile: tokenizer && 'tokenizer.json',
  });
  const onTensor = (done: number, total: number): void =>
    options.onProgress?.({ stage: 'weights', done, total });
  const files = new Map<string, BundleSource>([
    ['module.wasm', wasm.code],
    ...variants.map(({ module, code }) => [module, code] as const),
    ...weightFiles(wasm.module, wasm.schedule, model.source, onTensor),
    ...(tokenizer === undefined ? [] : [['tokenizer.json', tokenizer] as const]),
  ]);
  await writeBundle(options.output, manifest, files);
}

/** The tokenizer's bytes; a file that is no tokenizer fails now rather than when the bundle is used. */
function readTokenizer(path: string): Uint8Array {
  const bytes = readFileSync(path);
  createTokenizer(bytes.toString('utf8'), { file: path });
  return bytes;
}

/** Hash of everything that decides the bundle: compiler, model, weights, options. */
export function cacheKey(options: CompileOptions): string {
  const model = openModel(withStorage(options));
  try {
    const hash = createHash('sha256');
    const tokenizer = model.tokenizerFile === undefined ? '' : readFileSync(model.tokenizerFile);
    const parts = [
      compilerFingerprint(),
      printModule(model.module),
      model.checkpoint?.fingerprint() ?? '',
      tokenizer,
      options.target ?? 'wasm',
      options.pipeline ?? standardPipeline,
      String(options.relaxedSimd ?? false),
      options.dtype ?? '',
      options.chip ?? '',
      options.tuning === undefined ? '' : JSON.stringify(readTuning(options.tuning)),
    ];
    for (const part of parts) {
      hash.update(`${part.length}:`);
      hash.update(part);
    }
    return hash.digest('hex');
  } finally {
    model.close();
  }
}
