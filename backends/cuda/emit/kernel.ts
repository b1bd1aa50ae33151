/**
 * What every kernel emitter receives, and the calling convention of an emitted kernel: pointers of the arguments
 * (`in0`, `in1`, …), pointers of the results (`out0`, …), a pointer to scratch memory where the kernel has some, then
 * the run-time symbols that it mentions, in sorted order.
 *
 * Every block has 256 threads. `block` is the index of the block, so that a kernel may be a part of a larger launch.
 */
import { type Dim, dimBounds, productOfDims } from '../../../ir/dim.js';
import { dimRange, type Func, type Module, modelDims, type Op, type Value } from '../../../ir/module.js';
import type { TensorType } from '../../../ir/type.js';
import { kernelSymbols, resolver, rootOf } from '../../kernel-function.js';
import type { Grid } from '../../native/plan.js';
import type { libraries } from '../device/libraries.js';
import { type KindName, kinds, type ParametersOf, type ShapeOf, type Tuning } from '../tuning.js';
import { Code } from './code.js';
import { sizeText } from './size.js';

export const threads = 256;
export const warps = threads / 32;

/** A part of the device library that a kernel uses; see device/. */
export type Library = keyof typeof libraries;

export interface KernelContext {
  readonly module: Module;
  readonly func: Func;
  /** The op the kernel is named for; pointwise ops after it are its epilogue. */
  readonly root: Op;
  readonly code: Code;
  readonly symbols: readonly string[];
  readonly libraries: Set<Library>;
  pointer(value: Value): string;
  /** Whether an argument may be read before the kernels before this one have ended. */
  isConstant(value: Value): boolean;
  /** A dimension as C++. */
  size(value: Dim): string;
  /** Resolved: only run-time symbols are left. */
  resolve(value: Dim): Dim;
  /** What was chosen for a kernel of this shape, or the default; `rows` where the shape has a bucket of them. */
  parameters<K extends KindName>(kind: K, shape: ShapeOf<K>, rows?: Dim): ParametersOf<K>;
  /** The type of indices into tensors of at most this size. */
  indexType(...types: readonly TensorType[]): 'int' | 'long long';
}

/** The name of the scratch pointer. */
export const scratch = 'scratch';

/** A launch of a kernel that takes several, one after the other, or that can run in several ways. */
export interface Phase {
  /** Distinguishes the names of the global functions. */
  readonly suffix: string;
  readonly grid: Grid;
  readonly code: Code;
  readonly variants?: readonly Variant[];
  /** Blocks that have to fit on a multiprocessor at once, which bounds their registers; 0 is any number. */
  readonly resident?: number;
}

/** A row-major matrix behind one of the pointers, cut into boxes of one row of 128 bytes by `boxRows`. */
export interface MatrixMap {
  readonly value: Value;
  readonly rows: Dim;
  readonly columns: number;
  readonly boxRows: number;
}

/**
 * Another way to run a launch, by instructions of Hopper alone. Its grid counts tiles, which as many blocks as the GPU
 * has multiprocessors share; its global function takes the tensor maps `map0`, … before the pointers.
 */
export interface Variant extends Phase {
  readonly threads: number;
  /** Bytes of dynamic shared memory. */
  readonly shared: number;
  /** Time of a tile, in any unit that all variants of a launch share. */
  readonly cost: number;
  /** Ranges of rows for which it was measured to be the fastest, both ends included. */
  readonly preferred: readonly (readonly [least: number, most: number])[];
  /** Of the first size of the grid: below it the variant is not taken. */
  readonly least?: number;
  readonly maps: readonly MatrixMap[];
}

/** Writes the body of a kernel and says how many blocks run it; or makes the bodies of several launches. */
export type KernelEmitter = (context: KernelContext) => Grid | readonly Phase[];

export function isPhases(made: Grid | readonly Phase[]): made is readonly Phase[] {
  return made.some((part) => 'suffix' in part);
}

export function maxElements(module: Module, type: TensorType): number {
  return Math.ceil(dimBounds(productOfDims(type.shape), (name) => dimRange(module, name)).max);
}

export function kernelContext(
  module: Module,
  func: Func,
  used: Set<Library>,
  constant: ReadonlySet<number>,
  tuning: Tuning,
): KernelContext {
  const resolve = resolver(modelDims(module));
  const pointers = new Map<Value, string>([
    ...func.args.map((value, i) => [value, `in${i}`] as const),
    ...func.results.map((value, i) => [value, `out${i}`] as const),
  ]);
  return {
    module,
    func,
    root: rootOf(func),
    code: new Code(),
    symbols: kernelSymbols(func, modelDims(module)),
    libraries: used,
    resolve,
    size: (value) => sizeText(resolve(value)),
    indexType: (...types) =>
      types.some((type) => maxElements(module, type) >= 2 ** 31) ? 'long long' : 'int',
    pointer: (value) => {
      const pointer = pointers.get(value);
      if (pointer === undefined)
        throw new Error(`kernel @${func.name} has no pointer to a value it computes`);
      return pointer;
    },
    parameters: (kind, shape, rows) =>
      tuning({ kind, shape, func, ...(rows && { rows: resolve(rows) }) }) ?? kinds[kind].standard(shape),
    isConstant: (value) => constant.has(func.args.indexOf(value)),
  };
}
