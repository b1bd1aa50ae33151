/**
 * ONNX files as plain data: the only file that knows protobuf and the package onnx-proto.
 *
 * onnx-proto is generated from ONNX 1.10 (IR 8, opset 15). What it lacks is handled here: data types above 16 arrive as
 * their numbers, and the fields it would drop without a word (`overload` of nodes and functions, defaults of function
 * attributes) are read by position. So are tensors: their bytes stay in the file, and a model that is larger than the
 * memory can be opened. 64-bit integers become numbers here and nowhere else.
 */
import onnxProto, { type onnx } from 'onnx-proto';
import { fail, HewError } from '../../ir/diagnostics.js';
import { elementCount } from '../../ir/type.js';
import type { OpenFile } from '../checkpoint/safetensors.js';
import {
  type Bytes,
  type Field,
  fieldsOf,
  fileBytes,
  joined,
  memoryBytes,
  type Range,
  textOf,
  varint,
  WireError,
  wireTypes,
} from './bytes.js';
import { dtypeName, onnxDTypes } from './dtypes.js';

const proto = onnxProto.onnx;

// ---- the data

/** Where the little-endian, row-major bytes of a tensor are. */
export type TensorData =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** In the model file itself. */
  | { readonly kind: 'range'; readonly start: number; readonly end: number }
  | {
      readonly kind: 'external';
      readonly location: string;
      readonly offset: number;
      readonly length: number | undefined;
    };

export interface OnnxTensor {
  readonly name: string;
  /** Code of TensorProto.DataType. */
  readonly dtype: number;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

export interface OnnxAttribute {
  readonly name: string;
  readonly float?: number;
  readonly int?: number;
  readonly string?: string;
  readonly floats: readonly number[];
  readonly ints: readonly number[];
  readonly strings: readonly string[];
  readonly tensor?: OnnxTensor;
  readonly graph?: OnnxGraph;
  /** Inside a function: the attribute of the call that this one takes its value from. */
  readonly reference?: string;
}

export interface OnnxNode {
  readonly name: string;
  /** '' is the standard domain. */
  readonly domain: string;
  readonly op: string;
  readonly overload: string;
  /** '' where an optional input is absent. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, OnnxAttribute>;
}

/** A number, a symbol, or an unnamed unknown. */
export type OnnxDim = number | string | undefined;

export interface OnnxValueInfo {
  readonly name: string;
  readonly kind: 'tensor' | 'sequence' | 'optional' | 'other';
  readonly dtype: number;
  /** Undefined when the rank is unknown. */
  readonly shape: readonly OnnxDim[] | undefined;
}

export interface OnnxGraph {
  readonly name: string;
  readonly inputs: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
  readonly values: readonly OnnxValueInfo[];
  readonly initializers: readonly OnnxTensor[];
  readonly sparseInitializers: number;
  readonly nodes: readonly OnnxNode[];
}

export interface OnnxFunction {
  readonly domain: string;
  readonly name: string;
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Attributes without a default. */
  readonly attributes: readonly string[];
  readonly defaults: readonly OnnxAttribute[];
  readonly nodes: readonly OnnxNode[];
  readonly opsets: ReadonlyMap<string, number>;
}

export interface OnnxModel {
  readonly irVersion: number;
  readonly producer: string;
  readonly opsets: ReadonlyMap<string, number>;
  readonly functions: readonly OnnxFunction[];
  readonly graph: OnnxGraph;
  readonly metadata: ReadonlyMap<string, string>;
}

// ---- reading

/** Fields by their numbers in onnx.proto. */
const modelFields = { irVersion: 1, producer: 2, graph: 7, opset: 8, metadata: 14, function: 25 } as const;
const graphFields = {
  node: 1,
  name: 2,
  initializer: 5,
  input: 11,
  output: 12,
  value: 13,
  sparse: 15,
} as const;
const nodeFields = { attribute: 5, overload: 8 } as const;
const attributeFields = { tensor: 5, graph: 6 } as const;
const tensorFields = { floats: 4, raw: 9, doubles: 10 } as const;
const functionFields = { node: 7, opset: 9, default: 11, overload: 13 } as const;

/** Subgraphs inside subgraphs; more than any exporter writes. */
const maxDepth = 32;

/** Raw data below this many bytes is read at once. */
const inlineBytes = 1024;

/** Fails with HEW3102 when the file is no ONNX model. */
export function readOnnx(file: OpenFile): OnnxModel {
  return readModel(fileBytes(file), file.path);
}

/** The same for a model in memory; `path` names it in messages. */
export function readOnnxBytes(bytes: Uint8Array, path: string): OnnxModel {
  return readModel(memoryBytes(bytes), path);
}

function readModel(bytes: Bytes, path: string): OnnxModel {
  const reader = new Reader(bytes);
  try {
    return reader.model({ start: 0, end: bytes.size });
  } catch (error) {
    // protobufjs throws RangeError for truncated messages and Error for wire types it does not know.
    if (error instanceof HewError || !(error instanceof Error)) throw error;
    return fail('HEW3102', `${path} is no ONNX model: ${error.message}`, {
      help: 'an .onnx file is a protobuf message of ModelProto; was the file cut off or changed?',
    });
  }
}

/** A tensor in a file of its own, as the data sets of conformance suites have. */
export function readTensorFile(bytes: Uint8Array): OnnxTensor {
  return new Reader(memoryBytes(bytes)).tensor({ start: 0, end: bytes.length });
}

class Reader {
  constructor(private readonly bytes: Bytes) {}

  model(range: Range): OnnxModel {
    const fields = [...fieldsOf(this.bytes, range)];
    const graphs = fields.filter((field) => field.number === modelFields.graph);
    if (graphs.length !== 1) throw new WireError(`it has ${graphs.length} graphs`);
    const irVersion = fields.find((field) => field.number === modelFields.irVersion);
    const producer = fields.find((field) => field.number === modelFields.producer);
    return {
      irVersion: irVersion === undefined ? 0 : varint(this.bytes, irVersion.start, irVersion.end).value,
      producer: producer === undefined ? '' : textOf(this.bytes, producer),
      opsets: this.opsets(fields, modelFields.opset),
      functions: this.messages(fields, modelFields.function).map((field) => this.function(field)),
      metadata: new Map(
        this.messages(fields, modelFields.metadata).map((field) => {
          const { key, value } = proto.StringStringEntryProto.decode(this.slice(field));
          return [key, value];
        }),
      ),
      graph: this.graph(graphs[0] as Field, 0),
    };
  }

  private opsets(fields: readonly Field[], number: number): Map<string, number> {
    return new Map(
      this.messages(fields, number).map((field) => {
        const { domain, version } = proto.OperatorSetIdProto.decode(this.slice(field));
        return [plainDomain(domain), toNumber(version)];
      }),
    );
  }

  private graph(range: Range, depth: number): OnnxGraph {
    if (depth > maxDepth) throw new WireError(`graphs are nested more than ${maxDepth} deep`);
    const fields = [...fieldsOf(this.bytes, range)];
    const of = (number: number): Field[] => this.messages(fields, number);
    const name = of(graphFields.name).at(-1);
    return {
      name: name === undefined ? '' : textOf(this.bytes, name),
      inputs: of(graphFields.input).map((field) => this.valueInfo(field)),
      outputs: of(graphFields.output).map((field) => this.valueInfo(field)),
      values: of(graphFields.value).map((field) => this.valueInfo(field)),
      initializers: of(graphFields.initializer).map((field) => this.tensor(field)),
      sparseInitializers: of(graphFields.sparse).length,
      nodes: of(graphFields.node).map((field) => this.node(field, depth)),
    };
  }

  private function(range: Range): OnnxFunction {
    const fields = [...fieldsOf(this.bytes, range)];
    const known = new Set<number>([functionFields.node, functionFields.opset, functionFields.default]);
    const plain = proto.FunctionProto.decode(
      joined(
        this.bytes,
        fields.filter((f) => !known.has(f.number)),
      ),
    );
    const overload = this.messages(fields, functionFields.overload).at(-1);
    return {
      domain: plainDomain(plain.domain),
      name: plain.name,
      overload: overload === undefined ? '' : textOf(this.bytes, overload),
      inputs: plain.input,
      outputs: plain.output,
      attributes: plain.attribute,
      defaults: this.messages(fields, functionFields.default).map((field) => this.attribute(field, 0)),
      nodes: this.messages(fields, functionFields.node).map((field) => this.node(field, 0)),
      opsets: this.opsets(fields, functionFields.opset),
    };
  }

  private node(range: Range, depth: number): OnnxNode {
    const fields = [...fieldsOf(this.bytes, range)];
    const plain = proto.NodeProto.decode(
      joined(
        this.bytes,
        fields.filter((f) => f.number !== nodeFields.attribute),
      ),
    );
    const overload = this.messages(fields, nodeFields.overload).at(-1);
    const attributes = this.messages(fields, nodeFields.attribute).map((f) => this.attribute(f, depth));
    return {
      name: plain.name,
      domain: plainDomain(plain.domain),
      op: plain.opType,
      overload: overload === undefined ? '' : textOf(this.bytes, overload),
      inputs: plain.input,
      outputs: plain.output,
      attributes: new Map(attributes.map((attribute) => [attribute.name, attribute])),
    };
  }

  private attribute(range: Range, depth: number): OnnxAttribute {
    const fields = [...fieldsOf(this.bytes, range)];
    const large = new Set<number>([attributeFields.tensor, attributeFields.graph]);
    const plain = proto.AttributeProto.decode(
      joined(
        this.bytes,
        fields.filter((f) => !large.has(f.number)),
      ),
    );
    const tensor = this.messages(fields, attributeFields.tensor).at(-1);
    const graph = this.messages(fields, attributeFields.graph).at(-1);
    const has = (key: string): boolean => Object.hasOwn(plain, key);
    return {
      name: plain.name,
      ...(has('f') && { float: plain.f }),
      ...(has('i') && { int: toNumber(plain.i) }),
      ...(has('s') && { string: new TextDecoder().decode(plain.s) }),
      floats: plain.floats,
      ints: plain.ints.map(toNumber),
      strings: plain.strings.map((text) => new TextDecoder().decode(text)),
      ...(tensor && { tensor: this.tensor(tensor) }),
      ...(graph && { graph: this.graph(graph, depth + 1) }),
      ...(plain.refAttrName !== '' && { reference: plain.refAttrName }),
    };
  }

  tensor(range: Range): OnnxTensor {
    const fields = [...fieldsOf(this.bytes, range)];
    const data = new Set<number>(Object.values(tensorFields));
    const plain = proto.TensorProto.decode(
      joined(
        this.bytes,
        fields.filter((f) => !data.has(f.number)),
      ),
    );
    const shape = plain.dims.map(toNumber);
    const place = { name: plain.name, dtype: plain.dataType, shape };
    checkShape(place);
    if (plain.dataLocation === proto.TensorProto.DataLocation.EXTERNAL) {
      return { ...place, data: external(plain) };
    }
    const blocks = fields.filter((f) => data.has(f.number));
    const [only] = blocks;
    if (only !== undefined && blocks.length === 1 && only.end - only.start > inlineBytes) {
      return { ...place, data: { kind: 'range', start: only.start, end: only.end } };
    }
    const bytes = blocks.length > 0 ? this.blocks(blocks) : typedBytes(plain);
    return { ...place, data: { kind: 'bytes', bytes } };
  }

  /** Raw data, or floats and doubles, whose packed form is the same as raw data. */
  private blocks(blocks: readonly Field[]): Uint8Array {
    const parts = blocks.map((field) => this.bytes.slice(field.start, field.end));
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let offset = 0;
    for (const part of parts) {
      whole.set(part, offset);
      offset += part.length;
    }
    return whole;
  }

  private valueInfo(range: Range): OnnxValueInfo {
    const { name, type } = proto.ValueInfoProto.decode(this.slice(range));
    const tensor = type?.tensorType;
    const kind = tensor
      ? 'tensor'
      : type?.sequenceType
        ? 'sequence'
        : type?.optionalType
          ? 'optional'
          : 'other';
    return { name, kind, dtype: tensor?.elemType ?? 0, shape: tensor?.shape?.dim?.map(dimOf) };
  }

  private messages(fields: readonly Field[], number: number): Field[] {
    const found = fields.filter((field) => field.number === number);
    if (found.some((field) => field.wireType !== wireTypes.bytes)) {
      throw new WireError(`field ${number} has the wrong wire type`);
    }
    return found;
  }

  private slice(range: Range): Uint8Array {
    return this.bytes.slice(range.start, range.end);
  }
}

function plainDomain(domain: string): string {
  return domain === 'ai.onnx' ? '' : domain;
}

function dimOf(d: onnx.TensorShapeProto.IDimension): OnnxDim {
  if (typeof d.dimParam === 'string' && d.dimParam !== '') return d.dimParam;
  if (d.dimValue === undefined || d.dimValue === null || !Object.hasOwn(d, 'dimValue')) return undefined;
  const value = toNumber(d.dimValue);
  return value < 0 ? undefined : value;
}

function toNumber(value: number | { toNumber(): number } | null | undefined): number {
  return typeof value === 'object' && value !== null ? value.toNumber() : (value ?? 0);
}

/** Dimensions beyond what any tensor has are a sign of damage, and must not reach an allocation. */
function checkShape({ name, dtype, shape }: Pick<OnnxTensor, 'name' | 'dtype' | 'shape'>): void {
  const text = `tensor '${name}' has the shape [${shape.join(', ')}]`;
  if (shape.some((n) => !Number.isSafeInteger(n) || n < 0))
    fail('HEW3105', `${text}, which no tensor can have`);
  if (shape.length > 32) fail('HEW3105', `tensor '${name}' has ${shape.length} axes`);
  if (!Number.isSafeInteger(elementCount(shape) * 16)) fail('HEW3105', `${text}, which is beyond any memory`);
  if (onnxDTypes[dtype] === undefined)
    fail('HEW3105', `tensor '${name}' has the data type ${dtype}, which ONNX does not define`);
}

function external({ name, externalData }: onnx.TensorProto): TensorData {
  const entries = new Map(externalData.map(({ key, value }) => [key, value ?? '']));
  const location = entries.get('location');
  if (location === undefined) return fail('HEW3106', `tensor '${name}' is external, but names no file`);
  const count = (key: string): number | undefined => {
    const text = entries.get(key);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
    return fail('HEW3106', `tensor '${name}' has the external ${key} ${JSON.stringify(text)}`);
  };
  return { kind: 'external', location, offset: count('offset') ?? 0, length: count('length') };
}

/** Bytes a tensor needs; 4-bit and 2-bit elements are packed. */
export function byteLength(dtype: number, shape: readonly number[]): number {
  return Math.ceil((elementCount(shape) * (onnxDTypes[dtype]?.bits ?? 0)) / 8);
}

/** The typed fields for integers and 16-bit floats, as raw data. Fails with HEW3105 when they do not fill the shape. */
function typedBytes({
  name,
  dataType,
  dims,
  int32Data,
  int64Data,
  uint64Data,
}: onnx.TensorProto): Uint8Array {
  const bits = onnxDTypes[dataType]?.bits ?? 0;
  const size = byteLength(dataType, dims.map(toNumber));
  const wide = [...int64Data, ...uint64Data];
  const perEntry = bits === 0 ? 1 : Math.max(8, bits);
  const entries = wide.length > 0 ? wide.length : int32Data.length;
  if (entries * (perEntry / 8) !== size && bits > 0) {
    return fail(
      'HEW3105',
      `tensor '${name}' of ${dtypeName(dataType)} has ${entries} values for the shape [${dims.map(toNumber).join(', ')}]`,
    );
  }
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  if (bits === 64) {
    wide.forEach((value, i) => {
      const { low, high } = halves(value);
      view.setInt32(8 * i, low, true);
      view.setInt32(8 * i + 4, high, true);
    });
  } else {
    const values = wide.length > 0 ? wide.map(toNumber) : int32Data;
    values.forEach((value, i) => {
      if (bits === 32) view.setInt32(4 * i, value | 0, true);
      else if (bits === 16) view.setInt16(2 * i, value, true);
      else view.setInt8(i, value);
    });
  }
  return bytes;
}

function halves(value: number | { readonly low: number; readonly high: number }): {
  low: number;
  high: number;
} {
  if (typeof value === 'object') return value;
  return { low: value | 0, high: Math.floor(value / 2 ** 32) | 0 };
}
