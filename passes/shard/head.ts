/**
 * Splitting the head over ranks (Shoeybi et al. 2019, arXiv 1909.08053, section 3): each rank computes its run of an output's
 * last axis, puts zeros around it, and the sum over ranks puts the runs together. Zeros change no sum, so this is exact.
 */
import { mapFunctions, rewriteFunc } from '../../ir/builder.js';
import { type Dim, dim, dimsEqual, evalDim } from '../../ir/dim.js';
import { defOf, entriesOf, type Module, modelDims, type Op, type OpOf, type Value } from '../../ir/module.js';
import { tensorType } from '../../ir/type.js';
import { dce } from '../dce.js';
import type { Rank } from './dims.js';

/** The linear layers of entries whose outputs are an axis of an entry's output, by the names of their weights. */
function headsOf(module: Module): Set<string> {
  const heads = new Set<string>();
  for (const { body, results } of entriesOf(module))
    for (const op of body) {
      const weight = weightOf(op);
      const columns = op.results[0]?.type.shape.at(-1);
      if (weight === undefined || columns === undefined || op.results[0]?.type.dtype !== 'f32') continue;
      const isOutput = results.some(({ type }) => {
        const last = type.shape.at(-1);
        return last !== undefined && dimsEqual(last, columns);
      });
      if (isOutput) heads.add(weight);
    }
  return heads;
}

/** The parameter that a linear layer without a bias multiplies with. */
function weightOf(op: Op): string | undefined {
  if (op.name !== 'linear' || op.operands.length !== 2) return undefined;
  const made = defOf(op.operands[1] as Value);
  return made?.name === 'param' ? (made as OpOf<'param'>).attrs.name : undefined;
}

/** The module of one rank; undefined where no head can be shared equally. */
export function splitHead(module: Module, { rank, ranks }: Rank): Module | undefined {
  const sizes = modelDims(module);
  const rowsOf = (name: string): number => evalDim(module.params.get(name)?.type.shape[0] as Dim, sizes);
  const heads = new Map(
    [...headsOf(module)]
      .filter((name) => rowsOf(name) % ranks === 0 && module.params.get(name)?.loop === undefined)
      .map((name) => [name, `${name}.part`]),
  );
  if (heads.size === 0) return undefined;
  const params = new Map(module.params);
  for (const [name, part] of heads) {
    const { type, recipe, ...more } = params.get(name) ?? noParam(name);
    const own = rowsOf(name) / ranks;
    const attrs = { axis: 0, start: dim(rank * own), end: dim((rank + 1) * own), step: 1 };
    params.set(part, {
      ...more,
      type: tensorType(type.dtype, [own, ...type.shape.slice(1)]),
      recipe: { kind: 'op', op: 'slice', attrs, args: [recipe] },
    });
  }
  const split = mapFunctions({ ...module, params }, (func, scope) => {
    if (func.outputs === undefined || !func.body.some((op) => heads.has(weightOf(op) ?? ''))) return func;
    return rewriteFunc(func, scope, (op, [x], builder) => {
      const name = weightOf(op) ?? '';
      const part = heads.get(name);
      if (part === undefined) return undefined;
      const { shape } = (op.results[0] as Value).type;
      const own = builder.one('linear', [x as Value, builder.one('param', [], { name: part })], op.attrs);
      const around = (count: number): number[] => [...shape.slice(1).map(() => 0), count];
      const rows = rowsOf(name) / ranks;
      const padded = builder.one('pad', [own], {
        before: around(rank * rows),
        after: around((ranks - 1 - rank) * rows),
        value: 0,
      });
      return [builder.one('reshape', [builder.one('all_reduce', [padded], { ranks })], { shape })];
    });
  });
  return dce.run(split, {}).module;
}

function noParam(name: string): never {
  throw new Error(`there is no parameter ${name}`);
}
