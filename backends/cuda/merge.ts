/**
 * Merges kernels that fusion leaves apart because other targets cannot run them as one: conversions go into the rotation
 * they surround; two linear layers of one input whose results meet element by element, such as gate and up of SwiGLU,
 * become one kernel with two sums; parts of a tensor are read where they lie; where a token is decoded, products of one input become one launch, norms go into the
 * products that read them, and rotations and appends into attention. Rows of caches of bytes are quantized by the append.
 */
import { constantOf, type Dim, dimsEqual, evalDim } from '../../ir/dim.js';
import {
  countUses,
  defOf,
  type Func,
  type Module,
  modelDims,
  type Op,
  type OpOf,
  type Value,
  withFunctions,
} from '../../ir/module.js';
import type { OpName } from '../../ir/ops/table.js';
import type { TensorType } from '../../ir/type.js';
import { resolver, rootOf } from '../kernel-function.js';
import { isUnconditional } from './emit/expression.js';
import { fewRows, makesOwnRows } from './few-rows.js';
import { type Call, inlineCalls, replaceCalls } from './inline.js';
import { appendCalls } from './merge-append.js';
import { decodeCalls } from './merge-attention.js';

export function mergeKernels(module: Module): Module {
  const merger = new Merger(module);
  const callers = [...module.functions.values()].map((func) =>
    func.kernel === undefined ? merger.function(func) : func,
  );
  return withFunctions(module, [...merger.added, ...callers]);
}

class Merger {
  readonly added: Func[] = [];
  private readonly known = new Map<string, Func>();
  private readonly resolve: (value: Dim) => Dim;

  constructor(private readonly module: Module) {
    this.resolve = resolver(modelDims(module));
  }

  function(func: Func): Func {
    return this.appends(this.attention(this.pairs(this.siblings(this.pairs(func)))));
  }

  /** Merges kernels with the one kernel that reads them, until nothing is left to merge. */
  private pairs(func: Func): Func {
    const uses = countUses(func);
    for (const consumer of func.body) {
      if (consumer.name !== 'kernel') continue;
      for (const operand of consumer.operands) {
        const producer = defOf(operand);
        if (producer?.name !== 'kernel' || producer.results.length !== 1) continue;
        const calls = [producer, consumer].map((op) => this.call(op)) as [Call, Call];
        const alone = uses.get(operand) === 1;
        const kernel =
          this.partOf(...calls, operand) ?? (alone ? this.classOf(...calls, operand) : undefined);
        if (kernel === undefined) continue;
        const stems = calls.map(({ callee }) => callee.name.replace(/\.\d+m?$/, '')).join('_');
        const kept = alone ? [] : [producer];
        return this.pairs(this.replaced(func, calls, consumer.results, stems, kernel, kept));
      }
    }
    return func;
  }

  /** Products of few rows of one input become one launch: each alone is too small to fill a GPU. */
  private siblings(func: Func): Func {
    const products = func.body.flatMap((op) => (op.name === 'kernel' ? [this.call(op)] : []));
    const plain = products.filter(({ callee }) => this.isPlainProduct(callee));
    const groups = Map.groupBy(plain, ({ op, callee }) => {
      const [x] = (linearOf(callee) as OpOf<'linear'>).operands;
      return op.operands[callee.args.indexOf(x as Value)];
    });
    const group = [...groups.values()].find((calls) => calls.length > 1);
    if (group === undefined) return func;
    const results = group.flatMap(({ op }) => op.results);
    return this.siblings(this.replaced(func, group, results, 'linears', 'matmul'));
  }

  /** A linear layer of few rows without an epilogue. */
  private isPlainProduct(func: Func): boolean {
    const linear = linearOf(func);
    if (linear === undefined || func.results[0] !== linear.results[0]) return false;
    const others = func.body.filter((op) => op !== linear);
    return others.every(({ name }) => name === 'dequantize') && fewRows(linear, this.resolve) !== undefined;
  }

  private attention(func: Func): Func {
    const found = decodeCalls(this.module, func, (op) => this.call(op).callee);
    if (found === undefined) return func;
    return this.attention(this.replaced(func, found.calls, found.results, 'decode_attention', 'attention'));
  }

  private appends(func: Func): Func {
    const found = appendCalls(func, (op) => this.call(op).callee);
    if (found === undefined) return func;
    return this.appends(this.replaced(func, found.calls, found.results, 'quantized_append', 'append'));
  }

  private call(op: OpOf<'kernel'>): Call {
    const name = op.attrs.callee;
    const callee = this.module.functions.get(name) ?? (this.added.find((f) => f.name === name) as Func);
    return { op, callee };
  }

  /** The caller with one call in place of several; equal merged kernels are one. */
  private replaced(
    func: Func,
    calls: readonly Call[],
    results: readonly Value[],
    stem: string,
    kernel: string,
    kept: readonly Op[] = [],
  ): Func {
    const values = [...new Set(calls.flatMap(({ op }) => [...op.operands, ...op.results]))];
    const pattern = [...calls.flatMap(({ op }) => op.operands), ...results].map((o) => values.indexOf(o));
    const key = `${calls.map(({ callee }) => callee.name).join(' ')} ${pattern.join()}`;
    const known = this.known.get(key);
    const name = `${stem}.${this.added.length + 1}m`;
    const callee = known ?? inlineCalls(this.module, name, kernel, calls, results);
    if (known === undefined) {
      this.known.set(key, callee);
      this.added.push(callee);
    }
    return replaceCalls(func, calls, callee.name, results, kept);
  }

  /**
   * The class of the second kernel, where the first makes little that it can as well make for itself: what rows or columns
   * of its result share, such as the scales of groups of timesteps. Others may read it too.
   */
  private partOf(first: Call, second: Call, value: Value): string | undefined {
    const arg = second.callee.args[second.op.operands.indexOf(value)] as Value;
    const { kernel } = second.callee;
    const hosts = kernel === 'row' || kernel === 'matmul' || kernel === 'pointwise';
    if (!hosts || first.callee.kernel !== 'pointwise' || !isUnconditional(second.callee)) return undefined;
    const isSmall = evaluatesOncePerRow(arg.type, (second.callee.results[0] as Value).type);
    const isRead = kernel === 'pointwise' || !rootOf(second.callee).operands.includes(arg);
    const isCheap = first.callee.body.every(({ name }) => cheapOps.has(name) || name === 'gather');
    return isSmall && isRead && isCheap ? kernel : undefined;
  }

  /** The class of the merged kernel, or undefined where two kernels stay apart. */
  private classOf(first: Call, second: Call, value: Value): string | undefined {
    const arg = second.callee.args[second.op.operands.indexOf(value)] as Value;
    if (isCast(first.callee) && second.callee.kernel === 'rope') {
      const root = second.callee.body.find((op) => op.name === 'rope');
      return root?.operands[0] === arg ? 'rope' : undefined;
    }
    if (first.callee.kernel === 'rope' && isCast(second.callee)) return 'rope';
    if (first.callee.kernel === 'pointwise' && this.readsView(first.callee, second.callee, arg))
      return second.callee.kernel;
    const product = this.isNormOf(first.callee, second.callee, arg) || this.areTwins(first, second, arg);
    return product ? 'matmul' : undefined;
  }

  /** A norm whose rows the blocks of a product can make for themselves, at less than the launch that it saves. */
  private isNormOf(norm: Func, product: Func, arg: Value): boolean {
    const [root, ...rest] = norm.body;
    const isNorm = root?.name === 'rms_norm' || root?.name === 'layer_norm';
    if (!isNorm || rest.some(({ name }) => name !== 'cast')) return false;
    const linears = product.body.filter((op) => op.name === 'linear');
    const readers = product.body.filter((op) => op.operands.includes(arg));
    if (product.kernel !== 'matmul' || linears.length === 0) return false;
    const columns = linears.reduce((sum, { operands }) => sum + this.columns(operands[1] as Value), 0);
    const few = fewRows(linears[0] as OpOf<'linear'>, this.resolve);
    const readsRows = readers.every((op) => op.name === 'linear' && op.operands.lastIndexOf(arg) === 0);
    return readsRows && columns <= mostColumnsOfNorm && few !== undefined && makesOwnRows(few, arg);
  }

  private columns(weight: Value): number {
    return evalDim(weight.type.shape[0] as Dim, modelDims(this.module));
  }

  /** Parts of a tensor that the second kernel can as well read where they lie: see emit/view.ts, or in an expression. */
  private readsView(first: Func, second: Func, arg: Value): boolean {
    const [slice, ...more] = first.body;
    if (second.kernel !== 'attention' || slice?.name !== 'slice' || more.length > 0) return false;
    const { axis, step } = (slice as OpOf<'slice'>).attrs;
    const { shape } = arg.type;
    const tokens = constantOf(this.resolve(shape.at(-3) as Dim));
    const isOfHeads = (axis + shape.length) % shape.length === shape.length - 2;
    return isOfHeads && step === 1 && tokens !== 1;
  }

  /** Linear layers of one input and one size, the second of which reads the first's result in its epilogue. */
  private areTwins(first: Call, second: Call, arg: Value): boolean {
    const [a, b] = [linearOf(first.callee), linearOf(second.callee)];
    if (a === undefined || b === undefined || b.operands.includes(arg)) return false;
    const outer = ({ op, callee }: Call, value: Value | undefined) =>
      op.operands[callee.args.indexOf(value as Value)];
    const sameInput = outer(first, a.operands[0]) === outer(second, b.operands[0]);
    const [left, right] = [a, b].map(weightType) as [WeightType, WeightType];
    const sameResult = sameShape(arg.type, (b.results[0] as Value).type);
    const sameWeights =
      left.parts.length === right.parts.length &&
      left.group === right.group &&
      left.parts.every(
        (type, i) => type.dtype === right.parts[i]?.dtype && sameShape(type, right.parts[i] as TensorType),
      );
    return sameInput && sameWeights && sameResult && this.hasTwoSums(a);
  }

  /** Products of few rows and tensor cores keep several sums; the tiles of the ordinary units do not. */
  private hasTwoSums(linear: OpOf<'linear'>): boolean {
    const [x, w] = linear.operands as [Value, Value];
    if (fewRows(linear, this.resolve) !== undefined) return true;
    return (
      x.type.dtype === w.type.dtype &&
      x.type.dtype !== 'f32' &&
      evalDim(w.type.shape[1] as Dim, modelDims(this.module)) % 8 === 0
    );
  }
}

/** Beyond so many columns, the norms that blocks make cost more than the launch. */
const mostColumnsOfNorm = 32768;

interface WeightType {
  readonly parts: readonly TensorType[];
  readonly group: number | undefined;
}

/** The tensors of a linear layer's weight, which are several where it is quantized. */
function weightType({ operands }: OpOf<'linear'>): WeightType {
  const made = defOf(operands[1] as Value);
  if (made?.name !== 'dequantize') return { parts: [(operands[1] as Value).type], group: undefined };
  return { parts: made.operands.map(({ type }) => type), group: made.attrs.group };
}

/** Ops that may as well be computed again wherever their result is read. */
const cheapOps: ReadonlySet<OpName> = new Set(['slice', 'cast', 'full', 'add', 'sub', 'mul', 'neg']);

/** Whether the value is broadcast along some axis of the result, as scales and shifts of adaptive norms are. */
function evaluatesOncePerRow({ shape }: TensorType, result: TensorType): boolean {
  const lead = result.shape.length - shape.length;
  return lead > 0 || shape.some((d, i) => constantOf(d) === 1 && constantOf(result.shape[i] as Dim) !== 1);
}

function isCast({ kernel, body }: Func): boolean {
  return kernel === 'pointwise' && body.length === 1 && body[0]?.name === 'cast';
}

/** The linear layer of a kernel that has one. */
function linearOf({ kernel, body }: Func): OpOf<'linear'> | undefined {
  const linears = body.filter((op) => op.name === 'linear') as OpOf<'linear'>[];
  return kernel === 'matmul' && linears.length === 1 ? linears[0] : undefined;
}

function sameShape(a: TensorType, b: TensorType): boolean {
  return a.shape.length === b.shape.length && a.shape.every((d, i) => dimsEqual(d, b.shape[i] as Dim));
}
