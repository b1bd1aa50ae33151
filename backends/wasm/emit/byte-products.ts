/**
 * Products of integers by dot products of bytes, of relaxed SIMD: one instruction multiplies four elements of four
 * columns. The first factor is signed; engines read the second as they like, signed or not, and tell which when the
 * module is loaded: `hew.dot_offset` is 0 or 128 (see ../runtime/byte-dot.ts). With x + offset as second factor,
 *
 *     sum (x - zx) (w - zw)  =  sum (x + offset) w  -  (zx + offset) sum w  -  zw (sum (x + offset) - n (zx + offset))
 *
 * where the last two terms are known before the sum begins. All of it is exact, whatever the engine.
 */
import { type InnerGroups, panelQuads } from '../integer-packing.js';
import { panelWidth } from '../packing.js';
import { type Asm, dotOffset, type Expr, i32, type Local, type Make, type Size, v128 } from './asm.js';
import { columnValue, overGroups } from './integer-panels.js';
import {
  type IntegerProduct,
  type Multiplication,
  overRows,
  type RowForm,
  type Tile,
  writeRow,
} from './integer-products.js';

const rowQuadBytes = 4;
/** Bytes of a quad of a panel. */
const quadBytes = 4 * panelWidth;
/** Independent sums of a tile of one row, which hide how long an instruction takes. */
const chains = 4;

export function byteProducts(product: IntegerProduct): Multiplication {
  const { context, operands, groups, scratch, panels, columns, ofRow, ofColumn } = product;
  const { asm, m } = context;
  const { xZero, wZero } = operands;
  const inner = context.sizes(operands.x.type.shape).at(-1) as number;
  const rowBytes = panelQuads(groups) * rowQuadBytes;
  /** What u8 differs by from the signed byte of the same bits. */
  const unsigned = {
    x: operands.x.type.dtype === 'u8' ? 0x80 : 0,
    w: operands.w.type.dtype === 'u8' ? 128 : 0,
  };
  const offset = (): Expr => m.global.get(dotOffset, i32);
  const dot = (w: Expr, x: Expr, sum: Expr): Expr => asm.dotBytes(w, x, sum);
  const flips = asm.local(v128);
  const flipped = (value: Expr): Expr => m.i32.xor(value, m.i32.xor(offset(), asm.const(unsigned.x)));
  const form: RowForm = {
    elementBytes: 1,
    lanes: 16,
    vector: (from, to) =>
      m.v128.store(0, 1, to.get(), m.v128.xor(m.v128.load(0, 1, from.get()), flips.get())),
    single: (from, to, i) => m.i32.store8(i, 1, to.get(), flipped(m.i32.load8_u(i, 1, from.get()))),
    fill: (to, i) => m.i32.store8(i, 1, to.get(), asm.const(0)),
  };
  const place = (base: Make, row: Local, block: Local, bytes: number): Expr =>
    asm.expr(asm.add(base, asm.mul(asm.sub(row.get, block.get), bytes)));
  // The zero point of x as it is multiplied.
  const rowZero = asm.local(i32);
  const shifted = (zero: Expr): Expr => m.i32.add(offset(), m.i32.sub(zero, asm.const(unsigned.x)));
  const zeroOfRow = (row: Local): Expr => shifted(xZero === undefined ? asm.const(0) : ofRow(xZero, row.get));

  /** Per group: n (zx + offset) - sum (x + offset). */
  const rowSums = (row: Local, block: Local): readonly Expr[] => {
    const [at, sum, next] = [asm.local(i32), asm.local(v128), asm.local(i32)];
    return [
      at.set(place(scratch.rows, row, block, rowBytes)),
      next.set(place(scratch.rowSums, row, block, groups.count * 4)),
      ...overGroups(context, groups, (group, quads) => [
        sum.set(asm.splatInt(0)),
        asm.loop(0, quads, () => [
          sum.set(dot(m.i8x16.splat(asm.const(1)), m.v128.load32_zero(0, 1, at.get()), sum.get())),
          at.set(m.i32.add(at.get(), asm.const(rowQuadBytes))),
        ]),
        m.i32.store(
          0,
          4,
          next.get(),
          m.i32.sub(
            m.i32.mul(asm.expr(elementsOf(asm, groups, inner, group)), rowZero.get()),
            m.i32x4.extract_lane(sum.get(), 0),
          ),
        ),
        next.set(m.i32.add(next.get(), asm.const(4))),
      ]),
    ];
  };

  const direct = panels.storesBytes;
  const weights = [asm.local(v128), asm.local(v128)] as const;
  const [from, to] = [asm.local(i32), asm.local(i32)];

  /** The sums of each group's columns, their zero points, and the panel as signed bytes unless it lies so. */
  const preparePanel = (panel: Make): readonly Expr[] => {
    const sums = [asm.local(v128), asm.local(v128)] as const;
    const ofGroup = (base: Make, group: Size): Expr =>
      asm.expr(asm.add(base, asm.mul(group, panelWidth * 4)));
    return [
      from.set(panels.address(panel)),
      to.set(scratch.panel()),
      ...overGroups(context, groups, (group, quads) => [
        ...sums.map((sum) => sum.set(asm.splatInt(0))),
        asm.loop(0, quads, () => [
          ...panels.loadBytes(from.get, weights),
          ...(direct ? [] : weights.map((w, half) => m.v128.store(half * 16, 4, to.get(), w.get()))),
          ...sums.map((sum, half) =>
            sum.set(dot((weights[half] as Local).get(), m.i8x16.splat(asm.const(1)), sum.get())),
          ),
          from.set(m.i32.add(from.get(), asm.const(panels.bytes))),
          to.set(m.i32.add(to.get(), asm.const(quadBytes))),
        ]),
        ...sums.map((sum, half) => {
          // Without zero points of x, the same for all rows.
          const factor = xZero === undefined ? shifted(asm.const(0)) : asm.const(1);
          const start = m.i32x4.mul(sum.get(), m.i32x4.splat(m.i32.sub(asm.const(0), factor)));
          return m.v128.store(half * 16, 4, ofGroup(scratch.panelSums, group), start);
        }),
        ...(wZero === undefined
          ? []
          : Array.from({ length: panelWidth }, (_, lane) => {
              const column = asm.add(asm.mul(panel, panelWidth), lane);
              const zero = (): Expr => m.i32.sub(ofColumn(wZero, column, group), asm.const(unsigned.w));
              const value = columnValue(context, columns, column, zero, asm.const(0));
              return m.i32.store(lane * 4, 4, ofGroup(scratch.panelZeros, group), value);
            })),
      ]),
    ];
  };

  /** What the sums of a group begin with. */
  const begin = (tile: Tile, group: Size): readonly Expr[] => {
    const ofColumns = (base: Make, half: number): Expr =>
      m.v128.load(half * 16, 4, asm.expr(asm.add(base, asm.mul(group, panelWidth * 4))));
    const ofRows = (base: Make, r: number, perRow: number, at: Size): Expr =>
      m.v128.load32_splat(
        r * perRow * 4,
        4,
        asm.expr(asm.add(base, asm.mul(asm.add(asm.mul(tile.inBlock, perRow), at), 4))),
      );
    return tile.products.flatMap((sums, r) =>
      tile.halves.map((half, h) => {
        const ofPanel = ofColumns(scratch.panelSums, half);
        const start = xZero === undefined ? ofPanel : m.i32x4.mul(ofPanel, ofRows(scratch.rowZeros, r, 1, 0));
        const whole =
          wZero === undefined
            ? start
            : m.i32x4.add(
                start,
                m.i32x4.mul(
                  ofColumns(scratch.panelZeros, half),
                  ofRows(scratch.rowSums, r, groups.count, group),
                ),
              );
        return (sums[h] as Local).set(whole);
      }),
    );
  };

  const x = asm.local(v128);
  const multiplyQuad = (tile: Tile, sums: Tile['products'], quad: number): readonly Expr[] => [
    ...tile.halves.map((half) =>
      (weights[half] as Local).set(m.v128.load(quad * quadBytes + half * 16, 4, tile.quad.get())),
    ),
    ...sums.flatMap((ofRow, r) => [
      x.set(m.v128.load32_splat(r * rowBytes + quad * rowQuadBytes, 4, tile.row.get())),
      ...tile.halves.map((half, h) => {
        const sum = ofRow[h] as Local;
        return sum.set(dot((weights[half] as Local).get(), x.get(), sum.get()));
      }),
    ]),
  ];
  const advance = (tile: Tile, quads: number): readonly Expr[] => [
    tile.quad.set(m.i32.add(tile.quad.get(), asm.const(quads * quadBytes))),
    tile.row.set(m.i32.add(tile.row.get(), asm.const(quads * rowQuadBytes))),
  ];

  return {
    tileRows: 6,
    rowQuadBytes,
    readsPacked: false,
    prepareRows: (block, end) => [
      flips.set(m.i8x16.splat(flipped(asm.const(0)))),
      ...overRows(product, inner, block, end, (row, source, target) => [
        ...(xZero === undefined && wZero === undefined ? [] : [rowZero.set(zeroOfRow(row))]),
        ...(xZero === undefined
          ? []
          : [m.i32.store(0, 4, place(scratch.rowZeros, row, block, 4), rowZero.get())]),
        ...writeRow(product, inner, form, source, target),
        ...(wZero === undefined ? [] : rowSums(row, block)),
      ]),
    ],
    preparePanel,
    panelAddress: (panel) => (direct ? panels.address(panel) : scratch.panel()),
    multiplyGroup: (tile, group, quads) => {
      const unroll = tile.rows === 1 ? chains : 2;
      const whole = asm.floorTo(quads, unroll);
      // A tile of one row sums in turns.
      const others = Array.from({ length: tile.rows === 1 ? chains - 1 : 0 }, () => [
        tile.halves.map(() => asm.local(v128)),
      ]);
      const sums = [tile.products, ...others];
      const step = Array.from({ length: unroll }, (_, quad) =>
        multiplyQuad(tile, sums[quad % sums.length] as Tile['products'], quad),
      );
      return [
        ...begin(tile, group),
        ...others.flat(2).map((sum) => sum.set(asm.splatInt(0))),
        asm.loop(0, whole, () => [...step.flat(), ...advance(tile, unroll)], unroll),
        asm.loop(whole, quads, () => [...multiplyQuad(tile, tile.products, 0), ...advance(tile, 1)]),
        ...others.flatMap(([ofRow]) =>
          (ofRow as readonly Local[]).map((sum, h) => {
            const target = tile.products[0]?.[h] as Local;
            return target.set(m.i32x4.add(target.get(), sum.get()));
          }),
        ),
      ];
    },
  };
}

/** Elements of a group: the last may have fewer. */
function elementsOf(asm: Asm, { count, size }: InnerGroups, inner: number, group: Size): Size {
  const last = inner - (count - 1) * size;
  if (typeof group === 'number') return group === count - 1 ? last : size;
  return last === size
    ? size
    : () => {
        const isLast = asm.m.i32.eq(asm.expr(group), asm.const(count - 1));
        return asm.m.select(isLast, asm.const(last), asm.const(size));
      };
}
