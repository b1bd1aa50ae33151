/** Running a module through the wasm backend without writing a bundle: how passes measure what they do. */
import type { WasmModule } from '../backends/wasm/compile.js';
import { startEngine } from '../backends/wasm/runtime/engine.js';
import { Model } from '../backends/wasm/runtime/model.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import { printModule } from '../ir/print.js';
import { sourceRecipe } from '../ir/recipe.js';
import { type EmitOptions, emitModule, lowerModule, manifestOf } from './build.js';

/** Compiles a module and loads it; its states are zero. Fails as `compile` and `load` do. */
export async function loadModule(
  module: Module,
  source: TensorSource | undefined,
  options: EmitOptions = {},
): Promise<Model> {
  const { module: lowered } = await lowerModule(module);
  const wasm = await recentCode(lowered, options);
  const manifest = { ...(await manifestOf(wasm, options)), files: {} };
  const engine = await startEngine(manifest, wasm.code as Uint8Array<ArrayBuffer>);
  await writeWeights(lowered, wasm, source, new Uint8Array(engine.memory.buffer));
  return new Model(manifest, engine, undefined);
}

/** One tensor at a time goes to its place, so that no weight is held twice. */
async function writeWeights(
  lowered: Module,
  { schedule }: WasmModule,
  source: TensorSource | undefined,
  memory: Uint8Array,
): Promise<void> {
  const { weightBytes } = await import('../backends/wasm/package.js');
  for (const [name, placement] of schedule.weights) {
    for (let turn = 0; turn < placement.turns; turn++)
      memory.set(
        weightBytes(lowered, name, turn, placement, source),
        placement.address + turn * placement.stride,
      );
  }
}

/** Code by what it is made from: passes try many weights in one graph, and its code does not depend on them. */
const codeByText = new Map<string, WasmModule>();
/** A pass that walks through the turns of a loop comes back to each kind of segment once a turn. */
const codesKept = 24;

async function recentCode(lowered: Module, options: EmitOptions): Promise<WasmModule> {
  const key = codeKey(lowered, options);
  const wasm = codeByText.get(key) ?? (await emitModule(lowered, options));
  codeByText.delete(key);
  codeByText.set(key, wasm);
  const [oldest] = codeByText.keys();
  if (codeByText.size > codesKept && oldest !== undefined) codeByText.delete(oldest);
  return wasm;
}

function codeKey(module: Module, { relaxed, optimize }: EmitOptions): string {
  const params = new Map(
    [...module.params].map(([name, param]) => [name, { ...param, recipe: sourceRecipe('', param.type) }]),
  );
  return `${relaxed ?? false} ${optimize ?? true} ${printModule({ ...module, params })}`;
}
