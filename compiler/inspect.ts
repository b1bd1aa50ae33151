/** What is in a model or a bundle, as data: parameters, states, entries, and what they cost. */
import type { Manifest } from '../backends/wasm/runtime/manifest.js';
import { type Shape, showShape } from '../backends/wasm/runtime/shape.js';
import { opFlops, visitOps } from '../ir/cost.js';
import { entriesOf, type Func, type Module, modelDims } from '../ir/module.js';
import type { OpCategory } from '../ir/op.js';
import { opTable } from '../ir/ops/table.js';
import { elementCount, evalShape, printType, storedBytes, type TensorType } from '../ir/type.js';
import { symbolsOf } from '../ir/verify.js';

export interface TensorSummary {
  readonly name: string;
  /** With named dimensions, such as `bf16[vocab, d]`. */
  readonly type: string;
  /** Of one instance. */
  readonly shape: readonly number[];
  /** Instances: the turns of the loop it belongs to, or 1. */
  readonly count: number;
  /** Elements of all instances. */
  readonly elements: number;
  readonly bytes: number;
}

export interface DimSummary {
  readonly name: string;
  /** The value of a model dimension; a run-time symbol has bounds instead. */
  readonly value?: number;
  readonly min?: number;
  readonly max?: number;
}

/** Floating-point operations of one call (a multiply-add counts two), by class of op and in total. */
export interface Flops {
  readonly symbols: Readonly<Record<string, number>>;
  readonly byCategory: Readonly<Partial<Record<OpCategory, number>>>;
  readonly total: number;
}

export interface EntrySummary {
  readonly name: string;
  readonly inputs: readonly { readonly name: string; readonly type: string }[];
  readonly outputs: readonly { readonly name: string; readonly type: string }[];
  /**
   * Cost at the least and the greatest values of the entry's symbols: for a language model, of one token and of a
   * full call. Caches are counted at their full length. One element when there are no symbols.
   */
  readonly flops: readonly Flops[];
}

export interface ModelSummary {
  readonly name: string;
  readonly dims: readonly DimSummary[];
  readonly parameters: readonly TensorSummary[];
  readonly states: readonly TensorSummary[];
  readonly entries: readonly EntrySummary[];
  readonly totals: {
    readonly parameters: number;
    readonly parameterBytes: number;
    readonly stateBytes: number;
  };
}

/** Describes a module; dtypes and bytes of parameters are those of the checkpoint it was opened with. */
export function inspectModule(module: Module): ModelSummary {
  const dims = modelDims(module);
  const summarise = ([name, { type, loop }]: [string, { type: TensorType; loop?: string | undefined }]) =>
    tensorSummary(name, type, loop === undefined ? 1 : (module.loops.get(loop)?.indices.length ?? 1), dims);
  const parameters = [...module.params].map(summarise);
  const states = [...module.states].map(summarise);
  const sum = (tensors: readonly TensorSummary[], key: 'elements' | 'bytes'): number =>
    tensors.reduce((total, tensor) => total + tensor[key], 0);
  return {
    name: module.name,
    dims: [...module.dims].map(([name, decl]) => ({ name, ...decl })),
    parameters,
    states,
    entries: entriesOf(module).map((entry) => entrySummary(module, entry)),
    totals: {
      parameters: sum(parameters, 'elements'),
      parameterBytes: sum(parameters, 'bytes'),
      stateBytes: sum(states, 'bytes'),
    },
  };
}

function tensorSummary(
  name: string,
  type: TensorType,
  count: number,
  dims: ReadonlyMap<string, number>,
): TensorSummary {
  const shape = evalShape(type.shape, dims);
  const elements = elementCount(shape);
  const bytes = storedBytes(type.dtype, elements) * count;
  return { name, type: printType(type), shape, count, elements: elements * count, bytes };
}

function entrySummary(module: Module, entry: Func): EntrySummary {
  const described = (name: string | undefined, type: TensorType) => ({
    name: name ?? '',
    type: printType(type),
  });
  const symbols = [...symbolsOf(module, entry)].sort();
  const bounds = symbols.length === 0 ? (['max'] as const) : (['min', 'max'] as const);
  return {
    name: entry.name,
    inputs: entry.args.map((arg) => described(arg.name, arg.type)),
    outputs: entry.results.map((result, i) => described(entry.outputs?.[i], result.type)),
    flops: bounds.map((bound) =>
      entryFlops(
        module,
        entry,
        Object.fromEntries(symbols.map((name) => [name, boundOf(module, name, bound)])),
      ),
    ),
  };
}

function boundOf(module: Module, symbol: string, bound: 'min' | 'max'): number {
  const decl = module.dims.get(symbol);
  return decl === undefined || 'value' in decl ? 0 : decl[bound];
}

/** Cost of one call of a function, for given values of the run-time symbols. */
export function entryFlops(module: Module, func: Func, symbols: Readonly<Record<string, number>>): Flops {
  const env = new Map([...modelDims(module), ...Object.entries(symbols)]);
  const byCategory = new Map<OpCategory, number>();
  visitOps(module, func, (op, times) => {
    const flops = times * opFlops(op, env);
    const { category } = opTable[op.name];
    if (flops > 0) byCategory.set(category, (byCategory.get(category) ?? 0) + flops);
  });
  const total = [...byCategory.values()].reduce((sum, flops) => sum + flops, 0);
  return { symbols, byCategory: Object.fromEntries([...byCategory].sort(([, a], [, b]) => b - a)), total };
}

export interface BundleSummary {
  readonly name: string;
  readonly target: string;
  readonly compiler: string;
  readonly features: readonly string[];
  /** Modules with the same results for engines that can do more. */
  readonly variants: Manifest['wasm']['variants'];
  readonly memoryBytes: number;
  readonly symbols: Manifest['symbols'];
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
  readonly states: readonly { readonly name: string; readonly type: string; readonly bytes: number }[];
  readonly entries: readonly Omit<EntrySummary, 'flops'>[];
  readonly tokenizer: string | undefined;
  readonly sampler: Manifest['sampler'];
}

const pageBytes = 65536;

export function inspectManifest(manifest: Manifest): BundleSummary {
  const described = ({ name, dtype, shape }: { name: string; dtype: string; shape: Shape }) => ({
    name,
    type: `${dtype}${showShape(shape)}`,
  });
  return {
    name: manifest.name,
    target: manifest.target,
    compiler: manifest.hew,
    features: manifest.wasm.features,
    variants: manifest.wasm.variants,
    memoryBytes: manifest.wasm.memory_pages * pageBytes,
    symbols: manifest.symbols,
    files: Object.entries(manifest.files).map(([name, { bytes }]) => ({ name, bytes })),
    states: manifest.states.map((state) => ({ ...described(state), bytes: state.bytes })),
    entries: Object.entries(manifest.entries).map(([name, { inputs, outputs }]) => ({
      name,
      inputs: inputs.map(described),
      outputs: outputs.map(described),
    })),
    tokenizer: manifest.tokenizer?.file,
    sampler: manifest.sampler,
  };
}
