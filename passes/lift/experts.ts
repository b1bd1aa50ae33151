/** Mixtures of experts: grouped matmuls, and routing whose weights and indices are two ends of one pattern. */
import { type FuncBuilder, rewriteFunc, type Scope } from '../../ir/builder.js';
import { constantOf, type Dim, divDims } from '../../ir/dim.js';
import type { Func, Op, Value } from '../../ir/module.js';
import type { Tally } from '../pass.js';
import { madeBy, type Rule, rule } from '../rules/rule.js';
import { type Facts, isCount, isLastAxis, orders, rankOf, uniform } from './match.js';

export const expertRules: readonly Rule[] = [
  rule(
    'reshape',
    'lift-grouped-linear',
    'w[index] @ x, a matrix per slot and a column per token == grouped_linear(x, index, w)',
    (op, [product], builder) => {
      const matrices = madeBy(product, 'matmul');
      const [picked, columns] = matrices?.operands ?? [];
      const chosen = madeBy(madeBy(picked, 'cast')?.operands[0] ?? picked, 'gather');
      const [w, index] = chosen?.operands ?? [];
      const { shape } = op.attrs;
      if (w === undefined || index === undefined || columns === undefined || chosen?.attrs.axis !== 0)
        return undefined;
      if (rankOf(w) !== 3 || rankOf(index) !== 2 || rankOf(columns) !== 4 || shape.length !== 3)
        return undefined;
      const [tokens, slots, inner, one] = columns.type.shape as [Dim, Dim, Dim, Dim];
      if (constantOf(one) !== 1) return undefined;
      const rows = constantOf(slots) === 1 ? [tokens, inner] : [tokens, slots, inner];
      const x = builder.one('reshape', [columns], { shape: rows });
      return builder.one('grouped_linear', [x, index, w]);
    },
  ),
];

/** A route of tokens to experts: the ops that make its weights and its indices. */
interface Route {
  readonly logits: Value;
  readonly weights: Op;
  readonly index: Op;
  readonly attrs: {
    readonly num_groups: number;
    readonly topk_per_group: number;
    readonly score: 'softmax' | 'sigmoid';
    readonly renormalize: boolean;
  };
}

/** The function with every route that was found as one `moe_route`. */
export function liftRoutes(facts: Facts, func: Func, scope: Scope, tally: Tally): Func {
  const routes = func.body.flatMap((op) => (op.name === 'topk' ? (routeOf(facts, func, op) ?? []) : []));
  if (routes.length === 0) return func;
  const mapped = new Map<Value, Value>();
  const made = new Map<Route, readonly Value[]>();
  for (const _ of routes) tally.add('lift-moe-route');
  return rewriteFunc(func, scope, (op, operands, builder) => {
    op.operands.forEach((old, i) => {
      mapped.set(old, operands[i] as Value);
    });
    const route = routes.find(({ weights, index }) => op === weights || op === index);
    if (route === undefined) return undefined;
    const values = made.get(route) ?? emitRoute(builder, route, mapped.get(route.logits) as Value);
    made.set(route, values);
    return [values[op === route.weights ? 0 : 1] as Value];
  });
}

function emitRoute(builder: FuncBuilder, { attrs }: Route, logits: Value): readonly Value[] {
  return builder.emit('moe_route', [logits], attrs);
}

/** Follows topk([T, groups, size]) to both ends. */
function routeOf(facts: Facts, func: Func, topk: Op & { readonly name: 'topk' }): Route | undefined {
  const grouped = madeBy(topk.operands[0], 'reshape');
  const logits = grouped?.operands[0];
  const [best, local] = topk.results;
  if (logits === undefined || best === undefined || local === undefined || rankOf(logits) !== 2)
    return undefined;
  const groups = constantOf(topk.operands[0]?.type.shape[1] as Dim);
  if (topk.operands[0]?.type.shape.length !== 3 || groups === undefined) return undefined;
  const index = indexEnd(facts, func, local, divDims(logits.type.shape[1] as Dim, groups), groups);
  const weights = weightsEnd(func, best, logits);
  if (index === undefined || weights === undefined) return undefined;
  return {
    logits,
    index,
    weights: weights.op,
    attrs: { num_groups: groups, topk_per_group: topk.attrs.k, ...weights.attrs },
  };
}

function users(func: Func, value: Value): Op[] {
  return func.body.filter((op) => op.operands.includes(value));
}

/** The index inside a group plus where the group starts, flattened; one group starts at 0. */
function indexEnd(facts: Facts, func: Func, local: Value, size: Dim, groups: number): Op | undefined {
  const sums = groups === 1 ? [local] : [];
  const added = users(func, local).filter(
    (op) =>
      op.name === 'add' &&
      orders(op).some(([own, start]) => own === local && isGroupStart(facts, start, size)),
  );
  const candidates = [...sums, ...added.map((op) => op.results[0] as Value)];
  return candidates
    .flatMap((value) => users(func, value))
    .find((op) => op.name === 'reshape' && op.attrs.shape.length === 2);
}

/** 0, size, 2 size, …: a constant, or counted. */
function isGroupStart(facts: Facts, start: Value, size: Dim): boolean {
  const known = facts.constant(start)?.data;
  const step = constantOf(size);
  if (known !== undefined) return known.every((value, i) => value === i * (step ?? Number.NaN));
  const product = madeBy(madeBy(start, 'reshape')?.operands[0] ?? start, 'mul');
  return orders(product).some(([count, factor]) => isCount(facts, count) && step === numberOf(factor));
}

function numberOf(value: Value): number | undefined {
  const size = madeBy(value, 'dim_size');
  return size === undefined ? uniform(value) : constantOf(size.attrs.dim);
}

type Scored = { readonly op: Op; readonly attrs: Pick<Route['attrs'], 'score' | 'renormalize'> };

/** sigmoid(chosen), or e^(chosen - max) / sum e^(logits - max), and what is divided by its own sum afterwards. */
function weightsEnd(func: Func, best: Value, logits: Value): Scored | undefined {
  const flat = users(func, best).find((op) => op.name === 'reshape')?.results[0];
  if (flat === undefined) return undefined;
  for (const user of users(func, flat)) {
    const [result] = user.results;
    if (user.name === 'sigmoid' && result !== undefined) return renormalised(func, user, 'sigmoid');
    const power =
      user.name === 'sub' && result !== undefined
        ? users(func, result).find((op) => op.name === 'exp')
        : undefined;
    const quotient = power && users(func, power.results[0] as Value).find((op) => op.name === 'div');
    if (quotient !== undefined && isSoftmaxSum(quotient.operands[1], logits))
      return renormalised(func, quotient, 'softmax');
  }
  return undefined;
}

/** sum(e^(logits - max(logits))) over the last axis. */
function isSoftmaxSum(value: Value | undefined, logits: Value): boolean {
  const sum = madeBy(value, 'reduce_sum');
  const shifted = madeBy(madeBy(sum?.operands[0], 'exp')?.operands[0], 'sub');
  return sum !== undefined && isLastAxis(sum.attrs.axes, rankOf(logits)) && shifted?.operands[0] === logits;
}

function renormalised(func: Func, op: Op, score: 'softmax' | 'sigmoid'): Scored {
  const weights = op.results[0] as Value;
  const divided = users(func, weights).find((user) => {
    const sum =
      user.name === 'div' && user.operands[0] === weights
        ? madeBy(user.operands[1], 'reduce_sum')
        : undefined;
    return sum?.operands[0] === weights;
  });
  return { op: divided ?? op, attrs: { score, renormalize: divided !== undefined } };
}
