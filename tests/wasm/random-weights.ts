/** Random weights for any module, made in memory from what its recipes ask for. */
import { evalDim } from '../../ir/dim.js';
import type { TensorSource } from '../../ir/materialise.js';
import { type Module, modelDims } from '../../ir/module.js';
import { encodeBytes, roundTo } from '../../ir/numeric.js';
import { fillName, type Recipe } from '../../ir/recipe.js';
import { type DType, elementCount } from '../../ir/type.js';
import { randomFrom, seedOf, uniform } from '../conformance/random.js';

interface Request {
  readonly dtype: DType;
  readonly count: number;
  readonly fanIn: number;
}

/** Values of about 1 / sqrt(fan-in) for matrices and around 1 for vectors, the same for the same name. */
export function randomWeights(module: Module): TensorSource {
  const requests = new Map<string, Request>();
  const dims = modelDims(module);
  for (const param of module.params.values()) {
    const loop = param.loop === undefined ? undefined : module.loops.get(param.loop);
    for (const value of loop?.indices ?? [0]) {
      const index = param.loop === undefined ? undefined : { loop: param.loop, value };
      collect(param.recipe, (name) => fillName(name, index), dims, requests);
    }
  }
  return {
    read: (name) => {
      const { dtype, count, fanIn } = requests.get(name) as Request;
      const spread = fanIn === 0 ? 0.5 : 1 / Math.sqrt(fanIn);
      const values = uniform(-spread, spread)(count, randomFrom(seedOf(name)));
      const centre = fanIn === 0 ? 1 : 0;
      return {
        dtype,
        bytes: encodeBytes(
          dtype,
          Array.from(values, (v) => roundTo[dtype](v + centre)),
        ),
      };
    },
  };
}

function collect(
  recipe: Recipe,
  fill: (name: string) => string,
  dims: ReadonlyMap<string, number>,
  into: Map<string, Request>,
): void {
  if (recipe.kind === 'source') {
    const shape = recipe.type.shape.map((d) => evalDim(d, dims));
    const fanIn = shape.length === 1 ? 0 : elementCount(shape.slice(1));
    into.set(fill(recipe.name), { dtype: recipe.type.dtype, count: elementCount(shape), fanIn });
  } else if (recipe.kind === 'op') {
    for (const arg of recipe.args) collect(arg, fill, dims, into);
  } else if (recipe.kind !== 'constant') {
    for (const part of recipe.parts) collect(part, fill, dims, into);
  }
}
