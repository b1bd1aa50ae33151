/**
 * Splitting named dimensions over ranks: each rank keeps a run of their indices, as pruning would, and what is summed
 * over one of them is summed over all ranks (Shoeybi et al. 2019, arXiv 1909.08053, section 3: columns of the layers that
 * make a dimension, rows of those that contract it).
 */
import { mapFunctions, rewriteFunc } from '../../ir/builder.js';
import { HewError } from '../../ir/diagnostics.js';
import { constantOf, type Dim, dim, dimNames, nameOf } from '../../ir/dim.js';
import { type Module, modelDims, type Op, type Value } from '../../ir/module.js';
import type { OpName } from '../../ir/ops/table.js';
import { pruneDim } from '../prune/prune-dim.js';

/** Which of how many. */
export interface Rank {
  readonly rank: number;
  readonly ranks: number;
}

/** The indices of `size` that a rank has. */
export function ownIndices(size: number, { rank, ranks }: Rank): number[] {
  const own = size / ranks;
  return Array.from({ length: own }, (_, i) => rank * own + i);
}

const names = (value: Value): Set<string> => new Set(value.type.shape.flatMap((dim) => [...dimNames(dim)]));

const mentions = (value: Value, dims: readonly string[]): boolean => {
  const own = names(value);
  return dims.some((name) => own.has(name));
};

/** Ops that add products or elements over a dimension, so that parts of it can be added later. */
const summing: ReadonlySet<OpName> = new Set(['linear', 'grouped_linear', 'matmul', 'reduce_sum']);

/** Ops that look at all of a dimension at once, and the axis of an operand they look along. */
const alongAxis: Partial<Record<OpName, (op: Op) => Dim | undefined>> = {
  rms_norm: (op) => op.operands[0]?.type.shape.at(-1),
  layer_norm: (op) => op.operands[0]?.type.shape.at(-1),
  softmax: (op) => op.operands[0]?.type.shape.at((op.attrs as { readonly axis: number }).axis),
  grouped_linear: (op) => op.operands[2]?.type.shape[0],
};

const isSum = (op: Op, dims: readonly string[]): boolean =>
  op.results.length === 1 &&
  op.name !== 'repeat' &&
  op.operands.some((operand) => mentions(operand, dims)) &&
  !mentions(op.results[0] as Value, dims);

/** Why these dimensions cannot be split together; undefined when they can. */
export function obstacle(module: Module, dims: readonly string[], { ranks }: Rank): string | undefined {
  const sizes = modelDims(module);
  for (const name of dims) {
    const size = sizes.get(name) as number;
    if (size % ranks !== 0) return `${name} is ${size}, which ${ranks} ranks cannot share equally`;
  }
  for (const func of module.functions.values()) {
    for (const op of func.body) {
      const why = opObstacle(op, dims);
      if (why !== undefined) return `${op.name} in @${func.name} ${why}`;
    }
    const output = func.outputs && func.results.findIndex((value) => mentions(value, dims));
    if (output !== undefined && output >= 0) return `it is an axis of the output ${func.outputs?.[output]}`;
  }
  try {
    cut(module, dims, { rank: 0, ranks });
    return undefined;
  } catch (error) {
    if (error instanceof HewError) return error.diagnostics[0]?.message;
    throw error;
  }
}

function opObstacle(op: Op, dims: readonly string[]): string | undefined {
  const along = alongAxis[op.name]?.(op);
  if (along !== undefined && [...dimNames(along)].some((name) => dims.includes(name)))
    return 'looks at all of it';
  if (op.name === 'attention') return groupsObstacle(op, dims);
  if (
    op.name !== 'repeat' &&
    op.results.some((result) => mentions(result, dims) && losesOther(op, result, dims))
  )
    return 'sums over one of them and makes another';
  if (isSum(op, dims) && !summing.has(op.name)) return 'needs all of it';
  return undefined;
}

const heads = (value: Value | undefined): Dim => value?.type.shape.at(-2) ?? dim(1);

/** Whether a result lacks one of the dimensions that the operands have. */
function losesOther(op: Op, result: Value, dims: readonly string[]): boolean {
  const left = names(result);
  return op.operands.some((operand) =>
    [...names(operand)].some((name) => dims.includes(name) && !left.has(name)),
  );
}

/** Query heads and the key heads they read have to stay together. */
function groupsObstacle(op: Op, dims: readonly string[]): string | undefined {
  const [queries, keys] = [heads(op.operands[0]), heads(op.operands[1])];
  const has = (size: Dim): boolean => [...dimNames(size)].some((name) => dims.includes(name));
  if (has(queries) === has(keys) || constantOf(keys) === 1) return undefined;
  return `has query heads in groups: ${nameOf(queries)} and ${nameOf(keys)} have to be split together`;
}

/** The module of one rank: its indices of the dimensions, and sums over all ranks where they are contracted. */
export function splitDims(module: Module, dims: readonly string[], rank: Rank): Module {
  return addOverRanks(cut(module, dims, rank), dims, rank);
}

function cut(module: Module, dims: readonly string[], rank: Rank): Module {
  const sizes = modelDims(module);
  return dims.reduce(
    (current, name) => pruneDim(current, { dim: name, indices: ownIndices(sizes.get(name) as number, rank) }),
    module,
  );
}

function addOverRanks(module: Module, dims: readonly string[], { ranks }: Rank): Module {
  return mapFunctions(module, (func, scope) => {
    if (!func.body.some((op) => isSum(op, dims))) return func;
    return rewriteFunc(func, scope, (op, operands, builder) => {
      if (!isSum(op, dims)) return undefined;
      // A bias is added once, behind the sum.
      const bias = op.name === 'linear' ? operands[2] : undefined;
      const part = builder.one(op.name, bias === undefined ? operands : operands.slice(0, 2), op.attrs);
      const sum = builder.one('all_reduce', [part], { ranks });
      return [bias === undefined ? sum : builder.one('add', [sum, bias])];
    });
  });
}

/** Dimensions that some layer contracts or attention shares out, in the order of their declaration. */
export function contractedDims(module: Module): string[] {
  const found = new Set<string>();
  for (const func of module.functions.values()) {
    for (const op of func.body) {
      if (!summing.has(op.name)) continue;
      const left = names(op.results[0] as Value);
      for (const name of op.operands.flatMap((operand) => [...names(operand)]))
        if (!left.has(name)) found.add(name);
    }
  }
  return [...modelDims(module).keys()].filter((name) => found.has(name));
}

/** Dimensions that have to be split with others: the key heads of grouped attention. */
export function tiedDims(module: Module, name: string): string[] {
  const tied = new Set([name]);
  for (const func of module.functions.values()) {
    for (const op of func.body) {
      if (op.name !== 'attention') continue;
      const [queries, keys] = [nameOf(heads(op.operands[0])), nameOf(heads(op.operands[1]))];
      if (queries === name && keys !== undefined) tied.add(keys);
    }
  }
  return [...tied];
}
