/**
 * Packages a scheduled module: the manifest, and the memory image of its weights as a stream that holds one tensor at
 * a time. The image is cut into shards, so that no file exceeds what file systems and browsers take.
 */

import { fail } from '../../ir/diagnostics.js';
import type { Dim } from '../../ir/dim.js';
import { materialiseBytes, type TensorSource } from '../../ir/materialise.js';
import { type Func, type Module, modelDims } from '../../ir/module.js';
import { type DType, dtypes } from '../../ir/type.js';
import { symbolsOf } from '../../ir/verify.js';
import { resolver } from '../kernel-function.js';
import { samplerSpec } from '../sampler.js';
import { shardFiles, shards, weightImage } from '../weight-image.js';
import type { Layout } from './emit/kernel.js';
import { packIntegers } from './integer-packing.js';
import { packPanels } from './packing.js';
import { isDType } from './runtime/dtype.js';
import type { EntrySpec, Manifest, StateInfo, TensorSlot, WasmCode } from './runtime/manifest.js';
import type { Shape } from './runtime/shape.js';
import { alignment, type WasmSchedule, type WeightPlacement } from './schedule.js';

export type PackagedManifest = Omit<Manifest, 'files'>;

export interface PackageInput {
  readonly module: Module;
  readonly schedule: WasmSchedule;
  readonly pages: number;
  /** What the module needs of an engine. */
  readonly features: readonly string[];
  readonly variants: readonly WasmCode[];
  readonly compilerVersion: string;
  readonly tokenizerFile: string | undefined;
}

export function packageManifest(input: PackageInput): PackagedManifest {
  const { module, schedule } = input;
  return {
    format: 'hew-bundle',
    version: 1,
    target: 'wasm',
    name: module.name,
    hew: input.compilerVersion,
    wasm: {
      module: 'module.wasm',
      memory_pages: input.pages,
      features: input.features,
      variants: input.variants,
    },
    weights: shards(imageRange(schedule)),
    symbols: Object.fromEntries(
      [...module.dims].flatMap(([name, decl]) => ('min' in decl ? [[name, decl]] : [])),
    ),
    entries: Object.fromEntries(
      [...schedule.outputs.keys()].map((name) => [
        name,
        entrySpec(input, module.functions.get(name) as Func),
      ]),
    ),
    states: [...module.states].map(([name]) => stateSpec(module, schedule, name)),
    tokenizer: input.tokenizerFile === undefined ? null : { file: input.tokenizerFile },
    sampler: module.sampler === undefined ? null : samplerSpec(module.sampler),
  };
}

function entrySpec({ module, schedule }: PackageInput, func: Func): EntrySpec {
  const slot = (name: string, type: Func['args'][number]['type'], address: number): TensorSlot => ({
    name,
    dtype: boundaryDType(name, type.dtype),
    shape: type.shape.map((d) => manifestDim(module, d)),
    address,
  });
  const [inputs, outputs] = [schedule.inputs.get(func.name), schedule.outputs.get(func.name)] as [
    number[],
    number[],
  ];
  return {
    export: func.name,
    symbols: [...symbolsOf(module, func)].sort(),
    inputs: func.args.map((arg, i) => slot(arg.name as string, arg.type, inputs[i] as number)),
    outputs: func.results.map((result, i) =>
      slot(func.outputs?.[i] as string, result.type, outputs[i] as number),
    ),
  };
}

/** Programs exchange values of types that have typed arrays. */
function boundaryDType(name: string, dtype: DType): EntrySpec['inputs'][number]['dtype'] {
  if (isDType(dtype)) return dtype;
  return fail('HEW6110', `'${name}' is ${dtype}, and programs cannot exchange four-bit values`, {
    help: 'cast it to i8 or u8; four-bit types are for weights',
  });
}

function manifestDim(module: Module, value: Dim): Shape[number] {
  const resolved = resolver(modelDims(module))(value);
  const [first, ...rest] = resolved.terms;
  if (resolved.divisor !== 1)
    return fail('HEW6003', 'an input or output has an axis that is a fraction of a run-time symbol');
  if (first === undefined) return 0;
  if (rest.length === 0 && first.factors.length === 0) return first.coefficient;
  return resolved.terms.map((term) => [term.coefficient, ...term.factors]) as unknown as Shape[number];
}

function stateSpec(module: Module, schedule: WasmSchedule, name: string): StateInfo {
  const state = module.states.get(name);
  const placement = schedule.states.get(name);
  if (state === undefined || placement === undefined) throw new Error(`state ${name} is not placed`);
  const resolve = resolver(modelDims(module));
  const own = state.type.shape.map((d) => resolve(d).terms[0]?.coefficient ?? 0);
  const shape = placement.loop === undefined ? own : [placement.turns, ...own];
  return {
    name,
    dtype: boundaryDType(name, state.type.dtype),
    shape,
    address: placement.address,
    bytes: placement.stride * placement.turns,
  };
}

const imageRange = (schedule: WasmSchedule) => ({ start: alignment, end: schedule.bytes.weights });

/** Weight files by name; each must be read to its end before the next is begun. */
export function weightFiles(
  module: Module,
  schedule: WasmSchedule,
  source: TensorSource | undefined,
  onTensor: (done: number, total: number) => void,
): Map<string, () => Iterable<Uint8Array>> {
  const bytesOf = (name: string, turn: number, placement: WeightPlacement) =>
    weightBytes(module, name, turn, placement, source);
  return shardFiles(imageRange(schedule), weightImage(schedule.weights, bytesOf, onTensor));
}

/** A weight in the layout it has in memory; `turn` counts for weights of a loop alone. */
export function weightBytes(
  module: Module,
  name: string,
  turn: number,
  { layout, matrices, group }: Pick<WeightPlacement, 'layout' | 'matrices' | 'group'>,
  source: TensorSource | undefined,
): Uint8Array {
  const { dtype, bytes } = materialiseBytes(module, name, turn, source);
  return packWeight(bytes, dtype, layout, matrices, group);
}

/** Row-major bytes in the layout that kernels read. */
function packWeight(
  bytes: Uint8Array,
  dtype: DType,
  layout: Layout,
  matrices: readonly number[],
  group: number,
): Uint8Array {
  if (layout === 'rows') return bytes;
  if (layout === 'integers') return packIntegers(bytes, dtype, matrices, group);
  return packPanels(bytes, matrices, dtypes[dtype].bits / 8);
}
