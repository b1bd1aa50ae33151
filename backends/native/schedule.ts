/** Memory of native targets: one image of weights, states, inputs, outputs and intermediates. Weights are row-major. */
import { type Dim, evalDim, productOfDims } from '../../ir/dim.js';
import { type Func, type Module, modelDims } from '../../ir/module.js';
import { storedBytes } from '../../ir/type.js';
import { place, placeModule, type Schedule } from '../schedule.js';

/** Of every tensor: what vector loads, asynchronous copies and tensor maps need, with room. */
export const alignment = 256;

/** `scratchBytes`: private memory of a kernel while it runs. */
export function scheduleModule(module: Module, scratchBytes: (kernel: Func) => Dim): Schedule {
  const dims = modelDims(module);
  return placeModule(module, {
    alignment,
    placeWeight: (name, take) => {
      const { type, loop } = module.params.get(name) ?? noParam(name);
      const bytes = storedBytes(type.dtype, evalDim(productOfDims(type.shape), dims));
      return place(module, bytes, loop, take, alignment);
    },
    scratchBytes,
  });
}

function noParam(name: string): never {
  throw new Error(`there is no parameter ${name}`);
}
