/**
 * Sub-layers of one turn: h ← h + branch, with the linear layers that write the branch and those that read the stream
 * for it.
 *
 *   branch = W x + rest                      a plain writer
 *   branch = γ ⊙ u / rms(u), u = W x + rest  a norm stands behind the writer (sandwich norm)
 *   branch = α ⊙ (W x + rest)                a gate that depends on the data stands behind it (adaLN of a DiT)
 *
 * A `where` whose condition is a weight, as partial absorption makes it, is one of its sides in every turn.
 */
import { constantOf, type Dim } from '../../ir/dim.js';
import { defOf, type Func, type Module, type OpOf, type Value } from '../../ir/module.js';
import { paramOf, type Stream } from '../structure.js';

/** A linear layer y = W x (+ b) whose weight [out, in] is a parameter. */
export interface Layer {
  readonly weight: string;
  readonly matrix: Value;
  readonly input: Value;
  readonly output: Value;
}

/** Experts that a router chooses from: Σ_k s_k W[index_k] x_k, W [experts, out, in] being a parameter. */
export interface ExpertLayer {
  readonly weight: string;
  readonly matrix: Value;
  /** [T, K, in] */
  readonly input: Value;
  /** [T, K] */
  readonly index: Value;
  /** [T, K, 1] */
  readonly scores: Value;
  /** Equal contiguous groups of experts in each of which a token has one expert; undefined without such groups. */
  readonly groups: number | undefined;
}

export interface PostNorm {
  readonly gamma: string;
  readonly gain: Value;
  readonly eps: number;
}

export interface Sublayer {
  /** The stream before and behind it. */
  readonly before: Value;
  readonly after: Value;
  readonly norm: PostNorm | undefined;
  readonly isGated: boolean;
  /** What the norm or the gate reads; the branch itself without one. */
  readonly sum: Value;
  /** Linear layers whose outputs are terms of `sum`. */
  readonly writers: readonly Layer[];
  /** Layers of routed experts whose outputs are terms of `sum`. */
  readonly experts: readonly ExpertLayer[];
  /** Linear layers that read the normed stream, by the value they read. */
  readonly readers: ReadonlyMap<Value, readonly Layer[]>;
}

/** The value of a boolean weight in the turn in question. */
export type Flag = (param: string) => boolean;

/** Throws nothing: a sub-layer that is not understood has no writers. */
export function sublayersOf(module: Module, stream: Stream, flag: Flag): Sublayer[] {
  const func = module.functions.get(stream.func) as Func;
  let before = stream.input;
  return stream.branches.map((branch) => {
    const add = func.body.find(
      ({ name, operands }) => name === 'add' && operands.includes(branch) && operands.includes(before),
    );
    const after = add?.results[0] as Value;
    const sublayer = { before, after, ...writersOf(chosen(branch, flag)), readers: readersOf(func, before) };
    before = after;
    return sublayer;
  });
}

/** The side that a `where` on a boolean weight takes. */
export function chosen(value: Value, flag: Flag): Value {
  const op = defOf(value);
  if (op?.name !== 'where') return value;
  const [condition, yes, no] = op.operands as [Value, Value, Value];
  const param = paramOf(condition);
  return param === undefined ? value : chosen(flag(param) ? yes : no, flag);
}

function writersOf(branch: Value): Pick<Sublayer, 'norm' | 'isGated' | 'sum' | 'writers' | 'experts'> {
  const op = defOf(branch);
  const terms = (sum: Value): Pick<Sublayer, 'sum' | 'writers' | 'experts'> => ({
    sum,
    writers: termsOf(sum).flatMap((term) => layerMaking(term) ?? []),
    experts: termsOf(sum).flatMap((term) => expertsMaking(term) ?? []),
  });
  if (op?.name === 'rms_norm') {
    const sum = op.operands[0] as Value;
    const gamma = paramOf(op.operands[1]);
    if (gamma === undefined) return { norm: undefined, isGated: false, sum, writers: [], experts: [] };
    const norm = { gamma, gain: op.operands[1] as Value, eps: op.attrs.eps };
    return { norm, isGated: false, ...terms(sum) };
  }
  const isWritten = (value: Value): boolean => termsOf(value).some((term) => layerMaking(term) !== undefined);
  const inner = op?.name === 'mul' ? op.operands.find(isWritten) : undefined;
  return { norm: undefined, isGated: inner !== undefined, ...terms(inner ?? branch) };
}

/** The values whose sum a value is. */
function termsOf(value: Value): Value[] {
  const op = defOf(value);
  return op?.name === 'add' ? op.operands.flatMap(termsOf) : [value];
}

function expertsMaking(value: Value): ExpertLayer | undefined {
  const sum = defOf(value);
  const weighted = sum?.name === 'reduce_sum' ? defOf(sum.operands[0] as Value) : undefined;
  if (sum?.name !== 'reduce_sum' || weighted?.name !== 'mul') return undefined;
  if (sum.attrs.keepdims || sum.attrs.axes.length !== 1 || sum.attrs.axes[0] !== 1) return undefined;
  const linear = weighted.operands.map(defOf).find((op) => op?.name === 'grouped_linear');
  if (linear === undefined) return undefined;
  const [input, index, matrix] = linear.operands as [Value, Value, Value];
  const weight = isTransposed(matrix) ? undefined : paramOf(matrix);
  const scores = weighted.operands.find((operand) => defOf(operand) !== linear);
  const isPlain = input.type.shape.length === 3 && scores?.type.shape.length === 3;
  if (weight === undefined || scores === undefined || !isPlain || !isFactor(scores)) return undefined;
  const route = defOf(index);
  const isExclusive = route?.name === 'moe_route' && route.attrs.topk_per_group === 1;
  return { weight, matrix, input, index, scores, groups: isExclusive ? route.attrs.num_groups : undefined };
}

/** Whether a value is the same for all channels. */
const isFactor = (value: Value): boolean => constantOf(value.type.shape.at(-1) as Dim) === 1;

function layerMaking(value: Value): Layer | undefined {
  const op = defOf(value);
  if (op?.name !== 'linear') return undefined;
  const [input, matrix] = op.operands as [Value, Value];
  const weight = isTransposed(matrix) ? undefined : paramOf(matrix);
  return weight === undefined ? undefined : { weight, matrix, input, output: value };
}

function isTransposed(value: Value): boolean {
  const op = defOf(value);
  return op?.name === 'transpose' || (op?.name === 'cast' && isTransposed(op.operands[0] as Value));
}

/** Linear layers without biases that read an RMSNorm of a value of the stream. */
export function readersOf(func: Func, streamed: Value): Map<Value, Layer[]> {
  const norms = func.body.filter(
    (op): op is OpOf<'rms_norm'> => op.name === 'rms_norm' && op.operands[0] === streamed,
  );
  const normed = new Set(norms.map((op) => op.results[0] as Value));
  const layers = func.body.flatMap((op) => {
    const layer =
      op.operands.length === 2 && op.results[0] !== undefined ? layerMaking(op.results[0]) : undefined;
    return layer !== undefined && normed.has(layer.input) ? [layer] : [];
  });
  return Map.groupBy(layers, ({ input }) => input);
}
