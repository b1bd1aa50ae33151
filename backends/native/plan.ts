/**
 * The plan of an entry: its functions flattened to launches, copies and loops, with every pointer resolved to an
 * address of the image. A value that a loop carries lies in two buffers by turns, so that no turn copies it: the last
 * turn writes the result's own buffer.
 */
import { type Dim, productOfDims } from '../../ir/dim.js';
import { type Func, type Module, modelDims, type Op, type OpOf, type Value } from '../../ir/module.js';
import { type DType, dtypes, type TensorType } from '../../ir/type.js';
import { resolver } from '../kernel-function.js';
import { always, outputNeeds } from '../needs.js';
import {
  type FunctionPlan,
  type Location,
  type Placement,
  type Schedule,
  sameLocation,
} from '../schedule.js';
import type { LaunchStep, LaunchVariant, PlanSize, PlanStep, PlanTerm, Pointer } from './manifest.js';

/** `count` items of which one block takes `per`, rounded up. */
export interface GridAxis {
  readonly count: Dim;
  readonly per: number;
}

/** The number of blocks of a launch is the product over the axes. */
export type Grid = readonly GridAxis[];

/** A way to run a launch on some GPUs alone; see `LaunchVariant` of manifest.ts. */
export interface PlannedVariant {
  readonly name: string;
  readonly grid: Grid;
  readonly threads: number;
  readonly shared: number;
  readonly cost: number;
  readonly preferred: readonly (readonly [least: number, most: number])[];
  readonly least: number;
  readonly maps: readonly {
    readonly pointer: number;
    readonly dtype: DType;
    readonly rows: Dim;
    readonly columns: number;
    readonly boxRows: number;
  }[];
}

interface PlannedLaunch {
  readonly name: string;
  readonly grid: Grid;
  readonly variants?: readonly PlannedVariant[];
}

/** How a kernel function runs: one launch, or several in order. */
export interface PlannedKernel {
  readonly launches: readonly PlannedLaunch[];
  readonly symbols: readonly string[];
  /** Whether a pointer to scratch memory is given even where there is none. */
  readonly alwaysTakesScratch?: boolean;
}

export type KernelLookup = (callee: string) => PlannedKernel;

export function planEntry(
  module: Module,
  schedule: Schedule,
  entry: string,
  kernels: KernelLookup,
): PlanStep[] {
  const plan = schedule.functions.get(entry) as FunctionPlan;
  return new Flattener(module, schedule, kernels).function(plan, {
    frame: schedule.arena,
    args: [],
    results: [],
    depth: 0,
  });
}

/** A resolved dimension as the manifest writes it. */
export function planSize(resolve: (value: Dim) => Dim, value: Dim): PlanSize {
  const { terms, divisor } = resolve(value);
  const [first, ...rest] = terms;
  if (divisor === 1 && first === undefined) return 0;
  if (divisor === 1 && rest.length === 0 && first?.factors.length === 0) return first.coefficient;
  const sum = terms.map((term): PlanTerm => [term.coefficient, ...term.factors]);
  return divisor === 1 ? sum : { sum, divisor };
}

/** Where a function that is called finds its frame, its arguments and its results. */
interface Frame {
  readonly frame: number;
  readonly args: readonly Pointer[];
  readonly results: readonly Pointer[];
  /** Nesting of the loop that calls the function, counted from 1; 0 in an entry. */
  readonly depth: number;
}

class Flattener {
  private readonly resolve: (value: Dim) => Dim;

  constructor(
    private readonly module: Module,
    private readonly schedule: Schedule,
    private readonly kernels: KernelLookup,
  ) {
    this.resolve = resolver(modelDims(module));
  }

  function(plan: FunctionPlan, frame: Frame): PlanStep[] {
    const { func } = plan;
    const needs = func.outputs === undefined ? undefined : outputNeeds(func);
    const masked = (mask: number | undefined, steps: PlanStep[]): PlanStep[] =>
      mask === undefined || mask === always ? steps : steps.map((step) => ({ ...step, mask }));
    return [
      ...func.body.flatMap((op) => masked(needs?.get(op), this.steps(op, plan, frame))),
      ...func.results.flatMap((result, i) => masked(needs && 1 << i, this.deliver(result, i, plan, frame))),
    ];
  }

  private steps(op: Op, plan: FunctionPlan, frame: Frame): PlanStep[] {
    switch (op.name) {
      case 'kernel':
        return this.launches(op as OpOf<'kernel'>, plan, frame);
      case 'repeat':
        return this.loop(op as OpOf<'repeat'>, plan, frame);
      case 'all_reduce':
        return [this.sumOverRanks(op as OpOf<'all_reduce'>, plan, frame)];
      case 'state_write':
        return this.stateCopy(op.operands[0] as Value, op.attrs.name, 'write', plan, frame);
      case 'state_read':
        return this.stateCopy(op.results[0] as Value, op.attrs.name, 'read', plan, frame);
      default:
        return [];
    }
  }

  private launches(op: OpOf<'kernel'>, plan: FunctionPlan, frame: Frame): PlanStep[] {
    const { launches, symbols, alwaysTakesScratch } = this.kernels(op.attrs.callee);
    const [scratch] = plan.privates.get(op as Op) ?? [];
    const pointers = [...op.operands, ...op.results].map((value) => this.pointer(value, plan, frame));
    if (scratch !== undefined) pointers.push(frame.frame + scratch);
    else if (alwaysTakesScratch === true) pointers.push(0);
    return launches.map(({ name, grid, variants = [] }) => ({
      kernel: name,
      grid: this.grid(grid),
      pointers,
      symbols,
      ...(variants.length === 0 ? {} : { variants: variants.map((variant) => this.variant(variant)) }),
    }));
  }

  private sumOverRanks(op: OpOf<'all_reduce'>, plan: FunctionPlan, frame: Frame): PlanStep {
    const [from, to] = [op.operands[0] as Value, op.results[0] as Value];
    const pointers = [this.pointer(to, plan, frame), this.pointer(from, plan, frame)] as const;
    return { all_reduce: pointers, elements: planSize(this.resolve, productOfDims(to.type.shape)) };
  }

  private grid(grid: Grid): LaunchStep['grid'] {
    return grid.map(({ count, per }) => [planSize(this.resolve, count), per] as const);
  }

  private variant({
    name,
    grid,
    threads,
    shared,
    cost,
    preferred,
    least,
    maps,
  }: PlannedVariant): LaunchVariant {
    return {
      kernel: name,
      grid: this.grid(grid),
      threads,
      shared,
      cost,
      ...(preferred.length === 0 ? {} : { preferred }),
      ...(least === 0 ? {} : { least }),
      maps: maps.map(({ pointer, dtype, rows, columns, boxRows }) => ({
        pointer,
        dtype,
        rows: planSize(this.resolve, rows),
        columns,
        box: boxRows,
      })),
    };
  }

  private loop(op: OpOf<'repeat'>, plan: FunctionPlan, frame: Frame): PlanStep[] {
    const { callee, loop, carried } = op.attrs;
    const inner = this.schedule.functions.get(callee) as FunctionPlan;
    const slots = plan.privates.get(op as Op) as readonly number[];
    const turns = this.module.loops.get(loop)?.indices.length ?? 0;
    const depth = frame.depth + 1;
    const indices = Array.from({ length: carried }, (_, i) => i);
    const results = op.results.map((result) => this.pointer(result, plan, frame));
    /** The buffer a carried value is read from in turn 0, and the other one. */
    const buffers = indices.map((i): [Pointer, Pointer] => {
      const own = results[i] as Pointer;
      if (inner.inPlace.has(i)) return [own, own];
      const other = frame.frame + (slots[i] as number);
      return turns % 2 === 0 ? [own, other] : [other, own];
    });
    const start = indices.map((i): PlanStep => {
      const from = op.operands[i] as Value;
      const to = turns === 0 ? (results[i] as Pointer) : (buffers[i]?.[0] as Pointer);
      return { copy: [to, this.pointer(from, plan, frame)], bytes: this.bytes(from.type) };
    });
    if (turns === 0) return start;
    const byTurns = (i: number, [even, odd]: readonly [Pointer, Pointer]): Pointer =>
      inner.inPlace.has(i) ? even : { even, odd, depth: depth - 1 };
    const body = this.function(inner, {
      frame: frame.frame + (slots[carried] as number),
      args: [
        ...indices.map((i) => byTurns(i, buffers[i] as [Pointer, Pointer])),
        ...op.operands.slice(carried).map((value) => this.pointer(value, plan, frame)),
      ],
      results: indices.map((i) =>
        byTurns(i, (buffers[i] as [Pointer, Pointer]).toReversed() as [Pointer, Pointer]),
      ),
      depth,
    });
    return [...start, { turns, body }];
  }

  /** A state whose old value outlives its write is copied when it is read; a value elsewhere, when it is written. */
  private stateCopy(
    value: Value,
    state: string,
    direction: 'read' | 'write',
    plan: FunctionPlan,
    frame: Frame,
  ): PlanStep[] {
    const placement = this.schedule.states.get(state) as Placement;
    if (sameLocation(plan.locations.get(value), placement)) return [];
    const [own, there] = [this.pointer(value, plan, frame), placementPointer(placement, frame)];
    return [{ copy: direction === 'read' ? [own, there] : [there, own], bytes: this.bytes(value.type) }];
  }

  /** Copies a result to where the caller expects it, unless it was computed there. */
  private deliver(result: Value, index: number, plan: FunctionPlan, frame: Frame): PlanStep[] {
    if (plan.inPlace.has(index)) return [];
    const outputs = this.schedule.outputs.get(plan.func.name);
    const to = outputs === undefined ? (frame.results[index] as Pointer) : (outputs[index] as number);
    const from = this.pointer(result, plan, frame);
    if (JSON.stringify(to) === JSON.stringify(from)) return [];
    return [{ copy: [to, from], bytes: this.bytes(result.type) }];
  }

  private pointer(value: Value, plan: FunctionPlan, frame: Frame): Pointer {
    const location = plan.locations.get(value) as Location;
    switch (location.kind) {
      case 'address':
        return location.address;
      case 'turn':
        return { base: location.base, stride: location.stride, depth: frame.depth - 1 };
      case 'argument':
        return frame.args[location.index] as Pointer;
      case 'result':
        return frame.results[location.index] as Pointer;
      case 'frame':
        return frame.frame + location.offset;
    }
  }

  private bytes(type: TensorType): PlanSize {
    return planSize(this.resolve, productOfDims([...type.shape, dtypes[type.dtype].bits / 8]));
  }
}

function placementPointer({ address, stride, loop }: Placement, { depth }: Frame): Pointer {
  return loop === undefined ? address : { base: address, stride, depth: depth - 1 };
}

/** Kernels that a module's entries call, in the order they stand in. */
export function calledKernels(module: Module): Func[] {
  const called = new Set<string>();
  for (const func of module.functions.values())
    for (const op of func.body) if (op.name === 'kernel') called.add(op.attrs.callee);
  return [...module.functions.values()].filter((func) => called.has(func.name));
}
