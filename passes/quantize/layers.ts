/** The layers that a pipeline quantizes, by their weights, and the statistics of their inputs. */
import { evalDim } from '../../ir/dim.js';
import { defOf, type Func, type Module, modelDims, type Op, type OpOf, type Value } from '../../ir/module.js';
import { readersOf } from '../absorb/writers.js';
import type { PassData } from '../pass.js';
import type { Observation, Probe, StatisticName } from '../probe.js';
import { observedEntry, reachableFunctions, structureOf } from '../structure.js';
import type { Range } from './activations.js';

/** A place where the weight of a layer is read. */
export interface Reader {
  readonly func: Func;
  readonly op: OpOf<'linear'> | OpOf<'grouped_linear'>;
}

export interface Layer {
  readonly kind: 'linear' | 'grouped_linear';
  readonly weight: string;
  readonly readers: readonly Reader[];
  /** The reader whose input is observed. */
  readonly observed: Reader;
  /** In the body of a loop, reading the condition of a diffusion model, or outside of all loops. */
  readonly place: 'body' | 'condition' | 'edges';
  readonly loop: string | undefined;
  /** Inputs of each output. */
  readonly columns: number;
}

export const inputOf = ({ op }: Reader): Value => op.operands[0] as Value;

/** Which operand is the weight. */
const weightAt = { linear: 1, grouped_linear: 2 } as const;

function weightName(op: Op): string | undefined {
  if (op.name !== 'linear' && op.name !== 'grouped_linear') return undefined;
  const param = defOf(op.operands[weightAt[op.name]] as Value);
  return param?.name === 'param' ? param.attrs.name : undefined;
}

/** Layers whose weights are parameters that nothing else reads, and why others are not. */
export function layersOf(module: Module): {
  readonly layers: readonly Layer[];
  readonly skipped: readonly string[];
} {
  const byWeight = new Map<string, Reader[]>();
  for (const func of module.functions.values()) {
    for (const op of func.body) {
      const weight = weightName(op);
      if (weight === undefined) continue;
      byWeight.set(weight, [...(byWeight.get(weight) ?? []), { func, op } as Reader]);
    }
  }
  const skipped: string[] = [...productsWithWeights(module)];
  const layers = [...byWeight].flatMap(([weight, readers]): Layer[] => {
    const reason = obstacle(module, weight, readers);
    if (reason === undefined) return [layerOf(module, weight, readers)];
    skipped.push(`${weight}: ${reason}`);
    return [];
  });
  return { layers, skipped };
}

function obstacle(module: Module, weight: string, readers: readonly Reader[]): string | undefined {
  if (readersOf(module, weight) > readers.length) return 'something else reads it too';
  if (new Set(readers.map(({ op }) => op.name)).size > 1) return 'operations of different kinds read it';
  const routed = structureOf(module).routers.map(({ logits }) => logits);
  if (readers.some(({ op }) => routed.some((value) => comesFrom(value, op))))
    return 'it chooses experts, and small errors would choose others';
  return undefined;
}

/** Whether a value is the result of an op, possibly with a bias added. */
function comesFrom(value: Value, op: Op): boolean {
  const def = defOf(value);
  return def === op || (def?.name === 'add' && def.operands.some((operand) => comesFrom(operand, op)));
}

/** Weights that matmul reads, such as those of stacked experts: there is no integer product for them. */
function* productsWithWeights(module: Module): Generator<string> {
  const isWeight = (value: Value): boolean => {
    const op = defOf(value);
    return (
      op?.name === 'param' ||
      ((op?.name === 'transpose' || op?.name === 'cast') && isWeight(op.operands[0] as Value))
    );
  };
  for (const func of module.functions.values()) {
    const count = func.body.filter((op) => op.name === 'matmul' && isWeight(op.operands[1] as Value)).length;
    if (count > 0)
      yield `${count} matmul of @${func.name} with stacked weights: only linear layers are quantized`;
  }
}

function layerOf(module: Module, weight: string, readers: readonly Reader[]): Layer {
  const entry = observedEntry(module);
  const reached = entry && reachableFunctions(module, entry);
  const observed = readers.find(({ func }) => reached?.has(func.name)) ?? (readers[0] as Reader);
  const { op, func } = observed;
  const input = inputOf(observed);
  const isCondition =
    module.sampler?.kind === 'diffusion' && op.name === 'linear' && input.type.shape.length === 2;
  const columns = evalDim(input.type.shape.at(-1) as never, modelDims(module));
  const place = isCondition ? 'condition' : func.loop === undefined ? 'edges' : 'body';
  return { kind: op.name, weight, readers, observed, place, loop: func.loop, columns };
}

// ---- statistics

export function probeOf(
  module: Module,
  layer: Layer,
  statistic: StatisticName,
  more: Partial<Probe> = {},
): Probe {
  const [input, index, weight] = layer.observed.op.operands as [Value, Value, Value];
  const valuesOf: Partial<Record<StatisticName, Value[]>> = {
    moment: [input, input],
    routed_moment: [input, index, weight],
    routed_rows: [input, index, weight],
  };
  const values = valuesOf[statistic] ?? [input];
  const { name: func } = layer.observed.func;
  return { key: `${statistic} ${layer.weight}`, module, func, values, statistic, ...more };
}

export function observationOf(data: PassData, layer: Layer, statistic: StatisticName): Observation {
  const found = data.statistics.get(`${statistic} ${layer.weight}`);
  if (found === undefined) throw new Error(`${statistic} of ${layer.weight} was not observed`);
  return found;
}

/** Range of a whole tensor in one turn: over all calls, and at each timestep. */
export function tensorRanges(
  data: PassData,
  layer: Layer,
  turn: number,
): { readonly all: Range; readonly steps: readonly Range[] } {
  const [minimum, maximum] = [observationOf(data, layer, 'minimum'), observationOf(data, layer, 'maximum')];
  const rangeOf = (low: Float64Array | undefined, high: Float64Array | undefined): Range => ({
    min: (low ?? new Float64Array(1)).reduce((a, b) => Math.min(a, b)),
    max: (high ?? new Float64Array(1)).reduce((a, b) => Math.max(a, b)),
  });
  const steps = (minimum.steps ?? []).map((step, i) =>
    rangeOf(step.sums[turn], maximum.steps?.[i]?.sums[turn]),
  );
  return { all: rangeOf(minimum.sums[turn], maximum.sums[turn]), steps };
}
