/**
 * Writing ONNX files: the graph is a protobuf message made by onnx-proto, the weights are streamed into it one at a
 * time, or into a file beside it when they are large.
 */
import onnxProto, { type onnx } from 'onnx-proto';

const proto = onnxProto.onnx;

export type AttributeValue =
  | number
  | string
  | readonly number[]
  | { readonly float: number }
  | { readonly tensor: onnx.ITensorProto };

/** Integers become `int`, lists `ints`; `{ float }` says that a number is a float. */
export function attributeProto(name: string, value: AttributeValue): onnx.IAttributeProto {
  const { AttributeType } = proto.AttributeProto;
  if (typeof value === 'string')
    return { name, s: new TextEncoder().encode(value), type: AttributeType.STRING };
  if (typeof value === 'number') return { name, i: value, type: AttributeType.INT };
  if ('float' in value) return { name, f: value.float, type: AttributeType.FLOAT };
  if ('tensor' in value) return { name, t: value.tensor, type: AttributeType.TENSOR };
  return { name, ints: [...value], type: AttributeType.INTS };
}

/** A weight, whose bytes are asked for when its turn comes, in pieces. */
export interface Weight {
  readonly name: string;
  readonly dtype: number;
  readonly shape: readonly number[];
  readonly size: number;
  data(): Iterable<Uint8Array>;
}

export interface ModelParts {
  readonly opset: number;
  readonly producerVersion: string;
  readonly graph: onnx.IGraphProto;
  readonly weights: readonly Weight[];
}

/** Offsets of external tensors are multiples of a page, so that they can be mapped. */
const alignment = 4096;

/** The file as chunks. With `externalName`, weights only say where they are in the file of that name. */
export function* modelChunks(parts: ModelParts, externalName: string | undefined): Generator<Uint8Array> {
  const head = proto.ModelProto.encode(
    proto.ModelProto.create({
      irVersion: 10,
      producerName: 'hew',
      producerVersion: parts.producerVersion,
      opsetImport: [{ domain: '', version: parts.opset }],
    }),
  ).finish();
  const graph = proto.GraphProto.encode(proto.GraphProto.create(parts.graph)).finish();
  const tensors =
    externalName === undefined
      ? parts.weights.map(inlineTensor)
      : externalTensors(parts.weights, externalName);
  const length =
    graph.length + tensors.reduce((sum, tensor) => sum + tensor.head.length + tensor.dataSize, 0);
  yield head;
  yield tagged(fields.graph, length);
  yield graph;
  for (const tensor of tensors) {
    yield tensor.head;
    yield* tensor.data();
  }
}

/** Numbers of the fields that are written by hand; all hold bytes. */
const fields = { graph: 7, initializer: 5, rawData: 9 } as const;

interface TensorChunks {
  readonly head: Uint8Array;
  readonly dataSize: number;
  data(): Iterable<Uint8Array>;
}

/** The field `initializer` with a tensor whose last field is its raw data. */
function inlineTensor({ name, dtype, shape, size, data }: Weight): TensorChunks {
  const plain = proto.TensorProto.encode(
    proto.TensorProto.create({ name, dataType: dtype, dims: [...shape] }),
  ).finish();
  const raw = tagged(fields.rawData, size);
  const tag = tagged(fields.initializer, plain.length + raw.length + size);
  return { head: Buffer.concat([tag, plain, raw]), dataSize: size, data };
}

function externalTensors(weights: readonly Weight[], location: string): TensorChunks[] {
  return placed(weights).map(({ weight, offset }) => {
    const plain = proto.TensorProto.encode(
      proto.TensorProto.create({
        name: weight.name,
        dataType: weight.dtype,
        dims: [...weight.shape],
        dataLocation: proto.TensorProto.DataLocation.EXTERNAL,
        externalData: [
          { key: 'location', value: location },
          { key: 'offset', value: String(offset) },
          { key: 'length', value: String(weight.size) },
        ],
      }),
    ).finish();
    return {
      head: Buffer.concat([tagged(fields.initializer, plain.length), plain]),
      dataSize: 0,
      data: () => [],
    };
  });
}

function placed(weights: readonly Weight[]): { readonly weight: Weight; readonly offset: number }[] {
  let end = 0;
  return weights.map((weight) => {
    const offset = Math.ceil(end / alignment) * alignment;
    end = offset + weight.size;
    return { weight, offset };
  });
}

/** The file of external data. */
export function* externalChunks(weights: readonly Weight[]): Generator<Uint8Array> {
  let end = 0;
  for (const { weight, offset } of placed(weights)) {
    if (offset > end) yield new Uint8Array(offset - end);
    yield* weight.data();
    end = offset + weight.size;
  }
}

/** Tag and length of a field that holds bytes. */
function tagged(field: number, length: number): Uint8Array {
  return Uint8Array.from([...varint(field * 8 + 2), ...varint(length)]);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) + 0x80);
    rest = Math.floor(rest / 0x80);
  }
  return [...bytes, rest];
}
