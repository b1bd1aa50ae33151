/**
 * Packages a scheduled module: the manifest, and the memory image of its weights as a stream that holds one tensor at
 * a time. The image is cut into shards, so that no file exceeds what file systems and browsers take.
 */

import { fail } from '../../ir/diagnostics.js';
import type { Dim } from '../../ir/dim.js';
import { materialiseBytes, type TensorSource } from '../../ir/materialise.js';
import { type Func, type Module, modelDims, type SamplerDecl } from '../../ir/module.js';
import { type DType, dtypes } from '../../ir/type.js';
import { symbolsOf } from '../../ir/verify.js';
import { resolver } from './emit/kernel.js';
import { packPanels } from './packing.js';
import { isDType } from './runtime/dtype.js';
import type {
  EntrySpec,
  Manifest,
  Sampler,
  StateSpec,
  TensorSlot,
  WeightSegment,
} from './runtime/manifest.js';
import type { Shape } from './runtime/shape.js';
import { alignment, type WasmSchedule, type WeightPlacement } from './schedule.js';

const shardBytes = 2 ** 30;

export type PackagedManifest = Omit<Manifest, 'files'>;

export interface PackageInput {
  readonly module: Module;
  readonly schedule: WasmSchedule;
  readonly pages: number;
  readonly relaxed: boolean;
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
      features: input.relaxed ? ['simd128', 'relaxed-simd'] : ['simd128'],
    },
    weights: weightSegments(schedule),
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

function stateSpec(module: Module, schedule: WasmSchedule, name: string): StateSpec {
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

const samplerKeys: Readonly<Record<Sampler['kind'], readonly string[]>> = {
  text: ['temperature', 'top_k', 'top_p', 'bos', 'stop'],
  diffusion: ['steps', 'schedule', 'beta_start', 'beta_end', 'predict', 'clip', 'null_class'],
};

function samplerSpec({ kind, settings }: SamplerDecl): Sampler {
  const keys = (samplerKeys as Readonly<Record<string, readonly string[]>>)[kind];
  if (keys === undefined)
    return fail('HEW7011', `there is no sampler '${kind}'`, {
      help: `samplers: ${Object.keys(samplerKeys).join(', ')}`,
    });
  const unknown = Object.keys(settings).find((key) => !keys.includes(key));
  if (unknown !== undefined)
    return fail('HEW7011', `sampler ${kind} has no setting '${unknown}'`, {
      help: `its settings: ${keys.join(', ')}`,
    });
  return { kind, ...settings } as Sampler;
}

function weightSegments(schedule: WasmSchedule): WeightSegment[] {
  return shards(schedule).map(({ name, start, end }) => ({
    file: name,
    offset: 0,
    bytes: end - start,
    address: alignment + start,
  }));
}

/** Ranges of the weight image, which starts at address `alignment`. */
function shards(schedule: WasmSchedule): { name: string; start: number; end: number }[] {
  const total = schedule.bytes.weights - alignment;
  return Array.from({ length: Math.ceil(total / shardBytes) }, (_, i) => ({
    name: `weights-${String(i + 1).padStart(5, '0')}.bin`,
    start: i * shardBytes,
    end: Math.min(total, (i + 1) * shardBytes),
  }));
}

/** Weight files by name; each must be read to its end before the next is begun. */
export function weightFiles(
  module: Module,
  schedule: WasmSchedule,
  source: TensorSource | undefined,
  onTensor: (done: number, total: number) => void,
): Map<string, () => Iterable<Uint8Array>> {
  const image = new ImageReader(weightImage(module, schedule, source, onTensor));
  return new Map(shards(schedule).map(({ name, start, end }) => [name, () => image.take(end - start)]));
}

/** Every weight in address order, padded to its stride. */
function* weightImage(
  module: Module,
  schedule: WasmSchedule,
  source: TensorSource | undefined,
  onTensor: (done: number, total: number) => void,
): Generator<Uint8Array> {
  const total = [...schedule.weights.values()].reduce((n, placement) => n + placement.turns, 0);
  let done = 0;
  for (const [name, placement] of schedule.weights) {
    for (let turn = 0; turn < placement.turns; turn++) {
      const bytes = weightBytes(module, name, turn, placement, source);
      yield bytes;
      yield new Uint8Array(placement.stride - bytes.length);
      onTensor(++done, total);
    }
  }
}

/** A weight in the layout it has in memory; `turn` counts for weights of a loop alone. */
export function weightBytes(
  module: Module,
  name: string,
  turn: number,
  { layout, matrices }: Pick<WeightPlacement, 'layout' | 'matrices'>,
  source: TensorSource | undefined,
): Uint8Array {
  const { dtype, bytes } = materialiseBytes(module, name, turn, source);
  return layout === 'rows' ? bytes : packPanels(bytes, matrices, dtypes[dtype].bits / 8);
}

/** Cuts a stream of chunks at given lengths. */
class ImageReader {
  private rest: Uint8Array = new Uint8Array(0);

  constructor(private readonly chunks: Iterator<Uint8Array>) {}

  *take(length: number): Generator<Uint8Array> {
    let missing = length;
    while (missing > 0) {
      if (this.rest.length === 0) {
        const next = this.chunks.next();
        if (next.done) throw new Error('the weight image is shorter than planned');
        this.rest = next.value;
      }
      const part = this.rest.subarray(0, missing);
      this.rest = this.rest.subarray(part.length);
      missing -= part.length;
      yield part;
    }
  }
}
