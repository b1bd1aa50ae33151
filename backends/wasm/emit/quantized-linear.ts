/**
 * quantized_linear: exact integer products. Rows of x are made ready in scratch memory, `blockRows` at a time; a panel of
 * the weight likewise, once for a block; then register tiles run over the inner axis. What multiplies is one of two:
 * dot products of 16-bit numbers (word-products.ts) or of bytes (byte-products.ts), with the same results.
 */
import { productOfDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { innerGroups, panelQuads } from '../integer-packing.js';
import { panelWidth } from '../packing.js';
import { type Expr, f32, i32, type Local, type Make, type Size, v128 } from './asm.js';
import { byteProducts } from './byte-products.js';
import { Expressions } from './expression.js';
import { overPanels, type Product, storeVector, type Width } from './gemm.js';
import { columnValue, IntegerPanels, overGroups } from './integer-panels.js';
import {
  blockRows,
  factorsOf,
  type IntegerProduct,
  type Multiplication,
  operandsOf,
  scratchOf,
} from './integer-products.js';
import type { KernelContext, KernelEmitter } from './kernel.js';
import { epilogue, rowMajorIndex } from './matmul.js';
import { wordProducts } from './word-products.js';

export const emitQuantizedLinear: KernelEmitter = (context) => {
  const { asm, m } = context;
  const product = productOf(context);
  const kernel = new Kernel(product);
  const statements: Expr[] = [];
  const rows = asm.hoist(context.size(productOfDims(product.operands.x.type.shape.slice(0, -1))), statements);
  const end = asm.local(i32);
  return [
    ...statements,
    asm.loop(
      0,
      rows,
      (block) => [
        end.set(asm.expr(asm.add(block.get, blockRows))),
        asm.if(m.i32.gt_s(end.get(), asm.expr(rows)), [end.set(asm.expr(rows))]),
        ...kernel.multiplication.prepareRows(block, end),
        ...kernel.multiply(block, end, rows),
      ],
      blockRows,
    ),
  ];
};

function productOf(context: KernelContext): IntegerProduct {
  const { root } = context;
  const operands = operandsOf(root);
  const { w, wZero } = operands;
  const { group } = (root as OpOf<'quantized_linear'>).attrs;
  const [columns, inner] = context.sizes(w.type.shape) as [Size, Size];
  const groups = innerGroups(inner as number, group);
  const factors = factorsOf(context, group > 0, rowMajorIndex(context, root.results[0] as Value));
  const panels = new IntegerPanels(context, {
    weight: w,
    groups,
    columns,
    base: context.pointer(w).get,
    lead: [],
    ...(wZero && { zeroPoint: (column: Size, at: Size) => factors.ofColumn(wZero, column, at) }),
  });
  return { context, operands, groups, columns, panels, scratch: scratchOf(context, groups), ...factors };
}

class Kernel {
  readonly multiplication: Multiplication;
  private readonly stores: Pick<Product, 'store' | 'storeLane'>;
  private readonly rowBytes: number;

  constructor(private readonly product: IntegerProduct) {
    const { context, groups, panels } = product;
    this.stores = epilogue(context, rowMajorIndex(context, context.root.results[0] as Value));
    const bytes = context.asm.options.byteDots === true && panels.isPacked;
    this.multiplication = bytes ? byteProducts(product) : wordProducts(product);
    this.rowBytes = panelQuads(groups) * this.multiplication.rowQuadBytes;
  }

  multiply(block: Local, end: Local, rows: Size): readonly Expr[] {
    const { asm, m } = this.product.context;
    const { readsPacked, tileRows } = this.multiplication;
    const few = m.i32.lt_s(asm.expr(asm.sub(end.get, block.get)), asm.const(tileRows));
    const prepared = (): readonly Expr[] =>
      this.overPanels((panel, width) => this.preparedPanel(panel, width, block, end));
    const packed = (): readonly Expr[] =>
      this.overPanels((panel, width) => [
        ...this.columnFactors(panel),
        asm.loop(block.get, end.get, (row) => this.tile([row.get], block, panel, width, true)),
      ]);
    if (!readsPacked) return prepared();
    if (typeof rows === 'number') return rows < tileRows ? packed() : prepared();
    return [asm.if(few, packed(), prepared())];
  }

  private overPanels(body: (panel: Make, width: Width) => readonly Expr[]): readonly Expr[] {
    return overPanels(this.product.context, this.product.columns, body);
  }

  private preparedPanel(panel: Make, width: Width, block: Local, end: Local): readonly Expr[] {
    const { asm } = this.product.context;
    const { tileRows, preparePanel } = this.multiplication;
    const statements: Expr[] = [...this.columnFactors(panel), ...preparePanel(panel)];
    const whole = asm.hoist(asm.sub(end.get, asm.rem(asm.sub(end.get, block.get), tileRows)), statements);
    const tileAt = (row: Local): Make[] =>
      Array.from({ length: tileRows }, (_, r) => () => asm.expr(asm.add(row.get, r)));
    return [
      ...statements,
      asm.loop(block.get, whole, (row) => this.tile(tileAt(row), block, panel, width, false), tileRows),
      asm.loop(whole, end.get, (row) => this.tile([row.get], block, panel, width, false)),
    ];
  }

  /** Scales by group and biases of a panel's columns, in scratch memory; 0 for columns that do not exist. */
  private columnFactors(panel: Make): readonly Expr[] {
    const { context, columns, groups, operands, scratch, ofColumn } = this.product;
    const { asm, m } = context;
    const { wScale, bias } = operands;
    const values = new Expressions(context);
    const store = (address: Expr, lane: number, value: (column: Size) => Expr): Expr => {
      const column = asm.add(asm.mul(panel, panelWidth), lane);
      const found = columnValue(context, columns, column, () => value(column), m.f32.const(0));
      return m.f32.store(lane * 4, 4, address, found);
    };
    const lanes = Array.from({ length: panelWidth }, (_, lane) => lane);
    const scalesAt = (group: Size): Expr =>
      asm.expr(asm.add(scratch.panelScales, asm.mul(group, panelWidth * 4)));
    return [
      asm.loop(0, groups.count, (group) =>
        lanes.map((lane) =>
          store(scalesAt(group.get), lane, (column) => ofColumn(wScale, column, group.get)),
        ),
      ),
      ...(bias === undefined
        ? []
        : lanes.map((lane) =>
            store(scratch.panelBias(), lane, (column) => values.scalar(bias, [{ at: column, lane: 0 }])),
          )),
    ];
  }

  /** Consecutive rows against a panel that is ready in scratch memory, or packed as it is stored. */
  private tile(
    rows: readonly Make[],
    block: Local,
    panel: Make,
    width: Width,
    packed: boolean,
  ): readonly Expr[] {
    const { context, groups, scratch } = this.product;
    const { asm, m } = context;
    const halves = [0, 1].filter((half) => typeof width !== 'number' || width > half * 4);
    const vectors = (): Local[][] => rows.map(() => halves.map(() => asm.local(v128)));
    const [products, sums] = [vectors(), vectors()];
    const [row, quad, scales] = [asm.local(i32), asm.local(i32), asm.local(i32)];
    const placeOf = (at: Make): Size => asm.sub(at, block.get);
    const inBlock = placeOf(rows[0] as Make);
    const tile = { rows: rows.length, row, inBlock, quad, panel, halves, products };
    const oneGroup = (group: Size, quads: Size): readonly Expr[] => [
      ...this.multiplication.multiplyGroup(tile, group, quads, packed),
      ...products.flatMap((ofRow, r) =>
        ofRow.map((product, h) => {
          const sum = sums[r]?.[h] as Local;
          const scale = m.v128.load((halves[h] as number) * 16, 4, scales.get());
          const scaled = m.f32x4.mul(m.f32x4.convert_i32x4_s(product.get()), scale);
          return sum.set(m.f32x4.add(sum.get(), scaled));
        }),
      ),
      scales.set(m.i32.add(scales.get(), asm.const(panelWidth * 4))),
    ];
    return [
      row.set(asm.expr(asm.add(scratch.rows, asm.mul(inBlock, this.rowBytes)))),
      quad.set(this.multiplication.panelAddress(panel, packed)),
      scales.set(scratch.panelScales()),
      ...sums.flat().map((sum) => sum.set(asm.splat(0))),
      ...overGroups(context, groups, oneGroup),
      ...rows.flatMap((at, r) => this.finishRow(at, placeOf(at), panel, width, halves, sums[r] as Local[])),
    ];
  }

  /** Times the scale of the row, plus the bias, through the epilogue. */
  private finishRow(
    row: Make,
    inBlock: Size,
    panel: Make,
    width: Width,
    halves: readonly number[],
    sums: readonly Local[],
  ): readonly Expr[] {
    const { context, operands, scratch } = this.product;
    const { asm, m } = context;
    const rowScale = asm.local(f32);
    const scaleAt = asm.add(scratch.rowScales, asm.mul(inBlock, 4));
    return [
      rowScale.set(m.f32.load(0, 4, asm.expr(scaleAt))),
      ...halves.flatMap((half, h) => {
        const sum = sums[h] as Local;
        const scaled = m.f32x4.mul(sum.get(), m.f32x4.splat(rowScale.get()));
        const biased =
          operands.bias === undefined
            ? scaled
            : m.f32x4.add(scaled, m.v128.load(half * 16, 4, scratch.panelBias()));
        const column = asm.add(asm.mul(panel, panelWidth), half * 4);
        return [sum.set(biased), ...storeVector(context, this.stores, row, column, half, width, sum)];
      }),
    ];
  }
}
