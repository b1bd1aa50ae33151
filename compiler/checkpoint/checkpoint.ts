/**
 * Checkpoints: one .safetensors file, an index of shards (`model.safetensors.index.json`), or a directory
 * that holds either. Tensors are read by ranges, so that memory does not grow with the checkpoint; files stay
 * open until `close`.
 */
import { createHash } from 'node:crypto';
import { closeSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, sep } from 'node:path';
import { didYouMean, fail } from '../../ir/diagnostics.js';
import {
  isSystemError,
  type OpenFile,
  openForReading,
  readRange,
  readSafetensorsHeader,
  type TensorInfo,
} from './safetensors.js';

export type { TensorInfo } from './safetensors.js';

export interface Checkpoint {
  /** As given to `openCheckpoint`. */
  readonly path: string;
  /** By name. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The files' own `__metadata__`, the first file's first. */
  readonly metadata: ReadonlyMap<string, string>;
  /**
   * Bytes of a tensor, or of a range of it, in a fresh array at offset 0 of its buffer.
   * Fails with HEW4002 when there is no such tensor; a range outside the tensor is a RangeError.
   */
  read(name: string, byteOffset?: number, byteLength?: number): Uint8Array<ArrayBuffer>;
  /** SHA-256 over the contents of all files, in hexadecimal; computed once, streaming. */
  fingerprint(): string;
  close(): void;
}

const maxIndexBytes = 100_000_000;
const maxShards = 4096;

/**
 * Fails with HEW3001 when a file cannot be read, HEW3005 when an index refers outside its folder, HEW3006 when
 * an index is too large, HEW4001 for an invalid safetensors file, HEW4005 for an invalid index.
 */
export function openCheckpoint(path: string): Checkpoint {
  const file = checkpointFile(path);
  return file.endsWith('.json') ? openSharded(path, file) : openSingle(path, file);
}

/** The file that a path means: itself, or the weights in a directory. Fails with HEW3001 when there are none, or several. */
export function checkpointFile(path: string): string {
  const names = directoryEntries(path);
  if (names === undefined) return path;
  const usual = ['model.safetensors', 'model.safetensors.index.json'].find((name) => names.includes(name));
  if (usual !== undefined) return join(path, usual);
  const candidates = ['.safetensors.index.json', '.safetensors']
    .map((ending) => names.filter((name) => name.endsWith(ending)))
    .find((found) => found.length > 0);
  if (candidates === undefined) return fail('HEW3001', `the directory ${path} holds no .safetensors file`);
  const [only, ...others] = candidates;
  if (only === undefined || others.length > 0) {
    return fail('HEW3001', `the directory ${path} holds several checkpoints: ${candidates.join(', ')}`, {
      help: 'give the path of the one that is meant',
    });
  }
  return join(path, only);
}

/** Undefined when the path is not a directory. */
function directoryEntries(path: string): string[] | undefined {
  try {
    return statSync(path).isDirectory() ? readdirSync(path).sort() : undefined;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return fail('HEW3001', `${path} cannot be read: ${error.message}`);
  }
}

function openSingle(path: string, file: string): Checkpoint {
  const opened: OpenFile[] = [];
  return closingOnError(opened, () => {
    const shard = openInto(opened, file);
    const { tensors, metadata } = readSafetensorsHeader(shard);
    return createCheckpoint(path, opened, tensors, metadata);
  });
}

function openSharded(path: string, indexPath: string): Checkpoint {
  const weightMap = readIndex(indexPath);
  const shardNames = [...new Set(weightMap.values())].sort();
  if (shardNames.length > maxShards) {
    return fail('HEW4005', `${indexPath} lists ${shardNames.length} shards, more than ${maxShards}`);
  }
  const opened: OpenFile[] = [];
  return closingOnError(opened, () => {
    const tensors = new Map<string, TensorInfo>();
    const metadata = new Map<string, string>();
    for (const name of shardNames) {
      const header = readSafetensorsHeader(openInto(opened, shardPath(indexPath, name)));
      for (const [key, value] of header.metadata) if (!metadata.has(key)) metadata.set(key, value);
      for (const [tensor, info] of header.tensors) {
        // The index decides which shard a tensor comes from.
        if (weightMap.get(tensor) === name) tensors.set(tensor, info);
      }
    }
    for (const [tensor, shard] of weightMap) {
      if (!tensors.has(tensor))
        fail('HEW4005', `${indexPath} puts '${tensor}' into ${shard}, which lacks it`);
    }
    return createCheckpoint(path, opened, tensors, metadata);
  });
}

function openInto(opened: OpenFile[], path: string): OpenFile {
  const file = openForReading(path);
  opened.push(file);
  return file;
}

function closingOnError<T>(opened: readonly OpenFile[], open: () => T): T {
  try {
    return open();
  } catch (error) {
    for (const { fd } of opened) closeSync(fd);
    throw error;
  }
}

/** Shard file name of each tensor. */
function readIndex(indexPath: string): Map<string, string> {
  const json = readJson(indexPath);
  const weightMap = isObject(json) && Object.hasOwn(json, 'weight_map') ? json.weight_map : undefined;
  if (!isObject(weightMap)) return fail('HEW4005', `${indexPath} has no object "weight_map"`);
  const entries = Object.entries(weightMap).map(([tensor, shard]): [string, string] => {
    if (typeof shard !== 'string') fail('HEW4005', `${indexPath} gives no file name for '${tensor}'`);
    return [tensor, shard];
  });
  if (entries.length === 0) return fail('HEW4005', `${indexPath} lists no tensors`);
  return new Map(entries);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function readJson(path: string): unknown {
  const file = openForReading(path);
  try {
    if (file.size > maxIndexBytes) {
      fail('HEW3006', `${path} has ${file.size} bytes; an index has at most ${maxIndexBytes}`);
    }
    const bytes = readRange(file, 0, file.size, 'HEW4005');
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) {
      return fail('HEW4005', `${path} is not valid JSON: ${error.message}`);
    }
    throw error;
  } finally {
    closeSync(file.fd);
  }
}

/** The path of a shard, once it is certain that it lies in the index's folder. */
function shardPath(indexPath: string, name: string): string {
  const refuse = (why: string): never =>
    fail('HEW3005', `${indexPath} refers to the shard ${JSON.stringify(name)}, ${why}`, {
      help: 'shards have to be files in the folder of their index or below it',
    });
  if (!name.endsWith('.safetensors')) refuse('which is not a .safetensors file');
  return pathInside(dirname(indexPath), name, refuse);
}

/** The path of a file in `folder` or below; `refuse` is told what is wrong with a name that leads elsewhere. */
export function pathInside(folder: string, name: string, refuse: (why: string) => never): string {
  if (isAbsolute(name) || /[\\\0]|^[A-Za-z]:/.test(name)) refuse('which is not a plain relative path');
  if (name.split('/').some((part) => part === '' || part === '.' || part === '..')) {
    refuse('which is not a plain relative path');
  }
  const path = join(folder, name);
  if (!realPath(path).startsWith(withSeparator(realPath(folder)))) refuse('which links out of its folder');
  return path;
}

function withSeparator(folder: string): string {
  return folder.endsWith(sep) ? folder : folder + sep;
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return fail('HEW3001', `${path} cannot be read: ${error.message}`);
  }
}

function createCheckpoint(
  path: string,
  files: readonly OpenFile[],
  tensors: ReadonlyMap<string, TensorInfo>,
  metadata: ReadonlyMap<string, string>,
): Checkpoint {
  const byPath = new Map(files.map((file) => [file.path, file]));
  let fingerprint: string | undefined;
  let open = true;
  return {
    path,
    tensors,
    metadata,
    read(name, byteOffset = 0, byteLength) {
      const info = tensors.get(name);
      const file = info === undefined ? undefined : byPath.get(info.file);
      if (info === undefined || file === undefined) {
        return fail('HEW4002', `the checkpoint ${path} has no tensor '${name}'`, {
          help: didYouMean(name, tensors.keys()),
        });
      }
      const length = byteLength ?? info.bytes - byteOffset;
      if (!(byteOffset >= 0 && length >= 0 && byteOffset + length <= info.bytes)) {
        throw new RangeError(`bytes ${byteOffset} to ${byteOffset + length} are not in tensor '${name}'`);
      }
      return readRange(file, info.offset + byteOffset, length);
    },
    fingerprint() {
      fingerprint ??= hashFiles(files);
      return fingerprint;
    },
    close() {
      if (open) for (const { fd } of files) closeSync(fd);
      open = false;
    },
  };
}

const hashChunkBytes = 4 * 2 ** 20;

/** Depends on contents and file names, not on where the files are. */
export function hashFiles(files: readonly OpenFile[]): string {
  const hash = createHash('sha256');
  for (const file of files) {
    hash.update(JSON.stringify([basename(file.path), file.size]));
    for (let offset = 0; offset < file.size; offset += hashChunkBytes) {
      hash.update(readRange(file, offset, Math.min(hashChunkBytes, file.size - offset)));
    }
  }
  return hash.digest('hex');
}
