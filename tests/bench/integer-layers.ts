/**
 * The module with every linear layer in integers that stand for nothing, for measurements of models that have no
 * weights: their values are made up.
 */
import { moduleScope, rewriteFunc } from '../../ir/builder.js';
import { dim, divDims } from '../../ir/dim.js';
import { defOf, type Module, type Param, type Value } from '../../ir/module.js';
import { sourceRecipe } from '../../ir/recipe.js';
import { type DType, type TensorType, tensorType } from '../../ir/type.js';

export interface Integers {
  readonly dtype: DType;
  readonly group: number;
  /** Inputs are quantized as well, token by token. */
  readonly inputs?: boolean;
}

export function withIntegers(module: Module, { dtype, group, inputs = false }: Integers): Module {
  const params = new Map(module.params);
  const functions = new Map(module.functions);
  const declare = (name: string, type: TensorType, loop: string | undefined): void => {
    params.set(name, { type, loop, recipe: sourceRecipe(name, type) } satisfies Param);
  };
  for (const func of module.functions.values()) {
    for (const op of func.body) {
      const weight = op.name === 'linear' ? defOf(op.operands[1] as Value) : undefined;
      if (weight?.name !== 'param') continue;
      const { name } = weight.attrs;
      const { type, loop } = module.params.get(name) as Param;
      const [out, inner] = type.shape as [TensorType['shape'][number], TensorType['shape'][number]];
      declare(`${name}.codes`, tensorType(dtype, type.shape), loop);
      declare(
        `${name}.scale`,
        tensorType('f32', group > 0 ? [out, divDims(inner, dim(group))] : [out]),
        loop,
      );
    }
  }
  const declared = { ...module, params };
  for (const func of module.functions.values()) {
    const scope = moduleScope(declared, func.loop);
    const next = rewriteFunc(func, scope, (op, operands, builder) => {
      const weight = op.name === 'linear' ? defOf(operands[1] as Value) : undefined;
      if (weight?.name !== 'param') return undefined;
      const parts = ['codes', 'scale'].map((part) =>
        builder.one('param', [], { name: `${weight.attrs.name}.${part}` }),
      );
      if (inputs) {
        const [codes, scale] = parts as [Value, Value];
        const [q, found] = builder.emit('dynamic_quantize', [operands[0] as Value], { dtype: 'i8' });
        const integers = [q as Value, codes, found as Value, scale, ...operands.slice(2)];
        return [builder.one('quantized_linear', integers, { group })];
      }
      const w = builder.one('dequantize', parts, { axis: group > 0 ? 1 : 0, group });
      return [builder.one('linear', operands.with(1, w), op.attrs)];
    });
    functions.set(func.name, next);
  }
  return { ...declared, functions };
}
