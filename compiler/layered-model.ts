/** A model that is too large to be in memory as a whole, behind the interface that samplers use. */
import type { Inputs, Outputs, TypedArray } from '../backends/wasm/runtime/load.js';
import type { EntrySpec, Manifest } from '../backends/wasm/runtime/manifest.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import { emitModule, manifestOf } from './build.js';
import { LayeredExecutor, type LayeredOptions } from './layered.js';
import type { StatefulModel } from './parallel/tasks.js';

/** Every call starts from empty states, and starts the next stage when it has gone through one. */
export async function layeredModel(
  lowered: Module,
  source: TensorSource | undefined,
  states: readonly string[],
  options: LayeredOptions,
): Promise<StatefulModel> {
  const wasm = await emitModule(lowered, { ...options, optimize: false });
  const manifest = { ...(await manifestOf(wasm)), files: {} };
  return new LayeredModel(manifest, new LayeredExecutor(lowered, source, options), states);
}

class LayeredModel implements StatefulModel {
  private readonly turns = new Map<string, TypedArray[]>();

  constructor(
    readonly manifest: Manifest,
    private readonly executor: LayeredExecutor,
    private readonly states: readonly string[],
  ) {}

  get entries(): Readonly<Record<string, EntrySpec>> {
    return this.manifest.entries;
  }

  entry(name: string): EntrySpec {
    return this.entries[name] as EntrySpec;
  }

  async run(
    entry: string,
    inputs: Inputs,
    { outputs = [] }: { readonly outputs?: readonly string[] } = {},
  ): Promise<Outputs> {
    this.turns.clear();
    const found: Outputs = {};
    await this.executor.run(
      { sequences: [[{ entry, inputs }]], outputs, states: this.states },
      {
        outputs: (_sequence, _call, values) => Object.assign(found, values),
        state: (_sequence, name, turn, values) => {
          const own = this.turns.get(name) ?? [];
          own[turn] = values.slice();
          this.turns.set(name, own);
        },
      },
    );
    return found;
  }

  /** All turns of its loop, as a loaded model has them. */
  state(name: string): { read(): TypedArray } {
    const parts = this.turns.get(name) ?? [];
    const read = (): Float32Array => {
      const joined = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
      parts.reduce((offset, part) => {
        joined.set(part as Float32Array, offset);
        return offset + part.length;
      }, 0);
      return joined;
    };
    return { read };
  }

  reset(): void {
    this.turns.clear();
  }
}
