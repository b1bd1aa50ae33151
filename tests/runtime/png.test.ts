import { inflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { encodePng, imageGrid } from '../../compiler/png.js';

/** Chunk bodies by type, with lengths checked against the whole. */
function chunksOf(png: Uint8Array): Map<string, Uint8Array> {
  const view = Buffer.from(png);
  expect(view.subarray(0, 8).toString('hex')).toBe('89504e470d0a1a0a');
  const chunks = new Map<string, Uint8Array>();
  for (let at = 8; at < view.length; ) {
    const length = view.readUInt32BE(at);
    chunks.set(view.toString('latin1', at + 4, at + 8), view.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  return chunks;
}

describe('png', () => {
  it('holds size, colour type and filtered rows', () => {
    const chunks = chunksOf(encodePng({ width: 2, height: 2, channels: 1, data: Uint8Array.of(1, 2, 3, 4) }));
    expect([...chunks.keys()]).toEqual(['IHDR', 'IDAT', 'IEND']);
    expect([...(chunks.get('IHDR') ?? [])]).toEqual([0, 0, 0, 2, 0, 0, 0, 2, 8, 0, 0, 0, 0]);
    expect([...inflateSync(chunks.get('IDAT') ?? new Uint8Array())]).toEqual([0, 1, 2, 0, 3, 4]);
  });

  it('has the checksum of the empty end chunk that every PNG has', () => {
    const png = encodePng({ width: 1, height: 1, channels: 3, data: Uint8Array.of(1, 2, 3) });
    expect(Buffer.from(png.subarray(-12)).toString('hex')).toBe('0000000049454e44ae426082');
  });

  it('refuses data of another size', () => {
    expect(() => encodePng({ width: 2, height: 2, channels: 1, data: new Uint8Array(3) })).toThrow(
      RangeError,
    );
  });
});

describe('image grid', () => {
  it('maps -1..1 to 0..255, clamped, row by row with gaps', () => {
    const grid = imageGrid(Float32Array.of(-1, 0, 1, 7), [4, 1, 1, 1], { columns: 3, gap: 1 });
    expect([grid.width, grid.height]).toEqual([5, 3]);
    expect([...grid.data]).toEqual([0, 0, 128, 0, 255, ...[0, 0, 0, 0, 0], 255, 0, 0, 0, 0]);
  });

  it('interleaves colours', () => {
    const grid = imageGrid(Float32Array.of(-1, 1, 1, -1, -1, -1), [1, 3, 1, 2]);
    expect([...grid.data]).toEqual([0, 255, 0, 255, 0, 0]);
  });

  it('refuses other shapes', () => {
    expect(() => imageGrid(new Float32Array(8), [2, 2, 2, 1])).toThrow(RangeError);
    expect(() => imageGrid(new Float32Array(3), [1, 1, 2, 2])).toThrow(RangeError);
  });
});
