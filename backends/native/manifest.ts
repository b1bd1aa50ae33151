/**
 * The manifests of bundles that the native runtime runs. All tensors lie in one image of device memory, at byte
 * addresses; the plan of an entry is a list of launches, copies and loops over it. Sizes are polynomials of the entry's
 * run-time symbols.
 */
import type { DType } from '../../ir/type.js';
import type { FileRecord, Sampler } from '../wasm/runtime/manifest.js';

/** `[[coefficient, ...symbols], ...]`, or a plain number; `{sum, divisor}` where it is divided. */
export type PlanTerm = readonly [number, ...string[]];
export type PlanSize =
  | number
  | readonly PlanTerm[]
  | { readonly sum: readonly PlanTerm[]; readonly divisor: number };

/**
 * An address in the image. `stride`: it advances with each turn of the loop at nesting `depth`. `odd`: the address of odd
 * turns, where the loop exchanges two buffers.
 */
export type Pointer =
  | number
  | { readonly base: Pointer; readonly stride: number; readonly depth: number }
  | { readonly even: Pointer; readonly odd: Pointer; readonly depth: number };

/** A step runs when the mask of the outputs asked for has a bit of `mask`; always without one. */
interface Masked {
  readonly mask?: number;
}

export interface LaunchStep extends Masked {
  readonly kernel: string;
  /** The number of blocks is the product of count / per, each rounded up. */
  readonly grid: readonly (readonly [PlanSize, number])[];
  readonly pointers: readonly Pointer[];
  readonly symbols: readonly string[];
  /** Ways to run it on Hopper; the runtime takes the one that its grid's waves and its cost promise to be the fastest. */
  readonly variants?: readonly LaunchVariant[];
}

export interface LaunchVariant {
  readonly kernel: string;
  /** Counts tiles, which at most as many blocks as the GPU has multiprocessors share. */
  readonly grid: LaunchStep['grid'];
  readonly threads: number;
  /** Bytes of dynamic shared memory. */
  readonly shared: number;
  readonly cost: number;
  /** Ranges of the first size of the grid, both ends included, where it is taken whatever the cost. */
  readonly preferred?: readonly (readonly [least: number, most: number])[];
  /** Below this first size of the grid it is not taken. */
  readonly least?: number;
  /** Tensor maps that the kernel takes before the pointers: matrices of rows of `columns`, in boxes of 128 bytes by `box`. */
  readonly maps: readonly {
    readonly pointer: number;
    readonly dtype: DType;
    readonly rows: PlanSize;
    readonly columns: number;
    readonly box: number;
  }[];
}

export interface CopyStep extends Masked {
  readonly copy: readonly [to: Pointer, from: Pointer];
  readonly bytes: PlanSize;
}

/** Floats at `from` are added over all ranks, and the sums go to `to`. */
export interface AllReduceStep extends Masked {
  readonly all_reduce: readonly [to: Pointer, from: Pointer];
  readonly elements: PlanSize;
}

export interface LoopStep extends Masked {
  readonly turns: number;
  readonly body: readonly PlanStep[];
}

export type PlanStep = LaunchStep | CopyStep | AllReduceStep | LoopStep;

export interface NativeSlot {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly PlanSize[];
  readonly address: number;
}

export interface NativeEntry {
  readonly symbols: readonly string[];
  readonly inputs: readonly NativeSlot[];
  readonly outputs: readonly NativeSlot[];
  readonly plan: readonly PlanStep[];
}

export interface NativeState {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly address: number;
  readonly bytes: number;
}

export interface NativeManifest {
  readonly format: 'hew-bundle';
  readonly version: 1;
  readonly name: string;
  readonly hew: string;
  readonly files: Readonly<Record<string, FileRecord>>;
  /** How many processes run the model together, each with a bundle of its own. */
  readonly ranks: number;
  readonly memory: { readonly weights: number; readonly total: number };
  readonly weights: readonly {
    readonly file: string;
    readonly offset: number;
    readonly bytes: number;
    readonly address: number;
  }[];
  /** Where each parameter lies and what it is, so that weights can be made up for a measurement. */
  readonly params: readonly {
    readonly dtype: DType;
    readonly address: number;
    readonly stride: number;
    readonly turns: number;
    readonly elements: number;
    readonly fan_in: number;
  }[];
  readonly symbols: Readonly<Record<string, { readonly min: number; readonly max: number }>>;
  readonly entries: Readonly<Record<string, NativeEntry>>;
  readonly states: readonly NativeState[];
  readonly tokenizer: { readonly file: string } | null;
  readonly sampler: Sampler | null;
}

export interface CudaManifest extends NativeManifest {
  readonly target: 'cuda';
  readonly cuda: {
    readonly source: string;
    /** Compiled code, absent when the machine that compiled had no nvcc: the runtime then compiles the source. */
    readonly binary: string | null;
    /** Threads of every block. */
    readonly threads: number;
    readonly compute: string;
  };
}

export interface AscendManifest extends NativeManifest {
  readonly target: 'ascendc';
  readonly ascendc: {
    readonly chip: string;
    readonly compute: string;
    /** By entry name. `type` is that of KERNEL_TASK_TYPE_DEFAULT; `cores` run the kernel at the same time. */
    readonly kernels: Readonly<
      Record<
        string,
        {
          readonly type: string;
          readonly cores: number;
          /** Bytes that its buffers take, by local memory. */
          readonly memory: Readonly<Record<string, number>>;
        }
      >
    >;
  };
}
