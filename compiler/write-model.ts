/**
 * Writes a module that passes have changed back as a model: spec, configuration, safetensors. The spec is the family's
 * own text in one file; sizes go to config.json where the spec takes them from there, and into the spec where it
 * computes them. What was written must elaborate to the module's own functions, or it is not a spec of this model.
 */
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, posix, relative } from 'node:path';
import { fail, HewError } from '../ir/diagnostics.js';
import { evalDim } from '../ir/dim.js';
import { materialiseBytes, materialiseChunks, type TensorSource } from '../ir/materialise.js';
import { type Module, modelDims, type Param } from '../ir/module.js';
import { printFunc } from '../ir/print.js';
import { fillName } from '../ir/recipe.js';
import { type DType, elementCount, evalShape, storedBytes } from '../ir/type.js';
import { parsePipeline, runPipeline } from '../passes/pipeline.js';
import { standardPipeline } from '../passes/registry.js';
import { splitLoop } from '../passes/split-loop.js';
import type { Checkpoint } from './checkpoint/checkpoint.js';
import { type FileDType, isFileDType } from './checkpoint/dtypes.js';
import { type TensorEntry, writeSafetensors } from './checkpoint/write-safetensors.js';
import { type ModelOptions, openModel } from './compile.js';
import type { ConfigDeclaration, DimDeclaration } from './frontend/ast.js';
import { specReferences } from './frontend/elaborate.js';
import { nodeFiles } from './frontend/files.js';
import { type LoadedUnit, loadUnits, plainText } from './frontend/units.js';
import { companionDirectories, copyCompanions } from './huggingface/companions.js';
import { isOnnxPath } from './onnx/model.js';

// ---- weights

/** Every tensor of a module under its checkpoint name, the turns of loops numbered from where they begin. */
export function* tensorsOf(module: Module, source: TensorSource | undefined): Generator<TensorEntry> {
  const dims = modelDims(module);
  const values = new RecentValues(module, source);
  for (const [name, param] of module.params) {
    const loop = param.loop === undefined ? undefined : module.loops.get(param.loop);
    const first = loop?.first === undefined ? 0 : evalDim(loop.first, dims);
    for (let turn = 0; turn < (loop?.indices.length ?? 1); turn++) {
      const full = fillName(
        name,
        param.loop === undefined ? undefined : { loop: param.loop, value: first + turn },
      );
      const shape = evalShape(param.type.shape, dims);
      if (placeholdersOf(full).length > 0) {
        yield* unstacked(full, param, shape, () => values.get(name, turn));
        continue;
      }
      const data = (): Iterable<Uint8Array> => materialiseChunks(module, name, turn, source);
      yield { name: full, dtype: fileDType(full, param.type.dtype), shape, data };
    }
  }
}

/** The axes that a tensor has been stacked on. */
function placeholdersOf(name: string): readonly string[] {
  return name.match(/\{\w+\}/g) ?? [];
}

/** One tensor for each index of the leading axes, whose placeholders the name has. */
function* unstacked(
  name: string,
  param: Param,
  shape: readonly number[],
  bytes: () => Uint8Array,
): Generator<TensorEntry> {
  const placeholders = placeholdersOf(name);
  const inner = shape.slice(placeholders.length);
  const size = storedBytes(param.type.dtype, elementCount(inner));
  const count = elementCount(shape.slice(0, placeholders.length));
  for (let i = 0; i < count; i++) {
    let rest = i;
    const indices = placeholders.map((_, axis) => {
      const below = elementCount(shape.slice(axis + 1, placeholders.length));
      const index = Math.floor(rest / below);
      rest %= below;
      return index;
    });
    const full = placeholders.reduce(
      (text, placeholder, axis) => text.replace(placeholder, String(indices[axis])),
      name,
    );
    const data = (): Uint8Array[] => [bytes().subarray(i * size, (i + 1) * size)];
    yield { name: full, dtype: fileDType(full, param.type.dtype), shape: inner, data };
  }
}

function fileDType(name: string, dtype: DType): FileDType {
  if (isFileDType(dtype)) return dtype;
  return fail('HEW4010', `'${name}' is ${dtype}, which safetensors files cannot hold`, {
    help: 'quantize while compiling instead, or to i8',
  });
}

/** Values of parameters; stacks are asked for once for each of their tensors. */
class RecentValues {
  private readonly recent = new Map<string, Uint8Array>();

  constructor(
    private readonly module: Module,
    private readonly source: TensorSource | undefined,
  ) {}

  get(name: string, turn: number): Uint8Array {
    const key = `${name}#${turn}`;
    const bytes = this.recent.get(key) ?? materialiseBytes(this.module, name, turn, this.source).bytes;
    this.recent.delete(key);
    this.recent.set(key, bytes);
    const [oldest] = this.recent.keys();
    if (this.recent.size > keptValues && oldest !== undefined) this.recent.delete(oldest);
    return bytes;
  }
}

/** The stacks of one feed-forward layer: gate, up and down. */
const keptValues = 4;

// ---- spec and configuration

export interface WrittenModel {
  /** Paths below the directory. */
  readonly files: readonly string[];
  /** Configuration values that are not what they were. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Dimensions whose size stands in the spec. */
  readonly fixedDims: readonly string[];
}

/** What the spec of the model says, read once. */
export interface SpecText {
  readonly unit: LoadedUnit;
  readonly sources: ReadonlyMap<string, string>;
  readonly config: Readonly<Record<string, unknown>>;
}

/**
 * Writes model.hew, config.json, model.safetensors and, if there is one, tokenizer.json into an empty directory.
 * Fails with HEW6010 when no configuration of the spec gives the module's functions.
 */
export async function writeModel(
  directory: string,
  module: Module,
  options: ModelOptions,
  model: {
    readonly source: TensorSource | undefined;
    readonly checkpoint?: Checkpoint | undefined;
    readonly tokenizerFile: string | undefined;
  },
): Promise<WrittenModel> {
  if (isOnnxPath(options.spec)) {
    fail('HEW6010', 'an ONNX model has no spec that could be written again', {
      help: 'write the bundle alone with --bundle-only, or make a spec first with hew import',
    });
  }
  await mkdir(directory, { recursive: true });
  await writeSafetensors(join(directory, 'model.safetensors'), tensorsOf(module, model.source));
  const tokenizer = model.tokenizerFile === undefined ? undefined : readFileSync(model.tokenizerFile);
  if (tokenizer !== undefined) await writeFile(join(directory, 'tokenizer.json'), tokenizer);
  const spec = readSpec(options);
  const wanted = functionsOf(module);
  for (const candidate of candidates(spec, module)) {
    await writeFile(
      join(directory, 'config.json'),
      `${JSON.stringify({ ...spec.config, ...candidate.config }, undefined, 2)}\n`,
    );
    await writeFile(
      join(directory, 'model.hew'),
      specText(spec, directory, candidate.fixed, tokenizer !== undefined),
    );
    if (functionsOfSpec(join(directory, 'model.hew'), module) !== wanted) continue;
    const companions = await copyCompanions(companionDirectories(model), directory);
    const files = [
      'model.hew',
      'config.json',
      'model.safetensors',
      ...(tokenizer === undefined ? [] : ['tokenizer.json']),
      ...companions,
    ];
    const config = Object.fromEntries(
      Object.entries(candidate.config).filter(([key, value]) => spec.config[key] !== value),
    );
    return { files, config, fixedDims: [...candidate.fixed.keys()] };
  }
  return fail('HEW6010', 'the spec cannot express what the passes made of the model', {
    notes: ['no value of its configuration gives the same functions'],
    help: 'where some layers lost their post-norms, write those as PostNorm(x, eps, absorbed) in the spec, with a `config … : bool` for the last; or write the bundle alone with --bundle-only',
  });
}

export function readSpec({ spec, config, set }: ModelOptions): SpecText {
  const { root, sources } = loadUnits(spec, nodeFiles);
  const file = config ?? specReferences(spec, nodeFiles).config;
  const json = file === undefined ? {} : (JSON.parse(nodeFiles.read(file)) as Record<string, unknown>);
  const given = Object.entries(set ?? {}).map(([key, text]) => [key, parsed(text)]);
  return { unit: root, sources, config: { ...json, ...Object.fromEntries(given) } };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

interface Candidate {
  readonly config: Readonly<Record<string, unknown>>;
  /** Dimensions written as numbers. */
  readonly fixed: ReadonlyMap<string, number>;
}

/**
 * Configurations to try: sizes as they are now; then with each switch the other way, because a pass may have removed
 * what a switch stands for, such as the norms of `sandwich_norm`. Dimensions that the spec computes keep their
 * formula first and are fixed next.
 */
function* candidates({ unit, config }: SpecText, module: Module): Generator<Candidate> {
  const declared = unit.items.map(({ item }) => item);
  const switches = declared.filter(
    (item): item is ConfigDeclaration => item.kind === 'config' && item.type.name === 'bool',
  );
  const { sizes, computed } = sizesOf(unit, module);
  const none = new Map<string, number>();
  for (const fixed of computed.size > 0 ? [none, computed] : [none]) {
    yield { config: sizes, fixed };
    for (const { name } of switches) {
      yield { config: { ...sizes, [name.name]: config[name.name] !== true }, fixed };
    }
  }
}

/** What a module's dimensions are now: configuration values, and sizes of dimensions that the spec computes. */
export function sizesOf(
  unit: LoadedUnit,
  module: Module,
): { readonly sizes: Readonly<Record<string, number>>; readonly computed: ReadonlyMap<string, number> } {
  const dims = modelDims(module);
  const sizes: Record<string, number> = {};
  const computed = new Map<string, number>();
  for (const { item } of unit.items) {
    const size = item.kind === 'dim' ? dims.get(item.name.name) : undefined;
    if (item.kind !== 'dim' || size === undefined) continue;
    const key = configOf(item, unit);
    if (key === undefined) computed.set(item.name.name, size);
    else sizes[key] = size;
  }
  return { sizes, computed };
}

/** The configuration value that a dimension is, when its declaration says no more than that. */
function configOf({ value }: DimDeclaration, unit: LoadedUnit): string | undefined {
  if (value?.kind !== 'name') return undefined;
  const isConfig = unit.items.some(({ item }) => item.kind === 'config' && item.name.name === value.name);
  return isConfig ? value.name : undefined;
}

const ownReferences: ReadonlySet<string> = new Set(['extend', 'config-file', 'weights', 'tokenizer']);

/** The spec and all it extends as one file, with references to the files beside it. */
function specText(
  { unit, sources }: SpecText,
  directory: string,
  fixed: ReadonlyMap<string, number>,
  hasTokenizer: boolean,
): string {
  const byFile = Map.groupBy(unit.items, ({ file }) => file);
  // A file that only names other files says nothing about the model.
  const own = [...byFile].filter(([, items]) => items.some(({ item }) => !ownReferences.has(item.kind)));
  const parts = own.map(([file, items]) => {
    const edits = items.flatMap(({ item }) => {
      if (ownReferences.has(item.kind)) return [{ ...item.span, text: '' }];
      if (item.kind === 'import' && !plainText(item).startsWith('hew:')) {
        const target = relative(directory, join(dirname(file), plainText(item))).replaceAll('\\', '/');
        return [{ ...item.path.span, text: JSON.stringify(posix.normalize(target)) }];
      }
      const size = item.kind === 'dim' ? fixed.get(item.name.name) : undefined;
      if (item.kind !== 'dim' || size === undefined) return [];
      return [{ start: item.name.span.end, end: item.span.end, text: ` = ${size}` }];
    });
    return edited(withoutExtends(sources.get(file) ?? ''), edits);
  });
  const references = [
    'config "config.json"',
    'weights "model.safetensors"',
    ...(hasTokenizer ? ['tokenizer "tokenizer.json"'] : []),
  ];
  return `${parts
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .trim()}\n\n${references.join('\n')}\n`;
}

/** An `extend` is no item of a loaded unit: what it names stands before it already. Blanked, so that offsets hold. */
function withoutExtends(text: string): string {
  return text.replace(/^[ \t]*extend[ \t]+"[^"\n]*"/gm, (line) => ' '.repeat(line.length));
}

function edited(text: string, edits: readonly { start: number; end: number; text: string }[]): string {
  return edits
    .toSorted((a, b) => b.start - a.start)
    .reduce((current, edit) => current.slice(0, edit.start) + edit.text + current.slice(edit.end), text);
}

/** The functions of a module in their simplest form, as text, with the sizes they have. */
export function functionsOf(module: Module): string {
  const simple = runPipeline(module, parsePipeline(standardPipeline)).module;
  const texts = [...simple.functions.values()].map((func) => printFunc(func, { names: false }));
  const sizes = [...modelDims(simple)].map(([name, value]) => `${name}=${value}`);
  const params = [...simple.params].map(
    ([name, { type }]) => `${name}: ${type.dtype} ${type.shape.map((d) => evalDim(d, modelDims(simple)))}`,
  );
  return [...sizes.sort(), ...params.sort(), ...texts].join('\n');
}

/** Loops whose turns are alike are one in a spec, also where an earlier difference made several of them. */
function splitAs(wanted: Module, module: Module): Module {
  let split = module;
  for (const [name, { indices }] of module.loops) {
    const parts = [...wanted.loops].filter(
      ([part]) => part === name || (part.startsWith(`${name}_`) && !module.loops.has(part)),
    );
    const ends = parts.map((_, i) => parts.slice(0, i + 1).reduce((sum, [, p]) => sum + p.indices.length, 0));
    if (ends.at(-1) === indices.length) split = splitLoop(split, name, ends.slice(0, -1));
  }
  return split;
}

/** The same of a spec on disk; undefined when it does not elaborate. */
function functionsOfSpec(spec: string, module: Module): string | undefined {
  try {
    const reopened = openModel({ spec });
    try {
      return functionsOf({ ...splitAs(module, reopened.module), name: module.name });
    } finally {
      reopened.close();
    }
  } catch (error) {
    if (error instanceof HewError) return undefined;
    throw error;
  }
}
