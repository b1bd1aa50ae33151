/**
 * How well a changed module does on calibration data, as one number that is better when smaller. A language model is
 * judged by the mean NLL of the next token, any other model by the relative error of its first output:
 * ‖y − y₀‖₂ / ‖y₀‖₂ over all calls, y₀ being what the module computes that everything started from.
 */
import type { Model, TypedArray } from '../backends/wasm/runtime/load.js';
import { fail } from '../ir/diagnostics.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import type { CalibrationData } from './calibration.js';
import { evaluateTokens } from './evaluate/tokens.js';
import { loadModule } from './in-memory.js';

export interface LossOptions {
  readonly source: TensorSource | undefined;
  readonly data: CalibrationData;
  /** What the relative error is measured against. */
  readonly original: Module;
  /** Only the first so many windows or calls. */
  readonly first?: number | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Fails with HEW6011 when the outputs cannot be compared. */
export async function calibrationLoss(module: Module, options: LossOptions): Promise<number> {
  const { source, data, onProgress } = options;
  const model = await loadModule(module, source);
  if (data.windows !== undefined)
    return finite(evaluateTokens(model, data.windows.slice(0, options.first), onProgress).nll);
  const wanted = await referenceOutputs(options);
  let [error, size] = [0, 0];
  for (const [i, found] of outputsOf(model, options)) {
    const reference = wanted[i] as ArrayLike<number>;
    if (found.length !== reference.length)
      return fail(
        'HEW6011',
        'the outputs of the changed model have another shape than those of the original',
      );
    for (let at = 0; at < found.length; at++) {
      const [a, b] = [found[at] as number, reference[at] as number];
      error += (a - b) ** 2;
      size += b * b;
    }
    onProgress?.(i + 1, data.calls.length);
  }
  return finite(Math.sqrt(error / size));
}

function finite(loss: number): number {
  if (Number.isFinite(loss)) return loss;
  return fail(
    'HEW6011',
    `the loss on the calibration data is ${loss}: weights or activations are not finite`,
  );
}

function* outputsOf(
  model: Model,
  { data: { entry, calls }, first }: LossOptions,
): Generator<[number, ArrayLike<number>]> {
  const [output] = model.entry(entry).outputs;
  if (output?.dtype !== 'f32') return fail('HEW6011', `entry '${entry}' has no first output in f32`);
  for (const [i, { inputs }] of calls.slice(0, first).entries()) {
    model.reset();
    const found = model.run(entry, inputs, { outputs: [output.name] })[output.name] as TypedArray;
    yield [i, found as Float32Array];
  }
}

/** Outputs of the original, by its module and data. */
const references = new WeakMap<Module, WeakMap<CalibrationData, readonly ArrayLike<number>[]>>();

async function referenceOutputs(options: LossOptions): Promise<readonly ArrayLike<number>[]> {
  const { original, data, source } = options;
  const byData = references.get(original) ?? new WeakMap<CalibrationData, readonly ArrayLike<number>[]>();
  references.set(original, byData);
  const known = byData.get(data);
  if (known !== undefined) return known;
  const model = await loadModule(original, source);
  const found = [...outputsOf(model, { ...options, first: undefined })].map(([, output]) => output);
  byData.set(data, found);
  return found;
}
