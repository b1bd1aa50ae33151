/** The model a command is given: a spec, or a bundle that was compiled from one. */
import { existsSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  type CachedBundle,
  cacheDirectory,
  checkArchitecture,
  compileCached,
  dropCached,
  fail,
  isOnnxPath,
  LoadError,
  load,
  type Model,
  openGpu,
  openNative,
  readTuning,
} from '../api.js';
import { type CompileFlags, compileOptions, type Device, type RunFlags } from './options.js';
import type { Output } from './output.js';

export type ModelSource = { readonly kind: 'spec' | 'bundle'; readonly path: string };

/** A `.hew` or `.onnx` file, a folder with model.hew, a bundle (its folder, manifest or URL). */
export function resolveSource(path: string): ModelSource {
  if (/^https?:\/\//.test(path)) return { kind: 'bundle', path };
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return fail('HEW3001', `there is no '${path}'`);
  if (stats.isDirectory()) {
    const spec = join(path, 'model.hew');
    const isBundle = existsSync(join(path, 'manifest.json'));
    const isSpec = existsSync(spec) && !isBundle;
    if (!isSpec && !isBundle && existsSync(join(path, 'config.json'))) {
      fail('HEW3001', `'${path}' is a checkpoint without a spec`, { help: `hew import ${path} writes one` });
    }
    return isSpec ? { kind: 'spec', path: spec } : { kind: 'bundle', path };
  }
  if (basename(path) === 'manifest.json') return { kind: 'bundle', path: dirname(path) };
  if (path.endsWith('.hew') || isOnnxPath(path)) return { kind: 'spec', path };
  return fail('HEW3001', `'${path}' is neither a spec (.hew), nor an ONNX model (.onnx), nor a bundle`);
}

/** The spec that a command works on; a bundle is refused. */
export function resolveSpec(path: string): string {
  const source = resolveSource(path);
  return source.kind === 'spec'
    ? source.path
    : fail('HEW3001', `'${path}' is not a spec`, {
        help: 'give a .hew or .onnx file, or a folder with model.hew',
      });
}

/** Loads a model, compiling a spec into the cache first. */
export async function openRunnable(path: string, flags: RunFlags, output: Output): Promise<Model> {
  const source = resolveSource(path);
  if (flags.device !== undefined) return openOnDevice(source, flags, flags.device, output);
  if (source.kind === 'bundle') return loadWithProgress(source.path, output);
  const bundle = await compileIntoCache(source.path, flags, output);
  try {
    return await loadWithProgress(bundle.output, output);
  } catch (error) {
    if (!(error instanceof LoadError) || bundle.report !== undefined || !damaged.has(error.code)) throw error;
    output.log(`the cached bundle is damaged (${error.message})`);
    await dropCached(bundle);
    return loadWithProgress((await compileIntoCache(source.path, flags, output)).output, output);
  }
}

const damaged: ReadonlySet<string> = new Set(['HEW7001', 'HEW7002', 'HEW7003']);

async function openOnDevice(
  source: ModelSource,
  flags: CompileFlags,
  { target, index }: Device,
  output: Output,
): Promise<Model> {
  const native = {
    cache: cacheDirectory(output.terminal.env),
    device: index,
    onBuild: () => output.log('compiling the native runtime with g++'),
  };
  if (flags.tuning !== undefined)
    checkArchitecture(readTuning(flags.tuning), flags.tuning, (await openGpu(native)).gpu);
  const bundle =
    source.kind === 'bundle'
      ? source.path
      : (await compileIntoCache(source.path, { ...flags, target }, output)).output;
  const { model } = await openNative(bundle, native);
  return model;
}

/** The bundle of a spec, compiled unless the cache has it. */
export async function compileIntoCache(
  spec: string,
  flags: CompileFlags,
  output: Output,
): Promise<CachedBundle> {
  const progress = output.progress();
  try {
    const bundle = await compileCached(
      {
        ...compileOptions(spec, flags),
        onProgress: ({ stage, done, total }) => progress.update(stage, done, total),
      },
      cacheDirectory(output.terminal.env),
      (directory) => output.log(`compiling ${spec} into ${directory}`),
    );
    output.diagnostics(bundle.report?.warnings ?? []);
    return bundle;
  } finally {
    progress.end();
  }
}

async function loadWithProgress(path: string, output: Output): Promise<Model> {
  const progress = output.progress();
  try {
    return await load(path, { onProgress: (done, total) => progress.update('loading', done, total) });
  } finally {
    progress.end();
  }
}
