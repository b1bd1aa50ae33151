/** The simplest quantization of a module, by round to nearest: what kernels are tested and measured with. */
import { mapFunctions, rewriteFunc } from '../../ir/builder.js';
import { type Dim, dim, divDims } from '../../ir/dim.js';
import { defOf, type Module, type Param, type Value } from '../../ir/module.js';
import { quantizedRange } from '../../ir/ops/quantization.js';
import { opRecipe, widen } from '../../passes/recipes.js';

export interface Rounding {
  readonly weights: 'i8' | 'i4';
  /** Elements of the inner axis that share a scale, a divisor of it; 0: all. */
  readonly group: number;
  /** Dynamic i8 per token, or f32. */
  readonly activations: 'i8' | 'f32';
}

/** The module with its linear layers on integers. */
export function roundToNearest(module: Module, rounding: Rounding): Module {
  const params = new Map(module.params);
  const { group } = rounding;
  const changed = mapFunctions({ ...module, params }, (func, scope) =>
    rewriteFunc(func, scope, (op, operands, builder) => {
      const [x, w, ...bias] = operands as [Value, Value, ...Value[]];
      const read = op.name === 'linear' ? defOf(w) : undefined;
      if (read?.name !== 'param') return undefined;
      const { name } = read.attrs;
      addParams(params, name, rounding);
      const q = builder.one('param', [], { name: `${name}.q` });
      const scale = builder.one('param', [], { name: `${name}.scale` });
      if (rounding.activations === 'f32') {
        const weight = builder.one('dequantize', [q, scale], group > 0 ? { group } : { axis: 0 });
        return builder.emit('linear', [x, weight, ...bias]);
      }
      const [xq, xScale] = builder.emit('dynamic_quantize', [x]) as [Value, Value];
      return builder.emit('quantized_linear', [xq, q, xScale, scale, ...bias], { group });
    }),
  );
  return { ...changed, params };
}

function addParams(params: Map<string, Param>, name: string, { weights, group }: Rounding): void {
  if (params.has(`${name}.q`)) return;
  const { type, loop, recipe } = params.get(name) as Param;
  const [outputs, inner] = type.shape as [Dim, Dim];
  const groups = divDims(inner, Math.max(1, group));
  const wide = widen(recipe);
  const grouped = group > 0 ? opRecipe('reshape', [wide], { shape: [outputs, groups, dim(group)] }) : wide;
  const absmax = opRecipe('reduce_max', [opRecipe('abs', [grouped])], { axes: [-1] });
  const greatest = opRecipe('full', [], { value: quantizedRange[weights][1], shape: [] });
  const scale = opRecipe('div', [absmax, greatest]);
  const blocks = group > 0 ? { group } : { axis: 0 };
  const q = opRecipe('quantize', [wide, scale], { dtype: weights, ...blocks });
  params.set(`${name}.q`, { type: { dtype: weights, shape: type.shape }, loop, recipe: q });
  const shape = group > 0 ? [outputs, groups] : [outputs];
  params.set(`${name}.scale`, { type: { dtype: 'f32', shape }, loop, recipe: scale });
}
