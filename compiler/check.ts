/** Everything that can be said about a model without writing a bundle. */
import { type Diagnostic, diagnostic, HewError } from '../ir/diagnostics.js';
import { parsePipeline } from '../passes/pipeline.js';
import { standardPipeline } from '../passes/registry.js';
import { defaultChip, emitForAscend } from './ascend.js';
import { emitModule, lowerModule } from './build.js';
import { checkTarget, type ModelOptions, type OpenedModel, openModel } from './compile.js';
import { emitForCuda } from './cuda.js';

export interface CheckOptions extends ModelOptions {
  readonly target?: string | undefined;
}

/**
 * Diagnostics of a model: of its spec, configuration and, where there is one, its checkpoint; then of what the target
 * does not support. Errors are returned, not thrown.
 */
export async function checkModel(options: CheckOptions): Promise<readonly Diagnostic[]> {
  return collect([], async () => {
    const target = options.target ?? 'wasm';
    checkTarget(target);
    const model = openModel(options);
    try {
      return await collect([...model.warnings, ...weightsNote(model)], () =>
        checkTargetSupport(model, target),
      );
    } finally {
      model.close();
    }
  });
}

/** `found` and what `work` returns or throws. */
async function collect(
  found: readonly Diagnostic[],
  work: () => Promise<readonly Diagnostic[]>,
): Promise<readonly Diagnostic[]> {
  try {
    return [...found, ...(await work())];
  } catch (error) {
    if (!(error instanceof HewError)) throw error;
    return [...found, ...error.diagnostics];
  }
}

function weightsNote({ module, checkpoint }: OpenedModel): Diagnostic[] {
  if (checkpoint !== undefined || module.params.size === 0) return [];
  const message = 'no checkpoint was found, so names and shapes of the weights were not checked';
  return [diagnostic('HEW4006', message, { severity: 'warning', help: 'give one with --weights' })];
}

/** Compiles all but the weights, without optimising. */
async function checkTargetSupport({ module }: OpenedModel, target: string): Promise<Diagnostic[]> {
  if (target === 'ascendc') {
    await emitForAscend(module, parsePipeline(standardPipeline), {}, defaultChip, 'f16');
    return [];
  }
  if (target === 'cuda') {
    await emitForCuda(module, parsePipeline(standardPipeline), {}, 'bf16');
    return [];
  }
  const lowered = await lowerModule(module);
  await emitModule(lowered.module, { optimize: false });
  return [];
}
