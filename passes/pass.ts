/**
 * How a pass is declared. A pass is data: a name, options, and a function from a module to a module and a report of
 * what it did. Exact passes preserve the meaning of a module up to rounding; approximate ones name what they cost.
 *
 * A pass that needs data says which statistics it wants (`data.observe`) and is run with them (`data.run`); only a
 * driver that can run the model is able to do that (compiler/data-pipeline.ts), a plain pipeline refuses it.
 */
import { fail } from '../ir/diagnostics.js';
import type { Module } from '../ir/module.js';
import type { Tensor } from '../ir/tensor.js';
import type { Observation, Probe, Statistics } from './probe.js';

export interface OptionTypes {
  int: number;
  float: number;
  bool: boolean;
  string: string;
}

export interface OptionSpec<K extends keyof OptionTypes = keyof OptionTypes> {
  readonly kind: K;
  readonly doc: string;
  readonly default: OptionTypes[K];
}

export function option<K extends keyof OptionTypes>(
  kind: K,
  doc: string,
  fallback: OptionTypes[K],
): OptionSpec<K> {
  return { kind, doc, default: fallback };
}

export type OptionSchema = Readonly<Record<string, OptionSpec>>;
export type OptionsOf<O extends OptionSchema> = { readonly [N in keyof O]: OptionTypes[O[N]['kind']] };

/** What a pass did, in numbers (such as rule hits) and in sentences (such as what it skipped and why). */
export interface PassReport {
  readonly counts: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
  /** The same for machines: indices kept, scores, constants chosen. */
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface PassResult {
  readonly module: Module;
  readonly report?: Partial<PassReport>;
  /** What probes of the new module would find, where that follows from what was observed before. */
  readonly known?: ReadonlyMap<Probe, Observation>;
}

export interface Pass<O extends OptionSchema = OptionSchema> {
  readonly name: string;
  /** One sentence, shown by --help and in docs/passes.md. */
  readonly summary: string;
  readonly kind: 'exact' | 'approximate';
  readonly options: O;
  /** How options of other names are read, for a pass whose options are named by the model's dimensions. */
  readonly dimensionOption?: OptionSpec;
  /** Passes that may not stand before this one in a pipeline, and why. */
  readonly notAfter?: Readonly<Record<string, string>>;
  run(module: Module, options: OptionsOf<O>): PassResult;
  /** Set when the pass needs data; `run` refuses then. */
  readonly data?: DataPart<O>;
}

/** The module a pipeline started from, and what running models on calibration data can tell. */
export interface Surroundings {
  readonly original: Module;
}

/** A typed array, or one with its shape. */
export type DataArray =
  | Float32Array
  | Float16Array
  | Uint16Array
  | BigInt64Array
  | Int32Array
  | Int8Array
  | Uint8Array;
export type DataInput = DataArray | { readonly data: DataArray; readonly shape: readonly number[] };

/** Calls of an entry, each from empty states. */
export interface DataCalls {
  readonly entry: string;
  readonly calls: readonly {
    readonly inputs: Readonly<Record<string, DataInput>>;
    /** The timestep that all samples of the call share, for diffusion models. */
    readonly timestep?: number | undefined;
  }[];
  /** Tokens of each call, for models that predict the next one. */
  readonly windows?: readonly ArrayLike<number>[] | undefined;
}

/** A compiled module whose states are zero. */
export interface RunnableModule {
  reset(): void;
  run(
    entry: string,
    inputs: Readonly<Record<string, DataInput>>,
    options?: { readonly outputs?: readonly string[] },
  ): Record<string, DataArray>;
  state(name: string): { read(): DataArray };
}

/** How far a pass has come that works step by step, such as turn by turn. */
export interface JournalState {
  /** Whatever JSON can hold. */
  readonly facts: unknown;
  readonly arrays: Readonly<Record<string, readonly Float32Array[]>>;
}

/** Keeps what a pass has finished, so that a run that is killed goes on where it was. */
export interface Journal {
  /** What was saved last in an earlier run, with the weights that `module` had by then. */
  resume(module: Module): { readonly module: Module; readonly state: JournalState } | undefined;
  /** Saves the state and the weights solved so far; returns the module with those weights out of memory. */
  save(module: Module, state: JournalState): Promise<Module>;
}

export interface PassData extends Surroundings {
  /** What the probes of `observe` found. */
  readonly statistics: Statistics;
  /** The calibration data, for passes that lead it through parts of a model themselves. */
  readonly calibration: DataCalls;
  /** Compiles a module that the pass made. */
  load(module: Module): Promise<RunnableModule>;
  /** Says how far the pass has come. */
  progress(done: number, total: number): void;
  /**
   * How badly a module does on the calibration data, or on the `first` windows of it or as many calls spread over all:
   * the mean NLL of a language model, otherwise the relative error of the first output against the original's.
   */
  evaluate(module: Module, part?: { readonly first?: number }): Promise<number>;
  /** Where there is a place to keep things. */
  readonly journal?: Journal | undefined;
  /** The value of a parameter in one turn of its loop. */
  weight(module: Module, param: string, turn: number | undefined): Tensor;
}

export interface DataPart<O extends OptionSchema = OptionSchema> {
  /** The statistics that are wanted, of the current module or of the original one; none of an empty list. */
  observe(module: Module, options: OptionsOf<O>, surroundings: Surroundings): readonly Probe[];
  run(module: Module, options: OptionsOf<O>, data: PassData): PassResult | Promise<PassResult>;
}

interface PassHead<O extends OptionSchema> {
  readonly name: string;
  readonly summary: string;
  readonly kind?: 'exact' | 'approximate';
  readonly options?: O;
  readonly dimensionOption?: OptionSpec;
  readonly notAfter?: Readonly<Record<string, string>>;
}

export interface PassDefinition<O extends OptionSchema> extends PassHead<O> {
  run(module: Module, options: OptionsOf<O>): PassResult;
}

export interface DataPassDefinition<O extends OptionSchema> extends PassHead<O> {
  readonly data: DataPart<O>;
}

/** Declares a pass; `kind` is exact and there are no options unless given. */
export function definePass<const O extends OptionSchema = Record<never, never>>(
  definition: PassDefinition<O> | DataPassDefinition<O>,
): Pass<O> {
  const { name } = definition;
  return { kind: 'exact', options: {} as O, run: () => refuseWithoutData(name), ...definition };
}

function refuseWithoutData(name: string): never {
  return fail('HEW6006', `pass ${name} needs calibration data`, {
    help: 'run it with hew prune --calib FILE, or with runDataPipeline',
  });
}

/** Counts how often each named thing happened. */
export class Tally {
  private readonly counts = new Map<string, number>();

  add(name: string, by = 1): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + by);
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, n) => sum + n, 0);
  }

  report(): Pick<PassReport, 'counts'> {
    return { counts: Object.fromEntries([...this.counts].sort(([a], [b]) => (a < b ? -1 : 1))) };
  }
}
