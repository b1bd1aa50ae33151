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
import { defOf, type Func, type Module, type OpOf, type Value } from '../../ir/module.js';
import { paramOf, type Stream } from '../structure.js';

/** A linear layer y = W x (+ b) whose weight [out, in] is a parameter. */
export interface Layer {
  readonly weight: string;
  readonly matrix: Value;
  readonly input: Value;
  readonly output: Value;
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

function writersOf(branch: Value): Pick<Sublayer, 'norm' | 'isGated' | 'sum' | 'writers'> {
  const op = defOf(branch);
  if (op?.name === 'rms_norm') {
    const sum = op.operands[0] as Value;
    const gamma = paramOf(op.operands[1]);
    const norm =
      gamma === undefined ? undefined : { gamma, gain: op.operands[1] as Value, eps: op.attrs.eps };
    return { norm, isGated: false, sum, writers: norm === undefined ? [] : terms(sum) };
  }
  const inner = op?.name === 'mul' ? op.operands.find((operand) => terms(operand).length > 0) : undefined;
  const sum = inner ?? branch;
  return { norm: undefined, isGated: inner !== undefined, sum, writers: terms(sum) };
}

function terms(value: Value): Layer[] {
  const op = defOf(value);
  if (op?.name === 'add') return op.operands.flatMap(terms);
  const layer = layerMaking(value);
  return layer === undefined ? [] : [layer];
}

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
