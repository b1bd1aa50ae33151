/**
 * Products of integers by dot products of 16-bit numbers, which every engine has: rows of x and panels of the weight
 * become 16-bit numbers less their zero points, and one instruction multiplies two elements of four columns.
 */
import { panelQuads } from '../integer-packing.js';
import { type Expr, i32, v128 } from './asm.js';
import { quadLocals, wideQuadBytes } from './integer-panels.js';
import {
  type IntegerProduct,
  type Multiplication,
  overBlockRows,
  type RowForm,
  writeRow,
} from './integer-products.js';

const rowQuadBytes = 8;

export function wordProducts(product: IntegerProduct): Multiplication {
  const { context, operands, groups, scratch, panels, ofRow } = product;
  const { asm, m } = context;
  const inner = context.sizes(operands.x.type.shape).at(-1) as number;
  const rowBytes = panelQuads(groups) * rowQuadBytes;
  const signed = operands.x.type.dtype === 'i8';
  const { xZero } = operands;
  const zero = asm.local(i32);
  const form: RowForm = {
    elementBytes: 2,
    lanes: 8,
    vector: (from, to) => {
      const wide = (signed ? m.v128.load8x8_s : m.v128.load8x8_u)(0, 1, from.get());
      const real = xZero === undefined ? wide : m.i16x8.sub(wide, m.i16x8.splat(zero.get()));
      return m.v128.store(0, 2, to.get(), real);
    },
    single: (from, to, i) => {
      const value = (signed ? m.i32.load8_s : m.i32.load8_u)(i, 1, from.get());
      return m.i32.store16(i * 2, 2, to.get(), xZero === undefined ? value : m.i32.sub(value, zero.get()));
    },
    fill: (to, i) => m.i32.store16(i * 2, 2, to.get(), asm.const(0)),
  };
  const [quad, x] = [quadLocals(context), asm.local(v128)];
  const loadQuad = (address: () => Expr, halves: readonly number[], packed: boolean): readonly Expr[] =>
    packed
      ? panels.load(address, quad)
      : [0, 2].flatMap((pair) =>
          halves.map((half) => {
            const i = pair + half;
            return (quad[i] as (typeof quad)[0]).set(m.v128.load(i * 16, 4, address()));
          }),
        );
  return {
    tileRows: 4,
    rowQuadBytes,
    readsPacked: panels.isPacked,
    prepareRows: (block, end) =>
      overBlockRows(product, inner, block, end, (row, from, to) => [
        ...(xZero === undefined ? [] : [zero.set(ofRow(xZero, row.get))]),
        ...writeRow(product, inner, form, from, to),
      ]),
    preparePanel: (panel) => panels.widen(panel, scratch.panel),
    panelAddress: (panel, packed) => (packed ? panels.address(panel) : scratch.panel()),
    multiplyGroup: (tile, group, quads, packed) => [
      ...(packed ? panels.beginGroup(tile.panel, group) : []),
      ...tile.products.flat().map((sum) => sum.set(asm.splatInt(0))),
      asm.loop(0, quads, () => [
        ...loadQuad(tile.quad.get, tile.halves, packed),
        ...[0, 1].flatMap((pair) =>
          tile.products.flatMap((sums, r) => [
            x.set(m.v128.load32_splat(r * rowBytes + pair * 4, 4, tile.row.get())),
            ...tile.halves.map((half, h) => {
              const sum = sums[h] as (typeof sums)[0];
              const weights = quad[pair * 2 + half] as (typeof quad)[0];
              return sum.set(m.i32x4.add(sum.get(), m.i32x4.dot_i16x8_s(x.get(), weights.get())));
            }),
          ]),
        ),
        tile.quad.set(m.i32.add(tile.quad.get(), asm.const(packed ? panels.bytes : wideQuadBytes))),
        tile.row.set(m.i32.add(tile.row.get(), asm.const(rowQuadBytes))),
      ]),
    ],
  };
}
