/** A node as its converter sees it: inputs and attributes with the checks that every operator needs. */
import type { FuncBuilder } from '../../ir/builder.js';
import { type DiagnosticCode, fail } from '../../ir/diagnostics.js';
import { constantOf, type Dim, dim, printDim } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import type { Tensor } from '../../ir/tensor.js';
import type { DType } from '../../ir/type.js';
import { carriedAs, dtypeName } from './dtypes.js';
import type { Evaluator } from './evaluate.js';
import type { OnnxAttribute, OnnxGraph, OnnxNode, OnnxTensor } from './wire.js';

/** What a name stands for: a tensor, or a sequence of them whose length is known. */
export type Item = Value | readonly Value[];

export function isSequence(item: Item): item is readonly Value[] {
  return Array.isArray(item);
}

/** What a converter needs of the graph around its node. */
export interface Surroundings {
  readonly builder: FuncBuilder;
  readonly evaluator: Evaluator;
  /** A parameter with this value. */
  constant(value: Tensor, hint: string): Value;
  /** A tensor of the model as a parameter. */
  tensor(tensor: OnnxTensor): Value;
  /** Builds a subgraph in place; it sees the names around the node. */
  subgraph(graph: OnnxGraph, inputs: readonly Item[]): readonly Item[];
}

export class NodeContext {
  readonly b: FuncBuilder;

  constructor(
    readonly node: OnnxNode,
    /** Version of the operator set of the node's domain. */
    readonly opset: number,
    private readonly items: readonly (Item | undefined)[],
    readonly around: Surroundings,
  ) {
    this.b = around.builder;
  }

  // ---- inputs

  get count(): number {
    return this.items.length;
  }

  has(index: number): boolean {
    return this.items[index] !== undefined;
  }

  item(index: number): Item {
    return this.items[index] ?? this.fail('HEW3103', `input ${index} is missing`);
  }

  input(index: number): Value {
    const item = this.item(index);
    if (isSequence(item)) return this.unsupported(`input ${index} is a sequence, where a tensor is needed`);
    return item;
  }

  optional(index: number): Value | undefined {
    return this.has(index) ? this.input(index) : undefined;
  }

  sequence(index: number): readonly Value[] {
    const item = this.item(index);
    return isSequence(item)
      ? item
      : this.unsupported(`input ${index} is a tensor, where a sequence is needed`);
  }

  inputs(): Value[] {
    return this.items.map((_, i) => this.input(i));
  }

  /** Whether something may read an output. */
  wants(output: number): boolean {
    return (this.node.outputs[output] ?? '') !== '';
  }

  // ---- attributes

  private attribute(name: string): OnnxAttribute | undefined {
    return this.node.attributes.get(name);
  }

  hasAttribute(name: string): boolean {
    return this.attribute(name) !== undefined;
  }

  int(name: string, fallback?: number): number {
    return this.attribute(name)?.int ?? fallback ?? this.missing(name);
  }

  float(name: string, fallback?: number): number {
    return this.attribute(name)?.float ?? fallback ?? this.missing(name);
  }

  string(name: string, fallback?: string): string {
    return this.attribute(name)?.string ?? fallback ?? this.missing(name);
  }

  intList(name: string): readonly number[] | undefined {
    return this.attribute(name)?.ints;
  }

  floatList(name: string): readonly number[] | undefined {
    return this.attribute(name)?.floats;
  }

  tensorAttribute(name: string): OnnxTensor | undefined {
    return this.attribute(name)?.tensor;
  }

  graph(name: string): OnnxGraph {
    return this.attribute(name)?.graph ?? this.missing(name);
  }

  private missing(name: string): never {
    return this.fail('HEW3103', `the attribute '${name}' is missing`);
  }

  /** The Hew type of a code of TensorProto.DataType. */
  dtype(code: number): DType {
    return carriedAs(code) ?? this.fail('HEW3109', `${dtypeName(code)} is no type that Hew computes with`);
  }

  // ---- what is known of values

  /** The value of an input that decides something at compile time. Fails with HEW3108. */
  known(index: number, what: string): Tensor {
    return this.around.evaluator.constant(this.input(index)) ?? this.dynamic(index, what);
  }

  valueOf(value: Value): Tensor | undefined {
    return this.around.evaluator.constant(value);
  }

  /** A list of integers that must be known. */
  knownInts(index: number, what: string): number[] {
    return [...this.known(index, what).data];
  }

  /** Integers that may be formulas of symbolic dimensions. */
  knownDims(index: number, what: string): readonly Dim[] {
    return this.around.evaluator.formulas(this.input(index))?.elements ?? this.dynamic(index, what);
  }

  private dynamic(index: number, what: string): never {
    return this.fail(
      'HEW3108',
      `${what} (input ${index}, '${this.node.inputs[index]}') depends on the data`,
      {
        help: 'it decides the shape of a result, so it must be constant or follow from the shapes of inputs; simplify the model, or give the input as an initializer',
      },
    );
  }

  /** The number a dimension is. Fails with HEW3111 for a symbol. */
  size(size: Dim, what: string): number {
    return (
      constantOf(size) ??
      this.unsupported(
        `${what} is ${printDim(size)}, where the size must be known`,
        `fix it with --set, such as --set ${printDim(size).match(/[A-Za-z_]\w*/)?.[0] ?? 'name'}=1`,
      )
    );
  }

  sizes(value: Value, what: string): number[] {
    return value.type.shape.map((size, axis) => this.size(size, `axis ${axis} of ${what}`));
  }

  /** An axis counted from the front. */
  axis(axis: number, rank: number): number {
    const normal = axis < 0 ? axis + rank : axis;
    if (normal >= 0 && normal < Math.max(rank, 1)) return normal;
    return this.fail('HEW3110', `axis ${axis} is out of range for rank ${rank}`);
  }

  // ---- making values

  constant(dtype: DType, shape: readonly number[], values: ArrayLike<number>): Value {
    return this.around.constant({ dtype, shape, data: Float64Array.from(values) }, this.node.op);
  }

  indices(values: readonly number[], shape: readonly number[] = [values.length]): Value {
    return this.constant('i32', shape, values);
  }

  /** An i64 vector of dimensions. */
  dimVector(dims: readonly Dim[]): Value {
    const known = dims.map(constantOf);
    if (known.every((size) => size !== undefined)) return this.constant('i64', [dims.length], known);
    const parts = dims.map((size) => {
      const scalar = this.b.one('cast', [this.b.one('dim_size', [], { dim: size })], { dtype: 'i64' });
      return this.b.one('reshape', [scalar], { shape: [dim(1)] });
    });
    return this.b.one('concat', parts, { axis: 0 });
  }

  // ---- failing

  /** Fails with HEW3111: this form of the operator, and the nearest one that is supported. */
  unsupported(message: string, help?: string): never {
    return this.fail('HEW3111', message, help === undefined ? {} : { help });
  }

  fail(code: DiagnosticCode, message: string, parts: { readonly help?: string } = {}): never {
    return fail(code, `${describeNode(this.node)}: ${message}`, parts);
  }
}

/** `node 'name' (Op)`, or the first output of a node without a name. */
export function describeNode({ name, op, domain, outputs }: OnnxNode): string {
  const label = name !== '' ? `node '${name}'` : `the node that makes '${outputs[0] ?? ''}'`;
  return `${label} (${domain === '' ? '' : `${domain}.`}${op})`;
}

/** How one operator becomes ops: `since` is the first opset whose form it reads. */
export interface OperatorEntry {
  readonly since: number;
  /** What is not covered, for docs/onnx.md. */
  readonly limits?: string;
  /** The result, or all of them in order; undefined for one that nothing asks for. */
  readonly convert: (c: NodeContext) => Value | readonly (Item | undefined)[];
}

export type OperatorTable = Readonly<Record<string, OperatorEntry>>;
