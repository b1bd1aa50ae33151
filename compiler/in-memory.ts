/** Running a module through the wasm backend without writing a bundle: how passes measure what they do. */
import type { WasmModule } from '../backends/wasm/compile.js';
import { startInstance, type WasmMemory } from '../backends/wasm/runtime/instance.js';
import type { Manifest } from '../backends/wasm/runtime/manifest.js';
import { Model } from '../backends/wasm/runtime/model.js';
import { wasmEngine } from '../backends/wasm/runtime/wasm-engine.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import { printModule } from '../ir/print.js';
import { sourceRecipe } from '../ir/recipe.js';
import { type EmitOptions, emitForHere, lowerModule, manifestOf } from './build.js';

/** Compiles a module and loads it; its states are zero. Fails as `compile` and `load` do. */
export async function loadModule(
  module: Module,
  source: TensorSource | undefined,
  options: EmitOptions = {},
): Promise<Model> {
  return loadLowered((await lowerModule(module)).module, source, options);
}

/** `loadModule` for a module that is lowered already. */
export async function loadLowered(
  lowered: Module,
  source: TensorSource | undefined,
  options: EmitOptions = {},
): Promise<Model> {
  return (await startWhole(lowered, source, options)).model;
}

/** A lowered module with its weights. */
export async function startWhole(
  lowered: Module,
  source: TensorSource | undefined,
  options: EmitOptions = {},
): Promise<StartedModule> {
  const started = await startModule(lowered, options);
  await started.write(lowered, source, () => true);
  return started;
}

/** All that a thread needs to make a copy of a loaded model. */
export interface ModelImage {
  readonly manifest: Manifest;
  readonly code: Uint8Array;
  /** The memory of the model, shared among threads that copy it. */
  readonly memory: SharedArrayBuffer;
}

export interface StartedModule {
  readonly model: Model;
  readonly manifest: Manifest;
  readonly code: Uint8Array;
  readonly memory: WasmMemory;
  /**
   * Writes the chosen weights to their places, one tensor at a time, so that none is held twice. Values are those that
   * `owner` has for them; a parameter that has a loop there and none in this module is written for `turn`.
   */
  write(
    owner: Module,
    source: TensorSource | undefined,
    chosen: (param: string) => boolean,
    turn?: number,
  ): Promise<void>;
}

/** A lowered module without its weights. */
export async function startModule(lowered: Module, options: EmitOptions = {}): Promise<StartedModule> {
  const wasm = await recentCode(lowered, options);
  const { weightBytes } = await import('../backends/wasm/package.js');
  const manifest = { ...(await manifestOf(wasm)), files: {} };
  const instance = await startInstance(manifest, wasm.code as Uint8Array<ArrayBuffer>);
  const write: StartedModule['write'] = async (owner, source, chosen, turn = 0) => {
    const memory = new Uint8Array(instance.memory.buffer);
    for (const [name, placement] of wasm.schedule.weights) {
      if (!chosen(name)) continue;
      for (let own = 0; own < placement.turns; own++) {
        const bytes = weightBytes(owner, name, placement.loop === undefined ? turn : own, placement, source);
        memory.set(bytes, placement.address + own * placement.stride);
      }
    }
  };
  const { memory } = instance;
  const engine = wasmEngine(manifest, instance);
  return { model: new Model(manifest, engine, undefined), manifest, code: wasm.code, memory, write };
}

export function imageOf({ manifest, code, memory }: StartedModule): ModelImage {
  const shared = new SharedArrayBuffer(memory.buffer.byteLength);
  new Uint8Array(shared).set(new Uint8Array(memory.buffer));
  return { manifest, code, memory: shared };
}

/** A copy of a model; states are as they were. */
export async function modelOf({ manifest, code, memory }: ModelImage): Promise<Model> {
  const instance = await startInstance(manifest, code as Uint8Array<ArrayBuffer>);
  new Uint8Array(instance.memory.buffer).set(new Uint8Array(memory));
  return new Model(manifest, wasmEngine(manifest, instance), undefined);
}

/** Code by what it is made from: passes try many weights in one graph, and its code does not depend on them. */
const codeByText = new Map<string, WasmModule>();
/** A pass that walks through the turns of a loop comes back to each kind of segment once a turn. */
const codesKept = 24;

async function recentCode(lowered: Module, options: EmitOptions): Promise<WasmModule> {
  const key = codeKey(lowered, options);
  const wasm = codeByText.get(key) ?? (await emitForHere(lowered, options));
  codeByText.delete(key);
  codeByText.set(key, wasm);
  const [oldest] = codeByText.keys();
  if (codeByText.size > codesKept && oldest !== undefined) codeByText.delete(oldest);
  return wasm;
}

function codeKey(module: Module, { relaxed, byteDots, optimize, layouts }: EmitOptions): string {
  const params = new Map(
    [...module.params].map(([name, param]) => [name, { ...param, recipe: sourceRecipe('', param.type) }]),
  );
  const packed = [...module.params.keys()].map((name) => layouts?.get(name) ?? null);
  const settings = [
    relaxed ?? false,
    byteDots ?? null,
    optimize ?? true,
    layouts === undefined ? null : packed,
  ];
  return `${JSON.stringify(settings)} ${printModule({ ...module, params })}`;
}
