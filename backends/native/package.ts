/** What packages of all native targets share: the manifest, and the memory image of the weights as a stream. */
import { type Dim, evalDim, productOfDims } from '../../ir/dim.js';
import { materialiseBytes, type TensorSource } from '../../ir/materialise.js';
import { type Func, type Module, modelDims, type OpOf, type Param } from '../../ir/module.js';
import { type Recipe, recipeParts } from '../../ir/recipe.js';
import { storedBytes } from '../../ir/type.js';
import { symbolsOf } from '../../ir/verify.js';
import { resolver } from '../kernel-function.js';
import { samplerSpec } from '../sampler.js';
import type { Placement, Schedule } from '../schedule.js';
import { shardFiles, shards, weightImage } from '../weight-image.js';
import type { NativeEntry, NativeManifest, NativeSlot, NativeState, PlanStep } from './manifest.js';
import { planSize } from './plan.js';
import { alignment } from './schedule.js';

/** A module whose kernels are emitted and whose entries are planned. */
export interface NativeModule {
  readonly module: Module;
  readonly schedule: Schedule;
  readonly plans: ReadonlyMap<string, readonly PlanStep[]>;
}

export interface PackageInput {
  readonly compilerVersion: string;
  readonly tokenizerFile: string | undefined;
  /** False leaves out what comes from a checkpoint, for measurements with weights that are made up. */
  readonly weights: boolean;
}

const constantsFile = 'constants.bin';

export function packageNative(
  native: NativeModule,
  { compilerVersion, tokenizerFile, weights }: PackageInput,
): Omit<NativeManifest, 'files'> {
  const { module, schedule } = native;
  return {
    format: 'hew-bundle',
    version: 1,
    name: module.name,
    hew: compilerVersion,
    ranks: ranksOf(module),
    memory: { weights: schedule.bytes.weights, total: schedule.bytes.total },
    weights: weights ? shards(imageRange(schedule)) : constantSegments(module, schedule),
    params: [...module.params]
      .filter(([, { recipe }]) => hasSource(recipe))
      .map(([name, param]) => paramSpec(module, schedule, name, param)),
    symbols: Object.fromEntries(
      [...module.dims].flatMap(([name, decl]) => ('min' in decl ? [[name, decl]] : [])),
    ),
    entries: Object.fromEntries(
      [...native.plans].map(([name, plan]) => [
        name,
        entrySpec(native, module.functions.get(name) as Func, plan),
      ]),
    ),
    states: [...module.states.keys()].map((name) => stateSpec(module, schedule, name)),
    tokenizer: tokenizerFile === undefined ? null : { file: tokenizerFile },
    sampler: module.sampler === undefined ? null : samplerSpec(module.sampler),
  };
}

/** The most ranks that some sum is over. */
function ranksOf(module: Module): number {
  const sums = [...module.functions.values()].flatMap(({ body }) =>
    body.filter((op) => op.name === 'all_reduce'),
  );
  return Math.max(1, ...sums.map((op) => (op as OpOf<'all_reduce'>).attrs.ranks));
}

const imageRange = (schedule: Schedule) => ({ start: alignment, end: schedule.bytes.weights });

/** Weight files by name; each must be read to its end before the next is begun. */
export function weightFiles(
  { module, schedule }: NativeModule,
  source: TensorSource | undefined,
  weights: boolean,
  onTensor: (done: number, total: number) => void,
): Map<string, () => Iterable<Uint8Array>> {
  if (weights)
    return shardFiles(
      imageRange(schedule),
      weightImage(
        schedule.weights,
        (name, turn) => materialiseBytes(module, name, turn, source).bytes,
        onTensor,
      ),
    );
  const constants = constantParams(module);
  if (constants.length === 0) return new Map();
  return new Map([[constantsFile, () => constants.map(([name]) => materialiseBytes(module, name, 0).bytes)]]);
}

function hasSource(recipe: Recipe): boolean {
  return recipe.kind === 'source' || recipeParts(recipe).some(hasSource);
}

function constantParams(module: Module): [string, Param][] {
  return [...module.params].filter(([, { recipe, loop }]) => !hasSource(recipe) && loop === undefined);
}

function constantSegments(module: Module, schedule: Schedule): NativeManifest['weights'] {
  let offset = 0;
  return constantParams(module).map(([name, { type }]) => {
    const bytes = storedBytes(type.dtype, evalDim(productOfDims(type.shape), modelDims(module)));
    const segment = {
      file: constantsFile,
      offset,
      bytes,
      address: (schedule.weights.get(name) as Placement).address,
    };
    offset += bytes;
    return segment;
  });
}

function paramSpec(
  module: Module,
  schedule: Schedule,
  name: string,
  { type }: Param,
): NativeManifest['params'][number] {
  const { address, stride, turns } = schedule.weights.get(name) as Placement;
  const shape = type.shape.map((d) => evalDim(d, modelDims(module)));
  const elements = shape.reduce((n, size) => n * size, 1);
  const fanIn = shape.length < 2 ? 0 : (shape.at(-1) as number);
  return { dtype: type.dtype, address, stride, turns, elements, fan_in: fanIn };
}

function entrySpec({ module, schedule }: NativeModule, func: Func, plan: readonly PlanStep[]): NativeEntry {
  const resolve = resolver(modelDims(module));
  const slot = (name: string, { type }: Func['args'][number], address: number): NativeSlot => ({
    name,
    dtype: type.dtype,
    shape: type.shape.map((d: Dim) => planSize(resolve, d)),
    address,
  });
  const [inputs, outputs] = [schedule.inputs, schedule.outputs].map((map) => map.get(func.name) as number[]);
  return {
    symbols: [...symbolsOf(module, func)].sort(),
    inputs: func.args.map((arg, i) => slot(arg.name as string, arg, inputs?.[i] as number)),
    outputs: func.results.map((result, i) =>
      slot(func.outputs?.[i] as string, result, outputs?.[i] as number),
    ),
    plan,
  };
}

function stateSpec(module: Module, schedule: Schedule, name: string): NativeState {
  const state = module.states.get(name);
  const placement = schedule.states.get(name);
  if (state === undefined || placement === undefined) throw new Error(`state ${name} is not placed`);
  const dims = modelDims(module);
  const own = state.type.shape.map((d) => evalDim(d, dims));
  return {
    name,
    dtype: state.type.dtype,
    shape: placement.loop === undefined ? own : [placement.turns, ...own],
    address: placement.address,
    bytes: placement.stride * placement.turns,
  };
}
