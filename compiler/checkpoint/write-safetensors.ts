/** Writing of safetensors files, streamed and atomically. */
import { fail } from '../../ir/diagnostics.js';
import { type ByteSource, writeFileAtomically } from '../atomic-write.js';
import { type FileDType, fileDTypes } from './dtypes.js';

export interface TensorEntry {
  readonly name: string;
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  /** Little-endian, row-major; asked for when the tensor's turn comes. */
  readonly data: ByteSource | (() => ByteSource);
}

/**
 * Writes a file whose bytes depend only on the arguments: tensors are ordered by element size, the largest
 * first, so that each is aligned, and then by name, as the reference implementation does.
 * Fails with HEW4003 when data does not fill its shape or a name is repeated, HEW8003 when the file cannot be
 * written; nothing is left behind then.
 */
export async function writeSafetensors(
  path: string,
  entries: Iterable<TensorEntry>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const sorted = [...entries].sort(inFileOrder);
  const names = new Set([metadataKey]);
  for (const { name } of sorted) {
    if (names.has(name)) fail('HEW4003', `two tensors for ${path} would have the name '${name}'`);
    names.add(name);
  }
  await writeFileAtomically(path, fileChunks(sorted, metadata));
}

const metadataKey = '__metadata__';

function inFileOrder(a: TensorEntry, b: TensorEntry): number {
  const bySize = fileDTypes[b.dtype] - fileDTypes[a.dtype];
  return bySize !== 0 ? bySize : a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

async function* fileChunks(
  entries: readonly TensorEntry[],
  metadata: Readonly<Record<string, string>>,
): AsyncGenerator<Uint8Array> {
  yield headerOf(entries, metadata);
  for (const entry of entries) yield* dataChunks(entry);
}

function headerOf(entries: readonly TensorEntry[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const header = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) header.set(metadataKey, metadata);
  let offset = 0;
  for (const entry of entries) {
    const end = offset + sizeOf(entry);
    header.set(entry.name, {
      dtype: entry.dtype.toUpperCase(),
      shape: entry.shape,
      data_offsets: [offset, end],
    });
    offset = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const bytes = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(bytes.length - 8), true);
  bytes.set(json, 8);
  return bytes;
}

function sizeOf({ name, dtype, shape }: TensorEntry): number {
  const size = shape.reduce((product, dimension) => product * dimension, fileDTypes[dtype]);
  return Number.isSafeInteger(size) && size >= 0
    ? size
    : fail('HEW4003', `tensor '${name}' cannot have the shape [${shape.join(', ')}]`);
}

async function* dataChunks(entry: TensorEntry): AsyncGenerator<Uint8Array> {
  const source = typeof entry.data === 'function' ? entry.data() : entry.data;
  let written = 0;
  for await (const chunk of source instanceof Uint8Array ? [source] : source) {
    written += chunk.byteLength;
    yield chunk;
  }
  if (written !== sizeOf(entry)) {
    fail('HEW4003', `tensor '${entry.name}' has ${written} bytes, but its shape needs ${sizeOf(entry)}`);
  }
}
