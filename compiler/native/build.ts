/**
 * Compiles the native runtime with g++ and, for bundles for Ascend on the host, a bundle's kernels as they are against
 * the model of the chip. What is compiled is kept by the content of everything that decides it.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { architectureOf, type ChipName, chips } from '../../backends/ascendc/chips.js';
import type { AscendManifest, CudaManifest } from '../../backends/native/manifest.js';
import { type Manifest, manifestName } from '../../backends/wasm/runtime/manifest.js';
import { fail } from '../../ir/diagnostics.js';

export interface NativeFiles {
  /** The native runtime, a shared object with the interface of runtime-native/include/hew.h. */
  readonly library: string;
  /** Of a bundle for Ascend: its kernels as a shared object. */
  readonly kernels: string | undefined;
}

const run = promisify(execFile);

/** Warnings are for those who change the kernels; the tests compile them with all of them. */
const commonFlags = ['-std=gnu++17', '-fPIC', '-fvisibility=hidden', '-w'];

/** The manifest of a bundle that the native runtime runs. Fails with HEW7001 and HEW7002. */
export function readNativeManifest(bundle: string): CudaManifest | AscendManifest {
  const path = join(bundle, manifestName);
  if (!existsSync(path)) fail('HEW7001', `${bundle} holds no bundle`);
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as CudaManifest | AscendManifest | Manifest;
  if (manifest.target !== 'wasm') return manifest;
  return fail('HEW7002', `${bundle} is a bundle of target ${manifest.target}`, {
    help: 'the native runtime runs bundles of --target cuda and --target ascendc',
  });
}

/** As `readNativeManifest`, of a bundle for Ascend. */
export function readAscendManifest(bundle: string): AscendManifest {
  const manifest = readNativeManifest(bundle);
  if (manifest.target === 'ascendc') return manifest;
  return fail('HEW7002', `${bundle} is a bundle of target ${manifest.target}`, {
    help: 'the host runs the kernels of --target ascendc',
  });
}

/**
 * Compiles what is missing in `cache`; `onBuild` is called first. Fails with HEW6213 when the native sources are missing
 * or g++ does not take them.
 */
export async function buildNative(
  bundle: string,
  cache: string,
  onBuild: () => void = () => {},
): Promise<NativeFiles> {
  const manifest = readNativeManifest(bundle);
  const store = new Store(join(cache, 'native'), onBuild);
  const library = runtimeLibrary(store);
  const kernels = manifest.target === 'ascendc' ? hostKernels(store, bundle, manifest) : undefined;
  await Promise.all([library, kernels]);
  return { library: await library, kernels: await kernels };
}

/** As `buildNative`, of the native runtime alone. */
export function buildRuntime(cache: string, onBuild: () => void = () => {}): Promise<string> {
  return runtimeLibrary(new Store(join(cache, 'native'), onBuild));
}

function runtimeLibrary(store: Store): Promise<string> {
  const native = nativeSources();
  const folders = ['include', 'src', 'ascendc-host/include'].map((folder) => join(native, folder));
  return store.product('libhew.so', folders, (output) =>
    [
      [...commonFlags, '-O2', '-shared', '-static-libstdc++', '-static-libgcc'],
      ['-I', join(native, 'include'), '-I', join(native, 'ascendc-host/include')],
      [...sourcesOf(join(native, 'src')), '-ldl', '-o', output],
    ].flat(),
  );
}

/** The kernels of a bundle for Ascend, compiled against the host's model of the chip. */
async function hostKernels(store: Store, bundle: string, { ascendc }: AscendManifest): Promise<string> {
  const host = join(nativeSources(), 'ascendc-host');
  const headers = ['-I', join(host, 'include')];
  const model = await store.product('ascend-host.o', [host], (output, work) => {
    const all = join(work, 'all.cpp');
    const sources = [...sourcesOf(join(host, 'src')), join(host, 'library/library.cpp')];
    writeFileSync(all, sources.map((path) => `#include "${path}"\n`).join(''));
    return [...commonFlags, '-O2', ...headers, '-c', all, '-o', output];
  });
  const folder = join(bundle, 'kernels');
  return store.product('kernels.so', [host, folder], (output, work) => {
    const table = join(work, 'table.cpp');
    writeFileSync(table, kernelTable(ascendc.kernels));
    const own = ['-O1', `-D__NPU_ARCH__=${architectureOf(chips[ascendc.chip as ChipName])}`];
    return [...commonFlags, ...own, ...headers, '-I', folder, '-shared', table, model, '-o', output];
  });
}

/** The folder runtime-native, beside the sources or beside the folder they are built into. */
function nativeSources(): string {
  const places = ['../../runtime-native', '../../../runtime-native'].map((path) =>
    fileURLToPath(new URL(path, import.meta.url)),
  );
  const found = places.find((path) => existsSync(join(path, 'include/hew.h')));
  return (
    found ??
    fail('HEW6213', 'the sources of the native runtime are not installed', {
      help: 'use a clone of the repository',
    })
  );
}

function sourcesOf(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.cpp'))
    .sort()
    .map((name) => join(folder, name));
}

/** One source with all kernels, each file in a namespace of its own, since their constants share names. */
function kernelTable(kernels: AscendManifest['ascendc']['kernels']): string {
  const entries = Object.entries(kernels);
  return [
    '#include "hew_kernel.h"',
    '#include "hew_ascend/library.h"',
    ...entries.map(([name], i) => `namespace kernel_${i} {\n#include "${name}.cpp"\n}`),
    'const hew_ascend_kernel hew_ascend_kernels[] = {',
    ...entries.map(
      ([name, { type }], i) => `    {"${name}", reinterpret_cast<void*>(kernel_${i}::${name}), "${type}"},`,
    ),
    '    {nullptr, nullptr, nullptr}};',
    '',
  ].join('\n');
}

/** What g++ makes, in a directory under the hash of the folders that it is made of. */
class Store {
  private started = false;

  constructor(
    private readonly directory: string,
    private readonly onBuild: () => void,
  ) {}

  async product(
    name: string,
    folders: readonly string[],
    argumentsOf: (output: string, work: string) => string[],
  ): Promise<string> {
    const target = join(this.directory, hashOf(name, folders));
    const product = join(target, name);
    if (existsSync(product)) return product;
    if (!this.started) this.onBuild();
    this.started = true;
    mkdirSync(this.directory, { recursive: true });
    const work = mkdtempSync(join(this.directory, 'build-'));
    try {
      await compileWith(argumentsOf(join(work, name), work));
      // Somebody else may have been faster; what is there is the same.
      if (!existsSync(target)) renameSync(work, target);
      return product;
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
}

function hashOf(name: string, folders: readonly string[]): string {
  const hash = createHash('sha256').update(name);
  for (const folder of folders) {
    for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
      if (!/\.(?:cpp|h)$/.test(path)) continue;
      const text = readFileSync(join(folder, path));
      hash.update(`${path} ${text.length}\n`).update(text);
    }
  }
  return hash.digest('hex').slice(0, 32);
}

async function compileWith(args: readonly string[]): Promise<void> {
  try {
    await run('g++', args, { maxBuffer: 2 ** 26 });
  } catch (error) {
    const output = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error);
    fail('HEW6213', 'g++ cannot compile the native runtime or its kernels', {
      notes: output.trim().split('\n').slice(0, 12),
      help: 'a g++ that knows C++17 must be on the path',
    });
  }
}
