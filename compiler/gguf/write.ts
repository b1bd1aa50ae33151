/** Writing of GGUF files, version 3, streamed and atomically. */
import { fail } from '../../ir/diagnostics.js';
import { writeFileAtomically } from '../atomic-write.js';
import type { WritableType } from './blocks.js';
import {
  aligned,
  defaultAlignment,
  type Item,
  type ItemType,
  type MetadataValue,
  magic,
  tensorBytes,
  tensorTypes,
  valueTypes,
} from './format.js';

export interface GgufEntry {
  readonly name: string;
  readonly type: WritableType;
  /** Row-major. */
  readonly shape: readonly number[];
  /** Asked for when the tensor's turn comes. */
  readonly data: () => Iterable<Uint8Array>;
}

/** Tensors stand in the file in the order given. Fails with HEW8003 when it cannot be written; nothing is left then. */
export async function writeGguf(
  path: string,
  metadata: ReadonlyMap<string, MetadataValue>,
  entries: readonly GgufEntry[],
): Promise<void> {
  await writeFileAtomically(path, fileChunks(metadata, entries));
}

function* fileChunks(
  metadata: ReadonlyMap<string, MetadataValue>,
  entries: readonly GgufEntry[],
): Generator<Uint8Array> {
  yield head(metadata, entries);
  for (const entry of entries) {
    let written = 0;
    for (const chunk of entry.data()) {
      written += chunk.length;
      yield chunk;
    }
    const size = sizeOf(entry);
    if (written !== size)
      fail('HEW9001', `tensor '${entry.name}' has ${written} bytes, but its shape needs ${size}`);
    yield padding(size);
  }
}

function padding(size: number): Uint8Array {
  return new Uint8Array(aligned(size, defaultAlignment) - size);
}

function sizeOf({ name, type, shape }: GgufEntry): number {
  return (
    tensorBytes(type, shape) ?? fail('HEW9001', `tensor '${name}' cannot be ${type} [${shape.join(', ')}]`)
  );
}

function head(metadata: ReadonlyMap<string, MetadataValue>, entries: readonly GgufEntry[]): Uint8Array {
  const out = new Bytes();
  out.number('u32', magic);
  out.number('u32', 3);
  out.number('u64', entries.length);
  out.number('u64', metadata.size);
  for (const [key, value] of metadata) {
    out.text(key);
    out.number('u32', valueTypes[value.type].id);
    if (value.type !== 'array') out.item(value.type, value.value);
    else {
      out.number('u32', valueTypes[value.of].id);
      out.number('u64', value.value.length);
      for (const item of value.value) out.item(value.of, item);
    }
  }
  let offset = 0;
  for (const entry of entries) {
    out.text(entry.name);
    out.number('u32', entry.shape.length);
    for (const size of entry.shape.toReversed()) out.number('u64', size);
    out.number('u32', tensorTypes[entry.type].id);
    out.number('u64', offset);
    offset = aligned(offset + sizeOf(entry), defaultAlignment);
  }
  return out.padded();
}

const encoder = new TextEncoder();

/** A buffer that grows. */
class Bytes {
  private bytes = new Uint8Array(2 ** 16);
  private view = new DataView(this.bytes.buffer);
  private length = 0;

  private reserve(count: number): number {
    const at = this.length;
    this.length += count;
    if (this.length > this.bytes.length) {
      const grown = new Uint8Array(Math.max(this.length, 2 * this.bytes.length));
      grown.set(this.bytes);
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    }
    return at;
  }

  number(type: Exclude<ItemType, 'bool' | 'string'>, value: number): void {
    const at = this.reserve(valueTypes[type].bytes);
    setters[type](this.view, at, value);
  }

  text(value: string): void {
    const encoded = encoder.encode(value);
    this.number('u64', encoded.length);
    const at = this.reserve(encoded.length);
    this.bytes.set(encoded, at);
  }

  item(type: ItemType, value: Item): void {
    if (type === 'string') this.text(String(value));
    else this.number(type === 'bool' ? 'u8' : type, Number(value));
  }

  padded(): Uint8Array {
    this.reserve(aligned(this.length, defaultAlignment) - this.length);
    return this.bytes.subarray(0, this.length);
  }
}

type Setter = (view: DataView, at: number, value: number) => void;

const setters: Record<Exclude<ItemType, 'bool' | 'string'>, Setter> = {
  u8: (view, at, value) => view.setUint8(at, value),
  i8: (view, at, value) => view.setInt8(at, value),
  u16: (view, at, value) => view.setUint16(at, value, true),
  i16: (view, at, value) => view.setInt16(at, value, true),
  u32: (view, at, value) => view.setUint32(at, value, true),
  i32: (view, at, value) => view.setInt32(at, value, true),
  f32: (view, at, value) => view.setFloat32(at, value, true),
  u64: (view, at, value) => view.setBigUint64(at, BigInt(value), true),
  i64: (view, at, value) => view.setBigInt64(at, BigInt(value), true),
  f64: (view, at, value) => view.setFloat64(at, value, true),
};
