/**
 * Where every value of a fused module lives: the part of scheduling that all targets share. Weights, states, inputs and
 * outputs have fixed addresses; everything else is a buffer in the frame of its function, planned for the greatest size
 * its run-time symbols allow.
 *
 * Values without a buffer of their own: a reshape is its operand; a state that is read is the state itself, unless the
 * value is still used after the state is written. An append whose result becomes the state's value, or the next value
 * that a loop carries, happens in place.
 */
import { constantOf, type Dim, dimBounds, productOfDims } from '../ir/dim.js';
import {
  countUses,
  defOf,
  dimRange,
  type Func,
  type Module,
  type Op,
  type OpOf,
  type Value,
} from '../ir/module.js';
import { storedBytes, type TensorType } from '../ir/type.js';
import { alignUp, type PlannedBuffer, planMemory } from './memory-plan.js';

/** `turn` locations advance by `stride` bytes with each turn of the function's loop. */
export type Location =
  | { readonly kind: 'address'; readonly address: number }
  | { readonly kind: 'turn'; readonly base: number; readonly stride: number }
  | { readonly kind: 'argument'; readonly index: number }
  | { readonly kind: 'result'; readonly index: number }
  | { readonly kind: 'frame'; readonly offset: number };

/** A weight or state in the memory image: one instance per turn of its loop, `stride` bytes apart. */
export interface Placement {
  readonly address: number;
  readonly stride: number;
  readonly turns: number;
  readonly loop?: string | undefined;
}

export interface FunctionPlan {
  readonly func: Func;
  readonly locations: ReadonlyMap<Value, Location>;
  /** Frame offset of an op's private memory: scratch of a kernel, carried copies and frame of a repetition. */
  readonly privates: ReadonlyMap<Op, readonly number[]>;
  /** Carried values of a loop body whose result is written over the argument; callers pass one pointer for both. */
  readonly inPlace: ReadonlySet<number>;
  readonly frameBytes: number;
}

export interface Schedule<Weight extends Placement = Placement> {
  readonly weights: ReadonlyMap<string, Weight>;
  readonly states: ReadonlyMap<string, Placement>;
  /** Addresses of inputs and outputs by entry. */
  readonly inputs: ReadonlyMap<string, readonly number[]>;
  readonly outputs: ReadonlyMap<string, readonly number[]>;
  readonly functions: ReadonlyMap<string, FunctionPlan>;
  readonly arena: number;
  /** Bytes of the whole memory image and of its parts. */
  readonly bytes: {
    readonly weights: number;
    readonly states: number;
    readonly io: number;
    readonly arena: number;
    readonly total: number;
  };
}

/** What a target decides about memory. */
export interface MemoryTarget<Weight extends Placement> {
  /** Of every tensor, in bytes; also the address of the first. */
  readonly alignment: number;
  /** Places all instances of a weight. `take` reserves bytes and returns their address. */
  placeWeight(name: string, take: (bytes: number) => number): Weight;
  /** Bytes of private memory that a kernel needs while it runs. */
  scratchBytes(kernel: Func): Dim;
}

/** Greatest size of a tensor in bytes over all values of its symbols. */
export function maxBytes(module: Module, type: TensorType): number {
  return storedBytes(type.dtype, maxOf(module, productOfDims(type.shape)));
}

function maxOf(module: Module, size: Dim): number {
  return Math.ceil(dimBounds(size, (name) => dimRange(module, name)).max);
}

export function placeModule<Weight extends Placement>(
  module: Module,
  target: MemoryTarget<Weight>,
): Schedule<Weight> {
  const { alignment } = target;
  let cursor = alignment;
  const take = (bytes: number): number => {
    const address = cursor;
    cursor += alignUp(bytes, alignment);
    return address;
  };
  const weights = new Map([...module.params.keys()].map((name) => [name, target.placeWeight(name, take)]));
  const weightBytes = cursor;
  const states = new Map(
    [...module.states].map(([name, state]) => [
      name,
      place(module, maxBytes(module, state.type), state.loop, take, 1),
    ]),
  );
  const stateBytes = cursor - weightBytes;
  const inputs = new Map<string, number[]>();
  const outputs = new Map<string, number[]>();
  for (const func of module.functions.values()) {
    if (func.outputs === undefined) continue;
    inputs.set(
      func.name,
      func.args.map((arg) => take(maxBytes(module, arg.type))),
    );
    outputs.set(
      func.name,
      func.results.map((result) => take(maxBytes(module, result.type))),
    );
  }
  const ioBytes = cursor - weightBytes - stateBytes;
  const planner = new Planner(module, target, weights, states, inputs, outputs);
  const arenaBytes = [...outputs.keys()].reduce(
    (most, entry) => Math.max(most, planner.plan(entry).frameBytes),
    0,
  );
  const bytes = {
    weights: weightBytes,
    states: stateBytes,
    io: ioBytes,
    arena: arenaBytes,
    total: cursor + arenaBytes + alignment,
  };
  return { weights, states, inputs, outputs, functions: planner.plans, arena: cursor, bytes };
}

function turnsOf(module: Module, loop: string | undefined): number {
  return loop === undefined ? 1 : (module.loops.get(loop)?.indices.length ?? 0);
}

/** Instances of a looped tensor follow each other at multiples of `step` bytes. */
export function place(
  module: Module,
  bytes: number,
  loop: string | undefined,
  take: (bytes: number) => number,
  step: number,
): Placement {
  const turns = turnsOf(module, loop);
  const stride = alignUp(bytes, step);
  return { address: take(stride * turns), stride, turns, loop };
}

class Planner {
  readonly plans = new Map<string, FunctionPlan>();

  constructor(
    private readonly module: Module,
    private readonly target: MemoryTarget<Placement>,
    private readonly weights: ReadonlyMap<string, Placement>,
    private readonly states: ReadonlyMap<string, Placement>,
    private readonly inputs: ReadonlyMap<string, readonly number[]>,
    private readonly outputs: ReadonlyMap<string, readonly number[]>,
  ) {}

  /** Plans a function and, first, the functions it repeats. */
  plan(name: string): FunctionPlan {
    const known = this.plans.get(name);
    if (known !== undefined) return known;
    const func = this.module.functions.get(name) as Func;
    for (const op of func.body) if (op.name === 'repeat') this.plan(op.attrs.callee);
    const made = this.planFunction(func);
    this.plans.set(name, made);
    return made;
  }

  private planFunction(func: Func): FunctionPlan {
    const fixed = this.fixedLocations(func);
    const aliases = new Aliases(func, fixed);
    const buffers: PlannedBuffer[] = [];
    const owners: ((offset: number) => void)[] = [];
    const locations = new Map<Value, Location>(fixed);
    const privates = new Map<Op, number[]>();
    const reserve = (bytes: number, first: number, last: number, assign: (offset: number) => void): void => {
      buffers.push({ bytes, first, last });
      owners.push(assign);
    };
    func.body.forEach((op, position) => {
      for (const result of op.results) {
        if (fixed.has(result) || aliases.rootOf(result) !== result) continue;
        reserve(maxBytes(this.module, result.type), position, aliases.lastUse(result), (offset) =>
          locations.set(result, { kind: 'frame', offset }),
        );
      }
      const slots: number[] = [];
      privates.set(op, slots);
      this.privateBytes(op).forEach((bytes, i) => {
        reserve(bytes, position, position, (offset) => {
          slots[i] = offset;
        });
      });
    });
    const { offsets, bytes } = planMemory(buffers, this.target.alignment);
    owners.forEach((assign, i) => {
      assign(offsets[i] as number);
    });
    for (const op of func.body) {
      for (const result of op.results) {
        if (!locations.has(result)) locations.set(result, locations.get(aliases.rootOf(result)) as Location);
      }
    }
    return { func, locations, privates, inPlace: inPlaceCarried(this.module, func), frameBytes: bytes };
  }

  /** Values whose place does not depend on the plan. */
  private fixedLocations(func: Func): Map<Value, Location> {
    const fixed = new Map<Value, Location>();
    const [inputs, outputs] = [this.inputs.get(func.name), this.outputs.get(func.name)];
    func.args.forEach((arg, index) => {
      fixed.set(
        arg,
        inputs === undefined
          ? { kind: 'argument', index }
          : { kind: 'address', address: inputs[index] as number },
      );
    });
    for (const op of func.body) {
      if (op.name === 'param')
        fixed.set(op.results[0] as Value, locate(this.weights.get(op.attrs.name) as Placement));
      if (op.name === 'state_read' && !isUsedAfterWrite(func, op)) {
        fixed.set(op.results[0] as Value, locate(this.states.get(op.attrs.name) as Placement));
      }
    }
    for (const index of inPlaceCarried(this.module, func))
      fixed.set(func.results[index] as Value, { kind: 'argument', index });
    for (const { append, state } of inPlaceAppends(this.module, func)) {
      fixed.set(append, locate(this.states.get(state) as Placement));
    }
    func.results.forEach((result, index) => {
      const op = defOf(result);
      const computed = op?.name === 'kernel' || op?.name === 'repeat' || op?.name === 'all_reduce';
      if (!computed || fixed.has(result)) return;
      fixed.set(
        result,
        outputs === undefined
          ? { kind: 'result', index }
          : { kind: 'address', address: outputs[index] as number },
      );
      if (op.name === 'all_reduce') placeAddend(func, op, fixed);
    });
    return fixed;
  }

  private privateBytes(op: Op): number[] {
    if (op.name === 'kernel') {
      const callee = this.module.functions.get(op.attrs.callee) as Func;
      const scratch = this.target.scratchBytes(callee);
      const bytes = constantOf(scratch) === 0 ? 0 : maxOf(this.module, scratch);
      return bytes === 0 ? [] : [bytes];
    }
    if (op.name !== 'repeat') return [];
    const callee = this.plan(op.attrs.callee);
    const carried = op.operands.slice(0, op.attrs.carried);
    return [
      ...carried.map((value, i) => (callee.inPlace.has(i) ? 0 : maxBytes(this.module, value.type))),
      callee.frameBytes,
    ];
  }
}

function locate({ address, stride, loop }: Placement): Location {
  return loop === undefined ? { kind: 'address', address } : { kind: 'turn', base: address, stride };
}

/** What a sum over ranks alone reads is computed in the sum's own place, where the ranks add in place. */
function placeAddend(func: Func, { operands, results }: Op, fixed: Map<Value, Location>): void {
  const views: Value[] = [operands[0] as Value];
  for (let op = defOf(views[0] as Value); op?.name === 'reshape'; op = defOf(views[0] as Value))
    views.unshift(op.operands[0] as Value);
  const uses = countUses(func);
  if (defOf(views[0] as Value)?.name !== 'kernel') return;
  if (views.some((value) => fixed.has(value) || uses.get(value) !== 1)) return;
  for (const value of views) fixed.set(value, fixed.get(results[0] as Value) as Location);
}

/** Whether a value lies where a state or weight does. */
export function sameLocation(location: Location | undefined, placement: Placement): boolean {
  if (location?.kind === 'turn') return placement.loop !== undefined && location.base === placement.address;
  return (
    location?.kind === 'address' && placement.loop === undefined && location.address === placement.address
  );
}

/** Which value's buffer each value lies in, and how long that buffer is needed. */
class Aliases {
  private readonly roots = new Map<Value, Value>();
  private readonly last = new Map<Value, number>();

  constructor(func: Func, fixed: ReadonlyMap<Value, Location>) {
    func.body.forEach((op, position) => {
      if (op.name === 'reshape' && !fixed.has(op.results[0] as Value)) {
        this.roots.set(op.results[0] as Value, this.rootOf(op.operands[0] as Value));
      }
      for (const operand of op.operands) this.last.set(this.rootOf(operand), position);
      for (const result of op.results)
        this.last.set(this.rootOf(result), Math.max(position, this.last.get(this.rootOf(result)) ?? 0));
    });
    for (const result of func.results) this.last.set(this.rootOf(result), func.body.length);
  }

  rootOf(value: Value): Value {
    return this.roots.get(value) ?? value;
  }

  lastUse(value: Value): number {
    return this.last.get(value) ?? 0;
  }
}

/** Whether what a state held before is still needed once the state has its new value. */
function isUsedAfterWrite(func: Func, read: OpOf<'state_read'>): boolean {
  const written = func.body.findIndex((op) => op.name === 'state_write' && op.attrs.name === read.attrs.name);
  if (written < 0) return false;
  const views = new Set<Value>([read.results[0] as Value]);
  return (
    func.body.some((op, position) => {
      const uses = op.operands.some((o) => views.has(o));
      if (uses && op.name === 'reshape') views.add(op.results[0] as Value);
      return uses && position > written;
    }) || func.results.some((r) => views.has(r))
  );
}

/** The operand that a result of a call is an append to: a kernel may append beside other work. */
function appendedTo(module: Module, result: Value): Value | undefined {
  const call = defOf(result);
  if (call?.name !== 'kernel') return undefined;
  const callee = module.functions.get(call.attrs.callee);
  const made = callee?.results[call.results.indexOf(result)];
  const append = made && defOf(made);
  if (callee === undefined || append?.name !== 'cache_append') return undefined;
  return call.operands[callee.args.indexOf(append.operands[0] as Value)];
}

/** Results of a loop body that append to the argument of the same index, which nothing else reads. */
function inPlaceCarried(module: Module, func: Func): Set<number> {
  if (func.loop === undefined) return new Set();
  const uses = countUses(func);
  const inPlace = func.results.flatMap((result, index) => {
    const arg = func.args[index] as Value;
    const appends = appendedTo(module, result) === arg;
    return appends && uses.get(arg) === 1 && uses.get(result) === 1 ? [index] : [];
  });
  return new Set(inPlace);
}

/** Appends to a state that nothing else reads and whose result is the state's next value. */
function inPlaceAppends(module: Module, func: Func): { append: Value; state: string }[] {
  const uses = countUses(func);
  return func.body.flatMap((write) => {
    if (write.name !== 'state_write') return [];
    const append = write.operands[0] as Value;
    const cache = appendedTo(module, append);
    const read = cache && defOf(cache);
    const sameState = read?.name === 'state_read' && read.attrs.name === write.attrs.name;
    return sameState && uses.get(cache as Value) === 1 ? [{ append, state: write.attrs.name }] : [];
  });
}
