/**
 * Tensors of an ONNX model as a checkpoint: bytes are read by ranges from the model or from files in its folder when a
 * parameter needs them, so that memory does not grow with the model.
 */
import { closeSync } from 'node:fs';
import { dirname } from 'node:path';
import { didYouMean, fail } from '../../ir/diagnostics.js';
import type { TensorSource } from '../../ir/materialise.js';
import { encodeBytes } from '../../ir/numeric.js';
import type { DType } from '../../ir/type.js';
import { type Checkpoint, hashFiles, pathInside, type TensorInfo } from '../checkpoint/checkpoint.js';
import { type FileDType, isFileDType, tensorSource } from '../checkpoint/dtypes.js';
import { type OpenFile, openForReading, readRange } from '../checkpoint/safetensors.js';
import { dtypeName, onnxDTypes } from './dtypes.js';
import { byteLength, type OnnxTensor } from './wire.js';

/** Where the bytes of a tensor are, once that has been checked. */
type Place =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'file'; readonly file: OpenFile; readonly offset: number };

/** The model's bytes when it is not a file. */
export interface ModelInMemory {
  readonly path: string;
  readonly bytes: Uint8Array;
}

export type ModelFile = OpenFile | ModelInMemory;

/** Collects the tensors of a model while it is read, then serves as its checkpoint. */
export class TensorStore implements Checkpoint {
  readonly tensors = new Map<string, TensorInfo>();
  readonly metadata = new Map<string, string>();
  readonly path: string;
  private readonly places = new Map<string, Place>();
  private readonly externalFiles = new Map<string, OpenFile>();
  /** Types of tensors that `tensors` lists as plain bytes. */
  private readonly packed = new Map<string, DType>();
  private hash: string | undefined;
  private open = true;

  constructor(private readonly model: ModelFile) {
    this.path = model.path;
  }

  /** Fails with HEW3105 when data and shape disagree, HEW3106 when external data is not where it must be. */
  add(name: string, tensor: OnnxTensor): void {
    const bytes = byteLength(tensor.dtype, tensor.shape);
    const place = this.place(tensor, bytes);
    this.places.set(name, place);
    const own = onnxDTypes[tensor.dtype]?.hew;
    if (own !== undefined && !isFileDType(own)) this.packed.set(name, own);
    this.tensors.set(name, {
      name,
      dtype: fileDType(tensor.dtype),
      shape: tensor.shape,
      file: place.kind === 'file' ? place.file.path : this.path,
      offset: place.kind === 'file' ? place.offset : 0,
      bytes,
    });
  }

  /** The values of a tensor in the type it is carried as, without adding it. */
  valueBytes(tensor: OnnxTensor, dtype: DType): Uint8Array {
    const bytes = byteLength(tensor.dtype, tensor.shape);
    const own = readPlace(this.place(tensor, bytes), 0, bytes);
    if (onnxDTypes[tensor.dtype]?.narrowedTo === undefined) return own;
    return encodeBytes(dtype, Float32Array.from(new Float64Array(own.buffer)));
  }

  private place(tensor: OnnxTensor, bytes: number): Place {
    const { data } = tensor;
    switch (data.kind) {
      case 'bytes':
        checkLength(tensor, data.bytes.length, bytes);
        return data;
      case 'range':
        checkLength(tensor, data.end - data.start, bytes);
        return 'fd' in this.model
          ? { kind: 'file', file: this.model, offset: data.start }
          : { kind: 'bytes', bytes: this.model.bytes.subarray(data.start, data.end) };
      case 'external': {
        if (data.length !== undefined) checkLength(tensor, data.length, bytes);
        const file = this.external(tensor.name, data.location);
        if (data.offset + bytes > file.size) {
          fail(
            'HEW3106',
            `tensor '${tensor.name}' needs bytes ${data.offset} to ${data.offset + bytes} of ${file.path}, which has ${file.size}`,
          );
        }
        return { kind: 'file', file, offset: data.offset };
      }
    }
  }

  private external(tensor: string, location: string): OpenFile {
    const known = this.externalFiles.get(location);
    if (known !== undefined) return known;
    const path = pathInside(dirname(this.path), location, (why) =>
      fail('HEW3106', `tensor '${tensor}' lies in ${JSON.stringify(location)}, ${why}`, {
        help: "external data must be in the model's folder or below it",
      }),
    );
    const file = openForReading(path);
    this.externalFiles.set(location, file);
    return file;
  }

  read(name: string, byteOffset = 0, byteLength?: number): Uint8Array<ArrayBuffer> {
    const [info, place] = [this.tensors.get(name), this.places.get(name)];
    if (info === undefined || place === undefined) {
      return fail('HEW4002', `the model ${this.path} has no tensor '${name}'`, {
        help: didYouMean(name, this.tensors.keys()),
      });
    }
    const length = byteLength ?? info.bytes - byteOffset;
    if (!(byteOffset >= 0 && length >= 0 && byteOffset + length <= info.bytes)) {
      throw new RangeError(`bytes ${byteOffset} to ${byteOffset + length} are not in tensor '${name}'`);
    }
    return readPlace(place, byteOffset, length);
  }

  /** The tensors as sources of parameters; those of four bits, which safetensors has no name for, included. */
  source(): TensorSource {
    const plain = tensorSource(this);
    return {
      read: (name) => {
        const packed = this.packed.get(name);
        return packed === undefined ? plain.read(name) : { dtype: packed, bytes: this.read(name) };
      },
    };
  }

  fingerprint(): string {
    this.hash ??= hashFiles([...('fd' in this.model ? [this.model] : []), ...this.externalFiles.values()]);
    return this.hash;
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    if ('fd' in this.model) closeSync(this.model.fd);
    for (const { fd } of this.externalFiles.values()) closeSync(fd);
  }
}

function readPlace(place: Place, offset: number, length: number): Uint8Array<ArrayBuffer> {
  // Not `slice`, which of a Buffer is a view.
  if (place.kind === 'bytes') return Uint8Array.from(place.bytes.subarray(offset, offset + length));
  return readRange(place.file, place.offset + offset, length, 'HEW3106');
}

function checkLength({ name, dtype, shape }: OnnxTensor, given: number, wanted: number): void {
  if (given === wanted) return;
  fail(
    'HEW3105',
    `tensor '${name}' of ${dtypeName(dtype)} [${shape.join(', ')}] needs ${wanted} bytes, but has ${given}`,
  );
}

/** The name safetensors has for a type; bytes for those it has none for. */
function fileDType(code: number): FileDType {
  const info = onnxDTypes[code];
  const name: DType | 'f64' | string = info?.hew ?? (info?.name === 'double' ? 'f64' : '');
  return isFileDType(name) ? name : 'u8';
}
