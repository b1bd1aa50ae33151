/**
 * The packed layout of weights that matmul kernels read: rows (outputs) in panels of `panelWidth`, and inside a panel
 * the inner axis outermost, so that one step of the inner loop reads `panelWidth` consecutive values. The last panel
 * is filled up with zeros. A tensor of rank 3 (experts) is packed matrix by matrix.
 *
 * Two-byte floats of columns i and i + 4 share a 32-bit lane, low and high half, so that one load of 16 bytes gives
 * two vectors of four columns by a shift and a mask each.
 */
import { addDims, constantOf, type Dim, dim, mulDims } from '../../ir/dim.js';

export const panelWidth = 8;

/** Where a panel holds its column `column`. */
export function panelSlot(column: number, elementBytes: number): number {
  return elementBytes === 2 ? (column & 3) * 2 + (column >> 2) : column;
}

/** Elements of a packed [.., rows, inner] tensor. */
export function packedElements(shape: readonly number[]): number {
  const [rows = 1, inner = 1] = shape.slice(-2);
  const matrices = shape.slice(0, -2).reduce((n, size) => n * size, 1);
  return matrices * Math.ceil(rows / panelWidth) * panelWidth * inner;
}

/** Row-major bytes to packed bytes. */
export function packPanels(bytes: Uint8Array, shape: readonly number[], elementBytes: number): Uint8Array {
  const [rows = 1, inner = 1] = shape.slice(-2);
  const matrices = shape.slice(0, -2).reduce((n, size) => n * size, 1);
  const packed = new Uint8Array(packedElements(shape) * elementBytes);
  const matrixBytes = rows * inner * elementBytes;
  const packedMatrixBytes = packed.length / Math.max(1, matrices);
  for (let matrix = 0; matrix < matrices; matrix++) {
    const source = bytes.subarray(matrix * matrixBytes, (matrix + 1) * matrixBytes);
    packMatrix(source, packed.subarray(matrix * packedMatrixBytes), rows, inner, elementBytes);
  }
  return packed;
}

type Elements = Uint8Array | Uint16Array | Uint32Array;

function elementsOf(bytes: Uint8Array, elementBytes: number): Elements {
  const aligned = bytes.byteOffset % elementBytes === 0 ? bytes : bytes.slice();
  const length = Math.floor(aligned.byteLength / elementBytes);
  if (elementBytes === 4) return new Uint32Array(aligned.buffer, aligned.byteOffset, length);
  return elementBytes === 2 ? new Uint16Array(aligned.buffer, aligned.byteOffset, length) : aligned;
}

function packMatrix(
  source: Uint8Array,
  target: Uint8Array,
  rows: number,
  inner: number,
  elementBytes: number,
): void {
  const [from, to] = [elementsOf(source, elementBytes), elementsOf(target, elementBytes)];
  for (let row = 0; row < rows; row++) {
    const panel =
      Math.floor(row / panelWidth) * panelWidth * inner + panelSlot(row % panelWidth, elementBytes);
    for (let k = 0; k < inner; k++) to[panel + k * panelWidth] = from[row * inner + k] as number;
  }
}

/** Number of panels of `rows` outputs, for rows with run-time symbols rounded up at run time by the caller. */
export function panelCount(rows: Dim): Dim | undefined {
  const constant = constantOf(rows);
  return constant === undefined ? undefined : dim(Math.ceil(constant / panelWidth));
}

/** An upper bound of ceil(rows / panelWidth) * panelWidth * inner that stays a polynomial. */
export function packedBound(rows: Dim, inner: Dim): Dim {
  const constant = constantOf(rows);
  const padded =
    constant === undefined ? addDims(rows, panelWidth) : dim(Math.ceil(constant / panelWidth) * panelWidth);
  return mulDims(padded, inner);
}
