/**
 * How a pass is declared. A pass is data: a name, options, and a function from a module to a module and a report of
 * what it did. Exact passes preserve the meaning of a module up to rounding; approximate ones name what they cost.
 */
import type { Module } from '../ir/module.js';

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

export function option<K extends keyof OptionTypes>(kind: K, doc: string, fallback: OptionTypes[K]): OptionSpec<K> {
  return { kind, doc, default: fallback };
}

export type OptionSchema = Readonly<Record<string, OptionSpec>>;
export type OptionsOf<O extends OptionSchema> = { readonly [N in keyof O]: OptionTypes[O[N]['kind']] };

/** What a pass did, in numbers (such as rule hits) and in sentences (such as what it skipped and why). */
export interface PassReport {
  readonly counts: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

export interface PassResult {
  readonly module: Module;
  readonly report?: Partial<PassReport>;
}

export interface Pass<O extends OptionSchema = OptionSchema> {
  readonly name: string;
  /** One sentence, shown by --help and in docs/passes.md. */
  readonly summary: string;
  readonly kind: 'exact' | 'approximate';
  readonly options: O;
  run(module: Module, options: OptionsOf<O>): PassResult;
}

export interface PassDefinition<O extends OptionSchema> {
  readonly name: string;
  readonly summary: string;
  readonly kind?: 'exact' | 'approximate';
  readonly options?: O;
  run(module: Module, options: OptionsOf<O>): PassResult;
}

/** Declares a pass; `kind` is exact and there are no options unless given. */
export function definePass<const O extends OptionSchema = Record<never, never>>(definition: PassDefinition<O>): Pass<O> {
  return { kind: 'exact', options: {} as O, ...definition };
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
