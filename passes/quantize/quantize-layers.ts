/** Quantizes layers by their schemes: parameters first, then the ops that read them. */
import { mapFunctions, rewriteFunc } from '../../ir/builder.js';
import type { Module, Op, Value } from '../../ir/module.js';
import { dce } from '../dce.js';
import type { PassData, PassReport, PassResult } from '../pass.js';
import { addInputQuantizers, emitDequantized, emitQuantized, type InputQuantizer } from './emit.js';
import type { Layer } from './layers.js';
import {
  gptqRounder,
  type QuantizedLayer,
  quantizeWeight,
  type Rounder,
  sizeOf,
} from './quantize-weights.js';
import { type Settings, schemeOf } from './scheme.js';
import { withTimestep } from './timestep.js';

export interface LayerChoices {
  /** Of weights that differ from the scheme's. */
  readonly bits?: ReadonlyMap<string, number>;
  /** For the report: layers that are left alone, and why. */
  readonly skipped?: readonly string[];
  /** How weights are rounded by statistics; GPTQ by default. */
  readonly round?: Rounder;
}

/** Every layer by its scheme. */
export function quantizeLayers(
  module: Module,
  layers: readonly Layer[],
  settings: Settings,
  data: PassData,
  { bits, skipped = [], round = gptqRounder(settings, data) }: LayerChoices = {},
): PassResult {
  const params = new Map(module.params);
  const done: QuantizedLayer[] = [];
  const inputs = new Map<string, InputQuantizer>();
  for (const [i, layer] of layers.entries()) {
    const scheme = schemeOf(layer, settings, bits?.get(layer.weight));
    if (scheme === undefined) continue;
    const quantized = quantizeWeight(module, params, layer, scheme, settings, data, round);
    done.push(quantized);
    inputs.set(layer.weight, addInputQuantizers(module, params, quantized, settings, data));
    data.progress(i + 1, layers.length);
  }
  const stepwise = done.filter(({ layer }) => inputs.get(layer.weight)?.kind === 'step');
  const functions = new Set(stepwise.flatMap(({ layer }) => layer.readers.map(({ func }) => func.name)));
  const reached = functions.size === 0 ? { module, timestep: undefined } : withTimestep(module, functions);
  const byWeight = new Map(done.map((quantized) => [quantized.layer.weight, quantized]));
  const changed = mapFunctions({ ...reached.module, params }, (func, scope) => {
    const at = func.args.indexOf(reached.timestep?.get(func.name) as Value);
    return rewriteFunc(func, scope, (op, operands, builder) => {
      const quantized = byWeight.get(weightRead(op) ?? '');
      if (quantized === undefined) return undefined;
      const input = inputs.get(quantized.layer.weight) as InputQuantizer;
      return [
        input.kind === 'none'
          ? emitDequantized(builder, op, operands, quantized, input)
          : emitQuantized(builder, operands, quantized, input, builder.args[at]),
      ];
    });
  });
  return { module: dce.run(changed, {}).module, report: reportOf(done, skipped) };
}

/** Name of the weight of a layer's op. */
function weightRead(op: Op): string | undefined {
  const at = op.name === 'linear' ? 1 : op.name === 'grouped_linear' ? 2 : undefined;
  const param = at === undefined ? undefined : (op.operands[at]?.def as Op | undefined);
  return param?.name === 'param' ? param.attrs.name : undefined;
}

function reportOf(done: readonly QuantizedLayer[], skipped: readonly string[]): Partial<PassReport> {
  const sizes = done.map(sizeOf);
  const total = (of: 'count' | 'bits'): number => sizes.reduce((sum, size) => sum + size[of], 0);
  const notes = done.map(({ layer, scheme: { weight, quantizesInput }, errors, sparseExperts }) => {
    const input = quantizesInput ? 'integer inputs' : 'inputs as they are';
    const group = weight.group === undefined ? '' : ` in groups of ${weight.group}`;
    const worst = Math.max(...errors);
    const few =
      sparseExperts === 0
        ? ''
        : `, ${sparseExperts} experts saw too few tokens and took those of their layer`;
    return `${layer.weight}: ${weight.bits} bits${group}, ${input}, relative error of the weights at most ${worst.toPrecision(2)}${few}`;
  });
  return {
    counts: { layers: done.length, skipped: skipped.length },
    notes: [
      `weights of ${(total('bits') / total('count')).toFixed(2)} bits on average, scales not counted`,
      ...notes,
      ...skipped.map((reason) => `left alone: ${reason}`),
    ],
    details: {
      layers: done.map(({ layer, scheme, errors }) => ({
        weight: layer.weight,
        bits: scheme.weight.bits,
        group: scheme.weight.group,
        integerInput: scheme.quantizesInput,
        weightErrors: errors,
      })),
    },
  };
}
