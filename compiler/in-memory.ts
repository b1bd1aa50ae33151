/** Running a module through the wasm backend without writing a bundle: how passes measure what they do. */
import type { WasmModule } from '../backends/wasm/compile.js';
import { load, type Model } from '../backends/wasm/runtime/load.js';
import { manifestName } from '../backends/wasm/runtime/manifest.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import { printModule } from '../ir/print.js';
import { sourceRecipe } from '../ir/recipe.js';
import { parsePipeline, runPipeline } from '../passes/pipeline.js';
import { standardPipeline } from '../passes/registry.js';
import { version } from './version.js';

export interface InMemoryOptions {
  readonly relaxedSimd?: boolean | undefined;
  /** Run Binaryen's optimiser (default true); a module that runs once is sooner done without. */
  readonly optimize?: boolean | undefined;
}

/** Compiles a module and loads it; its states are zero. Fails as `compile` and `load` do. */
export async function loadModule(
  module: Module,
  source: TensorSource | undefined,
  options: InMemoryOptions = {},
): Promise<Model> {
  const [{ emitWasm, lower }, { packageManifest, weightFiles }] = await Promise.all([
    import('../backends/wasm/compile.js'),
    import('../backends/wasm/package.js'),
  ]);
  const relaxed = options.relaxedSimd ?? false;
  const simplified = runPipeline(module, parsePipeline(standardPipeline)).module;
  const optimize = options.optimize ?? true;
  const lowered = lower(simplified).module;
  const wasm = recent(codeKey(lowered, `${relaxed} ${optimize}`), () =>
    emitWasm(lowered, { relaxed, optimize }),
  );
  const { schedule, pages } = wasm;
  const manifest = packageManifest({
    module: lowered,
    schedule,
    pages,
    relaxed,
    compilerVersion: version,
    tokenizerFile: undefined,
  });
  const files = new Map<string, Uint8Array>([[manifest.wasm.module, wasm.code]]);
  for (const [name, chunks] of weightFiles(lowered, schedule, source, () => {}))
    files.set(name, joined([...chunks()]));
  const records = [...files].map(([name, bytes]) => [name, { bytes: bytes.length, sha256: unchecked }]);
  const text = JSON.stringify({ ...manifest, files: Object.fromEntries(records) });
  files.set(manifestName, new TextEncoder().encode(text));
  return load('memory:', { verify: false, fetchFile: async (name) => files.get(name) ?? missing(name) });
}

/** Code by what it is made from: passes try many weights in one graph, and its code does not depend on them. */
const recentCode = new Map<string, WasmModule>();
const codesKept = 4;

function codeKey(module: Module, settings: string): string {
  const params = new Map(
    [...module.params].map(([name, param]) => [name, { ...param, recipe: sourceRecipe('', param.type) }]),
  );
  return `${settings} ${printModule({ ...module, params })}`;
}

function recent(key: string, make: () => WasmModule): WasmModule {
  const wasm = recentCode.get(key) ?? make();
  recentCode.delete(key);
  recentCode.set(key, wasm);
  const [oldest] = recentCode.keys();
  if (recentCode.size > codesKept && oldest !== undefined) recentCode.delete(oldest);
  return wasm;
}

/** Stands where a bundle has a hash: files in memory are not compared with one. */
const unchecked = '0'.repeat(64);

function missing(name: string): never {
  throw new Error(`the module has no file ${name}`);
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
