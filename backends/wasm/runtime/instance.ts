/**
 * What the loader uses of the WebAssembly API, typed here so that neither browser nor Node type libraries
 * are needed, and the checks that an engine can run a bundle's module.
 */
import { byteDotOffset } from './byte-dot.js';
import { LoadError, reasonOf, refuse } from './errors.js';
import type { Manifest, WasmCode, WasmPart } from './manifest.js';

export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}

interface ModuleImport {
  readonly module: string;
  readonly name: string;
  readonly kind: string;
}

interface ModuleExport {
  readonly name: string;
  readonly kind: string;
}

/** A compiled module; only the engine looks inside. */
type WasmModule = object;

interface WasmApi {
  readonly Memory: new (descriptor: { initial: number; maximum: number }) => WasmMemory;
  readonly Module: {
    imports(module: WasmModule): ModuleImport[];
    exports(module: WasmModule): ModuleExport[];
  };
  validate(bytes: Uint8Array<ArrayBuffer>): boolean;
  compile(bytes: Uint8Array<ArrayBuffer>): Promise<WasmModule>;
  instantiate(
    module: WasmModule,
    imports: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  ): Promise<{ readonly exports: Readonly<Record<string, unknown>> }>;
}

export type WasmFunction = (...values: number[]) => unknown;

export interface WasmInstance {
  readonly memory: WasmMemory;
  /** The function of each entry point, by entry name. */
  readonly functions: ReadonlyMap<string, WasmFunction>;
}

/**
 * Compiles and instantiates the module of a bundle over a fresh, zeroed memory; `features` are those that it needs.
 * @throws LoadError HEW7009 when the engine lacks a feature or the memory, HEW7003 when the module does not
 * fit the manifest.
 */
export async function startInstance(
  manifest: Manifest,
  code: Uint8Array<ArrayBuffer>,
  features: readonly string[] = manifest.wasm.features,
): Promise<WasmInstance> {
  const wasm = wasmApi();
  checkFeatures(wasm, features);
  const module = await compile(wasm, code);
  checkImports(wasm.Module.imports(module));
  const memory = allocate(wasm, manifest.wasm.memory_pages);
  const offers = features.includes('byte-dot') ? { dot_offset: byteDotOffset() } : {};
  const exports = await instantiate(wasm, module, { memory, fail: failInStep, ...offers });
  return { memory, functions: entryFunctions(manifest, exports) };
}

function wasmApi(): WasmApi {
  const api = (globalThis as { WebAssembly?: WasmApi }).WebAssembly;
  if (api === undefined) refuse('HEW7009', 'this engine has no WebAssembly');
  return api;
}

/**
 * The smallest module that validates only where a feature exists: one function () -> v128 (type byte 7b)
 * with the given body, all in hexadecimal.
 */
function probe(body: string): Uint8Array<ArrayBuffer> {
  const sized = (hex: string): string => (hex.length / 2).toString(16).padStart(2, '0') + hex;
  const magicAndVersion = '0061736d01000000';
  const typeSection = `01${sized('016000017b')}`;
  const functionSection = `03${sized('0100')}`;
  const codeSection = `0a${sized(`01${sized(`00${body}0b`)}`)}`;
  const hex = magicAndVersion + typeSection + functionSection + codeSection;
  return Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

const zeros = '4100fd11'; // i32.const 0; i32x4.splat

type Probe = (wasm: WasmApi) => boolean;

const featureProbes: Readonly<Record<string, Probe>> = {
  simd128: (wasm) => wasm.validate(probe(zeros)),
  'relaxed-simd': (wasm) => wasm.validate(probe(`${zeros}${zeros}fd8002`)), // i8x16.relaxed_swizzle
  'byte-dot': () => byteDotOffset() !== undefined,
};

function probeOf(feature: string): Probe | undefined {
  return Object.hasOwn(featureProbes, feature) ? featureProbes[feature] : undefined;
}

/** The module of a bundle that is the fastest here. */
export function moduleFor({ variants, module, features }: WasmPart): WasmCode {
  const wasm = wasmApi();
  const runs = ({ features }: WasmCode): boolean =>
    features.every((feature) => probeOf(feature)?.(wasm) ?? false);
  return variants.find(runs) ?? { module, features };
}

function checkFeatures(wasm: WasmApi, features: readonly string[]): void {
  for (const feature of features) {
    const has = probeOf(feature);
    if (has === undefined) {
      refuse(
        'HEW7009',
        `the bundle needs the WebAssembly feature '${feature}', which this loader does not know`,
      );
    }
    if (!has(wasm)) {
      refuse(
        'HEW7009',
        `the bundle needs the WebAssembly feature '${feature}', which this engine lacks`,
        'use a newer browser or Node 24 or newer, or compile the model without that feature',
      );
    }
  }
}

async function compile(wasm: WasmApi, code: Uint8Array<ArrayBuffer>): Promise<WasmModule> {
  try {
    return await wasm.compile(code);
  } catch (error) {
    throw new LoadError('HEW7003', `the WebAssembly module is not valid: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

const expectedImports: ReadonlySet<string> = new Set([
  'hew.memory memory',
  'hew.fail function',
  'hew.dot_offset global',
]);

function checkImports(imports: readonly ModuleImport[]): void {
  for (const { module, name, kind } of imports) {
    if (!expectedImports.has(`${module}.${name} ${kind}`)) {
      refuse(
        'HEW7003',
        `the WebAssembly module asks for the ${kind} '${module}.${name}', which is not offered`,
      );
    }
  }
}

function allocate(wasm: WasmApi, pages: number): WasmMemory {
  try {
    return new wasm.Memory({ initial: pages, maximum: pages });
  } catch (error) {
    throw new LoadError('HEW7009', `${pages} pages of 64 KiB cannot be allocated: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

async function instantiate(
  wasm: WasmApi,
  module: WasmModule,
  hew: Readonly<Record<string, unknown>>,
): Promise<Readonly<Record<string, unknown>>> {
  try {
    return (await wasm.instantiate(module, { hew })).exports;
  } catch (error) {
    throw new LoadError('HEW7003', `the WebAssembly module cannot be started: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

const stepFailures: Readonly<Record<number, (a: number, b: number) => LoadError>> = {
  1: (position, tokens) =>
    new LoadError(
      'HEW7006',
      `the context is full: ${tokens} more tokens do not fit after position ${position}`,
      {
        help: 'reset the model or give fewer tokens',
      },
    ),
  2: (index, size) => new LoadError('HEW7007', `index ${index} is out of range: there are ${size} rows`),
};

/** What the module calls, as `hew.fail`, when a step cannot go on. */
function failInStep(code: number, a: number, b: number): never {
  const failure = stepFailures[code]?.(a, b);
  throw failure ?? new LoadError('HEW7003', `the module stopped with the unknown code ${code} (${a}, ${b})`);
}

function entryFunctions(
  manifest: Manifest,
  exports: Readonly<Record<string, unknown>>,
): Map<string, WasmFunction> {
  return new Map(
    Object.entries(manifest.entries).map(([name, entry]): [string, WasmFunction] => {
      const candidate = Object.hasOwn(exports, entry.export) ? exports[entry.export] : undefined;
      if (typeof candidate !== 'function') {
        refuse('HEW7003', `the WebAssembly module has no function '${entry.export}' for entry '${name}'`);
      }
      return [name, candidate as WasmFunction];
    }),
  );
}
