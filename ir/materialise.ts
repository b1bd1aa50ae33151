/**
 * Computes the value of a parameter from its recipe. Recipes of plain sources and stacks pass their bytes through
 * unchanged; inner ops are evaluated by their declarations.
 */

import { fail } from './diagnostics.js';
import { type DimEnv, DimError, evalDim } from './dim.js';
import { type Module, modelDims, type Param } from './module.js';
import { castTo, decodeBytes, encodeBytes, roundTo } from './numeric.js';
import type { EvalContext } from './op.js';
import { type OpName, opTable } from './ops/table.js';
import { fillName, type Recipe } from './recipe.js';
import type { Tensor } from './tensor.js';
import { type DType, dtypes, elementCount, evalShape, storedBytes } from './type.js';

/** Access to checkpoint tensors, by their full names. Returns little-endian bytes in the tensor's own dtype. */
export interface TensorSource {
  read(name: string): { readonly dtype: DType; readonly bytes: Uint8Array };
}

interface RawTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
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
  const param = module.params.get(name) ?? fail('HEW5003', `there is no parameter @${name}`);
  const dims = modelDims(module);
  const loop = param.loop === undefined ? undefined : module.loops.get(param.loop);
  const index =
    param.loop === undefined || loop === undefined || turn === undefined
      ? undefined
      : { loop: param.loop, value: loop.indices[turn] as number };
  const shapeOf = (type: Param['type']): number[] => evalShape(type.shape, dims);

  const evaluate = (recipe: Recipe): RawTensor => {
    switch (recipe.kind) {
      case 'source': {
        const full = fillName(recipe.name, index);
        if (source === undefined)
          return fail('HEW4006', `the value of ${full} is needed, but no weights are given`);
        const { dtype, bytes } = source.read(full);
        const raw = { dtype, shape: shapeOf(recipe.type), bytes };
        return dtype === recipe.type.dtype ? raw : convert(raw, recipe.type.dtype);
      }
      case 'constant':
        return { dtype: recipe.type.dtype, shape: shapeOf(recipe.type), bytes: recipe.bytes };
      case 'stack':
        return stackParts(recipe.parts.map(evaluate));
      case 'per_index':
        return evaluate(recipe.parts[turn ?? 0] as Recipe);
      case 'op':
        return evaluateOp(recipe, recipe.args.map(evaluate));
    }
  };

  const context = staticContext(dims);

  const evaluateOp = (recipe: Recipe & { kind: 'op' }, args: readonly RawTensor[]): RawTensor => {
    const [x] = args;
    if (recipe.op === 'gather' && x !== undefined && dtypes[x.dtype].bits >= 8)
      return gatherBytes(recipe, args as [RawTensor, RawTensor]);
    const { dtype, shape, data } = evaluateNamed(recipe, args.map(decoded), context);
    return { dtype, shape, bytes: encodeBytes(dtype, data) };
  };

  return evaluate(param.recipe);
}

function decoded({ dtype, shape, bytes }: RawTensor): Tensor {
  return { dtype, shape, data: decodeBytes(dtype, bytes, elementCount(shape)) };
}

/**
 * `gather` on the bytes as they are: what pruning cuts out of every weight is copied without becoming numbers. As its
 * declaration in ops/movement.ts says; an index outside of the axis fails as it does there.
 */
function gatherBytes({ attrs }: Recipe & { kind: 'op' }, [x, index]: [RawTensor, RawTensor]): RawTensor {
  const axis = (attrs.axis as number) + ((attrs.axis as number) < 0 ? x.shape.length : 0);
  const size = x.shape[axis] as number;
  const chosen = Array.from(decoded(index).data);
  const outside = chosen.find((i) => i < 0 || i >= size);
  if (outside !== undefined)
    fail('HEW5003', `gather in a recipe: index ${outside} is out of range for an axis of size ${size}`);
  const outer = elementCount(x.shape.slice(0, axis));
  const block = storedBytes(x.dtype, elementCount(x.shape.slice(axis + 1)));
  const shape = [...x.shape.slice(0, axis), ...index.shape, ...x.shape.slice(axis + 1)];
  const bytes = new Uint8Array(outer * chosen.length * block);
  const [from, to, width] = widest(x.bytes, bytes, block);
  let at = 0;
  for (let row = 0; row < outer; row++) {
    for (const i of chosen) {
      const start = (row * size + i) * width;
      if (width > 16) to.set(from.subarray(start, start + width), at);
      else for (let k = 0; k < width; k++) to[at + k] = from[start + k] as number;
      at += width;
    }
  }
  return { dtype: x.dtype, shape, bytes };
}

type Words = Uint8Array | Uint16Array | Uint32Array;

/** Source, target and block in the widest words that a block is made of. */
function widest(from: Uint8Array, to: Uint8Array, block: number): [Words, Words, number] {
  for (const Words of [Uint32Array, Uint16Array]) {
    const size = Words.BYTES_PER_ELEMENT;
    if (block % size !== 0) continue;
    const aligned = from.byteOffset % size === 0 ? from : from.slice();
    const words = ({ buffer, byteOffset, length }: Uint8Array): Words =>
      new Words(buffer as ArrayBuffer, byteOffset, Math.floor(length / size));
    return [words(aligned), words(to), block / size];
  }
  return [from, to, block];
}

function evaluateNamed(
  recipe: Recipe & { kind: 'op' },
  inputs: readonly Tensor[],
  context: EvalContext,
): Tensor {
  try {
    return opTable[recipe.op as OpName].evaluate(inputs, recipe.attrs, context)[0] as Tensor;
  } catch (error) {
    if (error instanceof RangeError || error instanceof DimError) {
      fail('HEW5003', `${recipe.op} in a recipe: ${error.message}`);
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
