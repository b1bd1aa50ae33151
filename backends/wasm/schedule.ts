/** Memory of this target: how weights lie, on top of what all targets share (see backends/schedule.ts). */
import { evalDim } from '../../ir/dim.js';
import { defOf, type Func, type Module, modelDims } from '../../ir/module.js';
import { storedBytes, type TensorType } from '../../ir/type.js';
import { type Placement, place, placeModule, type Schedule } from '../schedule.js';
import type { Layout } from './emit/kernel.js';
import { kernelTable } from './emit/table.js';
import { packedElements } from './packing.js';

export const alignment = 64;

export interface WeightPlacement extends Placement {
  readonly layout: Layout;
  /** Shape as a stack of matrices, for packing. */
  readonly matrices: readonly number[];
}

export type WasmSchedule = Schedule<WeightPlacement>;

/** Shapes of the weights that are packed, as stacks of matrices; all others are rows. */
export type WeightLayouts = ReadonlyMap<string, readonly number[]>;

/** `layouts` are the module's own unless it is a part of a module whose layouts it is to share. */
export function scheduleModule(module: Module, layouts: WeightLayouts = weightLayouts(module)): WasmSchedule {
  return placeModule(module, {
    alignment,
    placeWeight: (name, take) =>
      placeWeight(module, name, layouts.get(name), module.params.get(name)?.loop, take),
    scratchBytes: kernelTable.scratch,
  });
}

function placeWeight(
  module: Module,
  name: string,
  matrices: readonly number[] | undefined,
  loop: string | undefined,
  take: (bytes: number) => number,
): WeightPlacement {
  const type = module.params.get(name)?.type as TensorType;
  const shape = matrices ?? type.shape.map((d) => evalDim(d, modelDims(module)));
  const elements = matrices === undefined ? shape.reduce((n, size) => n * size, 1) : packedElements(shape);
  const placed = place(module, storedBytes(type.dtype, elements), loop, take, alignment);
  return { ...placed, layout: matrices === undefined ? 'rows' : 'panels', matrices: shape };
}

/** Weights that are packed: each kernel that reads them either wants panels or can read them. */
export function weightLayouts(module: Module): WeightLayouts {
  const wanted = new Map<string, readonly number[]>();
  const refused = new Set<string>();
  const dims = modelDims(module);
  for (const func of module.functions.values()) {
    for (const op of func.body) {
      op.operands.forEach((operand, i) => {
        const param = defOf(operand);
        if (param?.name !== 'param') return;
        const use =
          op.name === 'kernel'
            ? kernelTable.weightUse(module.functions.get(op.attrs.callee) as Func, i)
            : 'rows';
        if (use === 'rows') refused.add(param.attrs.name);
        else if (use !== 'any')
          wanted.set(
            param.attrs.name,
            use.map((d) => evalDim(d, dims)),
          );
      });
      for (const result of func.results) {
        const param = defOf(result);
        if (param?.name === 'param') refused.add(param.attrs.name);
      }
    }
  }
  for (const name of refused) wanted.delete(name);
  return wanted;
}
