/**
 * Reading of a GGUF file's head: metadata and the table of tensors, by ranges. A file is hostile data; `readHeader`
 * returns only when every count is one that the file can hold and every tensor lies inside it, apart from the others.
 */
import { fail } from '../../ir/diagnostics.js';
import { type OpenFile, readRange } from '../checkpoint/safetensors.js';
import {
  aligned,
  alignmentKey,
  defaultAlignment,
  type GgufTensor,
  type Item,
  type ItemType,
  type Metadata,
  type MetadataValue,
  magic,
  type TensorType,
  tensorBytes,
  tensorTypes,
  type ValueType,
  valueTypes,
  versions,
} from './format.js';

export interface GgufHeader {
  readonly version: number;
  readonly metadata: Metadata;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/** Beyond these nothing is a model. */
const maxHeaderBytes = 500_000_000;
const maxKeyBytes = 65_535;
const maxAxes = 4;

/** Fails with HEW3161, naming the file and what is wrong with it. */
export function readHeader(file: OpenFile): GgufHeader {
  const cursor = new Cursor(file);
  const version = readVersion(cursor);
  // The least that a tensor and a metadata entry take.
  const tensorCount = cursor.count('tensors', 24);
  const metadataCount = cursor.count('metadata entries', 13);
  const metadata = readMetadata(cursor, metadataCount);
  const infos = Array.from({ length: tensorCount }, () => readTensorInfo(cursor));
  const alignment = alignmentOf(metadata, cursor);
  const start = aligned(cursor.position, alignment);
  const tensors = new Map<string, GgufTensor>();
  for (const info of infos) {
    if (tensors.has(info.name)) cursor.invalid(`there are two tensors ${JSON.stringify(info.name)}`);
    tensors.set(info.name, placed(info, start, alignment, cursor));
  }
  checkApart([...tensors.values()], cursor);
  return { version, metadata, tensors };
}

function readVersion(cursor: Cursor): number {
  if (cursor.number('u32') !== magic) cursor.invalid('it does not begin with the letters GGUF');
  const version = cursor.number('u32');
  if (versions.some((known) => known === version)) return version;
  const swapped = versions.some((known) => known === ((version >>> 24) | ((version >>> 8) & 0xff00)));
  return cursor.invalid(
    swapped ? 'it is big-endian' : `its version is ${version}; known are ${versions.join(', ')}`,
  );
}

function readMetadata(cursor: Cursor, count: number): Map<string, MetadataValue> {
  const metadata = new Map<string, MetadataValue>();
  for (let i = 0; i < count; i++) {
    const key = cursor.text(maxKeyBytes);
    if (metadata.has(key)) cursor.invalid(`the metadata ${JSON.stringify(key)} is given twice`);
    metadata.set(key, readValue(cursor));
  }
  return metadata;
}

function readValue(cursor: Cursor): MetadataValue {
  const type = readType(cursor);
  if (type !== 'array') return { type, value: cursor.item(type) } as MetadataValue;
  const of = readType(cursor);
  if (of === 'array') return cursor.invalid('an array of its metadata holds arrays');
  const count = cursor.count('items of an array', valueTypes[of].bytes);
  return { type, of, value: Array.from({ length: count }, () => cursor.item(of)) };
}

const typesById = new Map(
  Object.entries(valueTypes).map(([name, { id }]) => [id as number, name as ValueType]),
);

function readType(cursor: Cursor): ValueType {
  const id = cursor.number('u32');
  return typesById.get(id) ?? cursor.invalid(`its metadata has a value of the unknown type ${id}`);
}

interface TensorEntry {
  readonly name: string;
  readonly type: TensorType;
  readonly shape: readonly number[];
  readonly offset: number;
}

const tensorTypesById = new Map(
  Object.entries(tensorTypes).map(([name, { id }]) => [id as number, name as TensorType]),
);

function readTensorInfo(cursor: Cursor): TensorEntry {
  const name = cursor.text(maxKeyBytes);
  const axes = cursor.number('u32');
  if (axes > maxAxes) cursor.invalid(`tensor ${JSON.stringify(name)} has ${axes} axes`);
  const shape = Array.from({ length: axes }, () => cursor.number('u64')).reverse();
  const id = cursor.number('u32');
  const type = tensorTypesById.get(id);
  const offset = cursor.number('u64');
  if (type !== undefined) return { name, type, shape, offset };
  return fail(
    'HEW3162',
    `tensor '${name}' of ${cursor.file.path} has the type ${id}, which Hew does not read`,
    {
      help: `types that it reads: ${Object.keys(tensorTypes).join(', ')}`,
    },
  );
}

function alignmentOf(metadata: Metadata, cursor: Cursor): number {
  const given = metadata.get(alignmentKey);
  if (given === undefined) return defaultAlignment;
  const { value } = given;
  if (typeof value !== 'number' || value < 8 || value > 2 ** 20 || value % 8 !== 0)
    return cursor.invalid(`its alignment ${JSON.stringify(value)} is no multiple of 8`);
  return value;
}

function placed(
  { name, type, shape, offset }: TensorEntry,
  start: number,
  alignment: number,
  cursor: Cursor,
): GgufTensor {
  const what = `tensor ${JSON.stringify(name)}`;
  const bytes = tensorBytes(type, shape);
  if (bytes === undefined)
    return cursor.invalid(`${what} of type ${type} cannot have the shape [${shape.join(', ')}]`);
  if (offset % alignment !== 0)
    cursor.invalid(`${what} begins at ${offset}, which is not aligned to ${alignment}`);
  if (start + offset + bytes > cursor.file.size)
    cursor.invalid(`${what} ends at byte ${start + offset + bytes}, but the file has ${cursor.file.size}`);
  return { name, type, shape, offset: start + offset, bytes };
}

function checkApart(tensors: readonly GgufTensor[], cursor: Cursor): void {
  const sorted = tensors.toSorted((a, b) => a.offset - b.offset);
  sorted.reduce((end, { name, offset, bytes }) => {
    if (offset < end) cursor.invalid(`tensor ${JSON.stringify(name)} overlaps the one before it`);
    return offset + bytes;
  }, 0);
}

const windowBytes = 2 ** 20;

/** Reads a file from its beginning on, a window at a time. */
class Cursor {
  position = 0;
  private window: Uint8Array<ArrayBuffer> = new Uint8Array();
  private windowStart = 0;

  constructor(readonly file: OpenFile) {}

  invalid(problem: string): never {
    return fail('HEW3161', `${this.file.path} is not a valid GGUF file: ${problem}`);
  }

  number(type: Exclude<ItemType, 'bool' | 'string'>): number {
    const { bytes } = valueTypes[type];
    const view = this.take(bytes);
    const value = readers[type](view);
    if (typeof value === 'number') return value;
    return Number.isSafeInteger(Number(value))
      ? Number(value)
      : this.invalid(`it has the number ${value}, which is more than any model needs`);
  }

  item(type: ItemType): Item {
    if (type === 'string') return this.text(maxHeaderBytes);
    if (type !== 'bool') return this.number(type);
    const value = this.take(1).getUint8(0);
    return value > 1 ? this.invalid(`a truth value of its metadata is ${value}`) : value === 1;
  }

  /** A number of things of at least `bytes` bytes each, which must fit into what is left of the file. */
  count(what: string, bytes: number): number {
    const count = this.number('u64');
    const left = Math.min(this.file.size, maxHeaderBytes) - this.position;
    if (count * bytes > left) this.invalid(`it would have ${count} ${what}, but only ${left} bytes follow`);
    return count;
  }

  text(limit: number): string {
    const length = this.count('bytes of text', 1);
    if (length > limit) this.invalid(`a name has ${length} bytes`);
    const { buffer, byteOffset } = this.take(length);
    return new TextDecoder().decode(new Uint8Array(buffer, byteOffset, length));
  }

  private take(bytes: number): DataView {
    if (this.position + bytes > this.file.size) this.invalid('it ends within its head');
    if (this.position + bytes > maxHeaderBytes)
      this.invalid(`its head has more than ${maxHeaderBytes} bytes`);
    const end = this.windowStart + this.window.length;
    if (this.position < this.windowStart || this.position + bytes > end) {
      const length = Math.min(Math.max(bytes, windowBytes), this.file.size - this.position);
      this.window = readRange(this.file, this.position, length, 'HEW3161');
      this.windowStart = this.position;
    }
    const view = new DataView(this.window.buffer, this.position - this.windowStart, bytes);
    this.position += bytes;
    return view;
  }
}

const readers: Record<Exclude<ItemType, 'bool' | 'string'>, (view: DataView) => number | bigint> = {
  u8: (view) => view.getUint8(0),
  i8: (view) => view.getInt8(0),
  u16: (view) => view.getUint16(0, true),
  i16: (view) => view.getInt16(0, true),
  u32: (view) => view.getUint32(0, true),
  i32: (view) => view.getInt32(0, true),
  f32: (view) => view.getFloat32(0, true),
  u64: (view) => view.getBigUint64(0, true),
  i64: (view) => view.getBigInt64(0, true),
  f64: (view) => view.getFloat64(0, true),
};
