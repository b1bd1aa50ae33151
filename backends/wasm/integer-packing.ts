/**
 * The packed layout of integer weights [.., rows, inner], for kernels that multiply integers and for those that widen
 * them to floats. Rows (outputs) lie in panels of `panelWidth`; along the inner axis, each group of elements that share
 * a scale is filled up with zeros to a multiple of four. The unit is a quad: four elements of each row of a panel,
 *
 *     r0[0] r0[1] r0[2] r0[3]  r1[0] ..  r3[3]        r4[0] r4[1] r4[2] r4[3]  r5[0] ..  r7[3]
 *
 * as 32 bytes, or 16 for four-bit types: byte i has element i of rows 0 to 3 in its low half and element i of rows 4 to
 * 7 in its high half. i4 is stored plus 8, so that both types are unsigned. The four elements of a row are what one
 * lane of a dot product of bytes multiplies.
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

/** A byte of what fills up groups: 0 when it has become signed. */
function filler(dtype: DType): number {
  return dtype === 'u8' ? 0x80 : storedOffset(dtype) * 0x11;
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
  packed.fill(filler(dtype));
  const starts = columnStarts(inner, groups, dtype);
  for (let row = 0; row < matrices * rows; row++) {
    const [matrix, ofMatrix] = [Math.floor(row / rows), row % rows];
    const panel = (matrix * panels + Math.floor(ofMatrix / panelWidth)) * panelBytes;
    const lane = ofMatrix % panelWidth;
    const own = panel + (fourBit ? lane & 3 : lane) * quad;
    const shift = (lane >> 2) * 4;
    for (let k = 0; k < inner; k++) {
      const value = values[row * inner + k] as number;
      const at = own + (starts[k] as number);
      if (fourBit) packed[at] = (packed[at] as number) ^ (((value + offset) ^ offset) << shift);
      else packed[at] = value;
    }
  }
  return packed;
}

/** Where each element of the inner axis of a panel's first row lies. */
function columnStarts(inner: number, { size, quads }: InnerGroups, dtype: DType): Int32Array {
  return Int32Array.from({ length: inner }, (_, k) => {
    const inGroup = k % size;
    const place = Math.floor(k / size) * quads + Math.floor(inGroup / quad);
    return place * quadBytes(dtype) + (inGroup % quad);
  });
}
