/**
 * The packed layout of integer weights [.., rows, inner], for kernels that multiply integers and for those that widen
 * them to floats. Rows (outputs) lie in panels of `panelWidth`; along the inner axis, each group of elements that share
 * a scale is filled up with zeros to a multiple of four. The unit is a quad: four elements of each row of a panel,
 *
 *     pair 0: r0[0] r0[1]  r1[0] r1[1]  ..  r7[0] r7[1]        pair 1: r0[2] r0[3]  ..  r7[2] r7[3]
 *
 * as 32 bytes, or 16 for four-bit types: byte i has element i of pair 0 in its low half and element i of pair 1 in its
 * high half. i4 is stored plus 8, so that both types are unsigned. A pair of a row is what one lane of a 16-bit dot
 * product multiplies.
 */
import { decodeBytes } from '../../ir/numeric.js';
import type { DType } from '../../ir/type.js';
import { panelWidth } from './packing.js';

const quad = 4;
const quadElements = quad * panelWidth;

/** What is added to an element before it is stored. */
export function storedOffset(dtype: DType): number {
  return dtype === 'i4' ? 8 : 0;
}

export function quadBytes(dtype: DType): number {
  return dtype === 'i4' || dtype === 'u4' ? quadElements / 2 : quadElements;
}

/** How the inner axis is divided: groups of `size` elements (the last may have fewer), each in `quads` quads. */
export interface InnerGroups {
  readonly count: number;
  readonly size: number;
  readonly quads: number;
  readonly lastQuads: number;
}

/** `group` 0: the axis is one group. */
export function innerGroups(inner: number, group: number): InnerGroups {
  if (inner === 0) return { count: 0, size: 0, quads: 0, lastQuads: 0 };
  const size = group === 0 ? inner : Math.min(group, inner);
  const count = Math.ceil(inner / size);
  const last = inner - (count - 1) * size;
  return { count, size, quads: Math.ceil(size / quad), lastQuads: Math.ceil(last / quad) };
}

/** Quads of one panel. */
export function panelQuads({ count, quads, lastQuads }: InnerGroups): number {
  return count === 0 ? 0 : (count - 1) * quads + lastQuads;
}

function panelsOf(shape: readonly number[]): {
  matrices: number;
  rows: number;
  inner: number;
  panels: number;
} {
  const [rows = 1, inner = 1] = shape.slice(-2);
  const matrices = shape.slice(0, -2).reduce((n, size) => n * size, 1);
  return { matrices, rows, inner, panels: Math.ceil(rows / panelWidth) };
}

export function packedIntegerBytes(dtype: DType, shape: readonly number[], group: number): number {
  const { matrices, inner, panels } = panelsOf(shape);
  return matrices * panels * panelQuads(innerGroups(inner, group)) * quadBytes(dtype);
}

/** Row-major bytes to packed bytes. */
export function packIntegers(
  bytes: Uint8Array,
  dtype: DType,
  shape: readonly number[],
  group: number,
): Uint8Array {
  const { matrices, rows, inner, panels } = panelsOf(shape);
  const groups = innerGroups(inner, group);
  const packed = new Uint8Array(packedIntegerBytes(dtype, shape, group));
  const values = decodeBytes(dtype, bytes, matrices * rows * inner);
  const panelBytes = panelQuads(groups) * quadBytes(dtype);
  const [offset, fourBit] = [storedOffset(dtype), quadBytes(dtype) < quadElements];
  const columns = columnPlaces(inner, groups, dtype);
  for (let row = 0; row < matrices * rows; row++) {
    const [matrix, ofMatrix] = [Math.floor(row / rows), row % rows];
    const panel = (matrix * panels + Math.floor(ofMatrix / panelWidth)) * panelBytes;
    const lane = panel + (ofMatrix % panelWidth) * 2;
    for (let k = 0; k < inner; k++) {
      const value = (values[row * inner + k] as number) + offset;
      const at = lane + (columns.start[k] as number);
      if (fourBit) packed[at] = (packed[at] as number) | (value << ((columns.pair[k] as number) * 4));
      else packed[at + (columns.pair[k] as number) * panelWidth * 2] = value;
    }
  }
  return packed;
}

/** Where the quad of each element of the inner axis begins in its panel, with the element's place in a pair, and which pair. */
function columnPlaces(
  inner: number,
  { size, quads }: InnerGroups,
  dtype: DType,
): Record<'start' | 'pair', Int32Array> {
  const [start, pair] = [new Int32Array(inner), new Int32Array(inner)];
  for (let k = 0; k < inner; k++) {
    const inGroup = k % size;
    const place = Math.floor(k / size) * quads + Math.floor(inGroup / quad);
    start[k] = place * quadBytes(dtype) + (inGroup & 1);
    pair[k] = (inGroup % quad) >> 1;
  }
  return { start, pair };
}
