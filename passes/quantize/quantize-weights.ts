/** Weights in integers: rounds them turn by turn and replaces their parameters by codes, scales and zero points. */
import { type Dim, dim, divDims } from '../../ir/dim.js';
import type { Module, Param } from '../../ir/module.js';
import type { Recipe } from '../../ir/recipe.js';
import { type DType, type TensorType, tensorType } from '../../ir/type.js';
import type { PassData } from '../pass.js';
import type { StatisticName } from '../probe.js';
import { constantRecipe, opRecipe, recipeAt, turnsOf, widen } from '../recipes.js';
import { roundExperts } from './expert-rounding.js';
import { gptq } from './gptq.js';
import { type Layer, observationOf } from './layers.js';
import { dequantizeWeight, type QuantizedWeight, roundWeight } from './rounding.js';
import { type LayerScheme, type Settings, schemeOf } from './scheme.js';

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
  /** Σ of the values that each output's codes stand for, in each turn. */
  readonly rowSums: readonly Float64Array[];
  /** How many weights there are in all turns. */
  readonly count: number;
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
  round: Rounder,
): QuantizedLayer {
  const { loop, weight, columns } = layer;
  const turns = turnsOf(module, loop)?.length ?? 1;
  const parts = new WeightParts(module, params, layer, scheme);
  const rowSums: Float64Array[] = [];
  const errors: number[] = [];
  const lost: Float64Array[] = [];
  const sparse: number[] = [];
  let count = 0;
  for (let turn = 0; turn < turns; turn++) {
    const w = data.weight(module, weight, loop === undefined ? undefined : turn).data;
    const rows = w.length / columns;
    const found = usesGram(layer, settings) ? round(w, layer, scheme, turn) : undefined;
    if (found !== undefined && found.sparse.length > 0) sparse.push(found.sparse.length);
    const rounded = found?.weight ?? roundWeight(w, rows, columns, scheme.weight);
    parts.add(rounded, found !== undefined);
    const values = dequantizeWeight(rounded);
    rowSums.push(sumsOfRows(values, columns));
    const difference = values.map((value, i) => (w[i] as number) - value);
    count += w.length;
    errors.push(norm(difference) / Math.max(norm(w), Number.MIN_VALUE));
    if (correctsBias(layer, settings)) lost.push(lostMean(difference, columns, data, layer, turn));
  }
  return {
    layer,
    scheme,
    names: parts.addParams(),
    rowSums,
    count,
    errors,
    lost: lost.length === 0 ? undefined : lost,
    sparseExperts: sparse.reduce((sum, experts) => sum + experts, 0),
  };
}

const sumsOfRows = (values: Float64Array, columns: number): Float64Array =>
  Float64Array.from({ length: values.length / columns }, (_, row) =>
    values.subarray(row * columns, (row + 1) * columns).reduce((sum, value) => sum + value, 0),
  );

export const usesGram = (layer: Layer, settings: Settings): boolean =>
  settings.gptq !== undefined && layer.place !== 'edges' && schemeOf(layer, settings) !== undefined;

/** Statistics that GPTQ needs: of all tokens, or of those that each expert sees. */
export const gramStatistics = {
  linear: ['moment'],
  grouped_linear: ['routed_moment', 'routed_rows'],
} as const satisfies Record<Layer['kind'], readonly StatisticName[]>;

/** Rounds a weight in one turn for what it reads; undefined where the data does not say enough. */
export type Rounder = (
  w: Float64Array,
  layer: Layer,
  scheme: LayerScheme,
  turn: number,
) => { readonly weight: QuantizedWeight; readonly sparse: readonly number[] } | undefined;

/** GPTQ. `outputs` says how much errors of the outputs of a linear layer matter, where that is known. */
export const gptqRounder =
  (
    { gptq: options }: Settings,
    data: PassData,
    outputs: (layer: Layer, turn: number) => Float64Array | undefined = () => undefined,
  ): Rounder =>
  (w, layer, { weight: scheme }, turn) => {
    if (options === undefined) return undefined;
    const { columns } = layer;
    const sums = (statistic: StatisticName): Float64Array =>
      observationOf(data, layer, statistic).sums[turn] as Float64Array;
    if (layer.kind === 'grouped_linear') {
      const inputs = { grams: sums('routed_moment'), tokens: sums('routed_rows') };
      return roundExperts(w, columns, inputs, scheme, options);
    }
    const rows = w.length / columns;
    const weight = gptq(w, rows, columns, sums('moment'), scheme, {
      ...options,
      outputs: outputs(layer, turn),
    });
    return weight && { weight, sparse: [] };
  };

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

/**
 * Recipes of a weight's parameters, turn by turn. Codes that follow from weight and scale are not held: they are
 * computed again when they are written, so that memory does not grow with the model.
 */
class WeightParts {
  private readonly codes: Recipe[] = [];
  private readonly scales: Recipe[] = [];
  private readonly zeros: Recipe[] = [];
  private readonly types: Readonly<Record<'codes' | 'scale', TensorType>>;
  private readonly names: WeightNames;

  constructor(
    private readonly module: Module,
    private readonly params: Map<string, Param>,
    private readonly layer: Layer,
    private readonly scheme: LayerScheme,
  ) {
    const { weight, kind } = layer;
    const { type } = module.params.get(weight) as Param;
    const group = scheme.weight.group ?? 0;
    this.types = {
      codes: tensorType(scheme.weight.bits === 8 ? 'i8' : 'i4', type.shape),
      scale: tensorType('f32', scaleShape(type.shape, group, kind)),
    };
    this.names = {
      codes: weight,
      scale: `${weight}.scale`,
      zero: scheme.weight.asymmetric ? `${weight}.zero_point` : undefined,
      group,
      axis: group > 0 ? type.shape.length - 1 : 0,
    };
  }

  /** The next turn. Solved codes are no rounding of the weight. */
  add({ codes, scales, zeros }: QuantizedWeight, isSolved: boolean): void {
    const { codes: type, scale } = this.types;
    const scaleRecipe = constantRecipe('f32', scale.shape, scales);
    const zero = this.scheme.weight.asymmetric ? [constantRecipe(type.dtype, scale.shape, zeros)] : [];
    const turn = this.codes.length;
    this.scales.push(scaleRecipe);
    this.zeros.push(...zero);
    // The op clamps to -2^(bits - 1), one below the least code of clipped symmetric ranges.
    const isPlain = !isSolved && !this.scheme.weight.clip;
    this.codes.push(
      isPlain
        ? opRecipe('quantize', [this.wide(turn), scaleRecipe, ...zero], this.attrs())
        : constantRecipe(type.dtype, type.shape, codes),
    );
  }

  addParams(): WeightNames {
    const { loop } = this.layer;
    const { codes, scale, zero } = this.names;
    this.params.set(codes, { type: this.types.codes, loop, recipe: perTurn(loop, this.codes) });
    this.params.set(scale, { type: this.types.scale, loop, recipe: perTurn(loop, this.scales) });
    const type = tensorType(this.types.codes.dtype, this.types.scale.shape);
    if (zero !== undefined) this.params.set(zero, { type, loop, recipe: perTurn(loop, this.zeros) });
    return this.names;
  }

  private wide(turn: number): Recipe {
    const { weight, loop } = this.layer;
    const param = this.module.params.get(weight) as Param;
    const index = turnsOf(this.module, loop)?.[turn];
    return widen(index === undefined ? param.recipe : recipeAt(param, turn, index));
  }

  private attrs(): { dtype: DType; axis: number; group: number } {
    const { axis, group } = this.names;
    return { dtype: this.types.codes.dtype, axis, group };
  }
}

/** [out] for one scale per output, [out, groups] for groups; with experts in front, and their rank kept. */
function scaleShape(shape: readonly Dim[], group: number, kind: Layer['kind']): readonly Dim[] {
  const outer = shape.slice(0, -1);
  if (group > 0) return [...outer, divDims(shape.at(-1) as Dim, group)];
  return kind === 'linear' ? outer : [...outer, dim(1)];
}

/** Bits of the weights of a layer in all its turns, and how many weights they are. */
export function sizeOf({ count, scheme }: QuantizedLayer): {
  readonly count: number;
  readonly bits: number;
} {
  return { count, bits: count * scheme.weight.bits };
}
