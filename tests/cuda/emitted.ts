/** What a case compiles to, and what its lowered form computes. */
import { execFileSync } from 'node:child_process';
import { emitCuda, lower } from '../../backends/cuda/compile.js';
import type { ComputeDType } from '../../backends/narrow.js';
import type { PlanStep } from '../../backends/native/manifest.js';
import { interpretEntry } from '../../ir/interpret.js';
import type { Tensor } from '../../ir/tensor.js';
import type { DecodingCase } from './decoding.js';

/** Relative error of every output of every call, after lowering, against the module as it was. */
export function relativeErrors({ module, calls }: DecodingCase, compute: ComputeDType): number[] {
  const lowered = lower(module, compute).module;
  const [before, after] = [new Map<string, Tensor>(), new Map<string, Tensor>()];
  return calls.flatMap(({ entry, inputs }) => {
    const wanted = interpretEntry(module, entry, inputs, { states: before });
    const actual = interpretEntry(lowered, entry, inputs, { states: after });
    return Object.entries(wanted).map(([name, { data }]) => {
      const other = actual[name]?.data ?? [];
      const difference = Array.from(data, (v, i) => Number(v) - Number(other[i]));
      return Math.hypot(...difference) / Math.max(Math.hypot(...Array.from(data, Number)), 1e-6);
    });
  });
}

/** The kernels that an entry launches, in order. */
export function kernelsOf({ module }: DecodingCase, entry: string, compute: ComputeDType): string[] {
  const { plans } = emitCuda(lower(module, compute).module);
  return (plans.get(entry) ?? []).flatMap((step: PlanStep) => ('kernel' in step ? [step.kernel] : []));
}

export function hasNvcc(): boolean {
  try {
    execFileSync('nvcc', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
