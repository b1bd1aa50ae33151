/**
 * Calibration data of diffusion models: the calls of samplers that start from noises balanced over the classes. The
 * model itself makes the data, so no file is needed.
 */
import { type Inputs, sample } from '../backends/wasm/runtime/load.js';
import { fail } from '../ir/diagnostics.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import { type CalibrationData, fromCalls } from './calibration.js';
import { loadModule } from './in-memory.js';

export interface DiffusionCalibrationOptions {
  /** Noises in all, divided among the guidances; 36 by default. */
  readonly samples?: number | undefined;
  /** DDIM steps; 50 by default. */
  readonly steps?: number | undefined;
  /** Classifier-free guidances; 1 and 1.5 by default, 1 alone for a model without a null class. */
  readonly guidances?: readonly number[] | undefined;
  readonly seed?: number | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Runs the sampler and keeps what it gave the model. Fails as `sample` does for models that cannot be sampled. */
export async function calibrateOnSamples(
  module: Module,
  source: TensorSource | undefined,
  options: DiffusionCalibrationOptions = {},
): Promise<CalibrationData> {
  const { samples = 36, steps = 50, seed = 0, onProgress } = options;
  const classes = classesOf(module);
  const guidances = options.guidances ?? (classes === undefined || samples < 2 ? [1] : [1, 1.5]);
  if (samples < guidances.length)
    fail('HEW6011', `${samples} noises are too few for ${guidances.length} guidances`);
  const model = await loadModule(module, source);
  const calls: { readonly inputs: Inputs; readonly timestep: number }[] = [];
  let done = 0;
  for (const [i, guidance] of guidances.entries()) {
    const own = Array.from({ length: samples }, (_, n) => n).filter((n) => n % guidances.length === i);
    await sample(model, {
      classes: own.map((n) => n % (classes ?? 1)),
      steps,
      guidance,
      seed: seed + i,
      onProgress: () => {
        done += 1;
        onProgress?.(done, guidances.length * steps);
      },
      onCall: (inputs, timestep) => {
        calls.push({ inputs, timestep });
      },
    });
  }
  return fromCalls(module, calls);
}

/** How many classes a model with a null class has: it is the one behind the last. */
function classesOf(module: Module): number | undefined {
  const found = module.sampler?.settings.null_class;
  return typeof found === 'number' && found > 0 ? found : undefined;
}
