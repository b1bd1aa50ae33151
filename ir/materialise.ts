/**
 * Computes the value of a parameter from its recipe. Recipes of plain sources, stacks and movement pass their
 * bytes through unchanged; other ops are evaluated by their declarations.
 */

import { fail } from './diagnostics.js';
import { type Dim, type DimEnv, DimError, evalDim } from './dim.js';
import { type Module, modelDims, type Param } from './module.js';
import { castTo, decodeBytes, encodeBytes, roundTo } from './numeric.js';
import type { EvalContext } from './op.js';
import { type OpName, opTable } from './ops/table.js';
import {
  byteChunks,
  compact,
  decoded,
  movedBytes,
  type RawTensor,
  type StridedTensor,
  strided,
} from './raw-tensor.js';
import { fillName, type Recipe } from './recipe.js';
import type { Tensor } from './tensor.js';
import { type DType, dtypes, elementCount, evalShape, storedBytes } from './type.js';

/** Access to checkpoint tensors, by their full names. Returns little-endian bytes in the tensor's own dtype. */
export interface TensorSource {
  read(name: string): { readonly dtype: DType; readonly bytes: Uint8Array };
}

/** A parameter's value for one turn of its loop (`turn` is ignored for parameters without one). */
export function materialise(
  module: Module,
  name: string,
  turn: number | undefined,
  source?: TensorSource,
): Tensor {
  const raw = materialiseBytes(module, name, turn, source);
  return decoded(raw);
}

/** The same as little-endian bytes. */
export function materialiseBytes(
  module: Module,
  name: string,
  turn: number | undefined,
  source?: TensorSource,
): RawTensor {
  const { param, evaluate } = evaluation(module, name, turn, source);
  return compact(evaluate(param.recipe));
}

/** Bytes that are copied at a time where elements change places. */
const chunkBytes = 1 << 22;

/** The same in pieces: a value that is only moved or stacked is never in memory a second time. */
export function* materialiseChunks(
  module: Module,
  name: string,
  turn: number | undefined,
  source?: TensorSource,
): Generator<Uint8Array> {
  const { param, evaluate } = evaluation(module, name, turn, source);
  const { recipe } = param;
  const wholeBytes = dtypes[param.type.dtype].bits >= 8;
  for (const part of recipe.kind === 'stack' && wholeBytes ? recipe.parts : [recipe])
    yield* byteChunks(evaluate(part), chunkBytes);
}

interface Evaluation {
  readonly param: Param;
  readonly evaluate: (recipe: Recipe) => StridedTensor;
}

function evaluation(
  module: Module,
  name: string,
  turn: number | undefined,
  source: TensorSource | undefined,
): Evaluation {
  const param = module.params.get(name) ?? fail('HEW5003', `there is no parameter @${name}`);
  const dims = modelDims(module);
  const loop = param.loop === undefined ? undefined : module.loops.get(param.loop);
  const index =
    param.loop === undefined || loop === undefined || turn === undefined
      ? undefined
      : { loop: param.loop, value: loop.indices[turn] as number };
  const shapeOf = (type: Param['type']): number[] => evalShape(type.shape, dims);
  const context = staticContext(dims);
  const sizeOf = (d: unknown): number => context.dimValue(d as Dim);

  const evaluate = (recipe: Recipe): StridedTensor => {
    switch (recipe.kind) {
      case 'source': {
        const full = fillName(recipe.name, index);
        if (source === undefined)
          return fail('HEW4006', `the value of ${full} is needed, but no weights are given`);
        const { dtype, bytes } = source.read(full);
        const raw = { dtype, shape: shapeOf(recipe.type), bytes };
        return strided(dtype === recipe.type.dtype ? raw : convert(raw, recipe.type.dtype));
      }
      case 'constant':
        return strided({ dtype: recipe.type.dtype, shape: shapeOf(recipe.type), bytes: recipe.bytes });
      case 'stack':
        return strided(stackParts(recipe.parts.map((part) => compact(evaluate(part)))));
      case 'per_index':
        return evaluate(recipe.parts[turn ?? 0] as Recipe);
      case 'op': {
        const args = recipe.args.map(evaluate);
        return inRecipe(recipe.op, () => evaluateOp(recipe, args));
      }
    }
  };

  const evaluateOp = (
    { op, attrs }: Recipe & { kind: 'op' },
    args: readonly StridedTensor[],
  ): StridedTensor => {
    const moved = movedBytes(op, attrs, args, sizeOf);
    if (moved !== undefined) return moved;
    const inputs = args.map((arg) => decoded(compact(arg)));
    const { dtype, shape, data } = opTable[op as OpName].evaluate(inputs, attrs, context)[0] as Tensor;
    return strided({ dtype, shape, bytes: encodeBytes(dtype, data) });
  };

  return { param, evaluate };
}

/** What the evaluation of an op in a recipe throws, as a diagnostic. */
function inRecipe<T>(op: string, compute: () => T): T {
  try {
    return compute();
  } catch (error) {
    if (error instanceof RangeError || error instanceof DimError) {
      fail('HEW5003', `${op} in a recipe: ${error.message}`);
    }
    throw error;
  }
}

/** What an op may ask when it is evaluated at compile time: dimensions that have values, and nothing of the module. */
export function staticContext(dims: DimEnv): EvalContext {
  const unavailable = (): never => {
    throw new RangeError('a constant cannot reach parameters, states or functions');
  };
  return {
    dimValue: (d) => evalDim(d, dims),
    round: (dtype) => roundTo[dtype],
    param: unavailable,
    readState: unavailable,
    writeState: unavailable,
    loopCount: unavailable,
    call: unavailable,
    allReduce: unavailable,
  };
}

/** Elements converted at a time, so that the float64 copy stays small beside the tensor; even, for four-bit types. */
const conversionChunk = 1 << 16;

/** The tensor in another dtype, rounded to nearest. */
export function convert(raw: RawTensor, dtype: DType): RawTensor {
  const round = castTo[dtype];
  const count = elementCount(raw.shape);
  const bytes = new Uint8Array(storedBytes(dtype, count));
  for (let start = 0; start < count; start += conversionChunk) {
    const end = Math.min(count, start + conversionChunk);
    const part = raw.bytes.subarray(storedBytes(raw.dtype, start), storedBytes(raw.dtype, end));
    const values = decodeBytes(raw.dtype, part, end - start);
    bytes.set(encodeBytes(dtype, values.map(round)), storedBytes(dtype, start));
  }
  return { dtype, shape: raw.shape, bytes };
}

function stackParts(parts: readonly RawTensor[]): RawTensor {
  const first = parts[0] as RawTensor;
  const shape = [parts.length, ...first.shape];
  // An odd number of four-bit elements ends in the middle of a byte.
  if ((elementCount(first.shape) * dtypes[first.dtype].bits) % 8 !== 0) {
    const values = parts.flatMap((part) => [...decoded(part).data]);
    return { dtype: first.dtype, shape, bytes: encodeBytes(first.dtype, values) };
  }
  const bytes = new Uint8Array(parts.reduce((sum, p) => sum + p.bytes.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part.bytes, offset);
    offset += part.bytes.length;
  }
  return { dtype: first.dtype, shape, bytes };
}
