/**
 * Merges kernels that fusion leaves apart because other targets cannot run them as one: conversions go into the rotation
 * they surround, and two linear layers of one input whose results meet element by element, such as gate and up of
 * SwiGLU, become one kernel with two sums.
 */
import { FuncBuilder, moduleScope, type Scope } from '../../ir/builder.js';
import { constantOf, type Dim, dimsEqual, evalDim, productOfDims } from '../../ir/dim.js';
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
import type { TensorType } from '../../ir/type.js';
import { resolver } from '../kernel-function.js';
import { mostVectorRows } from './emit/matmul.js';

export function mergeKernels(module: Module): Module {
  const merger = new Merger(module);
  const callers = [...module.functions.values()].map((func) =>
    func.kernel === undefined ? merger.siblings(merger.function(func)) : func,
  );
  return withFunctions(module, [...merger.added, ...callers]);
}

class Merger {
  readonly added: Func[] = [];
  private readonly known = new Map<string, Func>();

  constructor(private readonly module: Module) {}

  /** Merges until nothing is left to merge. */
  function(func: Func): Func {
    const uses = countUses(func);
    for (const consumer of func.body) {
      if (consumer.name !== 'kernel') continue;
      for (const operand of consumer.operands) {
        const producer = defOf(operand);
        const alone = uses.get(operand) === 1 && producer?.results.length === 1;
        if (producer?.name !== 'kernel' || !alone) continue;
        const callee = this.merged(producer, consumer as OpOf<'kernel'>, operand);
        if (callee !== undefined) return this.function(replaceBy(func, producer, consumer, operand, callee));
      }
    }
    return func;
  }

  /** Vector products of one input become one launch: each alone is too small to fill a GPU. */
  siblings(func: Func): Func {
    const products = func.body.filter((op) => op.name === 'kernel' && this.isVectorProduct(this.callee(op)));
    const groups = Map.groupBy(products as OpOf<'kernel'>[], (op) => op.operands[0] as Value);
    const group = [...groups.values()].find((ops) => ops.length > 1);
    if (group === undefined) return func;
    return this.siblings(replaceSiblings(func, group, this.siblingKernel(group)));
  }

  private isVectorProduct(func: Func): boolean {
    const linear = linearOf(func);
    if (linear === undefined || func.body.length !== 1) return false;
    const [x, w] = linear.operands as [Value, Value];
    const [rows, ...sizes] = [productOfDims(x.type.shape.slice(0, -1)), ...w.type.shape].map((d) =>
      constantOf(resolver(modelDims(this.module))(d)),
    );
    return rows !== undefined && rows >= 1 && rows <= mostVectorRows && sizes.every((size) => size !== 0);
  }

  private siblingKernel(group: readonly OpOf<'kernel'>[]): Func {
    const callees = group.map((op) => this.callee(op));
    const operands = [...new Set(group.flatMap((op) => op.operands))];
    const pattern = group.flatMap((op) => op.operands.map((o) => operands.indexOf(o)));
    const key = `siblings ${callees.map(({ name }) => name).join(' ')} ${pattern.join()}`;
    const found = this.known.get(key);
    if (found !== undefined) return found;
    const name = `linears.${this.added.length + 1}m`;
    const builder = new FuncBuilder(name, moduleScope(this.module), { kernel: 'matmul' });
    const args = operands.map(({ type }) => builder.arg(type));
    const results = group.map((op, i) => {
      const callee = callees[i] as Func;
      const linear = linearOf(callee) as OpOf<'linear'>;
      const own = linear.operands.map(
        (o) => args[operands.indexOf(op.operands[callee.args.indexOf(o)] as Value)] as Value,
      );
      return builder.one('linear', own, linear.attrs);
    });
    const func = builder.finish(results);
    this.known.set(key, func);
    this.added.push(func);
    return func;
  }

  private callee(op: OpOf<'kernel'>): Func {
    const name = op.attrs.callee;
    return this.module.functions.get(name) ?? (this.added.find((f) => f.name === name) as Func);
  }

  private merged(producer: OpOf<'kernel'>, consumer: OpOf<'kernel'>, value: Value): Func | undefined {
    const [first, second] = [this.callee(producer), this.callee(consumer)];
    const arg = second.args[consumer.operands.indexOf(value)] as Value;
    const kernel = this.classOf(first, second, arg, producer, consumer);
    if (kernel === undefined) return undefined;
    const operands = mergedOperands(producer, consumer, value);
    const pattern = [...producer.operands, ...consumer.operands].map((o) => operands.indexOf(o));
    const key = `${first.name} ${second.name} ${pattern.join()}`;
    const found = this.known.get(key);
    if (found !== undefined) return found;
    const name = `${first.name.replace(/\.\d+$/, '')}_${second.name.replace(/\.\d+$/, '')}.${this.added.length + 1}m`;
    const func = inlined(
      name,
      kernel,
      moduleScope(this.module),
      first,
      second,
      arg,
      producer,
      consumer,
      operands,
    );
    this.known.set(key, func);
    this.added.push(func);
    return func;
  }

  /** The class of the merged kernel, or undefined where two kernels stay apart. */
  private classOf(
    first: Func,
    second: Func,
    arg: Value,
    producer: OpOf<'kernel'>,
    consumer: OpOf<'kernel'>,
  ): string | undefined {
    if (isCast(first) && second.kernel === 'rope') {
      const root = second.body.find((op) => op.name === 'rope');
      return root?.operands[0] === arg ? 'rope' : undefined;
    }
    if (first.kernel === 'rope' && isCast(second)) return 'rope';
    return this.areTwins(first, second, arg, producer, consumer) ? 'matmul' : undefined;
  }

  /** Linear layers of one input and one size, the second of which reads the first's result in its epilogue. */
  private areTwins(
    first: Func,
    second: Func,
    arg: Value,
    producer: OpOf<'kernel'>,
    consumer: OpOf<'kernel'>,
  ): boolean {
    const [a, b] = [linearOf(first), linearOf(second)];
    if (a === undefined || b === undefined || b.operands.includes(arg)) return false;
    const outer = (op: OpOf<'kernel'>, func: Func, value: Value | undefined) =>
      op.operands[func.args.indexOf(value as Value)];
    const sameInput = outer(producer, first, a.operands[0]) === outer(consumer, second, b.operands[0]);
    const [left, right] = [a.operands[1]?.type, b.operands[1]?.type] as [TensorType, TensorType];
    const sameResult = sameShape(arg.type, (b.results[0] as Value).type);
    return (
      sameInput && left.dtype === right.dtype && sameShape(left, right) && sameResult && this.hasTwoSums(a)
    );
  }

  /** Vector products and tensor cores keep several sums; the tiles of the ordinary units do not. */
  private hasTwoSums(linear: OpOf<'linear'>): boolean {
    const [x, w] = linear.operands as [Value, Value];
    const dims = modelDims(this.module);
    const rows = constantOf(resolver(dims)(productOfDims(x.type.shape.slice(0, -1))));
    if (rows !== undefined && rows <= mostVectorRows) return true;
    return (
      x.type.dtype === w.type.dtype &&
      x.type.dtype !== 'f32' &&
      evalDim(w.type.shape[1] as Dim, dims) % 8 === 0
    );
  }
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

/** What the merged kernel reads, each value once. */
function mergedOperands(producer: Op, consumer: Op, value: Value): Value[] {
  return [...new Set([...producer.operands, ...consumer.operands.filter((o) => o !== value)])];
}

function inlined(
  name: string,
  kernel: string,
  scope: Scope,
  first: Func,
  second: Func,
  arg: Value,
  producer: Op,
  consumer: Op,
  operands: readonly Value[],
): Func {
  const builder = new FuncBuilder(name, scope, { kernel });
  const args = operands.map(({ type }) => builder.arg(type));
  const mapped = new Map<Value, Value>();
  const copy = (func: Func, op: Op): void => {
    func.args.forEach((own, i) => {
      const outer = args[operands.indexOf(op.operands[i] as Value)];
      if (outer !== undefined) mapped.set(own, outer);
    });
    for (const inner of func.body) {
      const results = builder.emit(
        inner.name,
        inner.operands.map((o) => mapped.get(o) as Value),
        inner.attrs,
      );
      inner.results.forEach((result, i) => {
        mapped.set(result, results[i] as Value);
      });
    }
  };
  copy(first, producer);
  mapped.set(arg, mapped.get(first.results[0] as Value) as Value);
  copy(second, consumer);
  return builder.finish(second.results.map((r) => mapped.get(r) as Value));
}

/** The caller with one call in place of two. */
function replaceBy(func: Func, producer: Op, consumer: Op, value: Value, callee: Func): Func {
  const mapped = new Map<Value, Value>();
  const outer = (values: readonly Value[]): Value[] => values.map((v) => mapped.get(v) ?? v);
  const body = func.body.flatMap((op) => {
    if (op === producer) return [];
    const merged = op === consumer;
    const made = {
      ...op,
      operands: outer(merged ? mergedOperands(producer, consumer, value) : op.operands),
      attrs: merged ? { callee: callee.name } : op.attrs,
      results: [] as Value[],
    };
    for (const result of op.results) {
      const next: Value = { type: result.type, name: result.name, def: made };
      made.results.push(next);
      mapped.set(result, next);
    }
    return [made as unknown as Op];
  });
  return { ...func, body, results: outer(func.results) };
}

/** The caller with one call in place of several; parameters come first, so that all operands are there. */
function replaceSiblings(func: Func, group: readonly Op[], callee: Func): Func {
  const operands = [...new Set(group.flatMap((op) => op.operands))];
  const attrs = { callee: callee.name };
  const merged = { name: 'kernel', operands, attrs, span: group[0]?.span, results: [] as Value[] };
  const mapped = new Map<Value, Value>();
  const rename = (op: { readonly results: Value[] }, results: readonly Value[]): void => {
    for (const result of results) {
      const value: Value = { type: result.type, name: result.name, def: op as unknown as Op };
      op.results.push(value);
      mapped.set(result, value);
    }
  };
  for (const { results } of group) rename(merged, results);
  const outer = (values: readonly Value[]): Value[] => values.map((v) => mapped.get(v) ?? v);
  const params = func.body.filter((op) => op.name === 'param');
  const rest = func.body.flatMap((op) => {
    if (op.name === 'param') return [];
    if (op === group[0]) merged.operands = outer(operands);
    if (group.includes(op)) return op === group[0] ? [merged as unknown as Op] : [];
    const made = { ...op, operands: outer(op.operands), results: [] as Value[] };
    rename(made, op.results);
    return [made as unknown as Op];
  });
  return { ...func, body: [...params, ...rest], results: outer(func.results) };
}
