/**
 * The memory image of a module's weights, as files: a range of addresses that is cut into shards, so that no file exceeds
 * what file systems and browsers take, and streamed with one tensor at a time in memory.
 */
import type { WeightSegment } from './wasm/runtime/manifest.js';

const shardBytes = 2 ** 30;

/** Addresses of the image. */
export interface ImageRange {
  readonly start: number;
  readonly end: number;
}

export function shards({ start, end }: ImageRange): WeightSegment[] {
  return Array.from({ length: Math.ceil((end - start) / shardBytes) }, (_, i) => {
    const address = start + i * shardBytes;
    const bytes = Math.min(end - address, shardBytes);
    return { file: `weights-${String(i + 1).padStart(5, '0')}.bin`, offset: 0, bytes, address };
  });
}

/** The shards by name; each must be read to its end before the next is begun. `chunks` are the image's bytes in order. */
export function shardFiles(
  range: ImageRange,
  chunks: Iterator<Uint8Array>,
): Map<string, () => Iterable<Uint8Array>> {
  const image = new ImageReader(chunks);
  return new Map(shards(range).map(({ file, bytes }) => [file, () => image.take(bytes)]));
}

/** Cuts a stream of chunks at given lengths. */
class ImageReader {
  private rest: Uint8Array = new Uint8Array(0);

  constructor(private readonly chunks: Iterator<Uint8Array>) {}

  *take(length: number): Generator<Uint8Array> {
    let missing = length;
    while (missing > 0) {
      if (this.rest.length === 0) {
        const next = this.chunks.next();
        if (next.done) throw new Error('the weight image is shorter than planned');
        this.rest = next.value;
      }
      const part = this.rest.subarray(0, missing);
      this.rest = this.rest.subarray(part.length);
      missing -= part.length;
      yield part;
    }
  }
}

/** Where the copies of a weight lie, one for each turn of its loop: bytes from one to the next. */
interface PlacedWeight {
  readonly turns: number;
  readonly stride: number;
}

/** Every weight in address order, padded to its stride. */
export function* weightImage<P extends PlacedWeight>(
  weights: ReadonlyMap<string, P>,
  bytesOf: (name: string, turn: number, placement: P) => Uint8Array,
  onTensor: (done: number, total: number) => void,
): Generator<Uint8Array> {
  const total = [...weights.values()].reduce((n, { turns }) => n + turns, 0);
  let done = 0;
  for (const [name, placement] of weights) {
    for (let turn = 0; turn < placement.turns; turn++) {
      const bytes = bytesOf(name, turn, placement);
      yield bytes;
      yield new Uint8Array(placement.stride - bytes.length);
      onTensor(++done, total);
    }
  }
}
