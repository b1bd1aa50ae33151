/** The ops of a quantized layer, and the parameters that quantize its input. */
import type { FuncBuilder } from '../../ir/builder.js';
import { fail } from '../../ir/diagnostics.js';
import { type Dim, dim } from '../../ir/dim.js';
import type { Module, Op, Param, Value } from '../../ir/module.js';
import { scalarType, tensorType } from '../../ir/type.js';
import type { PassData } from '../pass.js';
import { constantRecipe } from '../recipes.js';
import { type ActivationQuantizer, groupedQuantizers, quantizerFor } from './activations.js';
import { type Layer, tensorRanges } from './layers.js';
import { perTurn, type QuantizedLayer } from './quantize-weights.js';
import type { Settings } from './scheme.js';
import { scheduleOf } from './site-plan.js';
import { addTable, readTable, segmentOfTimestep } from './timestep.js';

const inputBits = 8;

/** How the input of a layer is quantized; `bias` names the parameter that takes the place of the layer's own. */
export type InputQuantizer =
  | { readonly kind: 'none' | 'token'; readonly bias: string | undefined }
  | {
      readonly kind: 'tensor' | 'step';
      readonly scale: string;
      readonly zero: string;
      readonly bias: string | undefined;
    };

/** Adds the parameters that a layer needs beside its weight. */
export function addInputQuantizers(
  module: Module,
  params: Map<string, Param>,
  quantized: QuantizedLayer,
  { activations }: Settings,
  data: PassData,
): InputQuantizer {
  const { layer, scheme, rowSums, lost } = quantized;
  const { weight, loop } = layer;
  const kind = scheme.quantizesInput && activations !== undefined ? activations.range : 'none';
  if (kind === 'none' || kind === 'token' || activations === undefined) {
    const bias = lost === undefined ? undefined : addBias(module, params, layer, data, lost);
    return { kind: kind === 'token' ? 'token' : 'none', bias };
  }
  const ranges = rowSums.map((_, turn) => tensorRanges(data, layer, turn));
  const scale = `${weight}.input_scale`;
  const zero = `${weight}.input_zero_point`;
  if (kind === 'tensor') {
    const quantizers = ranges.map(({ all }) => quantizerFor(all, inputBits));
    const scalar = (name: string, dtype: 'f32' | 'i8', of: (q: ActivationQuantizer) => number) =>
      params.set(name, {
        type: scalarType(dtype),
        loop,
        recipe: perTurn(
          loop,
          quantizers.map((q) => constantRecipe(dtype, [], [of(q)])),
        ),
      });
    scalar(scale, 'f32', (q) => q.scale);
    scalar(zero, 'i8', (q) => q.zero);
    const terms = rowSums.map((sums, turn) =>
      zeroTerm(sums, quantizers[turn] as ActivationQuantizer, lost?.[turn]),
    );
    return { kind, scale, zero, bias: addBias(module, params, layer, data, terms) };
  }
  const schedule = scheduleOf(module, data);
  if (schedule.timesteps.length === 0)
    fail('HEW6120', 'ranges by timestep need a diffusion model, whose calibration knows timesteps');
  const found = ranges.map(({ steps }) =>
    groupedQuantizers(steps, activations.groups, inputBits, activations.last),
  );
  const segment = found.map(({ groups }) => segmentOfTimestep(groups, schedule));
  const rowsOf = (of: 'scale' | 'zero') =>
    found.map(({ quantizers }) => quantizers.map((q) => Float64Array.of(q[of])));
  addTable(params, scale, loop, 'f32', [], { rows: rowsOf('scale'), segment });
  addTable(params, zero, loop, 'i8', [], { rows: rowsOf('zero'), segment });
  const bias = lost === undefined ? undefined : addBias(module, params, layer, data, lost);
  return { kind, scale, zero, bias };
}

/** What the zero point of the input adds to each output, to be taken off, and what rounding the weights lost. */
function zeroTerm(
  rowSums: Float64Array,
  { scale, zero }: ActivationQuantizer,
  lost: Float64Array | undefined,
): Float64Array {
  return rowSums.map((sum, row) => (lost?.[row] ?? 0) - scale * zero * sum);
}

/** A parameter for the layer's bias plus these terms, in f32. */
function addBias(
  module: Module,
  params: Map<string, Param>,
  { weight, loop, observed }: Layer,
  data: PassData,
  terms: readonly Float64Array[],
): string {
  const name = `${weight}.quantized_bias`;
  const param = observed.op.operands[2]?.def as Op | undefined;
  const own = observed.op.name === 'linear' && param?.name === 'param' ? param.attrs.name : undefined;
  const { type } = module.params.get(weight) as Param;
  const shape = type.shape.slice(0, 1);
  const recipes = terms.map((term, turn) => {
    const bias =
      own === undefined ? undefined : data.weight(module, own, loop === undefined ? undefined : turn).data;
    return constantRecipe(
      'f32',
      shape,
      bias === undefined ? term : term.map((v, i) => v + (bias[i] as number)),
    );
  });
  params.set(name, { type: tensorType('f32', shape), loop, recipe: perTurn(loop, recipes) });
  return name;
}

const param = (b: FuncBuilder, name: string): Value => b.one('param', [], { name });

/** The layer on integers. */
export function emitQuantized(
  b: FuncBuilder,
  [x, , ownBias]: readonly Value[],
  { names }: Pick<QuantizedLayer, 'names'>,
  input: InputQuantizer,
  t: Value | undefined,
): Value {
  const { q, scale, zero } = quantizedInput(b, x as Value, input, t);
  const codes = param(b, names.codes);
  const operands = [q, codes, scale, param(b, names.scale)];
  const bias = input.bias === undefined ? ownBias : param(b, input.bias);
  // Operands are optional from the end only: those in front of one that is given are spelled out.
  const [out] = codes.type.shape as [Dim];
  const none = (dtype: string, shape: readonly Dim[]): Value => b.one('full', [], { value: 0, dtype, shape });
  const needsZero = names.zero !== undefined || zero !== undefined;
  if (bias !== undefined || needsZero) operands.push(bias ?? none('f32', [out]));
  if (needsZero) operands.push(names.zero === undefined ? zeroPoints(b, names.scale) : param(b, names.zero));
  if (zero !== undefined) operands.push(zero);
  return b.one('quantized_linear', operands, { group: names.group });

  function zeroPoints(builder: FuncBuilder, scales: string): Value {
    const { shape } = param(builder, scales).type;
    const wide = none('i8', shape);
    return codes.type.dtype === 'i8' ? wide : builder.one('cast', [wide], { dtype: codes.type.dtype });
  }
}

function quantizedInput(
  b: FuncBuilder,
  x: Value,
  input: InputQuantizer,
  t: Value | undefined,
): { readonly q: Value; readonly scale: Value; readonly zero: Value | undefined } {
  if (input.kind === 'tensor') {
    // The zero point's part of the products is in the bias.
    const [scale, zero] = [param(b, input.scale), param(b, input.zero)];
    return { q: b.one('quantize', [x, scale, zero], { dtype: 'i8' }), scale, zero: undefined };
  }
  if (input.kind === 'step' && t !== undefined) {
    const [scale, zero] = [input.scale, input.zero].map((name) => {
      const row = readTable(b, name, t);
      const [batch] = row.type.shape as [Dim];
      return b.one('reshape', [row], { shape: [batch, ...x.type.shape.slice(1).map(() => dim(1))] });
    }) as [Value, Value];
    return { q: b.one('quantize', [x, scale, zero], { dtype: 'i8' }), scale, zero };
  }
  const [q, scale, zero] = b.emit('dynamic_quantize', [x], { dtype: 'i8', symmetric: false });
  return { q: q as Value, scale: scale as Value, zero };
}

/** The layer in f32 on dequantized weights. */
export function emitDequantized(
  b: FuncBuilder,
  op: Op,
  operands: readonly Value[],
  { names, layer }: QuantizedLayer,
  { bias }: InputQuantizer,
): Value {
  const zero = names.zero === undefined ? [] : [param(b, names.zero)];
  const attrs = { axis: names.axis, group: names.group };
  const w = b.one('dequantize', [param(b, names.codes), param(b, names.scale), ...zero], attrs);
  if (layer.kind === 'grouped_linear')
    return b.one(op.name, [operands[0] as Value, operands[1] as Value, w], op.attrs);
  const [x, , ownBias] = operands as [Value, Value, Value?];
  const added = bias === undefined ? ownBias : param(b, bias);
  return b.one('linear', added === undefined ? [x, w] : [x, w, added]);
}
