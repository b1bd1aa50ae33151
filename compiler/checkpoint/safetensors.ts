/**
 * The safetensors format: a little-endian u64 with the length of a JSON header, the header, and the bytes of
 * the tensors without gaps. A file is hostile data; `readSafetensorsHeader` returns only when every tensor
 * has a known dtype and a shape that fills exactly its own bytes, and the tensors together fill the file.
 */
import { fstatSync, openSync, readSync, statSync } from 'node:fs';
import { type DiagnosticCode, fail } from '../../ir/diagnostics.js';
import { type FileDType, fileDTypes, isFileDType } from './dtypes.js';

export interface TensorInfo {
  readonly name: string;
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  readonly file: string;
  /** Position of the first byte in the file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** A regular file opened for reading. */
export interface OpenFile {
  readonly path: string;
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
}

const maxHeaderBytes = 100_000_000;
const prefixBytes = 8;
/** readSync takes lengths below 2^31. */
const maxReadBytes = 2 ** 30;

/** Fails with HEW3001 when the path is not a regular file that can be read. */
export function openForReading(path: string): OpenFile {
  try {
    // Before opening: a pipe would block until somebody writes to it.
    if (!statSync(path).isFile()) return fail('HEW3001', `${path} is not a regular file`);
    const fd = openSync(path, 'r');
    return { path, fd, size: fstatSync(fd).size };
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return fail('HEW3001', `${path} cannot be read: ${error.message}`);
  }
}

export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error && 'syscall' in error;
}

/** Bytes `[offset, offset + length)` of a file; `code` is reported when the file has become shorter. */
export function readRange(
  file: OpenFile,
  offset: number,
  length: number,
  code: DiagnosticCode = 'HEW4001',
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const count = readSync(file.fd, bytes, done, Math.min(length - done, maxReadBytes), offset + done);
    if (count === 0) fail(code, `${file.path} ends at byte ${offset + done}, where more was expected`);
    done += count;
  }
  return bytes;
}

/** Fails with HEW4001, naming the file, when it is not a valid safetensors file. */
export function readSafetensorsHeader(file: OpenFile): SafetensorsHeader {
  const headerBytes = headerLength(file);
  const text = decodeHeader(file, readRange(file, prefixBytes, headerBytes));
  const json = parseHeader(file, text);
  const dataStart = prefixBytes + headerBytes;
  const tensors = Object.entries(json)
    .filter(([name]) => name !== metadataKey)
    .map(([name, value]) => tensorInfo(file, name, value, dataStart));
  checkCoverage(file, tensors, dataStart);
  return {
    tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
    metadata: metadataOf(file, Object.hasOwn(json, metadataKey) ? json[metadataKey] : undefined),
  };
}

const metadataKey = '__metadata__';

function invalid(file: OpenFile, problem: string): never {
  fail('HEW4001', `${file.path} is not a valid safetensors file: ${problem}`);
}

function headerLength(file: OpenFile): number {
  if (file.size < prefixBytes + 2) invalid(file, `it has only ${file.size} bytes`);
  const prefix = readRange(file, 0, prefixBytes);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes)) {
    invalid(file, `its header would have ${length} bytes, more than the ${maxHeaderBytes} allowed`);
  }
  if (Number(length) > file.size - prefixBytes) {
    invalid(file, `its header would have ${length} bytes, but the file has only ${file.size}`);
  }
  return Number(length);
}

function decodeHeader(file: OpenFile, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return invalid(file, 'its header is not UTF-8 text');
  }
}

type JsonObject = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseHeader(file: OpenFile, text: string): JsonObject {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    invalid(file, `its header is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (!isObject(json)) invalid(file, 'its header is not a JSON object');
  const repeated = repeatedKey(text, json);
  if (repeated !== undefined) invalid(file, `${repeated} is given twice`);
  return json;
}

/**
 * JSON.parse keeps the last of several equal keys and says nothing. A key was lost if and only if the text
 * has more members, that is colons outside strings, than the objects it made. `text` is valid JSON.
 */
export function repeatedKey(text: string, json: JsonObject): string | undefined {
  const keys: string[] = [];
  let members = 0;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '"') {
      const end = stringEnd(text, i);
      if (depth === 1) keys.push(text.slice(i, end + 1));
      i = end;
    } else if (character === ':') members++;
    else if (character === '{') depth++;
    else if (character === '}') depth--;
  }
  if (members === countMembers(json)) return undefined;
  const seen = new Set<unknown>();
  // Values are objects, so the strings at depth 1 are keys.
  const names = keys.map((key): unknown => JSON.parse(key));
  const twice = names.find((name) => seen.has(name) || !seen.add(name));
  return twice === undefined ? 'a key of one tensor' : `the tensor ${JSON.stringify(twice)}`;
}

/** Index of the quote that ends the string starting at `start`. */
function stringEnd(text: string, start: number): number {
  let end = start + 1;
  while (text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
  return end;
}

function countMembers(value: unknown): number {
  if (Array.isArray(value)) return value.reduce((sum: number, item: unknown) => sum + countMembers(item), 0);
  if (!isObject(value)) return 0;
  const items = Object.values(value);
  return items.reduce((sum: number, item) => sum + countMembers(item), items.length);
}

function tensorInfo(file: OpenFile, name: string, value: unknown, dataStart: number): TensorInfo {
  const where = `tensor ${JSON.stringify(name)}`;
  if (!isObject(value)) invalid(file, `${where} is not described by an object`);
  const dtype = tensorDType(file, where, value.dtype);
  const shape = tensorShape(file, where, value.shape);
  const [begin, end] = tensorRange(file, where, value.data_offsets);
  const size = byteCount(shape, fileDTypes[dtype]);
  if (size !== end - begin) {
    const needed = size === undefined ? 'more than 2^53' : String(size);
    invalid(
      file,
      `${where} needs ${needed} bytes for ${dtype} [${shape.join(', ')}], but has ${end - begin}`,
    );
  }
  if (dataStart + end > file.size) {
    invalid(file, `${where} ends at byte ${dataStart + end}, but the file has ${file.size}`);
  }
  return { name, dtype, shape, file: file.path, offset: dataStart + begin, bytes: end - begin };
}

function tensorDType(file: OpenFile, where: string, value: unknown): FileDType {
  const name = typeof value === 'string' ? value.toLowerCase() : '';
  if (value !== name.toUpperCase() || !isFileDType(name)) {
    invalid(file, `${where} has the unknown dtype ${JSON.stringify(value)}`);
  }
  return name;
}

function tensorShape(file: OpenFile, where: string, value: unknown): number[] {
  if (!Array.isArray(value) || !value.every(isCount)) {
    invalid(file, `${where} has a shape that is not a list of non-negative integers`);
  }
  return value;
}

function tensorRange(file: OpenFile, where: string, value: unknown): [number, number] {
  if (!Array.isArray(value) || value.length !== 2 || !value.every(isCount)) {
    invalid(file, `${where} has data_offsets that are not two non-negative integers`);
  }
  const [begin = 0, end = 0] = value;
  if (begin > end) invalid(file, `${where} begins at ${begin}, after its end at ${end}`);
  return [begin, end];
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Undefined when it is beyond 2^53. */
function byteCount(shape: readonly number[], elementBytes: number): number | undefined {
  if (shape.includes(0)) return 0;
  const count = shape.reduce((product, dimension) => product * dimension, elementBytes);
  return Number.isSafeInteger(count) ? count : undefined;
}

/** The reference implementation refuses holes too: bytes of no tensor could hide anything. */
function checkCoverage(file: OpenFile, tensors: readonly TensorInfo[], dataStart: number): void {
  const sorted = tensors.toSorted((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let reached = dataStart;
  for (const { name, offset, bytes } of sorted) {
    if (offset !== reached) {
      const problem =
        offset < reached ? 'overlaps the one before it' : `leaves a hole of ${offset - reached} bytes`;
      invalid(file, `tensor ${JSON.stringify(name)} ${problem}`);
    }
    reached += bytes;
  }
  if (reached !== file.size) invalid(file, `${file.size - reached} bytes at its end belong to no tensor`);
}

function metadataOf(file: OpenFile, value: unknown): Map<string, string> {
  if (value === undefined) return new Map();
  const entries = isObject(value) ? Object.entries(value) : undefined;
  const isText = (entry: [string, unknown]): entry is [string, string] => typeof entry[1] === 'string';
  if (entries === undefined || !entries.every(isText)) {
    invalid(file, `${metadataKey} is not an object of strings`);
  }
  return new Map(entries);
}
