/** Compiles for CUDA: the backend's source and plan, nvcc where it is installed, and the bundle. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { CudaModule } from '../backends/cuda/compile.js';
import { type Tuning, untuned } from '../backends/cuda/tuning.js';
import type { ComputeDType } from '../backends/narrow.js';
import { fail } from '../ir/diagnostics.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import { type PipelineOptions, type PipelineStep, runPipeline, type StepReport } from '../passes/pipeline.js';
import { type BundleSource, writeBundle } from './bundle.js';
import { version } from './version.js';

export interface NativeCompileOptions {
  readonly output: string;
  readonly compute: ComputeDType;
  /** False leaves the weights of the checkpoint out of the bundle. */
  readonly weights: boolean;
  /** Bytes of the tokenizer, for the bundle. */
  readonly tokenizer: Uint8Array | undefined;
  readonly source: TensorSource | undefined;
  /** Measured choices; only bundles for CUDA have any. */
  readonly tuning: Tuning;
  readonly onTensor: (done: number, total: number) => void;
}

export interface NativeReport {
  readonly passes: readonly StepReport[];
  readonly bytes: {
    readonly weights: number;
    readonly states: number;
    readonly io: number;
    readonly arena: number;
    readonly total: number;
    readonly code: number;
  };
}

/** Source and plan of a module, and what the passes did. Fails with HEW6003. */
export async function emitForCuda(
  module: Module,
  steps: readonly PipelineStep[],
  pipelineOptions: PipelineOptions,
  compute: ComputeDType,
  tuning: Tuning = untuned,
): Promise<{ readonly cuda: CudaModule; readonly reports: readonly StepReport[] }> {
  const { emitCuda, lower } = await import('../backends/cuda/compile.js');
  const simplified = runPipeline(module, steps, pipelineOptions);
  const lowered = lower(simplified.module, compute, pipelineOptions);
  return { cuda: emitCuda(lowered.module, { tuning }), reports: [...simplified.reports, ...lowered.reports] };
}

/** Fails with HEW6003 and HEW6210, and as writing a bundle does. */
export async function compileForCuda(
  module: Module,
  steps: readonly PipelineStep[],
  pipelineOptions: PipelineOptions,
  options: NativeCompileOptions,
): Promise<NativeReport> {
  const { packageCuda, sourceFile } = await import('../backends/cuda/package.js');
  const { weightFiles } = await import('../backends/native/package.js');
  const { cuda, reports } = await emitForCuda(
    module,
    steps,
    pipelineOptions,
    options.compute,
    options.tuning,
  );
  const binary = await compileSource(cuda.source);
  const manifest = packageCuda(cuda, options.compute, binary === undefined ? null : binaryFile, {
    compilerVersion: version,
    tokenizerFile: options.tokenizer && 'tokenizer.json',
    weights: options.weights,
  });
  const source = new TextEncoder().encode(cuda.source);
  const files = new Map<string, BundleSource>([
    [sourceFile, source],
    ...(binary === undefined ? [] : [[binaryFile, binary] as const]),
    ...weightFiles(cuda, options.source, options.weights, options.onTensor),
    ...(options.tokenizer === undefined ? [] : [['tokenizer.json', options.tokenizer] as const]),
  ]);
  await writeBundle(options.output, manifest, files);
  return {
    passes: reports,
    bytes: { ...cuda.schedule.bytes, code: (binary ?? source).length },
  };
}

export const binaryFile = 'kernels.fatbin';

/** Code for Ampere and for Hopper, and PTX for what comes later. */
const architectures = [
  'arch=compute_80,code=sm_80',
  'arch=compute_90a,code=sm_90a',
  'arch=compute_90,code=compute_90',
];

/**
 * The fat binary of a CUDA source; undefined when there is no nvcc, which $HEW_NVCC or the path names. Fails with
 * HEW6210 when nvcc does not take the source.
 */
export async function compileSource(
  source: string,
  targets: readonly string[] = architectures,
): Promise<Uint8Array | undefined> {
  const nvcc = process.env.HEW_NVCC ?? 'nvcc';
  if (nvcc === '') return undefined;
  const directory = await mkdtemp(join(tmpdir(), 'hew-nvcc-'));
  try {
    await writeFile(join(directory, 'kernels.cu'), source);
    const generate = targets.flatMap((target) => ['-gencode', target]);
    const args = [
      ...generate,
      '-std=c++17',
      '-diag-suppress=177',
      '-t0',
      '-fatbin',
      '-o',
      binaryFile,
      'kernels.cu',
    ];
    await promisify(execFile)(nvcc, args, { cwd: directory, maxBuffer: 2 ** 26 });
    return await readFile(join(directory, binaryFile));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    const output = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error);
    return fail('HEW6210', 'nvcc cannot compile the code that was emitted', {
      notes: output.trim().split('\n').slice(0, 12),
      help: 'nvcc of CUDA 12.3 or newer is needed; HEW_NVCC= (empty) leaves compilation to the runtime',
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
