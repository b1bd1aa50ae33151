/**
 * What a graph is, found by its shape alone: streams, norms, attention, feed-forward layers and routers. No pass knows
 * a model by name; it asks here. What looks like one of these but is not understood is reported in `skipped`.
 *
 *   stream        the value a loop carries, to which branches are added:  h ← h + branch
 *   pre-norm      a norm that reads the stream; `final` when it stands outside the loop
 *   post-norm     a norm whose result is a branch of the stream (sandwich norm)
 *   attention     an `attention` op, with the linear layers that make q, k, v and the one that reads its result
 *   feed-forward  a product of activations that a linear layer reads; its last axis ranges over neurons
 *   router        the linear layer whose result `moe_route` reads, or a softmax that weighs experts
 */
import { type Dim, nameOf } from '../ir/dim.js';
import {
  calleesOf,
  defOf,
  dimRange,
  entriesOf,
  type Func,
  type Module,
  type Op,
  type OpOf,
  type Value,
} from '../ir/module.js';
import { isFloat } from '../ir/type.js';
import { symbolsOf } from '../ir/verify.js';

/** A linear layer of any kind: `weight` and `bias` name parameters. */
export interface Projection {
  readonly op: Op;
  readonly weight: string;
  readonly bias?: string | undefined;
  readonly input: Value;
  /** With the bias added. */
  readonly output: Value;
}

export type NormRole = 'pre' | 'post' | 'final' | 'side';

export interface Norm {
  readonly func: string;
  readonly loop: string | undefined;
  readonly kind: 'rms_norm' | 'layer_norm';
  readonly role: NormRole;
  readonly op: OpOf<'rms_norm'> | OpOf<'layer_norm'>;
  readonly input: Value;
  readonly result: Value;
  readonly gamma: string | undefined;
  readonly eps: number;
}

export interface Attention {
  readonly func: string;
  readonly loop: string | undefined;
  readonly op: OpOf<'attention'>;
  /** Dimension names of query heads and of key/value heads. */
  readonly heads: string;
  readonly kv: string;
  readonly q: Projection;
  readonly k: Projection;
  readonly v: Projection;
  readonly o: Projection;
  /** The value `o` reads, with an axis of heads: [.., heads, hd]. */
  readonly result: Value;
}

export interface FeedForward {
  readonly func: string;
  readonly loop: string | undefined;
  /** Dimension name of the neurons. */
  readonly neurons: string;
  /** The activations that `writer` reads: [.., neurons]. */
  readonly product: Value;
  readonly writer: Projection;
}

export interface Router {
  readonly func: string;
  readonly loop: string | undefined;
  readonly experts: string;
  readonly groups: number;
  readonly logits: Value;
}

/** The residual stream of one loop body. */
export interface Stream {
  readonly func: string;
  readonly loop: string;
  /** Dimension name of the channels, when they have one. */
  readonly channels: string | undefined;
  readonly input: Value;
  readonly output: Value;
  /** What is added, in order. */
  readonly branches: readonly Value[];
}

export interface Structure {
  readonly module: Module;
  readonly streams: readonly Stream[];
  readonly norms: readonly Norm[];
  readonly attentions: readonly Attention[];
  readonly feedForwards: readonly FeedForward[];
  readonly routers: readonly Router[];
  /** What was not understood, in words. */
  readonly skipped: readonly string[];
}

const known = new WeakMap<Module, Structure>();

export function structureOf(module: Module): Structure {
  const found = known.get(module) ?? analyse(module);
  known.set(module, found);
  return found;
}

/** The parts of a structure that lie in functions an entry reaches. */
export function reachedFrom(structure: Structure, entry: Func): Structure {
  const names = reachableFunctions(structure.module, entry);
  const here = <T extends { readonly func: string }>(list: readonly T[]): T[] =>
    list.filter(({ func }) => names.has(func));
  return {
    ...structure,
    streams: here(structure.streams),
    norms: here(structure.norms),
    attentions: here(structure.attentions),
    feedForwards: here(structure.feedForwards),
    routers: here(structure.routers),
  };
}

/** Names of the functions that an entry calls, and its own. */
export function reachableFunctions(module: Module, entry: Func): Set<string> {
  const names = new Set<string>();
  const visit = (func: Func): void => {
    if (names.has(func.name)) return;
    names.add(func.name);
    for (const op of func.body)
      for (const callee of calleesOf(op)) visit(module.functions.get(callee) as Func);
  };
  visit(entry);
  return names;
}

/** The entry that statistics are taken from: the one that reads most rows in a call, the first of equals. */
export function observedEntry(module: Module): Func | undefined {
  const most = (entry: Func): number =>
    Math.max(1, ...[...symbolsOf(module, entry)].map((name) => dimRange(module, name).max));
  return entriesOf(module).toSorted((a, b) => most(b) - most(a))[0];
}

/** The structure as far as the observed entry reaches. */
export function observedStructure(module: Module): Structure {
  const entry = observedEntry(module);
  const structure = structureOf(module);
  return entry === undefined ? structure : reachedFrom(structure, entry);
}

function analyse(module: Module): Structure {
  const skipped: string[] = [];
  const streams = [...module.functions.values()].flatMap(streamsIn);
  const parts = [...module.functions.values()].map((func) => new FunctionAnalysis(func, streams, skipped));
  return {
    module,
    streams,
    norms: parts.flatMap((part) => part.norms()),
    attentions: parts.flatMap((part) => part.attentions()),
    feedForwards: parts.flatMap((part) => part.feedForwards()),
    routers: parts.flatMap((part) => part.routers()),
    skipped,
  };
}

function streamsIn(func: Func): Stream[] {
  const { loop } = func;
  if (loop === undefined) return [];
  return func.results.flatMap((output, i) => {
    const input = func.args[i] as Value;
    const branches = branchesBetween(input, output);
    if (!isFloat(output.type.dtype) || output.type.shape.length < 2 || branches.length === 0) return [];
    return [
      { func: func.name, loop, channels: nameOf(output.type.shape.at(-1) as Dim), input, output, branches },
    ];
  });
}

/** The values added on the way from `input` to `output` by a chain of `add`; none when there is no such chain. */
function branchesBetween(input: Value, output: Value): Value[] {
  const branches: Value[] = [];
  for (let value = output; value !== input; ) {
    const op = defOf(value);
    if (op?.name !== 'add') return [];
    const [a, b] = op.operands as [Value, Value];
    const onward = leadsTo(a, input) ? a : b;
    branches.unshift(onward === a ? b : a);
    value = onward;
  }
  return branches;
}

/** Whether adds alone lead from `value` back to `input`. */
function leadsTo(value: Value, input: Value): boolean {
  if (value === input) return true;
  const op = defOf(value);
  return op?.name === 'add' && op.operands.some((operand) => leadsTo(operand, input));
}

/** Name of the parameter that a value is, through casts and transpositions. */
export function paramOf(value: Value | undefined): string | undefined {
  const op = value === undefined ? undefined : defOf(value);
  if (op?.name === 'param') return op.attrs.name;
  return op?.name === 'cast' || op?.name === 'transpose' ? paramOf(op.operands[0]) : undefined;
}

/** Which operand of a linear layer is its weight. */
const weightOperand: Readonly<Record<string, number>> = { linear: 1, matmul: 1, grouped_linear: 2 };

/** The linear layer that makes a value, its bias added by itself or by an `add`. */
export function projectionMaking(value: Value): Projection | undefined {
  const op = defOf(value);
  if (op === undefined) return undefined;
  const at = weightOperand[op.name];
  if (at !== undefined) {
    const weight = paramOf(op.operands[at]);
    const bias = op.name === 'linear' ? paramOf(op.operands[2]) : undefined;
    return weight === undefined
      ? undefined
      : { op, weight, bias, input: op.operands[0] as Value, output: value };
  }
  if (op.name !== 'add') return undefined;
  for (const [linear, vector] of [op.operands, op.operands.toReversed()] as [Value, Value][]) {
    const bias = vector.type.shape.length === 1 ? paramOf(vector) : undefined;
    const inner = bias === undefined ? undefined : projectionMaking(linear);
    if (inner !== undefined && inner.bias === undefined) return { ...inner, bias, output: value };
  }
  return undefined;
}

/** Ops that q, k and v pass on their way from a linear layer to attention, and the operand they pass by. */
const passedBy: Readonly<Record<string, number>> = {
  rope: 0,
  reshape: 0,
  slice: 0,
  transpose: 0,
  cast: 0,
  cache_append: 1,
  rms_norm: 0,
};

/** Ops of one operand that make activations. */
const activations: ReadonlySet<string> = new Set([
  'relu',
  'silu',
  'gelu',
  'gelu_tanh',
  'quick_gelu',
  'sigmoid',
  'tanh',
]);

/** How the values of one function are used. */
export class Uses {
  private readonly readers = new Map<Value, Op[]>();
  private readonly results: ReadonlySet<Value>;

  constructor(func: Func) {
    this.results = new Set(func.results);
    for (const op of func.body) {
      for (const operand of op.operands)
        this.readers.set(operand, [...(this.readers.get(operand) ?? []), op]);
    }
  }

  of(value: Value): readonly Op[] {
    return this.readers.get(value) ?? [];
  }

  /** The op that alone reads a value. */
  sole(value: Value): Op | undefined {
    const readers = this.of(value);
    return readers.length === 1 && !this.results.has(value) ? readers[0] : undefined;
  }
}

class FunctionAnalysis {
  private readonly uses: Uses;
  private readonly streamValues = new Set<Value>();
  private readonly branches = new Set<Value>();

  constructor(
    private readonly func: Func,
    private readonly streams: readonly Stream[],
    private readonly skipped: string[],
  ) {
    this.uses = new Uses(func);
    for (const stream of streams.filter((s) => s.func === func.name)) {
      this.streamValues.add(stream.input);
      for (const branch of stream.branches) {
        this.branches.add(branch);
        for (const op of this.uses.of(branch))
          if (op.name === 'add') this.streamValues.add(op.results[0] as Value);
      }
    }
  }

  norms(): Norm[] {
    return this.func.body.flatMap((op) => {
      if (op.name !== 'rms_norm' && op.name !== 'layer_norm') return [];
      const [input] = op.operands as [Value];
      const [result] = op.results as [Value];
      const gamma = paramOf(op.operands[1]);
      const role = this.roleOf(input, result);
      const { name: func, loop } = this.func;
      return [{ func, loop, kind: op.name, role, op, input, result, gamma, eps: op.attrs.eps }];
    });
  }

  private roleOf(input: Value, result: Value): NormRole {
    if (this.branches.has(result)) return 'post';
    if (this.streamValues.has(input)) return 'pre';
    return defOf(input)?.name === 'repeat' ? 'final' : 'side';
  }

  attentions(): Attention[] {
    return this.func.body.flatMap((op) => {
      if (op.name !== 'attention') return [];
      const found = this.attention(op);
      if (typeof found !== 'string') return [found];
      this.skipped.push(`an attention of @${this.func.name}: ${found}`);
      return [];
    });
  }

  private attention(op: OpOf<'attention'>): Attention | string {
    const [q, k, v] = op.operands.slice(0, 3).map((value) => projectionBehind(value));
    const [query, key] = op.operands as [Value, Value];
    const heads = nameOf(query.type.shape.at(-2) as Dim);
    const kv = nameOf(key.type.shape.at(-2) as Dim);
    const [result] = op.results as [Value];
    const o = this.readerOf(result);
    if (q === undefined || k === undefined || v === undefined)
      return 'q, k or v is not made by a linear layer';
    if (o === undefined) return 'its result is not read by one linear layer alone';
    if (heads === undefined || kv === undefined) return 'its heads are not a named dimension';
    return { func: this.func.name, loop: this.func.loop, op, heads, kv, q, k, v, o, result };
  }

  /** The linear layer that alone reads a value, through reshapes. */
  private readerOf(value: Value): Projection | undefined {
    const op = this.uses.sole(value);
    if (op?.name === 'reshape') return this.readerOf(op.results[0] as Value);
    if (op?.name !== 'linear' || op.operands[0] !== value) return undefined;
    const [result] = op.results as [Value];
    const added = this.uses.sole(result);
    const biased = added?.name === 'add' ? projectionMaking(added.results[0] as Value) : undefined;
    return biased?.op === op ? biased : projectionMaking(result);
  }

  feedForwards(): FeedForward[] {
    return this.func.body.flatMap((op) => {
      if (weightOperand[op.name] === undefined) return [];
      const [product] = op.operands as [Value];
      if (!isActivation(product)) return [];
      const writer = projectionMaking(op.results[0] as Value);
      const neurons = nameOf(product.type.shape.at(-1) as Dim);
      const isChannels = this.streams.some(({ channels }) => channels === neurons);
      if (writer === undefined || neurons === undefined || isChannels) return [];
      return [
        { func: this.func.name, loop: this.func.loop, neurons, product, writer: this.withBias(writer) },
      ];
    });
  }

  private withBias(projection: Projection): Projection {
    const added = this.uses.sole(projection.output);
    const biased = added?.name === 'add' ? projectionMaking(added.results[0] as Value) : undefined;
    return biased?.op === projection.op ? biased : projection;
  }

  routers(): Router[] {
    return this.func.body.flatMap((op) => {
      const groups = routingGroups(op);
      if (groups === undefined) return [];
      const [logits] = op.operands as [Value];
      const { name: func, loop } = this.func;
      const experts = nameOf(logits.type.shape.at(-1) as Dim);
      if (experts !== undefined) return [{ func, loop, experts, groups, logits }];
      this.skipped.push(`a ${op.name} of @${func}: its experts are not a named dimension`);
      return [];
    });
  }
}

/** In how many groups an op ranks experts: `moe_route`, or a softmax of what a linear layer in the graph says of them. */
function routingGroups(op: Op): number | undefined {
  if (op.name === 'moe_route') return op.attrs.num_groups;
  const isGate = op.name === 'softmax' && op.operands.some((x) => projectionMaking(x) !== undefined);
  return isGate ? 1 : undefined;
}

/** The linear layer behind q, k or v. */
function projectionBehind(value: Value | undefined): Projection | undefined {
  if (value === undefined) return undefined;
  const direct = projectionMaking(value);
  const op = defOf(value);
  const at = op === undefined ? undefined : passedBy[op.name];
  return direct ?? (at === undefined ? undefined : projectionBehind(op?.operands[at]));
}

/** swiglu(a, b), an activation, or the product of one with anything. */
function isActivation(value: Value): boolean {
  const op = defOf(value);
  if (op === undefined) return false;
  if (op.name === 'swiglu' || activations.has(op.name)) return true;
  return op.name === 'mul' && op.operands.some((operand) => activations.has(defOf(operand)?.name ?? ''));
}
