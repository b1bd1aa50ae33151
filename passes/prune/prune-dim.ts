/**
 * Pruning a named dimension: a typed rewrite. Kept indices are chosen once; every axis of a parameter that mentions
 * the dimension is gathered along, the dimension gets a new value, and types keep their names. Nothing else changes,
 * so an axis that cannot be cut this way is an error that names the op and the weight (arXiv 2505.20155, §2 of the
 * reference: what each axis touches).
 */
import { type Diagnostic, diagnostic, didYouMean, fail, HewError } from '../../ir/diagnostics.js';
import { type Dim, dim, dimNames, evalDim, nameOf, printDim } from '../../ir/dim.js';
import { type Func, type Module, modelDims, type Op, type Param, type Value } from '../../ir/module.js';
import { attrDims } from '../../ir/op.js';
import type { OpName } from '../../ir/ops/table.js';
import type { Recipe } from '../../ir/recipe.js';
import { freezeDim, keepTurns, turnsOf } from '../recipes.js';
import { paramOf } from '../structure.js';
import { type AxisLayout, layoutsOf } from './axis-layout.js';
import { cutAxis, cutOwnedAxis, type OwnedPositions, type Positions } from './cut-recipe.js';

/** Which indices stay, in their new order: of the whole model, of each turn of a loop, or of each expert in it. */
export type Kept = SharedKept | ExpertKept;

export type SharedKept =
  | { readonly dim: string; readonly indices: readonly number[] }
  | { readonly dim: string; readonly loop: string; readonly perTurn: Positions };

export interface ExpertKept {
  readonly dim: string;
  readonly loop: string;
  /** Dimension of the experts. */
  readonly experts: string;
  /** By turn, then by expert. */
  readonly perExpert: OwnedPositions;
}

function listsOf(kept: Kept): Positions {
  if ('indices' in kept) return [kept.indices];
  return 'perTurn' in kept ? kept.perTurn : kept.perExpert.flat();
}

/** The size a dimension has; HEW6007 when it is none that has a value. */
export function sizeOfDim(module: Module, name: string): number {
  const value = modelDims(module).get(name);
  if (value !== undefined) return value;
  const names = [...modelDims(module).keys()];
  const what = module.dims.has(name) ? 'is a run-time symbol' : 'is not a dimension of the model';
  return fail('HEW6007', `'${name}' ${what}`, {
    help: didYouMean(name, names) ?? `dimensions: ${names.join(', ')}`,
  });
}

/** The module with fewer indices of a dimension; itself when all are kept. */
export function pruneDim(module: Module, kept: Kept): Module {
  const size = sizeOfDim(module, kept.dim);
  const lists = listsOf(kept);
  const count = checkKept(kept.dim, size, lists);
  if (count === size && lists.every((list) => list.every((index, i) => index === i))) return module;
  const problems = [...module.functions.values()].flatMap((func) =>
    func.body.flatMap((op) => opProblems(func, op, kept.dim)),
  );
  problems.push(...declarationProblems(module, kept.dim));
  if (problems.length > 0) throw new HewError(problems);
  const params = new Map(
    [...module.params].map(([name, param]) => [name, pruneParam(module, name, param, kept, size, count)]),
  );
  const dims = new Map(module.dims).set(kept.dim, { value: count });
  return { ...module, dims, params };
}

function checkKept(name: string, size: number, lists: readonly (readonly number[])[]): number {
  const count = lists[0]?.length ?? 0;
  if (count === 0) fail('HEW6008', `pruning ${name} would leave nothing of it`);
  for (const list of lists) {
    const sound = list.every((index) => Number.isInteger(index) && index >= 0 && index < size);
    if (!sound || new Set(list).size !== list.length) {
      fail('HEW6008', `kept indices of ${name} must be different ones below ${size}`);
    }
    if (list.length !== count) {
      fail('HEW6008', `every layer must keep as much of ${name}: ${count} and ${list.length} differ`);
    }
  }
  return count;
}

// ---- parameters

function pruneParam(
  module: Module,
  name: string,
  param: Param,
  kept: Kept,
  size: number,
  count: number,
): Param {
  const frozen = freezeDim(param.recipe, kept.dim, size);
  const { shape } = param.type;
  if (!shape.some((d) => mentions(d, kept.dim))) return { ...param, recipe: frozen };
  if ('loop' in kept && param.loop !== kept.loop) {
    return fail(
      'HEW6007',
      `${kept.dim} is cut differently in each turn of ${kept.loop}, but weight ${name} is shared by all turns`,
    );
  }
  if ('perExpert' in kept) return { ...param, recipe: cutOfExperts(name, frozen, shape, kept, size) };
  const recipe = shape.reduce<Recipe>((inner, axisDim, axis) => {
    if (!mentions(axisDim, kept.dim)) return inner;
    const layout = layoutOf(module, name, axis, axisDim, kept.dim);
    return gatherAxis(module, inner, axis, axisDim, layout, kept, { size, count });
  }, frozen);
  return { ...param, recipe };
}

function layoutOf(module: Module, param: string, axis: number, axisDim: Dim, name: string): AxisLayout {
  if (nameOf(axisDim) === name) return [axisDim];
  const refuse = (why: string): never =>
    fail('HEW6007', `axis ${axis} of weight ${param} has the size ${printDim(axisDim)}, ${why}`, {
      help: 'an axis of several dimensions can be cut where one reshape splits it into them',
    });
  const layouts = layoutsOf(module, param, axis);
  const [layout, ...others] = layouts;
  if (layout === undefined) return refuse('and nothing in the model shows how it is laid out');
  if (others.length > 0)
    return refuse(
      `and the model reads it in two ways: ${layouts.map((l) => l.map(printDim).join(' x ')).join(' and ')}`,
    );
  const mentions = layout.filter((factor) => dimNames(factor).has(name));
  if (mentions.length !== 1 || nameOf(mentions[0] as Dim) !== name)
    return refuse(`which is not a product with ${name} as one factor`);
  return layout;
}

function gatherAxis(
  module: Module,
  inner: Recipe,
  axis: number,
  axisDim: Dim,
  layout: AxisLayout,
  kept: Kept,
  { size, count }: { size: number; count: number },
): Recipe {
  const env = modelDims(module);
  const at = layout.findIndex((factor) => nameOf(factor) === kept.dim);
  const product = (factors: AxisLayout): number => factors.reduce((n, factor) => n * evalDim(factor, env), 1);
  const [outer, block] = [product(layout.slice(0, at)), product(layout.slice(at + 1))];
  const lists = listsOf(kept);
  const same = lists.every(
    (list) => list.every((value, i) => value === lists[0]?.[i]) && list.length === count,
  );
  const used = same ? lists.slice(0, 1) : lists;
  return cutAxis(
    inner,
    axis,
    axisDim,
    used.map((list) => expandIndices(list, outer, size, block)),
  );
}

/** Every expert's own neurons: the axis of experts stands before the one that is cut. */
function cutOfExperts(
  name: string,
  inner: Recipe,
  shape: readonly Dim[],
  kept: ExpertKept,
  before: number,
): Recipe {
  const names = shape.map(nameOf);
  const [owner, axis] = [names.indexOf(kept.experts), names.lastIndexOf(kept.dim)];
  if (owner < 0 || axis < owner || shape.filter((d) => mentions(d, kept.dim)).length !== 1) {
    return fail(
      'HEW6007',
      `${kept.dim} is cut differently in each of ${kept.experts}, but weight ${name} is not one for each of them`,
    );
  }
  return cutOwnedAxis(inner, { owner, axis, shape, before, size: shape[axis] as Dim }, kept.perExpert);
}

/** Positions of kept blocks in an axis of `outer` x `size` blocks of `block` elements. */
export function expandIndices(kept: readonly number[], outer: number, size: number, block: number): number[] {
  const positions: number[] = [];
  for (let o = 0; o < outer; o++) {
    for (const index of kept) {
      const start = (o * size + index) * block;
      for (let i = 0; i < block; i++) positions.push(start + i);
    }
  }
  return positions;
}

// ---- legality

/** Why an op makes its dimension impossible to cut; undefined when it does not. */
type Obstacle = (op: Op, name: string) => string | undefined;

const mentions = (d: Dim | undefined, name: string): boolean => d !== undefined && dimNames(d).has(name);

const axisOfResult = (value: Value, axis: number): Dim | undefined => value.type.shape.at(axis);

function alongAxis(why: string): Obstacle {
  return (op, name) => {
    const { axis } = op.attrs as { readonly axis: number };
    return mentions(axisOfResult(op.operands[0] as Value, axis), name) ? why : undefined;
  };
}

const lastAxis =
  (why: string): Obstacle =>
  (op, name) =>
    mentions(axisOfResult(op.operands[0] as Value, -1), name) ? why : undefined;

/** Ops whose meaning depends on which index of an axis an element has. Others treat all indices alike. */
const obstacles: Partial<Record<OpName, Obstacle>> = {
  iota: (op, name) => (attrDims(op.attrs).some((d) => mentions(d, name)) ? 'counts along it' : undefined),
  dim_size: (op, name) =>
    attrDims(op.attrs).some((d) => mentions(d, name)) ? 'computes with its size' : undefined,
  slice: alongAxis('cuts it at fixed places'),
  split: alongAxis('cuts it at fixed places'),
  concat: alongAxis('joins parts along it'),
  cumsum: alongAxis('sums along it in order'),
  argmax: alongAxis('returns positions in it'),
  topk: lastAxis('returns positions in it'),
  gather: alongAxis('looks up positions in it'),
  rope: lastAxis('turns pairs of its channels'),
  attention: lastAxis('has a scale that was chosen for it'),
  cache_append: (op, name) =>
    mentions(axisOfResult(op.operands[0] as Value, 0), name) ? 'appends along it' : undefined,
  pad: (op, name) => {
    const { before, after } = op.attrs as {
      readonly before: readonly number[];
      readonly after: readonly number[];
    };
    const shape = (op.operands[0] as Value).type.shape;
    return shape.some((d, i) => mentions(d, name) && (before[i] !== 0 || after[i] !== 0))
      ? 'pads it'
      : undefined;
  },
};

function opProblems(func: Func, op: Op, name: string): Diagnostic[] {
  const values = [...op.operands, ...op.results];
  const touched = [...values.flatMap((v) => v.type.shape), ...attrDims(op.attrs)].filter((d) =>
    mentions(d, name),
  );
  if (touched.length === 0) return [];
  const part = touched.find(
    (d) => d.divisor !== 1 || d.terms.some((t) => t.factors.filter((f) => f === name).length > 1),
  );
  const why =
    obstacles[op.name]?.(op, name) ??
    (part === undefined ? undefined : `has an axis of ${printDim(part)} of it`);
  if (why === undefined) return [];
  const weight = op.operands.map(paramOf).find((param) => param !== undefined);
  const on = weight === undefined ? '' : ` on weight ${weight}`;
  return [
    diagnostic('HEW6007', `${name} cannot be pruned: ${op.name}${on} in @${func.name} ${why}`, {
      span: op.span,
    }),
  ];
}

function declarationProblems(module: Module, name: string): Diagnostic[] {
  const loops = [...module.loops].filter(([, loop]) => mentions(loop.count, name));
  const inputs = [...module.functions.values()].filter((f) => f.outputs !== undefined).flatMap((f) => f.args);
  const input = inputs.find((arg) => arg.type.shape.some((d) => mentions(d, name)));
  return [
    ...loops.map(([loop]) =>
      diagnostic('HEW6007', `${name} cannot be cut along an axis: it counts the turns of loop ${loop}`),
    ),
    ...(input === undefined
      ? []
      : [diagnostic('HEW6007', `${name} cannot be pruned: it is an axis of the input ${input.name}`)]),
  ];
}

// ---- turns of a loop

/** The module whose loop runs only these turns, ascending. Parameters keep the source indices of the turns. */
export function keepLoopTurns(module: Module, loop: string, turns: readonly number[]): Module {
  const found = module.loops.get(loop);
  const indices = turnsOf(module, loop);
  if (found === undefined || indices === undefined) return fail('HEW6007', `there is no loop ${loop}`);
  if (turns.length === indices.length) return module;
  if (turns.length === 0) return fail('HEW6008', `pruning loop ${loop} would leave no turn of it`);
  const counted = nameOf(found.count);
  if (counted === undefined)
    return fail(
      'HEW6007',
      `loop ${loop} runs ${printDim(found.count)} times, which is not a dimension of its own`,
    );
  const elsewhere = [...module.loops].find(
    ([name, other]) => name !== loop && mentions(other.count, counted),
  );
  if (elsewhere !== undefined)
    return fail('HEW6007', `${counted} counts the turns of two loops, ${loop} and ${elsewhere[0]}`);
  const tied = [...module.params].find(([, param]) => param.type.shape.some((d) => mentions(d, counted)));
  if (tied !== undefined) return fail('HEW6007', `${counted} is also an axis of weight ${tied[0]}`);
  const params = new Map(
    [...module.params].map(([name, param]) => [
      name,
      param.loop === loop ? { ...param, recipe: keepTurns(param.recipe, turns) } : param,
    ]),
  );
  const kept = { ...found, count: dim(counted), indices: turns.map((turn) => indices[turn] as number) };
  return {
    ...module,
    params,
    dims: new Map(module.dims).set(counted, { value: turns.length }),
    loops: new Map(module.loops).set(loop, kept),
  };
}
