/** What runs the steps of a model: WebAssembly in this process, or another runtime. */
import type { TypedArray } from './dtype.js';
import type { EntryInfo, StateInfo, TensorSlot } from './manifest.js';
import type { SymbolValues } from './shape.js';

/** One call of an entry point; names, types and sizes have been checked. */
export interface Step {
  readonly name: string;
  readonly entry: EntryInfo;
  /** All inputs of the entry, in its order. */
  readonly inputs: readonly { readonly slot: TensorSlot; readonly data: TypedArray }[];
  readonly symbols: SymbolValues;
  /** The outputs to compute; `count` is a number of elements. */
  readonly outputs: readonly { readonly slot: TensorSlot; readonly count: number }[];
}

export interface Engine {
  /** The outputs in their order, as fresh arrays. */
  run(step: Step): TypedArray[];
  /** A copy of the bytes of a state. */
  readState(state: StateInfo): Uint8Array<ArrayBuffer>;
  writeState(state: StateInfo, bytes: Uint8Array): void;
  /** Sets all states to zero. */
  resetStates(): void;
}
