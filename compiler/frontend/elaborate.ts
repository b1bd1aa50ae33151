/**
 * A spec and its configuration to a module of the IR.
 *
 * Top-level items are evaluated in order: configuration, constants, dimensions, requirements. Each entry is then
 * built by inlining the modules it calls; loops stay loops. Errors do not stop the work: what is erroneous becomes
 * poison, and everything else is still checked.
 */

import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { type Diagnostic, didYouMean, HewError, type Span } from '../../ir/diagnostics.js';
import { emptyModule, type Module, type SamplerDecl } from '../../ir/module.js';
import type {
  ConfigDeclaration,
  Definition,
  DimDeclaration,
  FileReference,
  Item,
  LetStatement,
  RequireStatement,
  SamplerDeclaration,
  StateStatement,
} from './ast.js';
import { type ConfigSource, checkSource, configValue, readJsonFile } from './config.js';
import { evaluateConstant } from './expressions.js';
import { type ReferenceKind, resolveReference, type SpecFiles } from './files.js';
import { writeStates } from './loops.js';
import { Environment, Frame } from './scope.js';
import { type CheckpointTensors, type Context, type Draft, report, Session } from './session.js';
import { declareState, isFree, runBody, runRequire, runStatement } from './statements.js';
import { withType } from './tensors.js';
import { constantTypeOf, evaluateSize, evaluateTensorType } from './types.js';
import { type LoadedUnit, loadUnits, type PlacedItem, plainText } from './units.js';
import { type Constant, describeValue, int, poison, type SpecValue, tensor } from './values.js';

export interface ElaborateOptions {
  readonly files: SpecFiles;
  readonly config?: ConfigSource;
  /** Without a checkpoint, weights have the dtype they are declared with. */
  readonly tensors?: CheckpointTensors | undefined;
  /** The dtype floating-point weights are stored in; the checkpoint's own by default. */
  readonly weightsDType?: 'f32' | 'f16' | 'bf16' | undefined;
}

/** Files a spec names, as paths relative to the working directory. */
export interface References {
  readonly config?: string;
  readonly weights?: string;
  readonly tokenizer?: string;
}

export interface ElaborateResult {
  /** Undefined when there is an error. */
  readonly module: Module | undefined;
  readonly diagnostics: readonly Diagnostic[];
  /** Names of the checkpoint's tensors that the model reads. */
  readonly weightsUsed: ReadonlySet<string>;
  readonly references: References;
  /** Texts of all files read, for rendering diagnostics. */
  readonly sources: ReadonlyMap<string, string>;
}

export function elaborate(rootFile: string, options: ElaborateOptions): ElaborateResult {
  const { root, imports, sources, diagnostics } = loadUnits(rootFile, options.files);
  const references = collectReferences(root, diagnostics);
  const draft = emptyModule(moduleName(rootFile)) as Draft;
  const session = new Session(draft, options.tensors, options.weightsDType);
  session.diagnostics.push(...diagnostics);
  if (!session.hasErrors) {
    guardStack(root, session, () => {
      for (const unit of imports) runItems(unit, {}, session);
      runItems(root, configSource(root, references, options, session), session);
      if (!session.hasErrors) runEntries(root, session);
    });
  }
  return {
    module: session.hasErrors ? undefined : draft,
    diagnostics: session.diagnostics,
    weightsUsed: session.weightsUsed,
    references,
    sources,
  };
}

/** Deep expressions in deep chains of calls: each within its limit, but too much together. */
function guardStack(root: LoadedUnit, session: Session, work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof RangeError && error.message.includes('call stack'))) throw error;
    const span = { file: root.file, start: 0, end: 0 };
    session.report('HEW1004', 'calls and expressions are nested too deeply', { span });
  }
}

/** The files a spec names, without elaborating it: they are needed to find configuration and weights. */
export function specReferences(rootFile: string, files: SpecFiles): References {
  const { root, diagnostics } = loadUnits(rootFile, files);
  const references = collectReferences(root, diagnostics);
  if (diagnostics.length > 0) throw new HewError(diagnostics);
  return references;
}

/** `examples/pangu-2m/model.hew` is `pangu-2m`, any other file its own name. */
function moduleName(file: string): string {
  const parts = file
    .replaceAll('\\', '/')
    .replace(/\.hew$/, '')
    .split('/');
  const [folder, base] = [parts.at(-2), parts.at(-1) ?? 'model'];
  return base === 'model' && folder !== undefined && folder !== '' ? folder : base;
}

// ---- files

const referenceKinds: ReadonlySet<string> = new Set([
  'config-file',
  'tokenizer',
  'weights',
] satisfies ReferenceKind[]);

function isReference(item: Item): item is FileReference {
  return referenceKinds.has(item.kind);
}

/** The last mention of each kind wins, so that a file can replace what it extends. */
function collectReferences(root: LoadedUnit, diagnostics: Diagnostic[]): References {
  const found: { -readonly [K in keyof References]: References[K] } = {};
  for (const { item, file } of root.items) {
    if (!isReference(item)) continue;
    const resolved = resolveReference(file, plainText(item), item.kind, item.path.span);
    if (typeof resolved !== 'string') diagnostics.push(resolved);
    else found[item.kind === 'config-file' ? 'config' : (item.kind as 'weights' | 'tokenizer')] = resolved;
  }
  return found;
}

function configSource(
  root: LoadedUnit,
  { config }: References,
  options: ElaborateOptions,
  session: Session,
): ConfigSource {
  const given = options.config ?? {};
  if (given.json !== undefined || config === undefined) return given;
  const item = root.items.findLast(({ item: candidate }) => candidate.kind === 'config-file');
  const context = constantContext(root, session);
  return { ...given, json: readJsonFile(config, options.files, context, (item as PlacedItem).item.span) };
}

// ---- top-level items

function constantContext(unit: LoadedUnit, session: Session): Context {
  return { session, unit, environment: unit.environment, frame: undefined, path: '', calls: [] };
}

function runItems(unit: LoadedUnit, config: ConfigSource, session: Session): void {
  const context = constantContext(unit, session);
  for (const { item } of unit.items) runItem(item, config, context);
  const declarations = unit.items.flatMap(({ item }) => (item.kind === 'config' ? [item] : []));
  checkSource(config, declarations, context, { file: unit.file, start: 0, end: 0 });
  session.unitEnvironments.set(unit, unit.environment);
}

type ItemRunner<I extends Item> = (item: I, config: ConfigSource, context: Context) => void;
const later = (): void => {};

/** References and definitions are dealt with when files are loaded, states when entries are built. */
const itemRunners: { readonly [K in Item['kind']]: ItemRunner<Extract<Item, { kind: K }>> } = {
  import: later,
  extend: later,
  'config-file': later,
  weights: later,
  module: later,
  fn: later,
  entry: later,
  state: later,
  config: runConfig,
  dim: runDim,
  let: (item: LetStatement, _config, context) => runStatement(item, context),
  require: (item: RequireStatement, _config, context) => runRequire(item, context),
  sampler: runSampler,
  tokenizer: (item: FileReference, _config, context) => {
    (context.session.draft as Draft).tokenizer = { file: plainText(item) };
  },
};

function runItem(item: Item, config: ConfigSource, context: Context): void {
  const run = itemRunners[item.kind] as ItemRunner<Item>;
  run(item, config, context);
}

function bindConstant(name: { name: string; span: Span }, value: SpecValue, context: Context): void {
  if (isFree(name, context))
    context.environment.bind(name.name, { kind: 'constant', value, span: name.span });
}

function runConfig(item: ConfigDeclaration, config: ConfigSource, context: Context): void {
  bindConstant(item.name, configValue(item, config, context), context);
}

/** No tensor of a model has a longer axis. */
const dimLimit = 2 ** 31 - 1;

function runDim(item: DimDeclaration, _config: ConfigSource, context: Context): void {
  const bounds = item.value ? exactBounds(item, context) : symbolBounds(item, context);
  if (bounds !== undefined) context.session.draft.dims.set(item.name.name, bounds);
  bindConstant(item.name, bounds ? int(item.name.name) : poison, context);
}

function exactBounds(item: DimDeclaration, context: Context) {
  const given = item.value && evaluateSize(item.value, context);
  if (given === undefined || !isSize(given.size, item, context)) return undefined;
  return { value: given.size };
}

function symbolBounds(item: DimDeclaration, context: Context) {
  const max = item.max && evaluateSize(item.max, context);
  const min = item.min ? evaluateSize(item.min, context) : { size: 1 };
  if (max === undefined || min === undefined || !isSize(max.size, item, context)) return undefined;
  if (min.size >= 0 && min.size <= max.size) return { min: min.size, max: max.size };
  report(context, 'HEW2007', `the bounds of '${item.name.name}' are empty: ${min.size}..${max.size}`, {
    span: item.span,
  });
  return undefined;
}

function isSize(size: number, { name, span }: DimDeclaration, context: Context): boolean {
  if (size >= 1 && size <= dimLimit) return true;
  report(context, 'HEW2007', `the dimension '${name.name}' cannot be ${size}`, {
    span,
    help: `a dimension lies between 1 and ${dimLimit}`,
  });
  return false;
}

const samplerKinds = ['text', 'diffusion'];

function runSampler(item: SamplerDeclaration, _config: ConfigSource, context: Context): void {
  const { name, span } = item.sampler;
  if (!samplerKinds.includes(name)) {
    const help = didYouMean(name, samplerKinds) ?? `the kinds are ${samplerKinds.join(' and ')}`;
    report(context, 'HEW2001', `there is no sampler '${name}'`, { span, help });
  }
  const settings = item.settings.flatMap((setting) => {
    const constant = evaluateConstant(setting.value, context);
    const plain = constant && plainSetting(constant, context);
    if (constant !== undefined && plain === undefined) {
      report(context, 'HEW2003', `${describeValue(constant)} cannot be a setting`, {
        span: setting.value.span,
      });
    }
    return plain === undefined ? [] : [[setting.name.name, plain] as const];
  });
  (context.session.draft as Draft).sampler = { kind: name, settings: Object.fromEntries(settings) };
}

function plainSetting(value: Constant, context: Context): SamplerDecl['settings'][string] | undefined {
  if (value.kind === 'int') return context.session.valueOf(value.dim);
  if (value.kind !== 'list') return value.value;
  const items = value.items.map((item) => plainSetting(item, context));
  return items.every((item) => typeof item === 'number') ? items : undefined;
}

// ---- entries

function runEntries(root: LoadedUnit, session: Session): void {
  const entries = [...root.definitions.values()].filter(({ definition }) => definition.kind === 'entry');
  for (const { definition } of entries) runEntry(definition, root, session);
  if (entries.length > 0) return;
  report(constantContext(root, session), 'HEW2008', 'the model has no entry point', {
    span: { file: root.file, start: 0, end: 0 },
    help: 'for example: entry prefill(ids: i32[T]) -> (logits: [T, vocab]) { ... }',
  });
}

function runEntry(entry: Definition, root: LoadedUnit, session: Session): void {
  const outputs = entry.results.flatMap((result) => (result.name ? [result.name.name] : []));
  const scope = moduleScope(session.draft);
  const frame = new Frame(new FuncBuilder(entry.name.name, scope, { outputs }), undefined, undefined);
  const unitEnvironment = new Environment(root.environment);
  const context: Context = {
    session,
    unit: root,
    environment: new Environment(unitEnvironment),
    frame,
    path: '',
    calls: [],
  };
  session.unitEnvironments.set(root, unitEnvironment);
  declareGlobalStates(root, { ...context, environment: unitEnvironment });
  if (!checkEntrySignature(entry, context) || !bindInputs(entry, frame, context)) return;
  const returned = runBody(entry, context);
  const results = returned.kind === 'poison' ? undefined : typedOutputs(entry, returned, context);
  if (results === undefined || session.hasErrors || !writeStates(frame, entry.name.span, context)) return;
  session.draft.functions.set(entry.name.name, frame.builder.finish(results));
}

function declareGlobalStates(root: LoadedUnit, context: Context): void {
  for (const { item } of root.items) if (item.kind === 'state') declareGlobalState(item, context);
}

function declareGlobalState(item: StateStatement, context: Context): void {
  if (!isFree(item.name, context)) return;
  const variable = declareState(item, context);
  if (variable)
    context.environment.bind(item.name.name, { kind: 'variable', variable, span: item.name.span });
}

function checkEntrySignature(entry: Definition, context: Context): boolean {
  const unnamed = entry.results.find((result) => result.name === undefined);
  const generic = entry.generics[0];
  if (unnamed !== undefined) {
    report(context, 'HEW2008', `the outputs of ${entry.name.name} need names`, {
      span: unnamed.type.span,
      help: `for example: -> (logits: [T, vocab])`,
    });
  }
  if (generic !== undefined) {
    report(context, 'HEW2003', 'an entry point has no dimensions in brackets', {
      span: generic.span,
      help: 'its shapes are made of dimensions declared with dim',
    });
  }
  const names = entry.results.map((result) => result.name?.name);
  const twice = entry.results.find((result, i) => names.indexOf(result.name?.name) !== i && result.name);
  if (twice?.name)
    report(context, 'HEW2002', `the output '${twice.name.name}' is declared twice`, {
      span: twice.name.span,
    });
  return unnamed === undefined && generic === undefined && twice === undefined;
}

function bindInputs(entry: Definition, frame: Frame, context: Context): boolean {
  let sound = true;
  for (const { name, type, fallback } of entry.parameters) {
    if (fallback !== undefined) {
      report(context, 'HEW2003', 'inputs of an entry point have no defaults', { span: fallback.span });
      sound = false;
    }
    const wanted = evaluateTensorType(type, context);
    if (wanted === undefined || !isFree(name, context)) {
      sound = false;
      continue;
    }
    const variable = frame.define(name.name, tensor(frame.builder.arg(wanted, name.name)));
    context.environment.bind(name.name, { kind: 'variable', variable, span: name.span });
  }
  return sound;
}

/** The outputs with exactly the declared types. */
function typedOutputs(entry: Definition, returned: SpecValue, context: Context) {
  const items = returned.kind === 'tuple' ? returned.items : [{ name: undefined, value: returned }];
  const values = entry.results.map((result, i) => {
    const value = items[i]?.value;
    const wanted = constantTypeOf(result.type) ? undefined : evaluateTensorType(result.type, context);
    if (wanted === undefined || value?.kind !== 'tensor') {
      if (value !== undefined && value.kind !== 'tensor' && value.kind !== 'poison') {
        report(context, 'HEW2008', `an output must be a tensor, not ${describeValue(value)}`, {
          span: result.type.span,
        });
      }
      return undefined;
    }
    return withType(value.value, wanted, `the output '${result.name?.name}'`, context, result.type.span);
  });
  return values.every((value) => value !== undefined) ? values : undefined;
}
