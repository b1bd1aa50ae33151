/**
 * Where a factor on the channels of a value goes. Ops that are homogeneous in an operand hand a factor of each channel
 * on to their result: movement, the linear side of a gate, values of attention (rows of softmax sum to 1), caches that
 * nothing else writes. A flow ends where linear layers read the channels, whose weights can undo the factor.
 */
import { staticContext } from '../../ir/materialise.js';
import { defOf, type Func, type Module, modelDims, type Op, type Value } from '../../ir/module.js';
import type { Attrs } from '../../ir/op.js';
import { type OpName, opTable } from '../../ir/ops/table.js';
import { emptyTensor, type Tensor } from '../../ir/tensor.js';
import { elementCount, evalShape, isFloat } from '../../ir/type.js';
import { symbolsOf } from '../../ir/verify.js';
import { channelsOfRow, movement } from '../quantize/channels.js';
import { Uses } from '../structure.js';

/** A linear layer that reads the channels: column i of its weight belongs to channel `channels[i]`. */
export interface Arrival {
  readonly func: string;
  readonly op: Op;
  readonly weight: string;
  readonly input: Value;
  readonly channels: Int32Array;
}

/** The channel that each element of a value is; run-time symbols and rows of caches count as 1. */
type Channels = Tensor;

/** Which operand of a linear layer is its weight, the input being the first. */
const weightAt: Readonly<Record<string, number>> = { linear: 1, grouped_linear: 2 };

/** Follows the last axis of `start` to its readers; or says what stands in the way. */
export function arrivalsOf(module: Module, func: Func, start: Value): Arrival[] | string {
  return new Flow(module, func).from(start);
}

class Flow {
  private readonly env: ReadonlyMap<string, number>;
  private readonly uses: Uses;
  private readonly marked = new Map<Value, Channels>();
  private readonly arrivals: Arrival[] = [];

  constructor(
    private readonly module: Module,
    private readonly func: Func,
  ) {
    this.env = new Map([
      ...[...symbolsOf(module, func)].map((symbol) => [symbol, 1] as const),
      ...modelDims(module),
    ]);
    this.uses = new Uses(func);
  }

  from(start: Value): Arrival[] | string {
    const shape = evalShape(start.type.shape, this.env);
    const channels = shape.at(-1) ?? 1;
    this.mark(start, {
      dtype: 'i32',
      shape,
      data: Float64Array.from({ length: elementCount(shape) }, (_, i) => i % channels),
    });
    for (const op of this.func.body) {
      const problem = this.step(op);
      if (problem !== undefined) return problem;
    }
    if (this.func.results.some((value) => this.marked.has(value))) return 'it is returned';
    return this.arrivals.length === 0 ? 'no linear layer reads it' : this.arrivals;
  }

  private mark(value: Value, channels: Channels): undefined {
    this.marked.set(value, channels);
  }

  private step(op: Op): string | undefined {
    const places = op.operands.flatMap((operand, i) => (this.marked.has(operand) ? [i] : []));
    const [at, ...others] = places;
    if (at === undefined) return undefined;
    if (others.length > 0) return `${op.name} reads it twice`;
    const channels = this.marked.get(op.operands[at] as Value) as Channels;
    if (weightAt[op.name] !== undefined && at === 0) return this.arrive(op, channels);
    if (movement.has(op.name)) return this.move(op, channels);
    const pass = passages[op.name];
    if (pass === undefined || !pass.operands.includes(at)) return `${op.name} reads it`;
    return pass.through(this, op as never, channels);
  }

  private arrive(op: Op, channels: Channels): string | undefined {
    const param = defOf(op.operands[weightAt[op.name] as number] as Value);
    if (param?.name !== 'param') return `${op.name} reads it with a weight that is computed`;
    const [input] = op.operands as [Value];
    const row = channelsOfRow({ channel: channels }, channels.shape.at(-1) ?? 1);
    if (row === undefined) return `${op.name} reads channels that differ from row to row`;
    this.arrivals.push({ func: this.func.name, op, weight: param.attrs.name, input, channels: row });
    return undefined;
  }

  private move(op: Op, channels: Channels): undefined {
    const context = staticContext(this.env);
    const moved = opTable[op.name as OpName].evaluate([channels], op.attrs as Attrs as never, context);
    op.results.forEach((result, i) => {
      this.mark(result, moved[i] as Tensor);
    });
  }

  /** The same channels in the shape of the result. */
  spread(op: Op, channels: Channels): undefined {
    const [result] = op.results as [Value];
    const context = staticContext(this.env);
    const [wide] = opTable.broadcast_to.evaluate([channels], { shape: result.type.shape }, context);
    this.mark(result, wide as Tensor);
  }

  /** Heads of values are repeated for the query heads they serve. */
  attend(op: Op, channels: Channels): string | undefined {
    const [result] = op.results as [Value];
    const [kv, width] = channels.shape.slice(-2) as [number, number];
    const row = channelsOfRow({ channel: channels }, kv * width);
    if (row === undefined) return 'attention reads channels that differ from token to token';
    const out = emptyTensor('i32', evalShape(result.type.shape, this.env));
    const heads = out.shape.at(-2) as number;
    out.data.forEach((_, i) => {
      const head = Math.floor(i / width) % heads;
      out.data[i] = row[Math.floor((head * kv) / heads) * width + (i % width)] as number;
    });
    return this.mark(result, out);
  }

  /** Rows appended to a state that nothing else writes: all of its rows have the factor then. */
  append(op: Op, channels: Channels): string | undefined {
    const [result] = op.results as [Value];
    const read = defOf(op.operands[0] as Value);
    if (read?.name !== 'state_read') return 'it is appended to a value that is no state';
    const { name } = read.attrs;
    const isAlone = [...this.module.functions.values()].every((func) =>
      func.body.every((other) => !touches(other, name) || appendsOnly(func, other)),
    );
    const row = channelsOfRow({ channel: channels }, elementCount(channels.shape.slice(1)));
    if (!isAlone || row === undefined) return `state ${name} is also used elsewhere`;
    return this.mark(result, {
      dtype: 'i32',
      shape: [1, ...channels.shape.slice(1)],
      data: Float64Array.from(row),
    });
  }

  keep(op: Op): string | undefined {
    const { name } = op.attrs as { readonly name: string };
    const appended = defOf(op.operands[0] as Value);
    const read = appended?.name === 'cache_append' ? defOf(appended.operands[0] as Value) : undefined;
    const isOwn =
      read?.name === 'state_read' &&
      read.attrs.name === name &&
      this.uses.of(read.results[0] as Value).length === 1;
    return isOwn ? undefined : `state ${name} keeps it`;
  }
}

/** Whether an op reads or writes a state. */
const touches = (op: Op, state: string): boolean =>
  (op.name === 'state_read' || op.name === 'state_write') && op.attrs.name === state;

/** A read that only an append sees, or a write of such an append's result. */
function appendsOnly(func: Func, op: Op): boolean {
  const uses = new Uses(func);
  if (op.name === 'state_read') return uses.sole(op.results[0] as Value)?.name === 'cache_append';
  return defOf(op.operands[0] as Value)?.name === 'cache_append';
}

interface Passage {
  /** The operands in which the op is homogeneous. */
  readonly operands: readonly number[];
  through(flow: Flow, op: Op, channels: Channels): string | undefined;
}

const passages: Readonly<Record<string, Passage>> = {
  mul: { operands: [0, 1], through: (flow, op, channels) => flow.spread(op, channels) },
  // silu(a) · b
  swiglu: { operands: [1], through: (flow, op, channels) => flow.spread(op, channels) },
  cast: {
    operands: [0],
    through: (flow, op, channels) =>
      isFloat((op.results[0] as Value).type.dtype) ? flow.spread(op, channels) : 'it is cast to integers',
  },
  attention: { operands: [2], through: (flow, op, channels) => flow.attend(op, channels) },
  cache_append: { operands: [1], through: (flow, op, channels) => flow.append(op, channels) },
  state_write: { operands: [0], through: (flow, op) => flow.keep(op) },
};
