/**
 * A loaded model: entry points are run by name over named typed arrays; states (key-value caches, position)
 * live in the engine until they are reset, restored or overwritten. A model runs one step at a
 * time; a step that throws leaves the states as far as it came, so reset or restore them before going on.
 */
import { bytesOf, type DType, dtypes, holds, type TypedArray, viewOf } from './dtype.js';
import type { Engine } from './engine.js';
import { listNames, refuse } from './errors.js';
import type { EntryInfo, ModelInfo, StateInfo, TensorSlot } from './manifest.js';
import { elementCount, evaluateShape, type GivenInput, inferSymbols } from './shape.js';
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
  readonly manifest: ModelInfo;
  /** The hook given to `load`, or undefined. */
  readonly tokenizer: Tokenizer | undefined;
  readonly #engine: Engine;

  /** Models are made by `load`. */
  constructor(manifest: ModelInfo, engine: Engine, tokenizer: Tokenizer | undefined) {
    this.manifest = manifest;
    this.tokenizer = tokenizer;
    this.#engine = engine;
  }

  get entries(): Readonly<Record<string, EntryInfo>> {
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
    const results = this.#engine.run({
      name,
      entry,
      inputs: given,
      symbols,
      outputs: wanted.map((slot) => ({ slot, count: elementCount(evaluateShape(slot.shape, symbols)) })),
    });
    return Object.fromEntries(wanted.map((slot, i) => [slot.name, results[i] as TypedArray]));
  }

  /** @throws LoadError HEW7004 when there is no such entry point. */
  entry(name: string): EntryInfo {
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
    this.#engine.resetStates();
  }

  /** @throws LoadError HEW7004 when there is no such state. */
  state(name: string): StateHandle {
    const spec = this.manifest.states.find((state) => state.name === name);
    if (spec === undefined) {
      const names = this.manifest.states.map((state) => state.name);
      refuse('HEW7004', `the model has no state '${name}'; it has ${listNames(names)}`);
    }
    const { dtype, shape } = spec;
    return {
      name,
      dtype,
      shape,
      read: () => viewOf(dtype, this.#engine.readState(spec).buffer, 0, elementCount(shape)),
      write: (data) => {
        checkStateData(spec, data);
        this.#engine.writeState(spec, bytesOf(data));
      },
    };
  }

  /** A deep copy of all states. */
  saveState(): StateSnapshot {
    return new Map(this.manifest.states.map((state) => [state.name, this.#engine.readState(state)]));
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
    for (const state of states) this.#engine.writeState(state, snapshot.get(state.name) ?? new Uint8Array());
  }
}

function findSlot(slots: readonly TensorSlot[], name: string, what: string): TensorSlot {
  const slot = slots.find((candidate) => candidate.name === name);
  return (
    slot ??
    refuse('HEW7004', `there is no ${what} named '${name}'; there are ${listNames(slots.map((s) => s.name))}`)
  );
}

function wantedOutputs(name: string, entry: EntryInfo, outputs: readonly string[] | undefined): TensorSlot[] {
  if (outputs === undefined) return [...entry.outputs];
  return outputs.map((output) => findSlot(entry.outputs, output, `output of '${name}'`));
}

interface CheckedInput {
  readonly slot: TensorSlot;
  readonly data: TypedArray;
  readonly shaped: GivenInput;
}

function givenInputs(name: string, entry: EntryInfo, inputs: Inputs): CheckedInput[] {
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

function checkStateData({ name, dtype, shape }: StateInfo, data: unknown): asserts data is TypedArray {
  const count = elementCount(shape);
  if (!holds(dtype, data) || data.length !== count) {
    refuse('HEW7005', `state '${name}' takes a ${dtypes[dtype].arrayName} of ${count} elements (${dtype})`);
  }
}
