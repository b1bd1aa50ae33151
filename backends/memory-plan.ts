/** Static memory planning: buffers with known sizes and lifetimes get offsets in one arena. */

/** Lifetimes are inclusive positions in execution order; two buffers may share bytes when theirs do not overlap. */
export interface PlannedBuffer {
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}

export interface MemoryPlan {
  /** Offset of each buffer, in the order given. */
  readonly offsets: readonly number[];
  /** Size of the arena. */
  readonly bytes: number;
}

export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

/** Greedy by size: the largest buffer first, each at the lowest offset that is free for its whole lifetime. */
export function planMemory(buffers: readonly PlannedBuffer[], alignment: number): MemoryPlan {
  const offsets = new Array<number>(buffers.length).fill(0);
  const order = buffers.map((_, i) => i).sort((a, b) => sizeOf(buffers, b) - sizeOf(buffers, a) || a - b);
  const placed: { readonly start: number; readonly end: number; readonly buffer: PlannedBuffer }[] = [];
  for (const i of order) {
    const buffer = buffers[i] as PlannedBuffer;
    const size = alignUp(buffer.bytes, alignment);
    const start = lowestGap(
      placed.filter((p) => overlaps(p.buffer, buffer)),
      size,
    );
    offsets[i] = start;
    placed.push({ start, end: start + size, buffer });
  }
  return { offsets, bytes: placed.reduce((max, p) => Math.max(max, p.end), 0) };
}

function sizeOf(buffers: readonly PlannedBuffer[], index: number): number {
  return (buffers[index] as PlannedBuffer).bytes;
}

function overlaps(a: PlannedBuffer, b: PlannedBuffer): boolean {
  return a.first <= b.last && b.first <= a.last;
}

function lowestGap(taken: readonly { readonly start: number; readonly end: number }[], size: number): number {
  let start = 0;
  for (const range of [...taken].sort((a, b) => a.start - b.start)) {
    if (range.start - start >= size) break;
    start = Math.max(start, range.end);
  }
  return start;
}
