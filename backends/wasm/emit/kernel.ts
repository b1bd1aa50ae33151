/**
 * What every kernel emitter receives: the kernel function, code helpers, and pointers to its arguments and results.
 *
 * Calling convention of an emitted kernel: pointers of the arguments, pointers of the results, a pointer to scratch
 * memory, then the run-time symbols the kernel uses, in sorted order; all i32, nothing is returned.
 */
import type binaryen from 'binaryen';
import type { Dim } from '../../../ir/dim.js';
import type { Func, Op, Value } from '../../../ir/module.js';
import type { DType } from '../../../ir/type.js';
import { dtypes } from '../../../ir/type.js';
import type { Asm, Expr, Local, Size } from './asm.js';
import type { MathLibrary } from './math.js';
import type { Memory } from './memory.js';

/** How a tensor lies in memory: row-major, or a weight in panels of rows (packing.ts, integer-packing.ts). */
export type Layout = 'rows' | 'panels' | 'integers';

export interface KernelContext {
  readonly asm: Asm;
  readonly m: binaryen.Module;
  readonly math: MathLibrary;
  readonly memory: Memory;
  readonly func: Func;
  /** The op the kernel is named for; pointwise ops after it are its epilogue. */
  readonly root: Op;
  readonly scratch: Local;
  pointer(value: Value): Local;
  layout(value: Value): Layout;
  /** Sizes of a shape: integers, or code over the run-time symbols. */
  sizes(shape: readonly Dim[]): Size[];
  size(value: Dim): Size;
  /** Calls the host's failure function, which throws: see the loader for the codes. */
  fail(code: number, a: Expr, b: Expr): Expr;
}

/** Emits the body of one kernel. */
export type KernelEmitter = (context: KernelContext) => readonly Expr[];

/** Bytes of scratch memory a kernel needs, as a dimension; default none. */
export type ScratchSize = (func: Func, root: Op, layout: (value: Value) => Layout) => Dim;

/** Bytes of one element, for types that have addresses. */
export function bytesOf(dtype: DType): number {
  const { bits } = dtypes[dtype];
  if (bits < 8) throw new Error(`an element of ${dtype} has no address`);
  return bits / 8;
}

/** Failure codes passed to the host. */
export const failures = { contextFull: 1, indexOutOfRange: 2 } as const;
