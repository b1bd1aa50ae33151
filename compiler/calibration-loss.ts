/**
 * How well a changed module does on calibration data, as one number that is better when smaller. A language model is
 * judged by the mean NLL of the next token, any other model by the relative error of its first output:
 * ‖y − y₀‖₂ / ‖y₀‖₂ over all calls, y₀ being what the module computes that everything started from.
 */
import { fail } from '../ir/diagnostics.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import type { CalibrationData } from './calibration.js';
import { evaluateWindows } from './evaluate/tokens.js';
import { createExecutor, type Executor } from './executor.js';

export interface LossOptions {
  readonly source: TensorSource | undefined;
  readonly data: CalibrationData;
  /** What the relative error is measured against. */
  readonly original: Module;
  /** Only the first so many windows or calls. */
  readonly first?: number | undefined;
  /** See ExecutorOptions. */
  readonly residentBytes?: number | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Fails with HEW6011 when the outputs cannot be compared. */
export async function calibrationLoss(module: Module, options: LossOptions): Promise<number> {
  const { source, data, residentBytes, onProgress } = options;
  const executor = await createExecutor(module, source, { residentBytes });
  if (data.windows !== undefined)
    return finite(
      (await evaluateWindows(executor, module, data.windows.slice(0, options.first), onProgress)).nll,
    );
  const wanted = await referenceOutputs(options);
  let [error, size] = [0, 0];
  await eachOutput(executor, module, options, (i, found) => {
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
  });
  return finite(Math.sqrt(error / size));
}

function finite(loss: number): number {
  if (Number.isFinite(loss)) return loss;
  return fail(
    'HEW6011',
    `the loss on the calibration data is ${loss}: weights or activations are not finite`,
  );
}

/** Shows the first output of every call. */
async function eachOutput(
  executor: Executor,
  module: Module,
  { data: { entry, calls }, first, onProgress }: LossOptions,
  show: (call: number, values: Float32Array) => void,
): Promise<void> {
  const func = module.functions.get(entry);
  const [output] = func?.outputs ?? [];
  if (output === undefined || func?.results[0]?.type.dtype !== 'f32')
    return fail('HEW6011', `entry '${entry}' has no first output in f32`);
  const sequences = calls.slice(0, first).map((call) => [{ entry, ...call }]);
  await executor.run(
    { sequences, outputs: [output] },
    { outputs: (i, _call, found) => show(i, found[output] as Float32Array), progress: onProgress },
  );
}

/** Outputs of the original, by its module and data. */
const references = new WeakMap<Module, WeakMap<CalibrationData, readonly ArrayLike<number>[]>>();

async function referenceOutputs(options: LossOptions): Promise<readonly ArrayLike<number>[]> {
  const { original, data, source, residentBytes } = options;
  const byData = references.get(original) ?? new WeakMap<CalibrationData, readonly ArrayLike<number>[]>();
  references.set(original, byData);
  const known = byData.get(data);
  if (known !== undefined) return known;
  const executor = await createExecutor(original, source, { residentBytes });
  const found: ArrayLike<number>[] = [];
  await eachOutput(executor, original, { ...options, first: undefined }, (call, values) => {
    found[call] = values;
  });
  byData.set(data, found);
  return found;
}
