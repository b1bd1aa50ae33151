/**
 * What a call of a module costs, from its types alone: operations, and bytes of weights and caches that it reads. Only
 * dimensions and the turns of loops count, so a module can be costed at sizes that no weights exist for.
 */
import { type DimEnv, evalDim } from './dim.js';
import { defOf, type Func, type Module, type Op, type Value } from './module.js';
import { opTable } from './ops/table.js';
import { elementCount, evalShape, storedBytes } from './type.js';

/** Visits every op that a call of `func` runs, with the number of times it does. */
export function visitOps(
  module: Module,
  func: Func,
  visit: (op: Op, times: number) => void,
  times = 1,
): void {
  for (const op of func.body) {
    const callee =
      op.name === 'repeat' || op.name === 'kernel' ? module.functions.get(op.attrs.callee) : undefined;
    if (callee === undefined) {
      visit(op, times);
      continue;
    }
    const turns = op.name === 'repeat' ? (module.loops.get(op.attrs.loop)?.indices.length ?? 0) : 1;
    visitOps(module, callee, visit, times * turns);
  }
}

/** Floating-point operations of one op; a multiply-add counts two. One per element where its declaration says nothing. */
export function opFlops(op: Op, env: DimEnv): number {
  const sizes = (values: readonly Value[]): number[][] =>
    values.map(({ type }) => evalShape(type.shape, env));
  const [operands, results] = [sizes(op.operands), sizes(op.results)];
  const { flops } = opTable[op.name];
  if (flops !== undefined) return flops({ operands, results }, op.attrs);
  return results.reduce((sum, shape) => sum + elementCount(shape), 0);
}

const bytesOf = ({ type }: Value, env: DimEnv): number =>
  storedBytes(type.dtype, elementCount(evalShape(type.shape, env)));

/**
 * Bytes of weights and caches that an op reads. A lookup reads the rows it returns, a grouped linear layer as many
 * matrices as it has rows and slots, at most all; attention reads keys and values at their full length.
 */
export function opBytes(op: Op, env: DimEnv): number {
  const weights = op.operands.filter(isWeight).reduce((sum, value) => sum + bytesOf(value, env), 0);
  switch (op.name) {
    case 'param':
    case 'cast':
    case 'transpose':
      return 0;
    case 'gather':
      return weights === 0 ? 0 : op.results.reduce((sum, value) => sum + bytesOf(value, env), 0);
    case 'grouped_linear': {
      const [, index, stack] = op.operands as [Value, Value, Value];
      const uses = elementCount(evalShape(index.type.shape, env));
      const [experts] = evalShape(stack.type.shape.slice(0, 1), env) as [number];
      return (weights * Math.min(uses, experts)) / experts;
    }
    case 'attention':
      return op.operands.slice(1, 3).reduce((sum, value) => sum + bytesOf(value, env), 0);
    default:
      return weights;
  }
}

/** Whether a value is a parameter, through casts and transpositions. */
function isWeight(value: Value): boolean {
  const op = defOf(value);
  if (op?.name === 'cast' || op?.name === 'transpose') return isWeight(op.operands[0] as Value);
  return op?.name === 'param';
}

export interface ParameterSize {
  readonly elements: number;
  readonly bytes: number;
}

/** All parameters together, every turn of a loop counted. */
export function parameterSize(module: Module, env: DimEnv): ParameterSize {
  let [elements, bytes] = [0, 0];
  for (const { type, loop } of module.params.values()) {
    const turns = loop === undefined ? 1 : (module.loops.get(loop)?.indices.length ?? 1);
    const count = elementCount(type.shape.map((d) => evalDim(d, env)));
    elements += turns * count;
    bytes += turns * storedBytes(type.dtype, count);
  }
  return { elements, bytes };
}

export interface Roofline {
  /** Operations per second. */
  readonly peak: number;
  /** Bytes per second. */
  readonly bandwidth: number;
}

/**
 * Seconds of one call when each op takes as long as its operations or its weights do, whichever is longer (Williams,
 * Waterman and Patterson, "Roofline", 2009). Activations are taken to stay in caches.
 */
export function rooflineSeconds(
  module: Module,
  func: Func,
  env: DimEnv,
  { peak, bandwidth }: Roofline,
): number {
  let seconds = 0;
  visitOps(module, func, (op, times) => {
    seconds += times * Math.max(opFlops(op, env) / peak, opBytes(op, env) / bandwidth);
  });
  return seconds;
}
