/**
 * A table that is looked up by what another table gives, as the scale of the group that a timestep is in, becomes one table:
 * kernels then wait for memory once rather than twice.
 */
import { mapFunctions, rewriteFunc } from '../../ir/builder.js';
import { constantOf, type Dim } from '../../ir/dim.js';
import { type Module, modelDims, type Param, type Value } from '../../ir/module.js';
import { type Recipe, recipeParts } from '../../ir/recipe.js';
import { tensorType } from '../../ir/type.js';
import { madeBy } from '../../passes/rules/rule.js';
import { resolver } from '../kernel-function.js';

/** Entries of the table that is made. */
const mostEntries = 4096;

interface Lookup {
  readonly name: string;
  readonly index: Value;
}

export function composeLookups(module: Module): Module {
  const functions = [...module.functions.values()];
  if (!functions.some(({ body }) => body.filter(({ name }) => name === 'gather').length > 1)) return module;
  const params = new Map(module.params);
  const resolve = resolver(modelDims(module));
  return mapFunctions({ ...module, params }, (func, scope) =>
    rewriteFunc(func, scope, (op, operands, builder) => {
      if (op.name !== 'gather') return undefined;
      const outer = lookup(operands);
      const inner = outer && lookup(madeBy(uncast(outer.index), 'gather')?.operands ?? []);
      if (outer === undefined || inner === undefined) return undefined;
      const name = composed(params, outer.name, inner.name, resolve);
      if (name === undefined) return undefined;
      return [builder.one('gather', [builder.one('param', [], { name }), inner.index], { axis: 0 })];
    }),
  );
}

/** The operands of a gather from a parameter that is a list. */
function lookup([table, index]: readonly Value[]): Lookup | undefined {
  const param = madeBy(table, 'param');
  if (param === undefined || index === undefined || table?.type.shape.length !== 1) return undefined;
  return { name: param.attrs.name, index };
}

function uncast(value: Value): Value {
  return madeBy(value, 'cast')?.operands[0] ?? value;
}

/** Whether passes made the values, and no checkpoint: then indices are within their tables. */
function isComputed(recipe: Recipe): boolean {
  return recipe.kind !== 'source' && recipeParts(recipe).every(isComputed);
}

/** The parameter `outer[inner]`; undefined where it would be large, or the two belong to different loops. */
function composed(
  params: Map<string, Param>,
  outer: string,
  inner: string,
  resolve: (value: Dim) => Dim,
): string | undefined {
  const [table, chosen] = [params.get(outer), params.get(inner)] as [Param, Param];
  const entries = constantOf(resolve(chosen.type.shape[0] as Dim));
  const isKnown = isComputed(table.recipe) && isComputed(chosen.recipe);
  const apart = table.loop !== undefined && chosen.loop !== undefined && table.loop !== chosen.loop;
  if (entries === undefined || entries > mostEntries || !isKnown || apart) return undefined;
  const name = `${outer}.by.${inner}`;
  const index = { kind: 'op', op: 'cast', attrs: { dtype: 'i32' }, args: [chosen.recipe] } as const;
  params.set(name, {
    type: tensorType(table.type.dtype, chosen.type.shape),
    loop: table.loop ?? chosen.loop,
    recipe: { kind: 'op', op: 'gather', attrs: { axis: 0 }, args: [table.recipe, index] },
  });
  return name;
}
