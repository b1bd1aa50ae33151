/** ONNX models for tests, written with onnx-proto. */
import onnxProto, { type onnx } from 'onnx-proto';

const proto = onnxProto.onnx;

export type AttributeValue =
  | number
  | string
  | readonly number[]
  | { readonly tensor: onnx.ITensorProto }
  | { readonly graph: onnx.IGraphProto }
  | { readonly float: number };

/** Integers become `int`, lists of integers `ints`; `{ float }` says that a number is a float. */
export function attribute(name: string, value: AttributeValue): onnx.IAttributeProto {
  const { AttributeType } = proto.AttributeProto;
  if (typeof value === 'string')
    return { name, s: new TextEncoder().encode(value), type: AttributeType.STRING };
  if (typeof value === 'number') return { name, i: value, type: AttributeType.INT };
  if ('tensor' in value) return { name, t: value.tensor, type: AttributeType.TENSOR };
  if ('graph' in value) return { name, g: value.graph, type: AttributeType.GRAPH };
  if ('float' in value) return { name, f: value.float, type: AttributeType.FLOAT };
  return { name, ints: [...value], type: AttributeType.INTS };
}

export interface NodeText {
  readonly op: string;
  readonly inputs?: readonly string[];
  readonly outputs: readonly string[];
  readonly name?: string;
  readonly domain?: string;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
}

export function node({ op, inputs, outputs, name, domain, attributes }: NodeText): onnx.INodeProto {
  return {
    opType: op,
    input: [...(inputs ?? [])],
    output: [...outputs],
    name: name ?? '',
    domain: domain ?? '',
    attribute: Object.entries(attributes ?? {}).map(([key, value]) => attribute(key, value)),
  };
}

export type Shape = readonly (number | string)[];

export function valueInfo(name: string, shape: Shape | undefined, dtype = 1): onnx.IValueInfoProto {
  const dims = shape?.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType: dtype, ...(dims && { shape: { dim: dims } }) } } };
}

export function floats(name: string, shape: readonly number[], values: readonly number[]): onnx.ITensorProto {
  return { name, dataType: 1, dims: [...shape], rawData: new Uint8Array(Float32Array.from(values).buffer) };
}

export function longs(name: string, shape: readonly number[], values: readonly number[]): onnx.ITensorProto {
  return {
    name,
    dataType: 7,
    dims: [...shape],
    rawData: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
  };
}

export interface ModelText {
  readonly nodes: readonly NodeText[];
  readonly inputs?: Readonly<Record<string, Shape | undefined>>;
  readonly outputs: readonly string[];
  readonly initializers?: readonly onnx.ITensorProto[];
  readonly opset?: number;
  readonly dtype?: number;
  readonly functions?: readonly onnx.IFunctionProto[];
}

export function graphOf({ nodes, inputs, outputs, initializers, dtype }: ModelText): onnx.IGraphProto {
  return {
    name: 'graph',
    node: nodes.map(node),
    input: Object.entries(inputs ?? {}).map(([name, shape]) => valueInfo(name, shape, dtype)),
    output: outputs.map((name) => valueInfo(name, undefined)),
    initializer: [...(initializers ?? [])],
  };
}

export function modelBytes(text: ModelText): Uint8Array {
  return encodeModel({
    irVersion: 8,
    opsetImport: [
      { domain: '', version: text.opset ?? 21 },
      { domain: 'com.microsoft', version: 1 },
    ],
    graph: graphOf(text),
    functions: [...(text.functions ?? [])],
  });
}

export function encodeModel(model: onnx.IModelProto): Uint8Array {
  return proto.ModelProto.encode(proto.ModelProto.create(model)).finish();
}
