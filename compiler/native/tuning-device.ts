/** A GPU behind the native runtime, for measuring kernels. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sourceFile } from '../../backends/cuda/package.js';
import { fail } from '../../ir/diagnostics.js';
import { type BundleSource, writeBundle } from '../bundle.js';
import { binaryFile, compileSource } from '../cuda.js';
import type { KernelCall, OpenedKernels, TuningDevice } from '../tuning/device.js';
import type { Gpu } from '../tuning/file.js';
import { buildRuntime } from './build.js';
import { type Handle, loadLibrary, type NativeLibrary } from './library.js';
import { openHandle } from './open.js';

export interface GpuOptions {
  /** Where the compiled runtime is kept. */
  readonly cache: string;
  /** Number of the GPU. */
  readonly device?: number | undefined;
  /** Called before g++ runs. */
  readonly onBuild?: (() => void) | undefined;
}

/** Fails with HEW6213 where the runtime cannot be built, and with HEW6214 where there is no such GPU. */
export async function openGpu({ cache, device = 0, onBuild }: GpuOptions): Promise<TuningDevice> {
  const library = await loadLibrary(await buildRuntime(cache, onBuild));
  const gpu = gpuOf(library, device);
  return {
    gpu,
    compile: async (manifest, source, weights) => {
      const number = gpu.architecture.replace('sm_', '');
      const binary = await compileSource(source, [`arch=compute_${number},code=sm_${number}`]);
      const files = new Map<string, BundleSource>([
        ...weights,
        [sourceFile, new TextEncoder().encode(source)],
      ]);
      if (binary !== undefined) files.set(binaryFile, binary);
      const cuda = { ...manifest.cuda, binary: binary === undefined ? null : binaryFile };
      return {
        open: async () => {
          const directory = mkdtempSync(join(tmpdir(), 'hew-tune-'));
          try {
            const bundle = join(directory, 'bundle');
            await writeBundle(bundle, { ...manifest, cuda }, files);
            return openedKernels(library, openHandle(library, bundle, { device, syntheticWeights: 1 }));
          } finally {
            rmSync(directory, { recursive: true, force: true });
          }
        },
      };
    },
  };
}

function gpuOf(library: NativeLibrary, device: number): Gpu {
  const json: [string | null] = [null];
  check(library, library.gpu(device, json));
  return JSON.parse(json[0] ?? '') as Gpu;
}

function openedKernels(library: NativeLibrary, model: Handle): OpenedKernels {
  const given = ({ inputs, symbols }: KernelCall) => {
    const tensors = inputs.map(({ name, data }) => ({ name, data, bytes: data.byteLength }));
    const values = Object.entries(symbols).map(([name, value]) => ({ name, value }));
    return [tensors, tensors.length, values, values.length] as const;
  };
  return {
    writeState: (name, data) => check(library, library.stateWrite(model, name, data, data.byteLength)),
    run(call, output, bytes) {
      const data = new Uint8Array(bytes);
      check(library, library.step(model, call.entry, ...given(call), [{ name: output, data, bytes }], 1));
      return data;
    },
    measure(call, outputs, repeats) {
      const times = new Float32Array(repeats);
      const wanted = outputs.map((name) => ({ name, data: null, bytes: 0 }));
      check(
        library,
        library.measure(model, call.entry, ...given(call), wanted, wanted.length, repeats, times),
      );
      return [...times];
    },
    close: () => library.close(model),
  };
}

/** Every status is the runtime's own here: the calls are the compiler's. */
function check(library: NativeLibrary, status: number): void {
  if (status !== 0) fail('HEW6214', library.lastError());
}
