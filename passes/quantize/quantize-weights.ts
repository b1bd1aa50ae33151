/** Weights in integers: rounds them turn by turn and replaces their parameters by codes, scales and zero points. */
import { type Dim, dim, divDims } from '../../ir/dim.js';
import type { Module, Param } from '../../ir/module.js';
import type { Recipe } from '../../ir/recipe.js';
import { type DType, tensorType } from '../../ir/type.js';
import type { PassData } from '../pass.js';
import type { StatisticName } from '../probe.js';
import { constantRecipe, turnsOf } from '../recipes.js';
import { roundExperts } from './expert-rounding.js';
import { type GptqOptions, gptq } from './gptq.js';
import { type Layer, observationOf } from './layers.js';
import { dequantizeWeight, type QuantizedWeight, roundWeight } from './rounding.js';
import type { LayerScheme, Settings } from './scheme.js';

/** The parameters that stand for a weight. */
export interface WeightNames {
  readonly codes: string;
  readonly scale: string;
  /** Undefined for symmetric schemes. */
  readonly zero: string | undefined;
  /** Inputs that share a scale; 0 is all. */
  readonly group: number;
  /** Axis along which scales differ. */
  readonly axis: number;
}

export interface QuantizedLayer {
  readonly layer: Layer;
  readonly scheme: LayerScheme;
  readonly names: WeightNames;
  /** In each turn. */
  readonly weights: readonly QuantizedWeight[];
  /** ‖W - Ŵ‖ / ‖W‖ in each turn. */
  readonly errors: readonly number[];
  /** (W - Ŵ) E[x] in each turn, where biases are to be corrected. */
  readonly lost: readonly Float64Array[] | undefined;
  /** Experts, over all turns, that saw too few tokens to be rounded for them alone. */
  readonly sparseExperts: number;
}

export const perTurn = (loop: string | undefined, parts: readonly Recipe[]): Recipe =>
  loop === undefined ? (parts[0] as Recipe) : { kind: 'per_index', parts };

/** Rounds a layer's weights and adds their parameters. */
export function quantizeWeight(
  module: Module,
  params: Map<string, Param>,
  layer: Layer,
  scheme: LayerScheme,
  settings: Settings,
  data: PassData,
): QuantizedLayer {
  const { loop, weight, columns } = layer;
  const turns = turnsOf(module, loop)?.length ?? 1;
  const weights: QuantizedWeight[] = [];
  const errors: number[] = [];
  const lost: Float64Array[] = [];
  const sparse: number[] = [];
  for (let turn = 0; turn < turns; turn++) {
    const w = data.weight(module, weight, loop === undefined ? undefined : turn).data;
    const rows = w.length / columns;
    const found = usesGram(layer, settings) ? gptqOf(w, layer, scheme, settings, data, turn) : undefined;
    if (found !== undefined && found.sparse.length > 0) sparse.push(found.sparse.length);
    const rounded = found?.weight ?? roundWeight(w, rows, columns, scheme.weight);
    const difference = dequantizeWeight(rounded).map((value, i) => (w[i] as number) - value);
    weights.push(rounded);
    errors.push(norm(difference) / Math.max(norm(w), Number.MIN_VALUE));
    if (correctsBias(layer, settings)) lost.push(lostMean(difference, columns, data, layer, turn));
  }
  const names = addParams(module, params, layer, scheme, weights);
  return {
    layer,
    scheme,
    names,
    weights,
    errors,
    lost: lost.length === 0 ? undefined : lost,
    sparseExperts: sparse.reduce((sum, count) => sum + count, 0),
  };
}

export const usesGram = (layer: Layer, settings: Settings): boolean =>
  settings.gptq !== undefined && layer.place === 'body';

/** Statistics that GPTQ needs: of all tokens, or of those that each expert sees. */
export const gramStatistics = {
  linear: ['moment'],
  grouped_linear: ['routed_moment', 'routed_rows'],
} as const satisfies Record<Layer['kind'], readonly StatisticName[]>;

/** Rounded by GPTQ; undefined where the Gram matrix stays singular. */
function gptqOf(
  w: Float64Array,
  layer: Layer,
  { weight: scheme }: LayerScheme,
  settings: Settings,
  data: PassData,
  turn: number,
): { readonly weight: QuantizedWeight; readonly sparse: readonly number[] } | undefined {
  const options = settings.gptq as GptqOptions;
  const { columns } = layer;
  const sums = (statistic: StatisticName): Float64Array =>
    observationOf(data, layer, statistic).sums[turn] as Float64Array;
  if (layer.kind === 'grouped_linear') {
    const inputs = { grams: sums('routed_moment'), tokens: sums('routed_rows') };
    return roundExperts(w, columns, inputs, scheme, options);
  }
  const weight = gptq(w, w.length / columns, columns, sums('moment'), scheme, options);
  return weight && { weight, sparse: [] };
}

export const correctsBias = (layer: Layer, settings: Settings): boolean =>
  settings.biasCorrection && layer.kind === 'linear' && layer.place === 'body';

const norm = (values: Float64Array): number => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));

function lostMean(
  difference: Float64Array,
  columns: number,
  data: PassData,
  layer: Layer,
  turn: number,
): Float64Array {
  const { rows, sums } = observationOf(data, layer, 'sum');
  const sum = sums[turn] as Float64Array;
  return Float64Array.from({ length: difference.length / columns }, (_, row) => {
    let lost = 0;
    for (let i = 0; i < columns; i++)
      lost += (difference[row * columns + i] as number) * ((sum[i] as number) / rows);
    return lost;
  });
}

function addParams(
  module: Module,
  params: Map<string, Param>,
  { weight, loop, kind }: Layer,
  { weight: scheme }: LayerScheme,
  weights: readonly QuantizedWeight[],
): WeightNames {
  const { type } = module.params.get(weight) as Param;
  const dtype: DType = scheme.bits === 8 ? 'i8' : 'i4';
  const group = scheme.group ?? 0;
  const shape = scaleShape(type.shape, group, kind);
  const names = {
    codes: weight,
    scale: `${weight}.scale`,
    zero: scheme.asymmetric ? `${weight}.zero_point` : undefined,
    group,
    axis: group > 0 ? type.shape.length - 1 : 0,
  };
  const add = (
    name: string,
    ofType: DType,
    dims: readonly Dim[],
    values: (w: QuantizedWeight) => ArrayLike<number>,
  ) =>
    params.set(name, {
      type: tensorType(ofType, dims),
      loop,
      recipe: perTurn(
        loop,
        weights.map((w) => constantRecipe(ofType, dims, values(w))),
      ),
    });
  add(names.codes, dtype, type.shape, ({ codes }) => codes);
  add(names.scale, 'f32', shape, ({ scales }) => scales);
  if (names.zero !== undefined) add(names.zero, dtype, shape, ({ zeros }) => zeros);
  return names;
}

/** [out] for one scale per output, [out, groups] for groups; with experts in front, and their rank kept. */
function scaleShape(shape: readonly Dim[], group: number, kind: Layer['kind']): readonly Dim[] {
  const outer = shape.slice(0, -1);
  if (group > 0) return [...outer, divDims(shape.at(-1) as Dim, group)];
  return kind === 'linear' ? outer : [...outer, dim(1)];
}

/** Bits of the weights of a layer in all its turns, and how many weights they are. */
export function sizeOf({ weights, scheme }: QuantizedLayer): {
  readonly count: number;
  readonly bits: number;
} {
  const count = weights.reduce((sum, { codes }) => sum + codes.length, 0);
  return { count, bits: count * scheme.weight.bits };
}
