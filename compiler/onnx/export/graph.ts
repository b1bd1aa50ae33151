/** Building the nodes of an ONNX graph: names, constants, and shapes that depend on run-time symbols. */
import type { onnx } from 'onnx-proto';
import { constantOf, type Dim, type DimEnv, dim, dimKey, nameOf, substituteDim } from '../../../ir/dim.js';
import type { Func, Module, Value } from '../../../ir/module.js';
import { modelDims } from '../../../ir/module.js';
import { encodeBytes } from '../../../ir/numeric.js';
import type { DType } from '../../../ir/type.js';
import { codeOf } from '../dtypes.js';
import { type AttributeValue, attributeProto } from './write.js';

/** Where a symbol can be read: an axis of an input. */
interface SymbolSource {
  readonly input: string;
  readonly axis: number;
}

export class GraphWriter {
  readonly nodes: onnx.INodeProto[] = [];
  /** Small tensors, inside the file. */
  readonly constants = new Map<string, onnx.ITensorProto>();
  private readonly names = new Map<Value, string>();
  private readonly taken: Set<string>;
  private readonly sources: ReadonlyMap<string, SymbolSource>;
  private readonly dims: DimEnv;
  private readonly sizes = new Map<string, string>();

  constructor(module: Module, func: Func) {
    this.dims = modelDims(module);
    this.taken = new Set([
      ...module.params.keys(),
      ...(func.outputs ?? []),
      ...func.args.map((arg) => arg.name as string),
    ]);
    this.sources = symbolSources(func);
    for (const arg of func.args) this.names.set(arg, arg.name as string);
  }

  // ---- names

  nameOf(value: Value): string {
    const name = this.names.get(value);
    if (name === undefined) throw new Error('a value is read before it is made');
    return name;
  }

  bind(value: Value, name: string): void {
    this.names.set(value, name);
  }

  fresh(hint: string): string {
    let name = hint;
    for (let i = 1; this.taken.has(name); i++) name = `${hint}_${i}`;
    this.taken.add(name);
    return name;
  }

  // ---- nodes

  /** Adds a node; the names of its results. */
  emit(
    op: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    count = 1,
  ): string[] {
    const outputs = Array.from({ length: count }, () => this.fresh(op));
    this.nodes.push({
      opType: op,
      name: outputs[0] as string,
      input: [...inputs],
      output: outputs,
      attribute: Object.entries(attributes).map(([name, value]) => attributeProto(name, value)),
    });
    return outputs;
  }

  one(
    op: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
  ): string {
    return this.emit(op, inputs, attributes)[0] as string;
  }

  constant(dtype: DType, shape: readonly number[], values: ArrayLike<number>): string {
    const bytes = encodeBytes(dtype, values);
    const key = `${dtype}[${shape}]${Buffer.from(bytes).toString('base64')}`;
    const known = this.constants.get(key);
    if (known !== undefined) return known.name as string;
    const name = this.fresh(shape.length === 0 ? `scalar` : 'constant');
    this.constants.set(key, { name, dataType: codeOf[dtype] as number, dims: [...shape], rawData: bytes });
    return name;
  }

  longs(values: readonly number[]): string {
    return this.constant('i64', [values.length], values);
  }

  cast(name: string, dtype: DType): string {
    return this.one('Cast', [name], { to: codeOf[dtype] as number });
  }

  // ---- dimensions

  /** The dimension with the values of model dimensions put in. */
  plain(size: Dim): Dim {
    return substituteDim(size, new Map([...this.dims].map(([name, value]) => [name, dim(value)])));
  }

  /** Numbers, or undefined for what depends on symbols. */
  known(shape: readonly Dim[]): (number | undefined)[] {
    return shape.map((size) => constantOf(this.plain(size)));
  }

  /** A vector of dimensions, as i64. */
  vector(shape: readonly Dim[]): string {
    const known = this.known(shape);
    if (known.every((size) => size !== undefined)) return this.longs(known);
    const parts = shape.map((size) => this.size(this.plain(size)));
    return parts.length === 1 ? (parts[0] as string) : this.one('Concat', parts, { axis: 0 });
  }

  /** A shape for Reshape: one symbolic axis is what the others leave. */
  reshapeVector(shape: readonly Dim[]): string {
    const known = this.known(shape);
    const open = known.filter((size) => size === undefined).length;
    if (open === 1 && !known.includes(0)) return this.longs(known.map((size) => size ?? -1));
    return this.vector(shape);
  }

  /** i64 [1]. */
  private size(size: Dim): string {
    const known = constantOf(size);
    if (known !== undefined) return this.longs([known]);
    const key = dimKey(size);
    const made = this.sizes.get(key) ?? this.makeSize(size);
    this.sizes.set(key, made);
    return made;
  }

  private makeSize(size: Dim): string {
    const symbol = nameOf(size);
    if (symbol !== undefined) {
      const { input, axis } = this.sources.get(symbol) as SymbolSource;
      return this.one('Shape', [input], { start: axis, end: axis + 1 });
    }
    const terms = size.terms.map(({ coefficient, factors }) => {
      const parts = factors.map((factor) => this.size(dim(factor)));
      const all = coefficient === 1 && parts.length > 0 ? parts : [this.longs([coefficient]), ...parts];
      return all.reduce((a, b) => this.one('Mul', [a, b]));
    });
    const sum = terms.reduce((a, b) => this.one('Add', [a, b]));
    return size.divisor === 1 ? sum : this.one('Div', [sum, this.longs([size.divisor])]);
  }

  /** A dimension as a scalar. */
  scalarSize(size: Dim, dtype: DType): string {
    const known = constantOf(this.plain(size));
    if (known !== undefined) return this.constant(dtype, [], [known]);
    const scalar = this.one('Squeeze', [this.size(this.plain(size)), this.longs([0])]);
    return dtype === 'i64' ? scalar : this.cast(scalar, dtype);
  }
}

function symbolSources(func: Func): Map<string, SymbolSource> {
  const sources = new Map<string, SymbolSource>();
  for (const arg of func.args) {
    arg.type.shape.forEach((size, axis) => {
      const name = nameOf(size);
      if (name !== undefined && !sources.has(name)) sources.set(name, { input: arg.name as string, axis });
    });
  }
  return sources;
}
