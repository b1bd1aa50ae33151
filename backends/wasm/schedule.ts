/** Memory of this target: how weights lie, on top of what all targets share (see backends/schedule.ts). */
import { evalDim } from '../../ir/dim.js';
import { defOf, type Func, type Module, modelDims } from '../../ir/module.js';
import { elementCount, storedBytes, type TensorType } from '../../ir/type.js';
import { type Placement, place, placeModule, type Schedule } from '../schedule.js';
import type { Layout } from './emit/kernel.js';
import { kernelTable } from './emit/table.js';
import { packedIntegerBytes } from './integer-packing.js';
import { packedElements } from './packing.js';

export const alignment = 64;

export interface WeightPlacement extends Placement {
  readonly layout: Layout;
  /** Shape as a stack of matrices, for packing. */
  readonly matrices: readonly number[];
  /** Elements of the inner axis that share a scale, of integers; 0: all. */
  readonly group: number;
}

interface Packing {
  readonly matrices: readonly number[];
  readonly group?: number | undefined;
}

export type WasmSchedule = Schedule<WeightPlacement>;

/** Shapes of the weights that are packed, as stacks of matrices; all others are rows. */
export type WeightLayouts = ReadonlyMap<string, Packing>;

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
  packing: Packing | undefined,
  loop: string | undefined,
  take: (bytes: number) => number,
): WeightPlacement {
  const type = module.params.get(name)?.type as TensorType;
  const { matrices, group } = packing ?? { matrices: type.shape.map((d) => evalDim(d, modelDims(module))) };
  const layout = packing === undefined ? 'rows' : group === undefined ? 'panels' : 'integers';
  const sizes: Record<Layout, () => number> = {
    rows: () => storedBytes(type.dtype, elementCount(matrices)),
    panels: () => storedBytes(type.dtype, packedElements(matrices)),
    integers: () => packedIntegerBytes(type.dtype, matrices, group ?? 0),
  };
  const placed = place(module, sizes[layout](), loop, take, alignment);
  return { ...placed, layout, matrices, group: group ?? 0 };
}

/** Weights that are packed: each kernel that reads them either wants panels or can read them. */
export function weightLayouts(module: Module): WeightLayouts {
  const wanted = new Map<string, Packing>();
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
        else if (use !== 'any') {
          const { group } = use;
          // A weight that two kernels divide differently stays as it is.
          if ((wanted.get(param.attrs.name) ?? use).group !== group) refused.add(param.attrs.name);
          wanted.set(param.attrs.name, { matrices: use.matrices.map((d) => evalDim(d, dims)), group });
        }
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
