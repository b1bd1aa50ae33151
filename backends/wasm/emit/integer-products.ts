/** What kernels of integer products share, whichever instruction multiplies: operands, scratch memory, rows of x. */
import { addDims, constantOf, type Dim, dim, mulDims } from '../../../ir/dim.js';
import { defOf, type Value } from '../../../ir/module.js';
import { type InnerGroups, panelQuads } from '../integer-packing.js';
import { panelWidth } from '../packing.js';
import { type Expr, i32, type Local, type Make, type Size } from './asm.js';
import type { Coordinate, Index } from './expression.js';
import { Expressions } from './expression.js';
import { type IntegerPanels, wideQuadBytes } from './integer-panels.js';
import type { KernelContext, ScratchSize } from './kernel.js';

/** A multiple of every tile; keeps a block of x in the second-level cache. */
export const blockRows = 96;
/** Bytes of four elements of a row of x as 16-bit numbers, the widest form. */
const widestRowQuad = 8;

export interface Operands {
  readonly x: Value;
  readonly w: Value;
  readonly xScale: Value;
  readonly wScale: Value;
  readonly bias: Value | undefined;
  readonly wZero: Value | undefined;
  readonly xZero: Value | undefined;
}

/** A bias or zero points that the kernel holds as the constant 0 are as if there were none. */
export function operandsOf(root: { readonly operands: readonly Value[] }): Operands {
  const [x, w, xScale, wScale] = root.operands as [Value, Value, Value, Value];
  const [bias, wZero, xZero] = root.operands.slice(4).map((value) => (isZero(value) ? undefined : value));
  return { x, w, xScale, wScale, bias, wZero, xZero };
}

function isZero(value: Value): boolean {
  const op = defOf(value);
  return op?.name === 'full' && op.attrs.value === 0;
}

/** Byte addresses of the parts of scratch memory. */
export interface Scratch {
  /** The rows of a block, as they are multiplied. */
  readonly rows: Make;
  /** One float per row of the block. */
  readonly rowScales: Make;
  /** One integer per row of the block: its zero point. */
  readonly rowZeros: Make;
  /** One integer per row and group. */
  readonly rowSums: Make;
  /** A panel, as it is multiplied. */
  readonly panel: Make;
  /** `panelWidth` floats per group. */
  readonly panelScales: Make;
  /** `panelWidth` integers per group each. */
  readonly panelSums: Make;
  readonly panelZeros: Make;
  readonly panelBias: Make;
}

export function scratchOf({ asm, scratch }: KernelContext, groups: InnerGroups): Scratch {
  const quads = panelQuads(groups);
  const ofPanel = groups.count * panelWidth * 4;
  const sizes = [
    blockRows * quads * widestRowQuad,
    blockRows * 4,
    blockRows * 4,
    blockRows * groups.count * 4,
    quads * wideQuadBytes,
    ofPanel,
    ofPanel,
    ofPanel,
  ];
  const at = (part: number): Make => {
    const offset = sizes.slice(0, part).reduce((sum, size) => sum + size, 0);
    return () => asm.expr(asm.add(scratch.get, offset));
  };
  return {
    rows: at(0),
    rowScales: at(1),
    rowZeros: at(2),
    rowSums: at(3),
    panel: at(4),
    panelScales: at(5),
    panelSums: at(6),
    panelZeros: at(7),
    panelBias: at(8),
  };
}

/** An upper bound: each group adds at most three zeros. */
export const quantizedLinearScratch: ScratchSize = (_func, root) => {
  const { w, wScale } = operandsOf(root);
  const groups = wScale.type.shape[1] ?? dim(1);
  const padded = addDims(w.type.shape[1] as Dim, mulDims(groups, 4));
  const rows = addDims(
    mulDims(padded, (blockRows * widestRowQuad) / 4),
    addDims(mulDims(groups, blockRows * 4), blockRows * 8),
  );
  const panel = addDims(
    mulDims(padded, wideQuadBytes / 4),
    addDims(mulDims(groups, 3 * panelWidth * 4), panelWidth * 4),
  );
  return addDims(rows, panel);
};

/** What a way of multiplying integers needs to know of the product. */
export interface IntegerProduct {
  readonly context: KernelContext;
  readonly operands: Operands;
  readonly groups: InnerGroups;
  readonly scratch: Scratch;
  readonly panels: IntegerPanels;
  readonly columns: Size;
  /** A zero point of a row of x, or a scale. */
  ofRow(value: Value, row: Make): Expr;
  /** A zero point of a column's group of the weight, or a scale. */
  ofColumn(value: Value, column: Size, group: Size): Expr;
}

/** A register tile on its way over the inner axis. */
export interface Tile {
  /** Rows of the tile. */
  readonly rows: number;
  /** Address of the first row in scratch memory, then of what is left of it. */
  readonly row: Local;
  /** The first row's place in the block. */
  readonly inBlock: Size;
  /** Address of the quad of the panel that is next. */
  readonly quad: Local;
  readonly panel: Make;
  /** Which halves of the panel's columns exist. */
  readonly halves: readonly number[];
  /** Integer sums by row and half: what a group leaves. */
  readonly products: readonly (readonly Local[])[];
}

/** One way of multiplying integers. */
export interface Multiplication {
  readonly tileRows: number;
  /** Bytes of four elements of a row of x in scratch memory. */
  readonly rowQuadBytes: number;
  /** Whether tiles of one row read the packed weight, so that few rows need no panel that is made ready. */
  readonly readsPacked: boolean;
  /** Makes the rows block..end ready, in scratch memory, with their scales. */
  prepareRows(block: Local, end: Local): readonly Expr[];
  /** Makes a panel ready for all rows of a block. */
  preparePanel(panel: Make): readonly Expr[];
  /** Where the quads of a panel begin. */
  panelAddress(panel: Make, packed: boolean): Expr;
  /** The products of one group, `quads` quads long, into `tile.products`. */
  multiplyGroup(tile: Tile, group: Size, quads: Size, packed: boolean): readonly Expr[];
}

/** Scales and zero points of rows and columns, by their expressions. */
export function factorsOf(
  context: KernelContext,
  byGroup: boolean,
  indexOf: (row: Make, column: Size, lane: number) => Index,
): Pick<IntegerProduct, 'ofRow' | 'ofColumn'> {
  const values = new Expressions(context);
  const at = (size: Size): Coordinate => ({ at: size, lane: 0 });
  return {
    ofColumn: (value, column, group) =>
      values.scalar(value, byGroup ? [at(column), at(group)] : [at(column)]),
    // The index of the row, without axes of one element.
    ofRow: (value, row) => {
      const index = indexOf(row, 0, 0);
      const own = value.type.shape.map((d, axis) =>
        constantOf(d) === 1 ? at(0) : (index[axis] as Coordinate),
      );
      return values.scalar(value, own);
    },
  };
}

/** How elements of x become what is multiplied, and how many bytes they are then. */
export interface RowForm {
  readonly elementBytes: number;
  /** Elements that `vector` takes. */
  readonly lanes: number;
  /** Stores `lanes` elements. */
  vector(from: Local, to: Local): Expr;
  /** Stores element `i`. */
  single(from: Local, to: Local, i: number): Expr;
  /** Stores a zero in place of element `i`. */
  fill(to: Local, i: number): Expr;
}

/** Writes a row of x to `to`, groups filled up with zeros to whole quads; both addresses advance. */
export function writeRow(
  { context: { asm, m }, groups }: IntegerProduct,
  inner: number,
  form: RowForm,
  from: Local,
  to: Local,
): readonly Expr[] {
  const advance = (read: number, written: number): Expr[] => [
    from.set(m.i32.add(from.get(), asm.const(read))),
    to.set(m.i32.add(to.get(), asm.const(written * form.elementBytes))),
  ];
  const segment = (size: number, padded: number): Expr[] => {
    const rest = size % form.lanes;
    return [
      asm.loop(0, size - rest, () => [form.vector(from, to), ...advance(form.lanes, form.lanes)], form.lanes),
      ...Array.from({ length: rest }, (_, i) => form.single(from, to, i)),
      ...Array.from({ length: padded - size }, (_, i) => form.fill(to, rest + i)),
      ...advance(rest, rest + padded - size),
    ];
  };
  const { count, size, quads, lastQuads } = groups;
  // Groups that are whole quads follow each other without zeros between them.
  if (count <= 1 || size % 4 === 0) return segment(inner, panelQuads(groups) * 4);
  const last = inner - (count - 1) * size;
  return [asm.loop(0, count - 1, () => segment(size, quads * 4)), ...segment(last, lastQuads * 4)];
}

/** Walks over the rows of a block: `body` gets the row, and writes what it reads at `from` to `to`. */
export function overBlockRows(
  { context, operands, scratch, ofRow }: IntegerProduct,
  inner: number,
  block: Local,
  end: Local,
  body: (row: Local, from: Local, to: Local) => readonly Expr[],
): readonly Expr[] {
  const { asm, m } = context;
  const [from, to, scaleAt] = [asm.local(i32), asm.local(i32), asm.local(i32)];
  return [
    to.set(scratch.rows()),
    scaleAt.set(scratch.rowScales()),
    asm.loop(block.get, end.get, (row) => [
      from.set(asm.expr(asm.add(context.pointer(operands.x).get, asm.mul(row.get, inner)))),
      m.f32.store(0, 4, scaleAt.get(), ofRow(operands.xScale, row.get)),
      scaleAt.set(m.i32.add(scaleAt.get(), asm.const(4))),
      ...body(row, from, to),
    ]),
  ];
}
