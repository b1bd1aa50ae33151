/**
 * Segments: a stretch of a model as a module of its own, so that a model of any depth can be run part by part with the
 * weights of one layer in memory. A segment is one straight-line entry. It takes the inputs of the model's entry, and
 * values at which the stretch is cut open; it gives any values of the entry or of one turn of a loop.
 *
 * States are zero at the start of every call and nothing is written to them: calls are windows of their own.
 */
import { copyOp, FuncBuilder, moduleScope } from '../../ir/builder.js';
import { fail } from '../../ir/diagnostics.js';
import { calleesOf, defOf, type Func, type Module, type OpOf, type Value } from '../../ir/module.js';
import type { TensorType } from '../../ir/type.js';
import { recipeAt } from '../recipes.js';
import type { Stream } from '../structure.js';
import { chosen, type Flag } from './sublayers.js';

/** Where a segment lies: in an entry and, with `turn`, in one turn of the loop whose stream it is. */
export interface Place {
  readonly module: Module;
  readonly entry: Func;
  readonly stream: Stream;
  readonly turn?: number;
}

export const segmentEntry = 'segment';

/** The op of an entry that repeats the function of a stream. */
export function repeatOf({ entry, stream }: Place): OpOf<'repeat'> {
  const found = entry.body.find(
    (op): op is OpOf<'repeat'> => op.name === 'repeat' && op.attrs.callee === stream.func,
  );
  return found ?? fail('HEW6010', `entry ${entry.name} does not repeat @${stream.func} itself`);
}

/** The stream before the first turn and behind the last one, as values of the entry. */
export function streamEnds(place: Place): { readonly first: Value; readonly last: Value } {
  const repeat = repeatOf(place);
  const { args, results } = place.module.functions.get(place.stream.func) as Func;
  return {
    first: repeat.operands[args.indexOf(place.stream.input)] as Value,
    last: repeat.results[results.indexOf(place.stream.output)] as Value,
  };
}

export class Segment {
  readonly builder: FuncBuilder;
  private readonly module: Module;
  private readonly placed = new Map<Value, Value>();

  constructor(
    private readonly place: Place,
    private readonly flag: Flag,
  ) {
    this.module = turnOf(place);
    this.builder = new FuncBuilder(segmentEntry, moduleScope(this.module), { outputs: [] });
    for (const arg of place.entry.args) this.placed.set(arg, this.builder.arg(arg.type, arg.name));
  }

  /** A further input of the segment. */
  input(name: string, type: TensorType): Value {
    return this.builder.arg(type, name);
  }

  /** Cuts the stretch open: an input of this name stands for a value from here on. */
  cut(value: Value, name: string): Value {
    const input = this.input(name, value.type);
    this.placed.set(value, input);
    return input;
  }

  /** A value of the model inside the segment, computed from its inputs and from what was cut open. */
  get(value: Value): Value {
    const known = this.placed.get(value);
    if (known !== undefined) return known;
    const side = chosen(value, this.flag);
    if (side !== value) return this.get(side);
    const op = defOf(value);
    if (op === undefined) {
      const outer = this.get(this.argument(value));
      this.placed.set(value, outer);
      return outer;
    }
    if (calleesOf(op).length > 0)
      fail('HEW6010', `a part of the model cannot be run without the ${op.name} in front of it`);
    const copy = copyOp(
      this.builder.scope,
      op,
      op.operands.map((operand) => this.get(operand)),
    );
    this.builder.append(copy);
    op.results.forEach((result, i) => {
      this.placed.set(result, copy.results[i] as Value);
    });
    return this.placed.get(value) as Value;
  }

  /** What an argument of the loop's function is outside of the loop. */
  private argument(value: Value): Value {
    const repeat = repeatOf(this.place);
    const at = this.module.functions.get(this.place.stream.func)?.args.indexOf(value) ?? -1;
    if (at < repeat.attrs.carried) {
      fail(
        'HEW6010',
        `@${this.place.stream.func} needs more of earlier turns or sub-layers than the residual stream`,
      );
    }
    return repeat.operands[at] as Value;
  }

  /** The module of the segment with these outputs. */
  finish(outputs: Readonly<Record<string, Value>> = {}): Module {
    const { name, dims } = this.module;
    const func: Func = { ...this.builder.finish(Object.values(outputs)), outputs: Object.keys(outputs) };
    const named = (kind: 'param' | 'state_read'): Set<string> =>
      new Set(func.body.flatMap((op) => (op.name === kind ? [(op as OpOf<'param'>).attrs.name] : [])));
    const [params, states] = [named('param'), named('state_read')];
    return {
      name,
      dims,
      loops: new Map(),
      params: new Map([...this.module.params].filter(([param]) => params.has(param))),
      states: new Map([...this.module.states].filter(([state]) => states.has(state))),
      functions: new Map([[func.name, func]]),
    };
  }
}

/** The module with the parameters and states of one turn in place of the loop's. */
function turnOf({ module, stream, turn }: Place): Module {
  const index = turn === undefined ? undefined : module.loops.get(stream.loop)?.indices[turn];
  if (turn === undefined || index === undefined) return module;
  const params = [...module.params].map(([name, param]) => {
    if (param.loop !== stream.loop) return [name, param] as const;
    return [name, { type: param.type, recipe: recipeAt(param, turn, index) }] as const;
  });
  const states = [...module.states].map(
    ([name, state]) => [name, state.loop === stream.loop ? { type: state.type } : state] as const,
  );
  return { ...module, params: new Map(params), states: new Map(states) };
}
