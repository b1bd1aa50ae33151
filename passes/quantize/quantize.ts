/**
 * quantize: linear layers in integers. Weights become codes with scales; activations are quantized in front of a
 * `quantized_linear`, with one range per tensor, one per group of timesteps or one per token, or stay in f32 in front
 * of a `linear` that reads dequantized weights. Zero points of static ranges go into the biases (ADR 2).
 */
import { fail } from '../../ir/diagnostics.js';
import type { Module } from '../../ir/module.js';
import { definePass, type PassResult } from '../pass.js';
import type { Probe } from '../probe.js';
import { type Layer, layersOf, probeOf } from './layers.js';
import { quantizeLayers } from './quantize-layers.js';
import { correctsBias, gramStatistics, usesGram } from './quantize-weights.js';
import { reconstructBlocks } from './reconstruct.js';
import { type RoutingChange, routingChanges } from './routing.js';
import { quantizeOptions, readSettings, type Settings, schemeOf } from './scheme.js';
import { keepSensitive } from './sensitivity.js';

export const quantize = definePass({
  name: 'quantize',
  kind: 'approximate',
  summary: 'Turns the weights of linear layers, and if asked their inputs, into integers of 8 or 4 bits.',
  options: quantizeOptions,
  data: {
    observe: (module, given) => {
      const settings = readSettings(given, module);
      return layersOf(module).layers.flatMap((layer) => probesOf(module, layer, settings));
    },
    run: async (module, given, data) => {
      const settings = readSettings(given, module);
      const { layers, skipped } = layersOf(module);
      if (layers.length === 0)
        fail('HEW6010', 'the model has no linear layers whose weights are parameters', { notes: skipped });
      const bits =
        settings.targetBits === undefined
          ? new Map<string, number>()
          : await keepSensitive(module, layers, settings, data, settings.targetBits);
      const choices = { bits, skipped };
      const result =
        settings.reconstruct === 'none'
          ? quantizeLayers(module, layers, settings, data, choices)
          : await reconstructBlocks(module, layers, settings, data, choices);
      return withRouting(result, await routingChanges(module, result.module, data));
    },
  },
});

/** The report with what became of the choice of experts. */
function withRouting(result: PassResult, changes: readonly RoutingChange[]): PassResult {
  const { counts = {}, notes = [], details = {} } = result.report ?? {};
  const routed = changes.map(
    ({ router, same, error }) =>
      `router ${router}: ${(100 * same).toFixed(2)} % of the choices of experts are as before, relative error of the logits ${error.toPrecision(2)}`,
  );
  return {
    ...result,
    report: { counts, notes: [...notes, ...routed], details: { ...details, routing: changes } },
  };
}

/** The condition has one row for each sample, and other values at each timestep: all of them are few. */
const everyCall = ({ place }: Layer, { every }: Settings): number => (place === 'condition' ? 1 : every);

function probesOf(module: Module, layer: Layer, settings: Settings): Probe[] {
  const byTimestep = module.sampler?.kind === 'diffusion';
  const scheme = schemeOf(layer, settings);
  const isStatic = scheme?.quantizesInput === true && settings.activations?.range !== 'token';
  return [
    ...(isStatic
      ? (['minimum', 'maximum'] as const).map((side) => probeOf(module, layer, side, { byTimestep }))
      : []),
    ...(usesGram(layer, settings)
      ? gramStatistics[layer.kind].map((statistic) =>
          probeOf(module, layer, statistic, { every: everyCall(layer, settings) }),
        )
      : []),
    ...(correctsBias(layer, settings) ? [probeOf(module, layer, 'sum')] : []),
  ];
}
