/**
 * A directory of tensors under the hash of what they were made from. Every item is a safetensors file of its own,
 * written atomically, with a digest of what it holds: an item that is damaged, or that was cut short by a full disk, is
 * as good as absent. Several processes may share a directory.
 */
import { createHash } from 'node:crypto';
import { readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { HewError } from '../ir/diagnostics.js';
import { openCheckpoint } from './checkpoint/checkpoint.js';
import { type FileDType, fileDTypes } from './checkpoint/dtypes.js';
import { type TensorEntry, writeSafetensors } from './checkpoint/write-safetensors.js';

export interface StoredTensor {
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  /** Little-endian, in a buffer of its own. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface StoredItem {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Whatever JSON can hold. */
  readonly facts: unknown;
}

/** The name of the item for a key. */
const itemName = (key: string): string => createHash('sha256').update(key).digest('hex');

const ending = '.safetensors';

export class ContentStore {
  constructor(
    readonly directory: string,
    /** Bytes of all items; the items that were used least recently make room. */
    private readonly limitBytes = Number.POSITIVE_INFINITY,
  ) {}

  /** The item of a key; undefined when there is none that is whole. */
  read(key: string): StoredItem | undefined {
    const path = this.pathOf(key);
    try {
      const item = readItem(path);
      const now = new Date();
      utimesSync(path, now, now);
      return item;
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  /** Fails with HEW8003 when the directory cannot be written. */
  async write(key: string, { tensors, facts }: StoredItem): Promise<void> {
    await mkdir(this.directory, { recursive: true });
    const entries = [...tensors].map(([name, { dtype, shape, bytes }]): TensorEntry => {
      return { name, dtype, shape, data: bytes };
    });
    const text = JSON.stringify(facts);
    await writeSafetensors(this.pathOf(key), entries, { facts: text, digest: digestOf(tensors, text) });
    this.makeRoom();
  }

  private pathOf(key: string): string {
    return join(this.directory, itemName(key) + ending);
  }

  private makeRoom(): void {
    if (this.limitBytes === Number.POSITIVE_INFINITY) return;
    const items = readdirSync(this.directory)
      .filter((name) => name.endsWith(ending))
      .flatMap((name) => statusOf(join(this.directory, name)))
      .sort((a, b) => b.used - a.used);
    let room = this.limitBytes;
    for (const { path, bytes } of items) {
      room -= bytes;
      if (room < 0) rmSync(path, { force: true });
    }
  }
}

function statusOf(path: string): { path: string; bytes: number; used: number }[] {
  try {
    const { size, mtimeMs } = statSync(path);
    return [{ path, bytes: size, used: mtimeMs }];
  } catch {
    // Another process has made room.
    return [];
  }
}

/** Whether reading failed because there is no whole item: it is missing, or not what it says it is. */
function isAbsent(error: unknown): boolean {
  if (error instanceof HewError) return true;
  return error instanceof SyntaxError || (error instanceof Error && 'syscall' in error);
}

function readItem(path: string): StoredItem {
  const file = openCheckpoint(path);
  try {
    const tensors = new Map(
      [...file.tensors].map(([name, { dtype, shape }]) => [name, { dtype, shape, bytes: file.read(name) }]),
    );
    const text = file.metadata.get('facts') ?? '';
    if (file.metadata.get('digest') !== digestOf(tensors, text)) throw new SyntaxError('damaged');
    return { tensors, facts: JSON.parse(text) as unknown };
  } finally {
    file.close();
  }
}

function digestOf(tensors: ReadonlyMap<string, StoredTensor>, facts: string): string {
  const hash = createHash('sha256').update(facts);
  for (const [name, { dtype, shape, bytes }] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1)))
    hash.update(JSON.stringify([name, dtype, shape])).update(bytes);
  return hash.digest('hex');
}

/** Float32 or float64 values as a stored tensor. */
export function storedFloats(values: Float32Array | Float64Array, shape: readonly number[]): StoredTensor {
  const dtype = values instanceof Float32Array ? 'f32' : 'f64';
  const bytes = new Uint8Array(values.length * fileDTypes[dtype]);
  bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return { dtype, shape, bytes };
}
