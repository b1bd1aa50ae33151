/**
 * W8A8 with ranges in groups of timesteps, as the pass `quantize` leaves it, on weights and ranges that are made up: for
 * measurements of shapes that have no checkpoint.
 */
import { moduleScope, rewriteFunc } from '../../../ir/builder.js';
import { type Dim, evalDim } from '../../../ir/dim.js';
import { defOf, type Module, modelDims, type Op, type Param, type Value } from '../../../ir/module.js';
import { encodeBytes } from '../../../ir/numeric.js';
import { sourceRecipe } from '../../../ir/recipe.js';
import { type DType, tensorType } from '../../../ir/type.js';
import { emitQuantized } from '../../../passes/quantize/emit.js';
import { withTimestep } from '../../../passes/quantize/timestep.js';

const groups = 10;
const timesteps = 1000;

/** Linear layers of loops that read rows of tokens. */
function isQuantized(op: Op): boolean {
  const [x, w] = op.operands;
  return op.name === 'linear' && defOf(w as Value)?.name === 'param' && x?.type.shape.length === 3;
}

/** A parameter with values, which all turns of a loop share. */
function constant(dtype: DType, values: readonly number[]): Param {
  const type = tensorType(dtype, [values.length]);
  return { type, loop: undefined, recipe: { kind: 'constant', type, bytes: encodeBytes(dtype, values) } };
}

/** Codes of any value whose products are about as large as their inputs, and inputs within about 4. */
function addParams(module: Module, params: Map<string, Param>, weight: string): void {
  const { type, loop } = module.params.get(weight) as Param;
  const [out, inner] = type.shape.map((d: Dim) => evalDim(d, modelDims(module))) as [number, number];
  const codes = tensorType('i8', type.shape);
  params.set(`${weight}.codes`, { type: codes, loop, recipe: sourceRecipe(`${weight}.codes`, codes) });
  const step = 1 / (74 * Math.sqrt(inner));
  params.set(
    `${weight}.scale`,
    constant(
      'f32',
      Array.from({ length: out }, (_, i) => step * (1 + (i % 7) / 20)),
    ),
  );
  const range = Array.from({ length: groups }, (_, i) => 6 + i / 4);
  params.set(
    `${weight}.input_scale`,
    constant(
      'f32',
      range.map((r) => r / 255),
    ),
  );
  params.set(
    `${weight}.input_zero_point`,
    constant(
      'i8',
      range.map((r) => Math.round(-128 + (255 * 2) / r)),
    ),
  );
  const segment = Array.from({ length: timesteps }, (_, t) => Math.floor((t * groups) / timesteps));
  for (const name of ['input_scale', 'input_zero_point'])
    params.set(`${weight}.${name}.segment`, constant('u8', segment));
}

export function withStepGroups(module: Module): Module {
  const loops = [...module.functions.values()].filter((func) => func.loop !== undefined);
  const { module: timed, timestep } = withTimestep(module, new Set(loops.map(({ name }) => name)));
  const params = new Map(module.params);
  const functions = new Map(timed.functions);
  const weightOf = (op: Op): string =>
    (defOf(op.operands[1] as Value) as Op & { attrs: { name: string } }).attrs.name;
  for (const { name } of loops)
    for (const op of timed.functions.get(name)?.body ?? [])
      if (isQuantized(op)) addParams(module, params, weightOf(op));
  const declared = { ...timed, params };
  for (const { name } of loops) {
    const func = declared.functions.get(name);
    const at = func?.args.indexOf(timestep.get(name) as Value) ?? -1;
    if (func === undefined) continue;
    const next = rewriteFunc(func, moduleScope(declared, func.loop), (op, operands, builder) => {
      if (!isQuantized(op)) return undefined;
      const weight = weightOf(op);
      const names = {
        codes: `${weight}.codes`,
        scale: `${weight}.scale`,
        zero: undefined,
        axis: 0,
        group: 0,
      };
      const input = {
        kind: 'step',
        scale: `${weight}.input_scale`,
        zero: `${weight}.input_zero_point`,
        bias: undefined,
      } as const;
      return [emitQuantized(builder, operands, { names }, input, builder.args[at])];
    });
    functions.set(name, next);
  }
  return { ...declared, functions };
}
