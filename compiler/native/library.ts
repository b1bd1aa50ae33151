/** The C interface of the native runtime (runtime-native/include/hew.h), called through koffi. */
import { fail } from '../../ir/diagnostics.js';

/** A pointer that only the library looks behind. */
export type Handle = bigint & { readonly handle: 'hew_model' };

export interface Tensor {
  readonly name: string;
  /** Null for an output that stays on the device. */
  readonly data: ArrayBufferView | null;
  readonly bytes: number;
}

export interface SymbolValue {
  readonly name: string;
  readonly value: number;
}

interface OpenOptions {
  readonly device: number;
  readonly synthetic_weights: number;
  readonly seed: number;
  readonly no_graphs: number;
  readonly kernels: string | null;
}

/** The functions that are used, with a status as their result. */
export interface NativeLibrary {
  open(directory: string, options: OpenOptions, model: [Handle | null]): number;
  close(model: Handle): void;
  manifest(model: Handle): string;
  step(
    model: Handle,
    entry: string,
    inputs: readonly Tensor[],
    inputCount: number,
    symbols: readonly SymbolValue[],
    symbolCount: number,
    outputs: readonly Tensor[],
    outputCount: number,
  ): number;
  measure(
    model: Handle,
    entry: string,
    inputs: readonly Tensor[],
    inputCount: number,
    symbols: readonly SymbolValue[],
    symbolCount: number,
    outputs: readonly Tensor[],
    outputCount: number,
    repeats: number,
    milliseconds: Float32Array,
  ): number;
  gpu(device: number, json: [string | null]): number;
  stateRead(model: Handle, state: string, data: Uint8Array, bytes: number): number;
  stateWrite(model: Handle, state: string, data: Uint8Array, bytes: number): number;
  reset(model: Handle): number;
  work(model: Handle, json: [string | null]): number;
  lastError(): string;
}

const libraries = new Map<string, NativeLibrary>();

/** Opens a shared object once. Fails with HEW6213 where koffi or the object cannot be loaded. */
export async function loadLibrary(path: string): Promise<NativeLibrary> {
  const found = libraries.get(path) ?? (await declare(path));
  libraries.set(path, found);
  return found;
}

async function declare(path: string): Promise<NativeLibrary> {
  try {
    const { default: koffi } = await import('koffi');
    const library = koffi.load(path);
    const model = koffi.pointer(koffi.opaque());
    const tensor = koffi.struct({ name: 'const char *', data: 'void *', bytes: 'size_t' });
    const symbol = koffi.struct({ name: 'const char *', value: 'int64_t' });
    const options = koffi.struct({
      device: 'int32_t',
      synthetic_weights: 'int32_t',
      seed: 'uint32_t',
      no_graphs: 'int32_t',
      kernels: 'const char *',
    });
    const list = (type: typeof tensor) => [koffi.pointer(type), 'size_t'];
    const call = [model, 'const char *', ...list(tensor), ...list(symbol), ...list(tensor)];
    const declarations = {
      open: ['hew_open', 'int', ['const char *', koffi.pointer(options), koffi.out(koffi.pointer(model))]],
      close: ['hew_close', 'void', [model]],
      manifest: ['hew_manifest', 'const char *', [model]],
      step: ['hew_step', 'int', call],
      measure: ['hew_measure', 'int', [...call, 'size_t', 'void *']],
      gpu: ['hew_gpu', 'int', ['int32_t', koffi.out(koffi.pointer('const char *'))]],
      stateRead: ['hew_state_read', 'int', [model, 'const char *', 'void *', 'size_t']],
      stateWrite: ['hew_state_write', 'int', [model, 'const char *', 'void *', 'size_t']],
      reset: ['hew_reset', 'int', [model]],
      work: ['hew_work', 'int', [model, koffi.out(koffi.pointer('const char *'))]],
      lastError: ['hew_last_error', 'const char *', []],
    } as const satisfies Record<keyof NativeLibrary, unknown>;
    const functions = Object.entries(declarations).map(([name, [symbolName, result, parameters]]) => [
      name,
      library.func(symbolName, result, [...parameters]),
    ]);
    return Object.fromEntries(functions) as NativeLibrary;
  } catch (error) {
    return fail(
      'HEW6213',
      `the native runtime cannot be loaded: ${error instanceof Error ? error.message : error}`,
      {
        help: 'npm install brings koffi, through which Node calls it',
      },
    );
  }
}
