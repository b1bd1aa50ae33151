/** Where the files of a bundle come from: a directory (Node), a URL, or a function given by the caller. */
import { LoadError, type LoadErrorCode, reasonOf, refuse } from './errors.js';
import { type FileRecord, type Manifest, manifestName } from './manifest.js';

/** Returns the bytes of the file of that name in the bundle; rejects when there is none. */
export type FetchFile = (name: string) => Promise<ArrayBuffer | Uint8Array>;

/** Reads one file; `expectedBytes` lets a directory refuse a file of the wrong size before reading it. */
export type ReadBundleFile = (name: string, expectedBytes?: number) => Promise<Uint8Array<ArrayBuffer>>;

/**
 * @param source a URL, or the path of a directory where there is a file system.
 * @param fetchFile takes the place of `source` when given.
 */
export function bundleReader(source: string | URL, fetchFile: FetchFile | undefined): ReadBundleFile {
  const directory = fetchFile === undefined ? directoryOf(source) : undefined;
  const read = directory === undefined ? fetching(fetchFile ?? urlFetcher(source)) : fromDirectory(directory);
  return async (name, expectedBytes) => {
    try {
      return await read(name, expectedBytes);
    } catch (error) {
      if (error instanceof LoadError) throw error;
      const code: LoadErrorCode = name === manifestName ? 'HEW7001' : 'HEW7003';
      throw new LoadError(code, `'${name}' of bundle ${source} cannot be read: ${reasonOf(error)}`, {
        cause: error,
      });
    }
  };
}

/**
 * Reads one file of the bundle and compares it with the manifest.
 * @throws LoadError HEW7003 when size or hash differ, HEW7009 without WebCrypto.
 */
export async function readVerified(
  manifest: Manifest,
  name: string,
  read: ReadBundleFile,
  verify: boolean,
): Promise<Uint8Array<ArrayBuffer>> {
  const record = manifest.files[name];
  if (record === undefined) refuse('HEW7003', `'${name}' is not among the files of the bundle`);
  const bytes = await read(name, record.bytes);
  checkSize(name, bytes.byteLength, record.bytes);
  if (verify) await checkHash(name, bytes, record);
  return bytes;
}

async function checkHash(
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
  { sha256 }: FileRecord,
): Promise<void> {
  const subtle = globalThis.crypto?.subtle;
  if (subtle === undefined) {
    refuse(
      'HEW7009',
      'this engine has no WebCrypto here, so the files of the bundle cannot be verified',
      'serve the page over https, or pass { verify: false }',
    );
  }
  const digest = new Uint8Array(await subtle.digest('SHA-256', bytes));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
  if (found !== sha256) {
    refuse('HEW7003', `the hash of '${name}' is ${found}, but the manifest says ${sha256}`, damagedHelp);
  }
}

function checkSize(name: string, found: number, expected: number): void {
  if (found !== expected) {
    refuse('HEW7003', `'${name}' has ${found} bytes, but the manifest says ${expected}`, damagedHelp);
  }
}

const damagedHelp = 'the file was changed or not copied whole; copy the bundle or compile the model again';

function fetching(fetchFile: FetchFile): ReadBundleFile {
  return async (name) => {
    const data = await fetchFile(name);
    // Copied only if it does not own plain memory of its own (as views of shared memory do not).
    return data instanceof ArrayBuffer ? new Uint8Array(data) : ownBytes(data);
  };
}

function ownBytes(data: Uint8Array): Uint8Array<ArrayBuffer> {
  return data.buffer instanceof ArrayBuffer
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
}

// --- URLs ---

function urlFetcher(source: string | URL): FetchFile {
  const page = (globalThis as { location?: { href: string } }).location?.href;
  const base = new URL(`${String(source).replace(/\/+$/, '')}/`, page);
  return async (name) => {
    const response = await fetch(new URL(name, base));
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    return response.arrayBuffer();
  };
}

// --- Directories ---

const hasFileSystem =
  (globalThis as { process?: { versions?: { node?: string } } }).process?.versions?.node !== undefined;

/** The directory or file URL that `source` names, or undefined when it has to be fetched. */
function directoryOf(source: string | URL): string | URL | undefined {
  if (!hasFileSystem) return undefined;
  if (source instanceof URL) return source.protocol === 'file:' ? source : undefined;
  if (source.startsWith('file://')) return new URL(source);
  return /^[a-z][a-z0-9+.-]+:\/\//i.test(source) ? undefined : source;
}

function fromDirectory(directory: string | URL): ReadBundleFile {
  return async (name, expectedBytes) => {
    const { readFile, stat } = await import('node:fs/promises');
    const { join } = await import('node:path');
    const { fileURLToPath } = await import('node:url');
    const path = join(directory instanceof URL ? fileURLToPath(directory) : directory, name);
    const status = await stat(path);
    // A pipe or a device could block for ever, or never end.
    if (!status.isFile()) throw new Error('it is not a regular file');
    if (expectedBytes !== undefined) checkSize(name, status.size, expectedBytes);
    return ownBytes(await readFile(path));
  };
}
