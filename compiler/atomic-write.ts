/**
 * Files and directories that are either whole or not there: they are written under a temporary name beside
 * their target, synced, and renamed. Temporaries that a killed process left behind are removed by the next
 * write to the same target.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { diagnostic, fail, HewError } from '../ir/diagnostics.js';

/** Bytes, all at once or in chunks. */
export type ByteSource = Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** Temporaries of this process that are still being written. */
const active = new Set<string>();

/**
 * Writes a file, replacing what is there. Creates no directories. On failure the target is unchanged.
 * Fails with HEW8003.
 */
export async function writeFileAtomically(path: string, source: ByteSource): Promise<void> {
  const target = resolve(path);
  await withTemporary(target, async (temporary) => {
    await writeSynced(temporary, source);
    await rename(temporary, target);
    await syncDirectory(dirname(target));
  });
}

/**
 * Makes a directory that does not exist, or is empty: `write` fills it under a temporary name.
 * Fails with HEW8003, also when something is there that would be lost.
 */
export async function writeNewDirectory(
  path: string,
  write: (temporary: string) => Promise<void>,
): Promise<void> {
  const target = resolve(path);
  const taken = await readdir(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw asOutputError(target, error);
  });
  if (taken !== undefined && taken.length > 0)
    fail('HEW8003', `${path} exists and is not empty`, {
      help: 'choose another directory, or remove this one',
    });
  await mkdir(dirname(target), { recursive: true });
  await withTemporary(target, async (temporary) => {
    await mkdir(temporary);
    await write(temporary);
    if (taken !== undefined) await rmdir(target);
    await rename(temporary, target);
    await syncDirectory(dirname(target));
  });
}

/**
 * Calls `write` with a temporary path beside `target`; whatever is still there afterwards is removed.
 * System errors become HEW8003.
 */
export async function withTemporary(
  target: string,
  write: (temporary: string) => Promise<void>,
): Promise<void> {
  const temporary = claimTemporary(target, 'new');
  try {
    await removeLeftovers(target);
    await write(temporary);
  } catch (error) {
    throw asOutputError(target, error);
  } finally {
    await removeTemporary(temporary);
  }
}

/** `.name.hew-role-pid-random`: hidden, beside the target, and telling whose it is. */
export function claimTemporary(target: string, role: 'new' | 'old'): string {
  const unique = randomBytes(6).toString('hex');
  const path = join(dirname(target), `.${basename(target)}.hew-${role}-${process.pid}-${unique}`);
  active.add(path);
  return path;
}

export async function removeTemporary(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
  active.delete(path);
}

async function removeLeftovers(target: string): Promise<void> {
  const folder = dirname(target);
  const prefix = `.${basename(target)}.hew-`;
  for (const name of await readdir(folder)) {
    if (!name.startsWith(prefix)) continue;
    const match = /^(?:new|old)-(\d+)-[0-9a-f]{12}$/.exec(name.slice(prefix.length));
    const path = join(folder, name);
    if (match === null || active.has(path) || isRunning(Number(match[1]))) continue;
    await rm(path, { recursive: true, force: true });
  }
}

/** Whether a process other than this one has that id; this one's temporaries are in `active`. */
export function isRunning(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Writes and syncs a new file; `observe` sees each chunk. */
export async function writeSynced(
  path: string,
  source: ByteSource,
  observe: (chunk: Uint8Array) => void = () => {},
): Promise<void> {
  const file = await open(path, 'wx');
  try {
    for await (const chunk of chunksOf(source)) {
      observe(chunk);
      await writeWhole(file, chunk);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

function chunksOf(source: ByteSource): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  return source instanceof Uint8Array ? [source] : source;
}

const maxWriteBytes = 2 ** 30;

async function writeWhole(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let done = 0; done < chunk.byteLength; ) {
    const length = Math.min(chunk.byteLength - done, maxWriteBytes);
    done += (await file.write(chunk, done, length)).bytesWritten;
  }
}

/** Makes renames in a directory last through a power failure. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function asOutputError(target: string, error: unknown): unknown {
  const isSystemError = error instanceof Error && 'syscall' in error;
  return isSystemError
    ? new HewError([diagnostic('HEW8003', `${target} cannot be written: ${error.message}`)])
    : error;
}
