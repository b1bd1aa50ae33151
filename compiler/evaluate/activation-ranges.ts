/** How the inputs of a diffusion model's linear layers range over channels and timesteps: what reports show. */
import type { TensorSource } from '../../ir/materialise.js';
import type { Module } from '../../ir/module.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { layersOf, probeOf } from '../../passes/quantize/layers.js';
import { groupStepsWithLast, midrange } from '../../passes/quantize/step-groups.js';
import { standardPipeline } from '../../passes/registry.js';
import { calibrateOnSamples } from '../diffusion-calibration.js';
import { observe } from '../observe.js';

export interface LayerRanges {
  /** Name of the weight that reads the input. */
  readonly weight: string;
  /** Which turn of its loop; undefined for a layer that stands alone. */
  readonly turn: number | undefined;
  /** Centre of the range of each channel, [channel][step]. */
  readonly centre: readonly (readonly number[])[];
  /** Width of the range of each channel, [channel][step]. */
  readonly width: readonly (readonly number[])[];
  /** First step of each group of timesteps that the centres fall into. */
  readonly groups: readonly number[];
}

export interface ActivationRanges {
  readonly timesteps: readonly number[];
  readonly layers: readonly LayerRanges[];
}

const groupsShown = 10;

/** Ranges over a few samples, of the first, the middle and the last turn of each loop. */
export async function activationRanges(
  module: Module,
  source: TensorSource | undefined,
  options: { readonly samples: number; readonly steps: number },
): Promise<ActivationRanges> {
  const simplified = runPipeline(module, parsePipeline(standardPipeline)).module;
  const data = await calibrateOnSamples(simplified, source, options);
  const layers = layersOf(simplified).layers.filter(({ place }) => place !== 'condition');
  const probes = layers.flatMap((layer) =>
    (['minimum', 'maximum'] as const).map((statistic) =>
      probeOf(simplified, layer, statistic, { byTimestep: true }),
    ),
  );
  const found = await observe(probes, data, { source });
  const [first] = found.values();
  const timesteps = (first?.steps ?? []).map(({ timestep }) => timestep);
  return {
    timesteps,
    layers: layers.flatMap((layer, i) => {
      const [minimum, maximum] = [0, 1].map((side) =>
        found.get((probes[2 * i + side] as { key: string }).key),
      );
      const turns = minimum?.sums.length ?? 0;
      const shown = new Set([0, Math.floor(turns / 2), turns - 1]);
      return [...shown].map((turn): LayerRanges => {
        const ranges = timesteps.map((_, step) => ({
          min: minimum?.steps?.[step]?.sums[turn] ?? new Float64Array(),
          max: maximum?.steps?.[step]?.sums[turn] ?? new Float64Array(),
        }));
        const centres = ranges.map(midrange);
        const groups = groupStepsWithLast(centres, Math.min(groupsShown, timesteps.length));
        const byChannel = (of: (step: number, channel: number) => number): number[][] =>
          Array.from(centres[0] ?? [], (_, channel) => timesteps.map((_t, step) => of(step, channel)));
        return {
          weight: layer.weight,
          turn: layer.loop === undefined ? undefined : turn,
          centre: byChannel((step, channel) => centres[step]?.[channel] ?? 0),
          width: byChannel(
            (step, channel) => (ranges[step]?.max[channel] ?? 0) - (ranges[step]?.min[channel] ?? 0),
          ),
          groups: groups.map(({ first: start }) => start),
        };
      });
    }),
  };
}
