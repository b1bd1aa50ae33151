/**
 * How well a changed module does on calibration data, as one number that is better when smaller. A language model is
 * judged by the mean NLL of the next token, any other model by the relative error of its first output:
 * ‖y − y₀‖₂ / ‖y₀‖₂ over all calls, y₀ being what the module computes that everything started from.
 */
import { fail } from '../ir/diagnostics.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module } from '../ir/module.js';
import type { CalibrationCall, CalibrationData } from './calibration.js';
import { evaluateWindows } from './evaluate/tokens.js';
import { createExecutor, type Executor } from './executor.js';

export interface LossOptions {
  readonly source: TensorSource | undefined;
  readonly data: CalibrationData;
  /** What the relative error is measured against. */
  readonly original: Module;
  /** Only the first so many windows, or so many calls, spread evenly over all. */
  readonly first?: number | undefined;
  /** See ExecutorOptions. */
  readonly residentBytes?: number | undefined;
  readonly workers?: number | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Fails with HEW6011 when the outputs cannot be compared. */
export async function calibrationLoss(module: Module, options: LossOptions): Promise<number> {
  const { source, data, residentBytes, workers, onProgress } = options;
  const executor = await createExecutor(module, source, { residentBytes, workers });
  if (data.windows !== undefined)
    return finite(
      (await evaluateWindows(executor, module, data.windows.slice(0, options.first), onProgress)).nll,
    );
  const chosen = judgedCalls(options);
  const wanted = await referenceOutputs(options, chosen);
  let [error, size] = [0, 0];
  await eachOutput(executor, module, options, chosen, (i, found) => {
    const reference = wanted.get(i) as ArrayLike<number>;
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

/** Which calls decide: as many as asked for, spread evenly over all, the last among them. */
function judgedCalls({ data: { calls }, first = calls.length }: LossOptions): number[] {
  const count = Math.min(first, calls.length);
  return Array.from({ length: count }, (_, i) => Math.ceil(((i + 1) * calls.length) / count) - 1);
}

/** Shows the first output of these calls. */
async function eachOutput(
  executor: Executor,
  module: Module,
  { data: { entry, calls }, onProgress }: LossOptions,
  chosen: readonly number[],
  show: (call: number, values: Float32Array) => void,
): Promise<void> {
  const func = module.functions.get(entry);
  const [output] = func?.outputs ?? [];
  if (output === undefined || func?.results[0]?.type.dtype !== 'f32')
    return fail('HEW6011', `entry '${entry}' has no first output in f32`);
  const sequences = chosen.map((i) => [{ entry, ...(calls[i] as CalibrationCall) }]);
  await executor.run(
    { sequences, outputs: [output] },
    {
      outputs: (i, _call, found) => show(chosen[i] as number, found[output] as Float32Array),
      progress: onProgress,
    },
  );
}

type CallOutputs = Map<number, ArrayLike<number>>;

/** Outputs of the original, by its module and data. */
const references = new WeakMap<Module, WeakMap<CalibrationData, CallOutputs>>();

async function referenceOutputs(
  options: LossOptions,
  chosen: readonly number[],
): Promise<ReadonlyMap<number, ArrayLike<number>>> {
  const { original, data, source, residentBytes, workers } = options;
  const byData = references.get(original) ?? new WeakMap<CalibrationData, CallOutputs>();
  references.set(original, byData);
  const known = byData.get(data) ?? new Map<number, ArrayLike<number>>();
  byData.set(data, known);
  const missing = chosen.filter((i) => !known.has(i));
  if (missing.length === 0) return known;
  const executor = await createExecutor(original, source, { residentBytes, workers });
  await eachOutput(executor, original, options, missing, (i, values) => {
    known.set(i, values);
  });
  return known;
}
