/**
 * From a root file to its units: a file with everything it extends is one unit of items in order; an imported file
 * is a unit of its own that offers its modules and fns. Syntax errors of all files are reported in one go.
 */
import { type Diagnostic, diagnostic, HewError, type Span } from '../../ir/diagnostics.js';
import type { Definition, FileReference, Item, SpecFile } from './ast.js';
import { resolveReference, type SpecFiles } from './files.js';
import { parseSpec } from './parse.js';
import { Environment } from './scope.js';
import type { Unit } from './session.js';

export interface LoadedUnit extends Unit {
  /** Items of the file and of the files it extends, base first. */
  readonly items: readonly PlacedItem[];
}

export interface PlacedItem {
  readonly item: Item;
  /** The file the item stands in, from which its paths are resolved. */
  readonly file: string;
}

export interface LoadResult {
  readonly root: LoadedUnit;
  /** Imported units, each after those it imports itself. */
  readonly imports: readonly LoadedUnit[];
  readonly sources: ReadonlyMap<string, string>;
  readonly diagnostics: Diagnostic[];
}

export function loadUnits(rootFile: string, files: SpecFiles): LoadResult {
  const loader = new Loader(files);
  const root = loader.unit(rootFile, []);
  return { root, imports: loader.imports, sources: loader.sources, diagnostics: loader.diagnostics };
}

/** Files that refer to one another: the one that is read, and the references that led to it. */
interface Step {
  readonly file: string;
  readonly span: Span | undefined;
}

const itemsOfImports = new Set(['import', 'module', 'fn', 'let']);

class Loader {
  readonly sources = new Map<string, string>();
  readonly diagnostics: Diagnostic[] = [];
  readonly imports: LoadedUnit[] = [];
  private readonly parsed = new Map<string, SpecFile>();
  private readonly units = new Map<string, LoadedUnit>();

  constructor(private readonly files: SpecFiles) {}

  unit(file: string, trail: readonly Step[]): LoadedUnit {
    const items = this.itemsOf(file, [...trail, { file, span: trail.at(-1)?.span }]);
    const unit: LoadedUnit = { file, items, definitions: new Map(), environment: new Environment(undefined) };
    for (const { item, file: from } of items) {
      if (item.kind === 'import') this.addImport(unit, item, [...trail, { file: from, span: item.span }]);
    }
    for (const { item } of items) {
      if (item.kind === 'module' || item.kind === 'fn' || item.kind === 'entry')
        this.addDefinition(unit, item, unit);
    }
    return unit;
  }

  private itemsOf(file: string, trail: readonly Step[]): PlacedItem[] {
    return this.parse(file, trail.at(-1)?.span).items.flatMap((item) => {
      if (item.kind !== 'extend') return [{ item, file }];
      const base = this.reference(item, file, trail);
      return base === undefined ? [] : this.itemsOf(base, [...trail, { file: base, span: item.span }]);
    });
  }

  /** Resolves a reference to another spec and refuses cycles. */
  private reference(item: FileReference, from: string, trail: readonly Step[]): string | undefined {
    const path = plainText(item);
    const resolved = resolveReference(from, path, item.kind, item.path.span);
    if (typeof resolved !== 'string') {
      this.diagnostics.push(resolved);
      return undefined;
    }
    if (!trail.some((step) => step.file === resolved)) return resolved;
    const cycle = [...new Set(trail.map((step) => step.file)), resolved].join(' -> ');
    this.diagnostics.push(
      diagnostic('HEW3007', `'${path}' leads back to this file`, { span: item.path.span, notes: [cycle] }),
    );
    return undefined;
  }

  private addImport(unit: LoadedUnit, item: FileReference, trail: readonly Step[]): void {
    const from = trail.at(-1)?.file ?? unit.file;
    const resolved = this.reference(item, from, [...trail, { file: unit.file, span: undefined }]);
    if (resolved === undefined) return;
    const imported = this.units.get(resolved) ?? this.importUnit(resolved, trail);
    for (const [, { definition, unit: home }] of imported.definitions) {
      if (home === imported) this.addDefinition(unit, definition, home);
    }
  }

  private importUnit(file: string, trail: readonly Step[]): LoadedUnit {
    const unit = this.unit(file, trail);
    this.units.set(file, unit);
    this.imports.push(unit);
    for (const { item } of unit.items) {
      if (itemsOfImports.has(item.kind)) continue;
      this.diagnostics.push(
        diagnostic('HEW1002', `an imported file holds modules and fns, not '${item.kind}'`, {
          span: item.span,
          help: "take over a whole model with 'extend' instead of 'import'",
        }),
      );
    }
    return unit;
  }

  private addDefinition(unit: LoadedUnit, definition: Definition, home: Unit): void {
    const { name, span } = definition.name;
    const known = unit.definitions.get(name);
    if (known === undefined) unit.definitions.set(name, { definition, unit: home });
    else if (known.definition !== definition) {
      this.diagnostics.push(
        diagnostic('HEW2002', `'${name}' is defined twice`, {
          span,
          labels: [{ span: known.definition.name.span, text: 'first defined here' }],
        }),
      );
    }
  }

  private parse(file: string, from: Span | undefined): SpecFile {
    const known = this.parsed.get(file);
    if (known !== undefined) return known;
    const text = this.read(file, from);
    const { ast, diagnostics } = parseSpec(text, file);
    this.diagnostics.push(...diagnostics);
    const result = ast ?? { file, items: [] };
    this.parsed.set(file, result);
    return result;
  }

  /** Errors of reading are shown where the file was asked for. */
  private read(file: string, from: Span | undefined): string {
    try {
      const text = this.files.read(file);
      this.sources.set(file, text);
      return text;
    } catch (error) {
      if (!(error instanceof HewError)) throw error;
      for (const d of error.diagnostics) {
        this.diagnostics.push(from && d.labels.length === 0 ? { ...d, labels: [{ span: from }] } : d);
      }
      return '';
    }
  }
}

/** The text of a path, whose braces are no names. */
export function plainText({ path }: FileReference): string {
  return path.parts.map((part) => (typeof part === 'string' ? part : `{${part.name}}`)).join('');
}
