/**
 * A Hew model as a Hugging Face checkpoint: its architecture, a configuration with the sizes it has now, and its tensors
 * under their names. A configuration has one value for all layers, so not every model has one: what is described is
 * accepted only when the spec that `hew import` would write for it computes the same.
 */
import type { Outputs } from '../../backends/wasm/runtime/load.js';
import { diagnostic, fail, HewError } from '../../ir/diagnostics.js';
import type { TensorSource } from '../../ir/materialise.js';
import { dimRange, type Module } from '../../ir/module.js';
import type { DType } from '../../ir/type.js';
import type { TensorEntry } from '../checkpoint/write-safetensors.js';
import type { ModelOptions, OpenedModel } from '../compile.js';
import { createExecutor } from '../executor.js';
import { elaborate } from '../frontend/elaborate.js';
import { nodeFiles, type SpecFiles } from '../frontend/files.js';
import { functionsOf, readSpec, sizesOf, tensorsOf } from '../write-model.js';
import { type Architecture, architectureOf } from './architectures.js';
import { withBiases } from './biases.js';
import { type Facts, type JsonObject, own } from './facts.js';
import { settingsOf, specOf } from './spec.js';

export interface DescribedModel {
  readonly architecture: Architecture;
  readonly config: JsonObject;
  /** Their dtypes are f32, f16 and bf16. */
  readonly tensors: readonly TensorEntry[];
}

/** Fails with HEW3164 for a model that no configuration of its architecture describes, and as `hew import` does. */
export async function describeModel(model: OpenedModel, options: ModelOptions): Promise<DescribedModel> {
  const { module } = model;
  const spec = readSpec(options);
  const given = { ...spec.config, ...sizesOf(spec.unit, module).sizes };
  const architecture = architectureOf({ config: given, directory: options.spec });
  if (architecture.exported === undefined) {
    return fail('HEW3164', `transformers has no models of the architecture ${architecture.names[0]}`, {
      help: 'hew import reads it, but there is nothing that would load what an export writes',
    });
  }
  const { rename = (name: string) => name, biases } = architecture.exported;
  const sized = configOf(given, architecture, module, options);
  const tensors = [...tensorsOf(module, model.source)].map((entry) => ({
    ...entry,
    name: rename(entry.name, sized),
  }));
  const names = new Set(tensors.map(({ name }) => name));
  const config = biases === undefined ? sized : withBiases(sized, names, biases);
  const facts = factsOf(config, tensors);
  try {
    for (const check of architecture.checks) check(facts);
    await compare(model, importedModule(architecture, facts, module), tensors);
  } catch (error) {
    if (!(error instanceof HewError)) throw error;
    throw asInexpressible(error, architecture);
  }
  return { architecture, config, tensors };
}

function asInexpressible({ diagnostics }: HewError, { names }: Architecture): HewError {
  if (diagnostics.some(({ code }) => code === 'HEW3164')) return new HewError(diagnostics);
  const reasons = diagnostics.map(({ message }) => message).slice(0, reasonsShown);
  return new HewError([
    diagnostic('HEW3164', `no configuration of ${names[0]} describes this model`, {
      notes: reasons,
      help: 'configurations have one size for all layers, and know only the tensors that the architecture has',
    }),
  ]);
}

const reasonsShown = 5;

// ---- configuration

/** Names of the spec that are no settings of Hugging Face. */
const ownSettings: ReadonlySet<string> = new Set(['context_length']);

function configOf(
  given: JsonObject,
  architecture: Architecture,
  module: Module,
  { weightsDtype }: ModelOptions,
): JsonObject {
  const config = Object.fromEntries(Object.entries(given).filter(([key]) => !ownSettings.has(key)));
  const layers = [...module.loops.values()].reduce((sum, loop) => sum + loop.indices.length, 0);
  const layersKey = own(config, 'n_layer') === undefined ? 'num_hidden_layers' : 'n_layer';
  const types = own(config, 'layer_types');
  return {
    ...config,
    architectures: Array.isArray(config.architectures) ? config.architectures : [architecture.names[0]],
    [layersKey]: layers,
    ...(Array.isArray(types) && new Set(types).size === 1
      ? { layer_types: Array(layers).fill(types[0]) }
      : {}),
    [Object.hasOwn(config, 'dtype') ? 'dtype' : 'torch_dtype']: torchDType(module, weightsDtype),
  };
}

const torchNames: Partial<Record<DType, string>> = { f32: 'float32', f16: 'float16', bf16: 'bfloat16' };

/** What most of the weights are stored as. */
function torchDType(module: Module, weightsDtype: DType | undefined): string {
  const used = [...module.params.values()].map(({ type }) => type.dtype);
  const counted = Map.groupBy(used, (dtype) => dtype);
  const [most] = [...counted].toSorted(([, a], [, b]) => b.length - a.length)[0] ?? [];
  return torchNames[weightsDtype ?? most ?? 'f32'] ?? 'float32';
}

// ---- the same model

const virtualSpec = 'export/model.hew';

function factsOf(config: JsonObject, tensors: readonly TensorEntry[]): Facts {
  return {
    directory: 'export',
    config,
    weights: 'model.safetensors',
    tensors: new Map(
      tensors.map(({ name, dtype, shape }) => [name, { name, dtype, shape, file: '', offset: 0, bytes: 0 }]),
    ),
  };
}

/** What `hew import` would make of the export; every tensor must have its place in it. */
function importedModule(architecture: Architecture, facts: Facts, module: Module): Module {
  const context = module.dims.get('context');
  const settable = settingsOf(architecture, facts).includes('context_length');
  const set = settable && context && 'value' in context ? { context_length: String(context.value) } : {};
  const references = { config: 'config.json', weights: 'model.safetensors', tokenizer: undefined };
  const text = specOf(architecture, facts, { references, generation: undefined, set });
  const files: SpecFiles = {
    read: (file) => {
      if (file === virtualSpec) return text;
      return file === 'export/config.json' ? JSON.stringify(facts.config) : nodeFiles.read(file);
    },
  };
  const result = elaborate(virtualSpec, {
    files,
    tensors: { tensor: (name) => facts.tensors.get(name), names: () => facts.tensors.keys() },
  });
  if (result.module === undefined) throw new HewError(result.diagnostics.map((d) => ({ ...d, labels: [] })));
  const unused = [...facts.tensors.keys()].find((name) => !result.weightsUsed.has(name));
  if (unused !== undefined) fail('HEW3164', `the architecture has no tensor '${unused}'`);
  return { ...result.module, name: module.name };
}

/** Fails with HEW3164 unless two modules compute the same: their functions are equal, or their outputs are. */
async function compare(model: OpenedModel, other: Module, tensors: readonly TensorEntry[]): Promise<void> {
  if (functionsOf(model.module) === functionsOf(other)) return;
  const [wanted, found] = [
    await outputsOf(model.module, model.source),
    await outputsOf(other, sourceOf(tensors)),
  ];
  const worst = largestDifference(wanted, found);
  if (worst <= tolerance) return;
  fail('HEW3164', `its logits differ by ${worst} from those of the architecture with the same weights`);
}

/** Of the largest logit. */
const tolerance = 1e-4;

function sourceOf(tensors: readonly TensorEntry[]): TensorSource {
  const byName = new Map(tensors.map((entry) => [entry.name, entry]));
  return {
    read: (name) => {
      const entry = byName.get(name);
      if (entry === undefined) return fail('HEW4002', `the model has no tensor '${name}'`);
      return { dtype: entry.dtype as DType, bytes: bytesOf(entry) };
    },
  };
}

/** Entries of `tensorsOf` have their bytes in chunks. */
export function bytesOf({ data, name }: TensorEntry): Uint8Array {
  const source = typeof data === 'function' ? data() : data;
  if (source instanceof Uint8Array) return source;
  if (!(Symbol.iterator in source)) throw new Error(`the bytes of ${name} are not at hand`);
  const chunks = [...source];
  const [only] = chunks;
  return chunks.length === 1 && only !== undefined ? only : Uint8Array.from(Buffer.concat(chunks));
}

/** Logits after a few tokens. */
async function outputsOf(module: Module, source: TensorSource | undefined): Promise<Outputs> {
  const executor = await createExecutor(module, source);
  const length = Math.min(24, dimRange(module, 'T').max);
  const vocab = dimRange(module, 'vocab').max;
  const ids = Int32Array.from({ length }, (_, i) => (i * 7919 + 13) % vocab);
  let outputs: Outputs = {};
  const view = {
    outputs: (_sequence: number, _call: number, values: Outputs): void => {
      outputs = values;
    },
  };
  await executor.run({ sequences: [[{ entry: 'prefill', inputs: { ids } }]], outputs: ['logits'] }, view);
  return outputs;
}

function largestDifference(wanted: Outputs, found: Outputs): number {
  const [a = [], b = []] = [wanted.logits, found.logits];
  let [worst, largest] = [a.length === b.length ? 0 : Number.POSITIVE_INFINITY, 0];
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(Number(a[i]) - Number(b[i]));
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    largest = Math.max(largest, Math.abs(Number(a[i])));
  }
  return worst / Math.max(largest, 1e-30);
}
