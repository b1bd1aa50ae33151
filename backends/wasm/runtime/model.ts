/**
 * A loaded model: entry points are run by name over named typed arrays; states (key-value caches, position)
 * live in the module's memory until they are reset, restored or overwritten. A model runs one step at a
 * time; a step that throws leaves the states as far as it came, so reset or restore them before going on.
 */
import { bytesOf, type DType, dtypes, holds, type TypedArray, viewOf } from './dtype.js';
import type { Engine, WasmFunction } from './engine.js';
import { LoadError, listNames, reasonOf, refuse } from './errors.js';
import type { EntrySpec, Manifest, StateSpec, TensorSlot } from './manifest.js';
import { elementCount, evaluateShape, type GivenInput, inferSymbols, type SymbolValues } from './shape.js';
import type { Tokenizer } from './text-stream.js';

/** A typed array, whose shape is inferred when one symbol is unknown, or one with its shape. */
export type Input = TypedArray | { readonly data: TypedArray; readonly shape: readonly number[] };

export type Inputs = Readonly<Record<string, Input>>;
export type Outputs = Record<string, TypedArray>;

export interface RunOptions {
  /** The outputs to compute and return; all when absent. */
  readonly outputs?: readonly string[];
  /** Values of run-time symbols that the inputs do not determine. */
  readonly symbols?: Readonly<Record<string, number>>;
}

/** Copies of all states, by name. */
export type StateSnapshot = ReadonlyMap<string, Uint8Array>;

export interface StateHandle {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** A copy of the values, dense and row-major. */
  read(): TypedArray;
  /** @throws LoadError HEW7005 when the type or length differs. */
  write(data: TypedArray): void;
}

export class Model {
  readonly manifest: Manifest;
  /** The hook given to `load`, or undefined. */
  readonly tokenizer: Tokenizer | undefined;
  readonly #engine: Engine;

  /** Models are made by `load`. */
  constructor(manifest: Manifest, engine: Engine, tokenizer: Tokenizer | undefined) {
    this.manifest = manifest;
    this.tokenizer = tokenizer;
    this.#engine = engine;
  }

  get entries(): Readonly<Record<string, EntrySpec>> {
    return this.manifest.entries;
  }

  /**
   * Runs one entry point. Outputs are fresh typed arrays, dense and row-major.
   * @throws LoadError HEW7004 for unknown names, HEW7005 for inputs that do not fit, HEW7006 when the context
   * is full, HEW7007 for an index (such as a token id) out of range.
   */
  run(name: string, inputs: Inputs, options: RunOptions = {}): Outputs {
    const entry = this.entry(name);
    const wanted = wantedOutputs(name, entry, options.outputs);
    const given = givenInputs(name, entry, inputs);
    const symbols = inferSymbols(
      entry.symbols,
      this.manifest.symbols,
      given.map(({ shaped }) => shaped),
      options.symbols,
    );
    for (const { slot, data } of given) this.#writeBytes(slot.address, bytesOf(data));
    callStep(name, this.#functionOf(name), [
      ...entry.symbols.map((s) => symbols.get(s) ?? 0),
      maskOf(entry, wanted),
    ]);
    return Object.fromEntries(wanted.map((slot) => [slot.name, this.#readSlot(slot, symbols)]));
  }

  /** @throws LoadError HEW7004 when there is no such entry point. */
  entry(name: string): EntrySpec {
    const entry = Object.hasOwn(this.entries, name) ? this.entries[name] : undefined;
    if (entry === undefined) {
      refuse(
        'HEW7004',
        `the model has no entry point '${name}'; it has ${listNames(Object.keys(this.entries))}`,
      );
    }
    return entry;
  }

  /** Sets every state to zero: the position too, so that the context is empty. */
  reset(): void {
    const memory = this.#bytes();
    for (const { address, bytes } of this.manifest.states) memory.fill(0, address, address + bytes);
  }

  /** @throws LoadError HEW7004 when there is no such state. */
  state(name: string): StateHandle {
    const spec = this.manifest.states.find((state) => state.name === name);
    if (spec === undefined) {
      const names = this.manifest.states.map((state) => state.name);
      refuse('HEW7004', `the model has no state '${name}'; it has ${listNames(names)}`);
    }
    const { dtype, shape, address } = spec;
    return {
      name,
      dtype,
      shape,
      read: () => this.#copy(dtype, address, elementCount(shape)),
      write: (data) => {
        checkStateData(spec, data);
        this.#writeBytes(address, bytesOf(data));
      },
    };
  }

  /** A deep copy of all states. */
  saveState(): StateSnapshot {
    const memory = this.#bytes();
    return new Map(
      this.manifest.states.map(({ name, address, bytes }) => [name, memory.slice(address, address + bytes)]),
    );
  }

  /**
   * Puts back what `saveState` returned, from this model or another one of the same bundle.
   * @throws LoadError HEW7005 when the snapshot is of other states; nothing is changed then.
   */
  restoreState(snapshot: StateSnapshot): void {
    const { states } = this.manifest;
    for (const { name, bytes } of states) {
      if (snapshot.get(name)?.byteLength !== bytes) {
        refuse('HEW7005', `the snapshot does not hold ${bytes} bytes for state '${name}'`);
      }
    }
    for (const { name, address } of states) {
      this.#writeBytes(address, snapshot.get(name) ?? new Uint8Array());
    }
  }

  #functionOf(name: string): WasmFunction {
    return this.#engine.functions.get(name) ?? refuse('HEW7004', `entry point '${name}' has no function`);
  }

  #bytes(): Uint8Array {
    return new Uint8Array(this.#engine.memory.buffer);
  }

  #writeBytes(address: number, bytes: Uint8Array): void {
    const memory = this.#bytes();
    checkRegion(address, bytes.byteLength, memory.byteLength);
    memory.set(bytes, address);
  }

  #readSlot({ dtype, shape, address }: TensorSlot, symbols: SymbolValues): TypedArray {
    return this.#copy(dtype, address, elementCount(evaluateShape(shape, symbols)));
  }

  #copy(dtype: DType, address: number, count: number): TypedArray {
    const { buffer } = this.#engine.memory;
    const size = count * dtypes[dtype].bytes;
    checkRegion(address, size, buffer.byteLength);
    return viewOf(dtype, buffer.slice(address, address + size), 0, count);
  }
}

/** The manifest was checked at the bounds of the symbols; a shape that shrinks with its symbols gets here. */
function checkRegion(address: number, size: number, memoryBytes: number): void {
  if (!(address + size <= memoryBytes)) refuse('HEW7003', 'a tensor of the bundle lies outside its memory');
}

function findSlot(slots: readonly TensorSlot[], name: string, what: string): TensorSlot {
  const slot = slots.find((candidate) => candidate.name === name);
  return (
    slot ??
    refuse('HEW7004', `there is no ${what} named '${name}'; there are ${listNames(slots.map((s) => s.name))}`)
  );
}

function wantedOutputs(name: string, entry: EntrySpec, outputs: readonly string[] | undefined): TensorSlot[] {
  if (outputs === undefined) return [...entry.outputs];
  return outputs.map((output) => findSlot(entry.outputs, output, `output of '${name}'`));
}

function maskOf(entry: EntrySpec, wanted: readonly TensorSlot[]): number {
  return entry.outputs.reduce((mask, slot, bit) => (wanted.includes(slot) ? mask | (1 << bit) : mask), 0);
}

interface CheckedInput {
  readonly slot: TensorSlot;
  readonly data: TypedArray;
  readonly shaped: GivenInput;
}

function givenInputs(name: string, entry: EntrySpec, inputs: Inputs): CheckedInput[] {
  for (const key of Object.keys(inputs)) findSlot(entry.inputs, key, `input of '${name}'`);
  return entry.inputs.map((slot) => {
    const input = Object.hasOwn(inputs, slot.name) ? inputs[slot.name] : undefined;
    if (input == null) refuse('HEW7005', `input '${slot.name}' of '${name}' is missing`);
    const data: unknown = ArrayBuffer.isView(input) ? input : input.data;
    if (!holds(slot.dtype, data)) {
      refuse(
        'HEW7005',
        `input '${slot.name}' of '${name}' has to be a ${dtypes[slot.dtype].arrayName} (${slot.dtype})`,
      );
    }
    const shaped = { name: slot.name, shape: slot.shape, length: data.length };
    if (ArrayBuffer.isView(input)) return { slot, data, shaped };
    if (!Array.isArray(input.shape)) refuse('HEW7005', `the shape of input '${slot.name}' is not a list`);
    return { slot, data, shaped: { ...shaped, givenShape: input.shape } };
  });
}

function callStep(name: string, step: WasmFunction, values: readonly number[]): void {
  try {
    step(...values);
  } catch (error) {
    if (error instanceof LoadError) throw error;
    throw new LoadError('HEW7003', `entry point '${name}' broke off: ${reasonOf(error)}`, { cause: error });
  }
}

function checkStateData({ name, dtype, shape }: StateSpec, data: unknown): asserts data is TypedArray {
  const count = elementCount(shape);
  if (!holds(dtype, data) || data.length !== count) {
    refuse('HEW7005', `state '${name}' takes a ${dtypes[dtype].arrayName} of ${count} elements (${dtype})`);
  }
}
