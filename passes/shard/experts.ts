/**
 * Splitting groups of experts over ranks. Routing chooses as many experts in every group (Pangu Pro MoE, arXiv
 * 2505.21411), so a rank that has whole groups has the same share of each token's work. It computes its own slots of the
 * choice alone, and the ranks add where the slots of a token are added.
 */
import { copyOp, type FuncBuilder, mapFunctions, rewriteFunc, type Scope } from '../../ir/builder.js';
import { fail } from '../../ir/diagnostics.js';
import { constantOf, type Dim, dim, dimsEqual, evalDim, nameOf, productOfDims } from '../../ir/dim.js';
import { defOf, type Func, type Module, modelDims, type Op, type OpOf, type Value } from '../../ir/module.js';
import { InferError } from '../../ir/op.js';
import { typesEqual } from '../../ir/type.js';
import { cutAxis } from '../prune/cut-recipe.js';
import { paramOf } from '../structure.js';
import { ownIndices, type Rank } from './dims.js';

/** The choice of experts that a value is, unchanged. */
function routeOf(value: Value | undefined): OpOf<'moe_route'> | undefined {
  const op = value === undefined ? undefined : defOf(value);
  return op?.name === 'moe_route' ? op : undefined;
}

interface Layer {
  readonly func: Func;
  readonly op: OpOf<'grouped_linear'>;
}

function expertLayers(module: Module): Layer[] {
  return [...module.functions.values()].flatMap((func) =>
    func.body
      .filter((op) => op.name === 'grouped_linear')
      .map((op) => ({ func, op: op as OpOf<'grouped_linear'> })),
  );
}

/** The dimension of experts that are chosen group by group; undefined without one. */
export function expertDim(module: Module): string | undefined {
  const weights = expertLayers(module).map(({ op }) => op.operands[2] as Value);
  const named = new Set(weights.map(({ type }) => nameOf(type.shape[0] as Dim)));
  const [name, ...others] = named;
  return others.length === 0 ? name : undefined;
}

/** Why groups of experts cannot be split; undefined when they can. */
export function expertObstacle(module: Module, { ranks }: Rank): string | undefined {
  for (const { func, op } of expertLayers(module)) {
    const route = routeOf(op.operands[1]);
    if (route === undefined)
      return `grouped_linear in @${func.name} reads a choice that is not moe_route's own`;
    const { num_groups } = route.attrs;
    if (num_groups % ranks !== 0)
      return `moe_route in @${func.name} has ${num_groups} groups of experts, which ${ranks} ranks cannot share equally`;
    if (paramOf(op.operands[2]) === undefined)
      return `the experts of grouped_linear in @${func.name} are no weight`;
  }
  return undefined;
}

/** The module of one rank: its experts, and its slots of every choice. */
export function splitExperts(module: Module, rank: Rank): Module {
  const weights = new Set(expertLayers(module).map(({ op }) => paramOf(op.operands[2]) as string));
  const params = new Map(module.params);
  for (const name of weights) {
    const param = params.get(name);
    if (param === undefined) continue;
    const [experts, ...rest] = param.type.shape as [Dim, ...Dim[]];
    const own = ownIndices(evalDim(experts, modelDims(module)), rank);
    const recipe = cutAxis(param.recipe, 0, dim(own.length), [own]);
    params.set(name, { ...param, type: { ...param.type, shape: [dim(own.length), ...rest] }, recipe });
  }
  return mapFunctions({ ...module, params }, (func, scope) => new Slots(func, scope, rank).rewritten());
}

/** Rewrites a function to the slots of one rank. */
class Slots {
  /** Choices of this rank, as indices of its own experts. */
  private readonly local = new Map<Value, Value>();

  constructor(
    private readonly func: Func,
    private readonly scope: Scope,
    private readonly rank: Rank,
  ) {}

  rewritten(): Func {
    if (!this.func.body.some((op) => op.name === 'moe_route' || op.name === 'grouped_linear'))
      return this.func;
    return rewriteFunc(this.func, this.scope, (op, operands, builder) => this.rewrite(op, operands, builder));
  }

  private rewrite(op: Op, operands: readonly Value[], builder: FuncBuilder): readonly Value[] | undefined {
    if (op.name === 'moe_route') return this.route(op, operands, builder);
    if (op.name === 'param') return builder.emit('param', [], op.attrs);
    const isRouted = operands.some((value, i) => !typesEqual(value.type, (op.operands[i] as Value).type));
    if (!isRouted) return undefined;
    const own =
      op.name === 'grouped_linear' ? operands.with(1, this.localOf(operands[1] as Value)) : operands;
    const results = this.emit(op, own, builder);
    const isSum =
      op.results.length === 1 && typesEqual((results[0] as Value).type, (op.results[0] as Value).type);
    return isSum ? [builder.one('all_reduce', [results[0] as Value], { ranks: this.rank.ranks })] : results;
  }

  private localOf(chosen: Value): Value {
    return this.local.get(chosen) ?? chosen;
  }

  private route(op: OpOf<'moe_route'>, operands: readonly Value[], builder: FuncBuilder): readonly Value[] {
    const { rank, ranks } = this.rank;
    const experts = this.scope.valueOf((op.operands[0] as Value).type.shape[1] as Dim) as number;
    const slots = (op.attrs.num_groups * op.attrs.topk_per_group) / ranks;
    const range = { axis: 1, start: dim(rank * slots), end: dim((rank + 1) * slots), step: 1 };
    const [weights, chosen] = builder.emit(op.name, operands, op.attrs) as [Value, Value];
    const own = builder.one('slice', [chosen], range);
    const first = builder.one('full', [], {
      value: (rank * experts) / ranks,
      dtype: 'i32',
      shape: own.type.shape,
    });
    this.local.set(own, builder.one('sub', [own, first]));
    return [builder.one('slice', [weights], range), own];
  }

  /** The op on fewer slots. */
  private emit(op: Op, operands: readonly Value[], builder: FuncBuilder): readonly Value[] {
    try {
      if (op.name !== 'reshape') return builder.append(copyOp(this.scope, op, operands));
      return builder.emit('reshape', operands, { shape: reshaped(op, operands[0] as Value) });
    } catch (error) {
      if (!(error instanceof InferError)) throw error;
      return fail(
        'HEW6010',
        `shard: ${op.name} in @${this.func.name} cannot work on some slots of a choice: ${error.message}`,
      );
    }
  }
}

/** The target of a reshape, its axis of slots as long as it is now. */
function reshaped(op: OpOf<'reshape'>, operand: Value): readonly Dim[] {
  const before = (op.operands[0] as Value).type.shape;
  const axis = before.findIndex((size, i) => !dimsEqual(size, operand.type.shape[i] as Dim));
  const outer = productOfDims(before.slice(0, axis));
  const at = op.attrs.shape.findIndex(
    (size, i) =>
      dimsEqual(productOfDims(op.attrs.shape.slice(0, i)), outer) &&
      constantOf(size) === constantOf(before[axis] as Dim),
  );
  if (at < 0) throw new InferError('it mixes slots with other axes');
  return op.attrs.shape.with(at, operand.type.shape[axis] as Dim);
}
