/**
 * Products of integers by dot products of bytes, of relaxed SIMD: one instruction multiplies four elements of four
 * columns. The first factor is signed; engines read the second as they like, signed or not, and tell which when the
 * module is loaded: `hew.dot_offset` is 0 or 128 (see ../runtime/byte-dot.ts). With x + offset as second factor,
 *
 *     sum (x - zx) (w - zw)  =  sum (x + offset) w  -  (zx + offset) sum w  -  zw (sum (x + offset) - n (zx + offset))
 *
 * where the last two terms are known before the sum begins. All of it is exact, whatever the engine.
 */
import type { Value } from '../../../ir/module.js';
import type { DType } from '../../../ir/type.js';
import { type InnerGroups, panelQuads } from '../integer-packing.js';
import { panelWidth } from '../packing.js';
import { type Asm, dotOffset, type Expr, i32, type Local, type Make, type Size, v128 } from './asm.js';
import { columnValue, overGroups } from './integer-panels.js';
import {
  type IntegerProduct,
  type Multiplication,
  overBlockRows,
  type RowForm,
  type Tile,
  writeRow,
} from './integer-products.js';

const rowQuadBytes = 4;
/** Bytes of a quad of a panel that is ready. */
const panelQuadBytes = 4 * panelWidth;
/** Independent sums of a tile of one row, which hide how long an instruction takes. */
const chains = 4;

export function byteProducts(product: IntegerProduct): Multiplication {
  const { context, panels, scratch } = product;
  const { asm, m } = context;
  const unrolled = [0, 1];
  return {
    tileRows: 6,
    rowQuadBytes,
    readsPacked: false,
    prepareRows: (block, end) => prepareRows(product, block, end),
    preparePanel: (panel) => preparePanel(product, panel),
    panelAddress: (panel) => (panels.storesBytes ? panels.address(panel) : scratch.panel()),
    multiplyGroup: (tile, group, quads) => {
      const begun = beginSums(product, tile, group);
      if (tile.rows === 1) return [...begun, ...singleRow(product, tile, quads)];
      const whole = asm.floorTo(quads, unrolled.length);
      const several = unrolled.flatMap((quad) => multiplyQuad(product, tile, tile.products, quad));
      return [
        ...begun,
        asm.loop(0, whole, () => [...several, ...advance(m, tile, unrolled.length)], unrolled.length),
        asm.loop(whole, quads, () => [
          ...multiplyQuad(product, tile, tile.products, 0),
          ...advance(m, tile, 1),
        ]),
      ];
    },
  };
}

/** What the engine adds to signed bytes. */
function offset({ context: { m } }: IntegerProduct): Expr {
  return m.global.get(dotOffset, i32);
}

/** The factor that makes a dot product a sum. */
function ones({ context: { asm, m } }: IntegerProduct): Expr {
  return m.i8x16.splat(asm.const(1));
}

/** What a value of the dtype differs by from the signed byte of the same bits. */
function unsignedBy(dtype: DType): number {
  return dtype === 'u8' ? 128 : 0;
}

/** A zero point of x as the second factor has it. */
function zeroAsFactor(product: IntegerProduct, zero: Expr): Expr {
  const { context, operands } = product;
  const { asm, m } = context;
  return m.i32.add(offset(product), m.i32.sub(zero, asm.const(unsignedBy(operands.x.type.dtype))));
}

/** The rows of a block as second factors, with their scales, zero points and sums. */
function prepareRows(product: IntegerProduct, block: Local, end: Local): readonly Expr[] {
  const { context, operands, scratch, ofRow } = product;
  const { asm, m } = context;
  const { x, xZero, wZero } = operands;
  const inner = context.sizes(x.type.shape).at(-1) as number;
  // Adding 128 to a byte flips its highest bit, and so does reading a u8 as signed.
  const flip = (byte: Expr): Expr =>
    m.i32.xor(byte, m.i32.xor(offset(product), asm.const(unsignedBy(x.type.dtype))));
  const flips = asm.local(v128);
  const form: RowForm = {
    elementBytes: 1,
    lanes: 16,
    vector: (from, to) =>
      m.v128.store(0, 1, to.get(), m.v128.xor(m.v128.load(0, 1, from.get()), flips.get())),
    single: (from, to, i) => m.i32.store8(i, 1, to.get(), flip(m.i32.load8_u(i, 1, from.get()))),
    fill: (to, i) => m.i32.store8(i, 1, to.get(), asm.const(0)),
  };
  const zero = asm.local(i32);
  const setZero = (row: Local): Expr =>
    zero.set(zeroAsFactor(product, xZero === undefined ? asm.const(0) : ofRow(xZero, row.get)));
  return [
    flips.set(m.i8x16.splat(flip(asm.const(0)))),
    ...overBlockRows(product, inner, block, end, (row, from, to) => {
      const inBlock = asm.sub(row.get, block.get);
      const place = asm.expr(asm.add(scratch.rowZeros, asm.mul(inBlock, 4)));
      return [
        ...(xZero === undefined && wZero === undefined ? [] : [setZero(row)]),
        ...(xZero === undefined ? [] : [m.i32.store(0, 4, place, zero.get())]),
        ...writeRow(product, inner, form, from, to),
        ...(wZero === undefined ? [] : sumRow(product, inBlock, inner, zero)),
      ];
    }),
  ];
}

/** Per group of a row: n (zx + offset) - sum (x + offset), which the zero point of w multiplies. */
function sumRow(product: IntegerProduct, inBlock: Size, inner: number, zero: Local): readonly Expr[] {
  const { context, groups, scratch } = product;
  const { asm, m } = context;
  const [from, to, sum] = [asm.local(i32), asm.local(i32), asm.local(v128)];
  const place = (base: Make, bytes: number): Expr => asm.expr(asm.add(base, asm.mul(inBlock, bytes)));
  return [
    from.set(place(scratch.rows, panelQuads(groups) * rowQuadBytes)),
    to.set(place(scratch.rowSums, groups.count * 4)),
    ...overGroups(context, groups, (group, quads) => {
      const zeros = m.i32.mul(asm.expr(elementsOf(asm, groups, inner, group)), zero.get());
      return [
        sum.set(asm.splatInt(0)),
        asm.loop(0, quads, () => [
          sum.set(asm.dotBytes(ones(product), m.v128.load32_zero(0, 1, from.get()), sum.get())),
          from.set(m.i32.add(from.get(), asm.const(rowQuadBytes))),
        ]),
        m.i32.store(0, 4, to.get(), m.i32.sub(zeros, m.i32x4.extract_lane(sum.get(), 0))),
        to.set(m.i32.add(to.get(), asm.const(4))),
      ];
    }),
  ];
}

/** Elements of a group: the last may have fewer. */
function elementsOf(asm: Asm, { count, size }: InnerGroups, inner: number, group: Size): Size {
  const last = inner - (count - 1) * size;
  if (typeof group === 'number') return group === count - 1 ? last : size;
  if (last === size) return size;
  return () => {
    const isLast = asm.m.i32.eq(asm.expr(group), asm.const(count - 1));
    return asm.m.select(isLast, asm.const(last), asm.const(size));
  };
}

/** Address of what a part of scratch memory holds for the columns of a panel and a group. */
function ofColumns({ context: { asm } }: IntegerProduct, part: Make, group: Size): Expr {
  return asm.expr(asm.add(part, asm.mul(group, panelWidth * 4)));
}

/** Per group of a panel: -(zx + offset) sum w, and the zero points; the panel as signed bytes unless it lies so. */
function preparePanel(product: IntegerProduct, panel: Make): readonly Expr[] {
  const { context, operands, groups, scratch, panels, columns, ofColumn } = product;
  const { asm, m } = context;
  const { w, wZero, xZero } = operands;
  const [from, to] = [asm.local(i32), asm.local(i32)];
  const weights = [asm.local(v128), asm.local(v128)] as const;
  const sums = weights.map((weight) => ({ weight, sum: asm.local(v128) }));
  // With zero points of x, each row has its own factor.
  const factor = (): Expr => (xZero === undefined ? zeroAsFactor(product, asm.const(0)) : asm.const(1));
  const zeroPoint = (group: Size, lane: number): Expr => {
    const column = asm.add(asm.mul(panel, panelWidth), lane);
    const zero = (): Expr =>
      m.i32.sub(ofColumn(wZero as Value, column, group), asm.const(unsignedBy(w.type.dtype)));
    return columnValue(context, columns, column, zero, asm.const(0));
  };
  const lanes = wZero === undefined ? [] : Array.from({ length: panelWidth }, (_, lane) => lane);
  return [
    from.set(panels.address(panel)),
    to.set(scratch.panel()),
    ...overGroups(context, groups, (group, quads) => [
      ...sums.map(({ sum }) => sum.set(asm.splatInt(0))),
      asm.loop(0, quads, () => [
        ...panels.loadBytes(from.get, weights),
        ...(panels.storesBytes
          ? []
          : weights.map((weight, half) => m.v128.store(half * 16, 4, to.get(), weight.get()))),
        ...sums.map(({ weight, sum }) => sum.set(asm.dotBytes(weight.get(), ones(product), sum.get()))),
        from.set(m.i32.add(from.get(), asm.const(panels.bytes))),
        to.set(m.i32.add(to.get(), asm.const(panelQuadBytes))),
      ]),
      ...sums.map(({ sum }, half) => {
        const negative = m.i32x4.splat(m.i32.sub(asm.const(0), factor()));
        const place = ofColumns(product, scratch.panelSums, group);
        return m.v128.store(half * 16, 4, place, m.i32x4.mul(sum.get(), negative));
      }),
      ...lanes.map((lane) =>
        m.i32.store(lane * 4, 4, ofColumns(product, scratch.panelZeros, group), zeroPoint(group, lane)),
      ),
    ]),
  ];
}

/** What the sums of a group begin with: all but the products. */
function beginSums(product: IntegerProduct, tile: Tile, group: Size): readonly Expr[] {
  const { context, operands, groups, scratch } = product;
  const { asm, m } = context;
  const columns = (part: Make, half: number): Expr =>
    m.v128.load(half * 16, 4, ofColumns(product, part, group));
  /** A number of row `r` of the tile, which has `each` of them. */
  const row = (part: Make, r: number, each: number, at: Size): Expr => {
    const first = asm.add(asm.mul(tile.inBlock, each), at);
    return m.v128.load32_splat(r * each * 4, 4, asm.expr(asm.add(part, asm.mul(first, 4))));
  };
  const start = (r: number, half: number): Expr => {
    const sums = columns(scratch.panelSums, half);
    return operands.xZero === undefined ? sums : m.i32x4.mul(sums, row(scratch.rowZeros, r, 1, 0));
  };
  const zeroTerm = (r: number, half: number): Expr =>
    m.i32x4.mul(columns(scratch.panelZeros, half), row(scratch.rowSums, r, groups.count, group));
  return tile.products.flatMap((sums, r) =>
    tile.halves.map((half, h) =>
      (sums[h] as Local).set(
        operands.wZero === undefined ? start(r, half) : m.i32x4.add(start(r, half), zeroTerm(r, half)),
      ),
    ),
  );
}

/** One quad of every row of the tile, `quad` quads on from where the tile is. */
function multiplyQuad(
  { context: { asm, m }, groups }: IntegerProduct,
  tile: Tile,
  sums: Tile['products'],
  quad: number,
): readonly Expr[] {
  const rowBytes = panelQuads(groups) * rowQuadBytes;
  const x = asm.local(v128);
  const weights = tile.halves.map((half) => ({ half, weight: asm.local(v128) }));
  return [
    ...weights.map(({ half, weight }) =>
      weight.set(m.v128.load(quad * panelQuadBytes + half * 16, 4, tile.quad.get())),
    ),
    ...sums.flatMap((ofRow, r) => [
      x.set(m.v128.load32_splat(r * rowBytes + quad * rowQuadBytes, 4, tile.row.get())),
      ...weights.map(({ weight }, h) => {
        const sum = ofRow[h] as Local;
        return sum.set(asm.dotBytes(weight.get(), x.get(), sum.get()));
      }),
    ]),
  ];
}

function advance(m: IntegerProduct['context']['m'], tile: Tile, quads: number): readonly Expr[] {
  return [
    tile.quad.set(m.i32.add(tile.quad.get(), m.i32.const(quads * panelQuadBytes))),
    tile.row.set(m.i32.add(tile.row.get(), m.i32.const(quads * rowQuadBytes))),
  ];
}

/** A tile of one row sums in turns. */
function singleRow(product: IntegerProduct, tile: Tile, quads: Size): readonly Expr[] {
  const { asm, m } = product.context;
  const [own] = tile.products as [readonly Local[]];
  const others = Array.from({ length: chains - 1 }, () => own.map(() => asm.local(v128)));
  const whole = asm.floorTo(quads, chains);
  const turns = [own, ...others].flatMap((sums, quad) => multiplyQuad(product, tile, [sums], quad));
  return [
    ...others.flat().map((sum) => sum.set(asm.splatInt(0))),
    asm.loop(0, whole, () => [...turns, ...advance(m, tile, chains)], chains),
    asm.loop(whole, quads, () => [...multiplyQuad(product, tile, [own], 0), ...advance(m, tile, 1)]),
    ...others.flatMap((sums) =>
      own.map((target, h) => target.set(m.i32x4.add(target.get(), (sums[h] as Local).get()))),
    ),
  ];
}
