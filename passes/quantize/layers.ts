/** The linear layers that a pipeline quantizes, and the statistics of their inputs. */
import type { Func, Module, Value } from '../../ir/module.js';
import { readersOf } from '../absorb/writers.js';
import type { PassData } from '../pass.js';
import type { Observation, Probe, StatisticName } from '../probe.js';
import type { Range } from './activations.js';
import { biasOf, type LinearOp, linearsOf, weightOf } from './sites.js';

export interface Layer {
  readonly func: Func;
  readonly linear: LinearOp;
  readonly weight: string;
  readonly bias: string | undefined;
  readonly input: Value;
  /** Its input has one row for each sample of the batch: a layer that reads the condition, not the tokens. */
  readonly isCondition: boolean;
  /** It stands outside of all loops, at an end of the model. */
  readonly isEdge: boolean;
}

/** Linear layers with weights of their own, in the functions that the observed entry reaches. */
export function layersOf(module: Module): {
  readonly layers: readonly Layer[];
  readonly skipped: readonly string[];
} {
  const skipped: string[] = [];
  const layers = linearsOf(module).flatMap(({ func, linear }): Layer[] => {
    const weight = weightOf(linear) as string;
    if (readersOf(module, weight) > 1) {
      skipped.push(`${weight}: it has another reader`);
      return [];
    }
    const input = linear.operands[0] as Value;
    const isCondition = module.sampler?.kind === 'diffusion' && input.type.shape.length === 2;
    const isEdge = func.loop === undefined;
    return [{ func, linear, weight, bias: biasOf(linear), input, isCondition, isEdge }];
  });
  return { layers, skipped };
}

export function probeOf(
  module: Module,
  layer: Layer,
  statistic: StatisticName,
  more: Partial<Probe> = {},
): Probe {
  const values = statistic === 'moment' ? [layer.input, layer.input] : [layer.input];
  return { key: `${statistic} ${layer.weight}`, module, func: layer.func.name, values, statistic, ...more };
}

export function observationOf(data: PassData, layer: Layer, statistic: StatisticName): Observation {
  const found = data.statistics.get(`${statistic} ${layer.weight}`);
  if (found === undefined) throw new Error(`${statistic} of ${layer.weight} was not observed`);
  return found;
}

const extreme = (of: (...values: number[]) => number, values: Float64Array): number =>
  values.reduce((a, b) => of(a, b));

/** Range of a whole tensor in one turn: at every step, and in all. */
export function tensorRanges(data: PassData, layer: Layer, turn: number): { all: Range; steps: Range[] } {
  const [minimum, maximum] = [observationOf(data, layer, 'minimum'), observationOf(data, layer, 'maximum')];
  const rangeOf = (low: Float64Array | undefined, high: Float64Array | undefined): Range => ({
    min: extreme(Math.min, low ?? new Float64Array(1)),
    max: extreme(Math.max, high ?? new Float64Array(1)),
  });
  const steps = (minimum.steps ?? []).map((step, i) =>
    rangeOf(step.sums[turn], maximum.steps?.[i]?.sums[turn]),
  );
  return { all: rangeOf(minimum.sums[turn], maximum.sums[turn]), steps };
}
