/**
 * How a flattened axis is laid out. An axis of size `hd*heads` may hold the channels of head 0 first, or channel 0 of
 * all heads: types do not say. The graph does, at the `reshape` that splits the axis or that made it.
 */
import { constantOf, type Dim, dimKey, dimsEqual, productOfDims } from '../../ir/dim.js';
import { defOf, type Func, type Module, type Op, type Value } from '../../ir/module.js';
import { opTable } from '../../ir/ops/table.js';
import { Uses } from '../structure.js';

/** Factors of an axis from the outermost to the innermost. */
export type AxisLayout = readonly Dim[];

/**
 * All layouts that uses of a parameter's axis show, without repetition: one when the model makes sense, none when the
 * axis is never split.
 */
export function layoutsOf(module: Module, param: string, axis: number): AxisLayout[] {
  const found = new Map<string, AxisLayout>();
  for (const func of module.functions.values()) {
    const tracer = new Tracer(func);
    for (const op of func.body) {
      if (op.name !== 'param' || op.attrs.name !== param) continue;
      for (const layout of tracer.forward(op.results[0] as Value, axis)) {
        found.set(layout.map(dimKey).join(','), layout);
      }
    }
  }
  return [...found.values()];
}

/** Follows one axis through the ops of a function. */
class Tracer {
  private readonly uses: Uses;
  private readonly seen = new Map<Value, Set<number>>();

  constructor(func: Func) {
    this.uses = new Uses(func);
  }

  forward(value: Value, axis: number): AxisLayout[] {
    if (this.isSeen(value, axis)) return [];
    return this.uses.of(value).flatMap((op) => this.through(op, value, axis));
  }

  private isSeen(value: Value, axis: number): boolean {
    const axes = this.seen.get(value) ?? new Set();
    const known = axes.has(axis);
    this.seen.set(value, axes.add(axis));
    return known;
  }

  private through(op: Op, value: Value, axis: number): AxisLayout[] {
    const [result] = op.results;
    if (result === undefined) return [];
    const onward = (to: number): AxisLayout[] => this.forward(result, to);
    const last = result.type.shape.length - 1;
    const [x] = op.operands as [Value];
    switch (op.name) {
      case 'reshape':
        return this.split(value, axis, result, onward);
      case 'transpose':
        return onward(op.attrs.perm.indexOf(axis));
      case 'linear':
        if (value === x) return [];
        return axis === 0 ? onward(last) : this.backward(x, x.type.shape.length - 1);
      case 'grouped_linear':
        if (value === x || axis === 0) return [];
        return axis === 1 ? onward(last) : this.backward(x, x.type.shape.length - 1);
      case 'matmul': {
        const rank = value.type.shape.length;
        if (value === x) return [];
        return axis === rank - 1 ? onward(last) : this.backward(x, x.type.shape.length - 1);
      }
      default: {
        const moved = axis + result.type.shape.length - value.type.shape.length;
        return isElementwise(op) ? onward(moved) : [];
      }
    }
  }

  private split(from: Value, axis: number, to: Value, onward: (axis: number) => AxisLayout[]): AxisLayout[] {
    const group = factorsIn(from.type.shape, axis, to.type.shape);
    if (group === undefined) return [];
    return group.factors.length === 1 ? onward(group.start) : [group.factors];
  }

  private backward(value: Value, axis: number): AxisLayout[] {
    if (this.isSeen(value, axis)) return [];
    const op = defOf(value);
    if (op === undefined) return [];
    if (op.name === 'reshape') {
      const [x] = op.operands as [Value];
      const group = factorsIn(value.type.shape, axis, x.type.shape);
      if (group === undefined) return [];
      return group.factors.length === 1 ? this.backward(x, group.start) : [group.factors];
    }
    if (op.name === 'transpose') return this.backward(op.operands[0] as Value, op.attrs.perm[axis] as number);
    if (!isElementwise(op)) return [];
    return op.operands.flatMap((operand) => {
      const moved = axis - (value.type.shape.length - operand.type.shape.length);
      const carries = moved >= 0 && constantOf(operand.type.shape[moved] as Dim) !== 1;
      return carries ? this.backward(operand, moved) : [];
    });
  }
}

function isElementwise(op: Op): boolean {
  return opTable[op.name].category === 'elementwise' || op.name === 'swiglu';
}

/** The run of axes of `to` that an axis of `from` is split into; undefined when no run is. */
export function factorsIn(
  from: readonly Dim[],
  axis: number,
  to: readonly Dim[],
): { start: number; factors: Dim[] } | undefined {
  const before = productOfDims(from.slice(0, axis));
  for (let start = 0; start < to.length; start++) {
    if (!dimsEqual(productOfDims(to.slice(0, start)), before)) continue;
    for (let end = start + 1; end <= to.length; end++) {
      if (dimsEqual(productOfDims(to.slice(start, end)), from[axis] as Dim)) {
        return { start, factors: to.slice(start, end).filter((d) => constantOf(d) !== 1) };
      }
    }
  }
  return undefined;
}
