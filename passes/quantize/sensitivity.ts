/**
 * Mixed precision: which layers stay in 8 bits. Each is rounded to the narrow scheme alone, all others being as they
 * were, and what that costs on calibration data is measured; those that cost most for their size are kept.
 */
import { type Module, modelDims, type Param } from '../../ir/module.js';
import { elementCount, evalShape } from '../../ir/type.js';
import type { PassData } from '../pass.js';
import { turnsOf } from '../recipes.js';
import type { Layer } from './layers.js';
import { quantizeLayers } from './quantize-layers.js';
import { type Settings, schemeOf } from './scheme.js';

/** Windows or calls that decide; the order of costs needs no more. */
const callsJudged = 24;

/** Bits of each layer's weight, so that their mean is at most `target`. */
export async function keepSensitive(
  module: Module,
  layers: readonly Layer[],
  settings: Settings,
  data: PassData,
  target: number,
): Promise<Map<string, number>> {
  const narrow = layers.filter((layer) => (schemeOf(layer, settings)?.weight.bits ?? 8) < 8);
  const costs = new Map<Layer, number>();
  const weightsOnly = { ...settings, activations: undefined };
  for (const layer of narrow) {
    const { module: candidate } = quantizeLayers(module, [layer], weightsOnly, data);
    costs.set(layer, await data.evaluate(candidate, { first: callsJudged }));
  }
  const base = await data.evaluate(module, { first: callsJudged });
  const size = (layer: Layer): number => {
    const { type } = module.params.get(layer.weight) as Param;
    const turns = turnsOf(module, layer.loop)?.length ?? 1;
    return turns * elementCount(evalShape(type.shape, modelDims(module)));
  };
  const total = layers.reduce((sum, layer) => sum + size(layer), 0);
  const bits = new Map<string, number>();
  let spent = layers.reduce(
    (sum, layer) => sum + size(layer) * (schemeOf(layer, settings)?.weight.bits ?? 8),
    0,
  );
  const worth = (layer: Layer): number => ((costs.get(layer) ?? base) - base) / size(layer);
  for (const layer of narrow.toSorted((a, b) => worth(b) - worth(a))) {
    const more = size(layer) * (8 - settings.weightBits);
    if (spent + more > target * total) continue;
    spent += more;
    bits.set(layer.weight, 8);
  }
  return bits;
}
