/** Symbolic dimensions of a model as symbols of the IR, and what the user says about them. */
import { type Diagnostic, diagnostic, didYouMean, fail } from '../../ir/diagnostics.js';
import { addDims, type Dim, dim, dimNames, mulDims, subDims } from '../../ir/dim.js';
import type { DimDecl } from '../../ir/module.js';
import type { OnnxDim } from './wire.js';

/** Greatest value of a symbol that nothing is said about: memory is planned for it. */
const defaultMax = 256;

/** A value, bounds, or a formula over other symbols. */
type Setting =
  | { readonly kind: 'bounds'; readonly min: number; readonly max: number }
  | { readonly kind: 'formula'; readonly value: Dim };

export class Dimensions {
  readonly decls = new Map<string, DimDecl>();
  private readonly settings: ReadonlyMap<string, Setting>;
  private readonly seen = new Set<string>();
  private readonly unbounded = new Set<string>();

  /** `set` is text by name: `1`, `1..512` or `past + sequence`. */
  constructor(set: Readonly<Record<string, string>>) {
    this.settings = new Map(Object.entries(set).map(([name, text]) => [name, settingOf(name, text)]));
  }

  /** An axis of an input; `fallback` names it where the model does not. */
  axis(given: OnnxDim, fallback: string): Dim {
    if (typeof given === 'number') return dim(given);
    const text = given?.trim() ?? '';
    const formula = text === '' ? undefined : parseFormula(text);
    const name = text === '' ? fallback : identifier(text);
    const value = formula ?? dim(name);
    return [...dimNames(value)].reduce((result, each) => replaced(result, each, this.symbol(each)), value);
  }

  private symbol(name: string): Dim {
    this.seen.add(name);
    const setting = this.settings.get(name);
    if (setting?.kind === 'formula') {
      for (const inner of dimNames(setting.value)) if (inner !== name) this.symbol(inner);
      return setting.value;
    }
    if (setting !== undefined && setting.min === setting.max) return dim(setting.min);
    if (setting === undefined) this.unbounded.add(name);
    this.decls.set(
      name,
      setting === undefined ? { min: 1, max: defaultMax } : { min: setting.min, max: setting.max },
    );
    return dim(name);
  }

  /** Warnings about symbols without bounds. Fails with HEW3113 for a setting that no symbol has asked for. */
  finish(): Diagnostic[] {
    for (const name of this.settings.keys()) {
      if (this.seen.has(name)) continue;
      fail('HEW3113', `the model has no symbolic dimension '${name}'`, {
        help: didYouMean(name, this.seen) ?? `its symbols: ${[...this.seen].join(', ') || 'none'}`,
      });
    }
    if (this.unbounded.size === 0) return [];
    const names = [...this.unbounded];
    return [
      diagnostic(
        'HEW3113',
        `memory is planned for symbolic dimensions from 1 to ${defaultMax}: ${names.join(', ')}`,
        {
          severity: 'warning',
          help: `say what they are: --set ${names[0]}=1, or --set ${names[0]}=1..512`,
        },
      ),
    ];
  }
}

function settingOf(name: string, text: string): Setting {
  const range = /^\s*(\d+)\s*(?:\.\.\s*(\d+))?\s*$/.exec(text);
  if (range !== null) {
    const [min, max] = [Number(range[1]), Number(range[2] ?? range[1])];
    if (min <= max && Number.isSafeInteger(max)) return { kind: 'bounds', min, max };
  }
  const value = range === null ? parseFormula(text) : undefined;
  if (value !== undefined) return { kind: 'formula', value };
  return fail('HEW3113', `'${name}=${text}' does not say what the dimension is`, {
    help: `write ${name}=1, ${name}=1..512 or a sum such as ${name}=past+sequence`,
  });
}

/** Sums and differences of products of names and numbers; undefined for anything else. */
export function parseFormula(text: string): Dim | undefined {
  if (!/^\s*-?\s*\w+(\s*[-+*]\s*\w+)*\s*$/.test(text)) return undefined;
  const terms = text.replaceAll(/\s/g, '').split(/(?=[-+])/);
  return terms.reduce<Dim | undefined>((sum, term) => {
    const product = term
      .replace(/^[-+]/, '')
      .split('*')
      .map((factor) =>
        /^\d+$/.test(factor) ? dim(Number(factor)) : /^\d/.test(factor) ? undefined : dim(factor),
      )
      .reduce((a, b) => a && b && mulDims(a, b), dim(1) as Dim | undefined);
    if (sum === undefined || product === undefined) return undefined;
    return term.startsWith('-') ? subDims(sum, product) : addDims(sum, product);
  }, dim(0));
}

function replaced(value: Dim, name: string, by: Dim): Dim {
  const terms = value.terms.map((term) =>
    term.factors.reduce<Dim>(
      (product, factor) => mulDims(product, factor === name ? by : factor),
      dim(term.coefficient),
    ),
  );
  return terms.reduce<Dim>((sum, term) => addDims(sum, term), dim(0));
}

/** A name as an identifier of the IR. */
export function identifier(name: string): string {
  const plain = name.replaceAll(/\W/g, '_');
  return /^[A-Za-z_]/.test(plain) ? plain : `_${plain}`;
}

/** Identifiers for names, different for different names. */
export class Identifiers {
  private readonly taken = new Set<string>();

  of(name: string): string {
    const base = identifier(name);
    let free = base;
    for (let i = 2; this.taken.has(free); i++) free = `${base}_${i}`;
    this.taken.add(free);
    return free;
  }
}
