/**
 * Bundles for Ascend on the host: compiles a bundle's kernels, as they are, with g++ against the model of the chip, and
 * the native runtime that runs them. What is compiled is kept by the content of everything that decides it.
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
import { architectureOf, type ChipName, chips } from '../backends/ascendc/chips.js';
import type { AscendManifest } from '../backends/native/manifest.js';
import { manifestName } from '../backends/wasm/runtime/manifest.js';
import { fail } from '../ir/diagnostics.js';

export interface HostPrograms {
  /** The program `hew-run`. */
  readonly runner: string;
  /** The bundle's kernels as a shared object, for its `--kernels`. */
  readonly kernels: string;
}

const run = promisify(execFile);

/** Warnings are for those who change the kernels; the tests compile them with all of them. */
const commonFlags = ['-std=gnu++17', '-fPIC', '-fvisibility=hidden', '-w'];

/** The manifest of a bundle for Ascend. Fails with HEW7001 and HEW7002. */
export function readAscendManifest(bundle: string): AscendManifest {
  const path = join(bundle, manifestName);
  if (!existsSync(path)) fail('HEW7001', `${bundle} holds no bundle`);
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as AscendManifest;
  if (manifest.target === 'ascendc') return manifest;
  return fail('HEW7002', `${bundle} is a bundle of target ${manifest.target}`, {
    help: 'the host runs the kernels of --target ascendc',
  });
}

/**
 * Compiles what is missing in `cache`; `onBuild` is called first. Fails with HEW6213 when the native sources are missing
 * or g++ does not take them.
 */
export async function buildForHost(
  bundle: string,
  cache: string,
  onBuild: () => void = () => {},
): Promise<HostPrograms> {
  const native = nativeSources();
  const host = join(native, 'ascendc-host');
  const { ascendc } = readAscendManifest(bundle);
  const store = new Store(join(cache, 'native'), onBuild);
  const library = [...sourcesOf(join(host, 'src')), join(host, 'library/library.cpp')];
  const headers = ['-I', join(host, 'include')];
  const runner = store.product('hew-run', [native, join(native, 'ascendc-host/include')], (output) =>
    [
      ['-std=gnu++17', '-O1', '-w', '-I', join(native, 'include'), ...headers],
      [...sourcesOf(join(native, 'src')), join(native, 'tools/hew_run.cpp'), '-ldl', '-o', output],
    ].flat(),
  );
  const model = store.product('ascend-host.o', [host], (output, work) => {
    const all = join(work, 'all.cpp');
    writeFileSync(all, library.map((path) => `#include "${path}"\n`).join(''));
    return [...commonFlags, '-O2', ...headers, '-c', all, '-o', output];
  });
  const folder = join(bundle, 'kernels');
  const kernels = store.product('kernels.so', [host, folder], async (output, work) => {
    const table = join(work, 'table.cpp');
    writeFileSync(table, kernelTable(ascendc.kernels));
    const own = ['-O1', `-D__NPU_ARCH__=${architectureOf(chips[ascendc.chip as ChipName])}`];
    return [...commonFlags, ...own, ...headers, '-I', folder, '-shared', table, await model, '-o', output];
  });
  await Promise.all([runner, model, kernels]);
  return { runner: await runner, kernels: await kernels };
}

/** The folder runtime-native, beside the sources or beside the folder they are built into. */
function nativeSources(): string {
  const places = ['../runtime-native', '../../runtime-native'].map((path) =>
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

type Arguments = string[] | Promise<string[]>;

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
    argumentsOf: (output: string, work: string) => Arguments,
  ): Promise<string> {
    const target = join(this.directory, hashOf(name, folders));
    const product = join(target, name);
    if (existsSync(product)) return product;
    if (!this.started) this.onBuild();
    this.started = true;
    mkdirSync(this.directory, { recursive: true });
    const work = mkdtempSync(join(this.directory, 'build-'));
    try {
      await compileWith(await argumentsOf(join(work, name), work));
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
    fail('HEW6213', 'g++ cannot compile the kernels for the host', {
      notes: output.trim().split('\n').slice(0, 12),
      help: 'a g++ that knows C++17 must be on the path',
    });
  }
}
