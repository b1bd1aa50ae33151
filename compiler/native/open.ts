/** Models on the native runtime, with the interface of those that run as WebAssembly. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NativeManifest, NativeSlot } from '../../backends/native/manifest.js';
import {
  bytesOf,
  type DType,
  dtypes,
  isDType,
  type TypedArray,
  viewOf,
} from '../../backends/wasm/runtime/dtype.js';
import type { Engine } from '../../backends/wasm/runtime/engine.js';
import { LoadError, type LoadErrorCode } from '../../backends/wasm/runtime/errors.js';
import type { EntryInfo, ModelInfo, TensorSlot } from '../../backends/wasm/runtime/manifest.js';
import { Model } from '../../backends/wasm/runtime/model.js';
import type { Dimension } from '../../backends/wasm/runtime/shape.js';
import { fail } from '../../ir/diagnostics.js';
import { createTokenizer } from '../tokenizer.js';
import { buildNative } from './build.js';
import { type Handle, loadLibrary, type NativeLibrary } from './library.js';

export interface NativeOptions {
  /** Where compiled code is kept. */
  readonly cache: string;
  /** Number of the GPU. */
  readonly device?: number | undefined;
  /** Weights are made up from this seed, for a bundle without any. */
  readonly syntheticWeights?: number | undefined;
  /** Called before g++ runs. */
  readonly onBuild?: (() => void) | undefined;
}

export interface NativeModel {
  readonly model: Model;
  /** What launches since the last call did, on the model of an Ascend chip, as JSON. */
  work(): string;
  /** Frees the memory of the device; the model must not be used any more. */
  close(): void;
}

/**
 * Opens a bundle for CUDA or, on the host's model of the chip, for Ascend; its states are zero. Fails with HEW7001 and
 * HEW7002 for what is no such bundle, with HEW6213 where the runtime cannot be compiled or loaded, and with HEW6214 for
 * what the runtime reports, such as a missing driver.
 */
export async function openNative(bundle: string, options: NativeOptions): Promise<NativeModel> {
  const { library: path, kernels } = await buildNative(bundle, options.cache, options.onBuild);
  const library = await loadLibrary(path);
  const handle = openHandle(library, bundle, options, kernels);
  const manifest = JSON.parse(library.manifest(handle)) as NativeManifest;
  const tokenizer =
    manifest.tokenizer === null
      ? undefined
      : createTokenizer(readFileSync(join(bundle, manifest.tokenizer.file), 'utf8'));
  return {
    model: new Model(infoOf(manifest), nativeEngine(library, handle), tokenizer),
    work() {
      const json: [string | null] = [null];
      check(library, library.work(handle, json));
      return json[0] ?? '';
    },
    close: () => library.close(handle),
  };
}

export function openHandle(
  library: NativeLibrary,
  bundle: string,
  { device = 0, syntheticWeights }: Omit<NativeOptions, 'cache'>,
  kernels?: string,
): Handle {
  const opened: [Handle | null] = [null];
  const status = library.open(
    bundle,
    {
      device,
      synthetic_weights: syntheticWeights === undefined ? 0 : 1,
      seed: syntheticWeights ?? 0,
      no_graphs: 0,
      kernels: kernels ?? null,
    },
    opened,
  );
  check(library, status);
  return opened[0] as Handle;
}

function nativeEngine(library: NativeLibrary, model: Handle): Engine {
  return {
    run({ name, inputs, symbols, outputs }) {
      const results = outputs.map(({ slot, count }): TypedArray => {
        const bytes = count * dtypes[slot.dtype].bytes;
        return viewOf(slot.dtype, new ArrayBuffer(bytes), 0, count);
      });
      const given = inputs.map(({ slot, data }) => tensor(slot, data));
      const values = [...symbols].map(([symbol, value]) => ({ name: symbol, value }));
      const wanted = outputs.map(({ slot }, i) => tensor(slot, results[i] as TypedArray));
      check(
        library,
        library.step(model, name, given, given.length, values, values.length, wanted, wanted.length),
      );
      return results;
    },
    readState({ name, bytes }) {
      const data = new Uint8Array(bytes);
      check(library, library.stateRead(model, name, data, bytes));
      return data;
    },
    writeState: ({ name, bytes }, data) => check(library, library.stateWrite(model, name, data, bytes)),
    resetStates: () => check(library, library.reset(model)),
  };
}

function tensor({ name }: TensorSlot, values: TypedArray) {
  const data = bytesOf(values);
  return { name, data, bytes: data.byteLength };
}

/** Statuses (hew.h) that mean what a code of the loader means; others are the native runtime's own. */
const loadCodes: Readonly<Record<number, LoadErrorCode>> = {
  1: 'HEW7005',
  3: 'HEW7002',
  4: 'HEW7003',
  11: 'HEW7006',
  12: 'HEW7007',
  13: 'HEW7008',
};

export function check(library: NativeLibrary, status: number): void {
  if (status === 0) return;
  const message = library.lastError();
  const code = loadCodes[status];
  if (code !== undefined) throw new LoadError(code, message);
  fail('HEW6214', message);
}

/** Fails with HEW7008 for values that JavaScript has no array of. */
function infoOf({ name, hew, symbols, entries, states, tokenizer, sampler }: NativeManifest): ModelInfo {
  const slot = ({ name, dtype, shape, address }: NativeSlot): TensorSlot => ({
    name,
    dtype: arrayDType(name, dtype),
    shape: shape.map((size) => dimension(name, size)),
    address,
  });
  const info = Object.entries(entries).map(([entry, found]): [string, EntryInfo] => [
    entry,
    { symbols: found.symbols, inputs: found.inputs.map(slot), outputs: found.outputs.map(slot) },
  ]);
  return {
    name,
    hew,
    symbols,
    entries: Object.fromEntries(info),
    states: states.map((state) => ({ ...state, dtype: arrayDType(state.name, state.dtype) })),
    tokenizer,
    sampler,
  };
}

function arrayDType(name: string, dtype: NativeSlot['dtype']): DType {
  return isDType(dtype) ? dtype : fail('HEW7008', `'${name}' is ${dtype}, which no typed array holds`);
}

function dimension(name: string, size: NativeSlot['shape'][number]): Dimension {
  if (typeof size === 'number' || !('sum' in size)) return size;
  return fail('HEW7008', `the shape of '${name}' is divided by ${size.divisor}, which only hew-run computes`);
}
