/**
 * quantized_linear: exact integer products. Rows of x become 16-bit numbers less their zero points in scratch memory,
 * `blockRows` at a time; a panel of the weight likewise, once for a block; then register tiles of `tileRows` rows and
 * `panelWidth` columns run over the inner axis, two elements at a time, with one 16-bit dot product for four columns.
 * Few rows read the packed weight directly.
 */
import { addDims, constantOf, type Dim, dim, mulDims, productOfDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { type InnerGroups, innerGroups, panelQuads } from '../integer-packing.js';
import { panelWidth } from '../packing.js';
import { type Expr, f32, i32, type Local, type Make, type Size, v128 } from './asm.js';
import { type Coordinate, Expressions, type Index } from './expression.js';
import { overPanels, type Product, storeVector, type Width } from './gemm.js';
import { columnValue, IntegerPanels, overGroups, quadLocals, wideQuadBytes } from './integer-panels.js';
import type { KernelContext, KernelEmitter, ScratchSize } from './kernel.js';
import { epilogue, rowMajorIndex } from './matmul.js';

const tileRows = 4;
/** A multiple of the tile; keeps a block of x in the second-level cache. */
const blockRows = 96;
/** Bytes of four elements of a row of x as 16-bit numbers. */
const rowQuadBytes = 8;

interface Operands {
  readonly x: Value;
  readonly w: Value;
  readonly xScale: Value;
  readonly wScale: Value;
  readonly bias: Value | undefined;
  readonly wZero: Value | undefined;
  readonly xZero: Value | undefined;
}

function operandsOf(root: { readonly operands: readonly Value[] }): Operands {
  const [x, w, xScale, wScale] = root.operands as [Value, Value, Value, Value];
  const [, , , , bias, wZero, xZero] = root.operands;
  return { x, w, xScale, wScale, bias, wZero, xZero };
}

/** Byte addresses of the parts of scratch memory. */
interface Scratch {
  readonly rows: Make;
  /** One float per row of the block. */
  readonly rowScales: Make;
  readonly panel: Make;
  /** `panelWidth` floats per group. */
  readonly panelScales: Make;
  readonly panelBias: Make;
}

function scratchOf({ asm, scratch }: KernelContext, groups: InnerGroups): Scratch {
  const quads = panelQuads(groups);
  const sizes = [
    blockRows * quads * rowQuadBytes,
    blockRows * 4,
    quads * wideQuadBytes,
    groups.count * panelWidth * 4,
  ];
  const at = (part: number): Make => {
    const offset = sizes.slice(0, part).reduce((sum, size) => sum + size, 0);
    return () => asm.expr(asm.add(scratch.get, offset));
  };
  return { rows: at(0), rowScales: at(1), panel: at(2), panelScales: at(3), panelBias: at(4) };
}

/** An upper bound: each group adds at most three zeros. */
export const quantizedLinearScratch: ScratchSize = (_func, root) => {
  const { w, wScale } = operandsOf(root);
  const groups = wScale.type.shape[1] ?? dim(1);
  const padded = addDims(w.type.shape[1] as Dim, mulDims(groups, 4));
  const rows = addDims(mulDims(padded, blockRows * 2), blockRows * 4);
  const panel = addDims(
    mulDims(padded, panelWidth * 2),
    addDims(mulDims(groups, panelWidth * 4), panelWidth * 4),
  );
  return addDims(rows, panel);
};

export const emitQuantizedLinear: KernelEmitter = (context) => {
  const { asm, m, root } = context;
  const operands = operandsOf(root);
  const { group } = (root as OpOf<'quantized_linear'>).attrs;
  const [columns, inner] = context.sizes(operands.w.type.shape) as [Size, Size];
  const groups = innerGroups(inner as number, group);
  const kernel = new Kernel(context, operands, groups, columns, group > 0);
  const statements: Expr[] = [];
  const rows = asm.hoist(context.size(productOfDims(operands.x.type.shape.slice(0, -1))), statements);
  const end = asm.local(i32);
  return [
    ...statements,
    asm.loop(
      0,
      rows,
      (block) => [
        end.set(asm.expr(asm.add(block.get, blockRows))),
        asm.if(m.i32.gt_s(end.get(), asm.expr(rows)), [end.set(asm.expr(rows))]),
        ...kernel.widenRows(block, end),
        ...kernel.multiply(block, end, rows),
      ],
      blockRows,
    ),
  ];
};

class Kernel {
  private readonly scratch: Scratch;
  private readonly panels: IntegerPanels;
  private readonly values: Expressions;
  private readonly stores: Pick<Product, 'store' | 'storeLane'>;
  private readonly rowBytes: number;
  private readonly indexOf: (row: Make, column: Size, lane: number) => Index;

  constructor(
    private readonly context: KernelContext,
    private readonly operands: Operands,
    private readonly groups: InnerGroups,
    private readonly columns: Size,
    private readonly byGroup: boolean,
  ) {
    const { w, wZero } = operands;
    this.scratch = scratchOf(context, groups);
    this.values = new Expressions(context);
    this.indexOf = rowMajorIndex(context, context.root.results[0] as Value);
    this.stores = epilogue(context, this.indexOf);
    this.rowBytes = panelQuads(groups) * rowQuadBytes;
    this.panels = new IntegerPanels(context, {
      weight: w,
      groups,
      columns,
      base: context.pointer(w).get,
      lead: [],
      ...(wZero && { zeroPoint: (column: Size, group: Size) => this.ofColumn(wZero, column, group) }),
    });
  }

  /** A scale or zero point of the weight. */
  private ofColumn(value: Value, column: Size, group: Size): Expr {
    const at = (size: Size): Coordinate => ({ at: size, lane: 0 });
    return this.values.scalar(value, this.byGroup ? [at(column), at(group)] : [at(column)]);
  }

  /** A scale or zero point of a row of x: the index of the row, without axes of one element. */
  private ofRow(value: Value, row: Make): Expr {
    const index = this.indexOf(row, 0, 0);
    const own = value.type.shape.map((d, axis) =>
      constantOf(d) === 1 ? { at: 0, lane: 0 } : (index[axis] as Coordinate),
    );
    return this.values.scalar(value, own);
  }

  /** x of the block as 16-bit numbers less their zero points, groups filled up with zeros; and its scales. */
  widenRows(block: Local, end: Local): readonly Expr[] {
    const { asm, m } = this.context;
    const { x, xScale, xZero } = this.operands;
    const inner = this.context.sizes(x.type.shape).at(-1) as number;
    const [from, to, scaleAt, zero] = [asm.local(i32), asm.local(i32), asm.local(i32), asm.local(i32)];
    const signed = x.type.dtype === 'i8';
    const real = (value: Expr): Expr => (xZero === undefined ? value : m.i32.sub(value, zero.get()));
    const single = (i: number): Expr =>
      m.i32.store16(i * 2, 2, to.get(), real((signed ? m.i32.load8_s : m.i32.load8_u)(i, 1, from.get())));
    const eight = (): Expr => {
      const wide = (signed ? m.v128.load8x8_s : m.v128.load8x8_u)(0, 1, from.get());
      return m.v128.store(
        0,
        2,
        to.get(),
        xZero === undefined ? wide : m.i16x8.sub(wide, m.i16x8.splat(zero.get())),
      );
    };
    const advance = (count: number): Expr[] => [
      from.set(m.i32.add(from.get(), asm.const(count))),
      to.set(m.i32.add(to.get(), asm.const(count * 2))),
    ];
    const segment = (size: number, padded: number): Expr[] => {
      const rest = size % 8;
      return [
        asm.loop(0, size - rest, () => [eight(), ...advance(8)], 8),
        ...Array.from({ length: rest }, (_, i) => single(i)),
        ...Array.from({ length: padded - size }, (_, i) =>
          m.i32.store16((rest + i) * 2, 2, to.get(), asm.const(0)),
        ),
        from.set(m.i32.add(from.get(), asm.const(rest))),
        to.set(m.i32.add(to.get(), asm.const((rest + padded - size) * 2))),
      ];
    };
    const { count, size, quads, lastQuads } = this.groups;
    const last = inner - (count - 1) * size;
    // Groups that are whole quads follow each other without zeros between them.
    const segments =
      count <= 1 || size % 4 === 0
        ? segment(inner, panelQuads(this.groups) * 4)
        : [asm.loop(0, count - 1, () => segment(size, quads * 4)), ...segment(last, lastQuads * 4)];
    return [
      to.set(this.scratch.rows()),
      scaleAt.set(this.scratch.rowScales()),
      asm.loop(block.get, end.get, (row) => [
        from.set(asm.expr(asm.add(this.context.pointer(x).get, asm.mul(row.get, inner)))),
        ...(xZero === undefined ? [] : [zero.set(this.ofRow(xZero, row.get))]),
        m.f32.store(0, 4, scaleAt.get(), this.ofRow(xScale, row.get)),
        scaleAt.set(m.i32.add(scaleAt.get(), asm.const(4))),
        ...segments,
      ]),
    ];
  }

  multiply(block: Local, end: Local, rows: Size): readonly Expr[] {
    const { asm, m } = this.context;
    const direct = this.panels.isPacked;
    const few = m.i32.lt_s(asm.expr(asm.sub(end.get, block.get)), asm.const(tileRows));
    const wide = (): readonly Expr[] =>
      this.overPanels((panel, width) => this.widePanel(panel, width, block, end));
    const narrow = (): readonly Expr[] =>
      this.overPanels((panel, width) => [
        ...this.columnFactors(panel),
        asm.loop(block.get, end.get, (row) => this.tile([row.get], block, panel, width, 'packed')),
      ]);
    if (!direct) return wide();
    if (typeof rows === 'number') return rows < tileRows ? narrow() : wide();
    return [asm.if(few, narrow(), wide())];
  }

  private overPanels(body: (panel: Make, width: Width) => readonly Expr[]): readonly Expr[] {
    return overPanels(this.context, this.columns, body);
  }

  private widePanel(panel: Make, width: Width, block: Local, end: Local): readonly Expr[] {
    const { asm } = this.context;
    const statements: Expr[] = [
      ...this.columnFactors(panel),
      ...this.panels.widen(panel, this.scratch.panel),
    ];
    const whole = asm.hoist(asm.sub(end.get, asm.rem(asm.sub(end.get, block.get), tileRows)), statements);
    const tileAt = (row: Local): Make[] =>
      Array.from({ length: tileRows }, (_, r) => () => asm.expr(asm.add(row.get, r)));
    return [
      ...statements,
      asm.loop(block.get, whole, (row) => this.tile(tileAt(row), block, panel, width, 'wide'), tileRows),
      asm.loop(whole, end.get, (row) => this.tile([row.get], block, panel, width, 'wide')),
    ];
  }

  /** Scales by group and biases of a panel's columns, in scratch memory; 0 for columns that do not exist. */
  private columnFactors(panel: Make): readonly Expr[] {
    const { asm, m } = this.context;
    const { wScale, bias } = this.operands;
    const store = (address: Expr, lane: number, value: (column: Size) => Expr): Expr => {
      const column = asm.add(asm.mul(panel, panelWidth), lane);
      const found = columnValue(this.context, this.columns, column, () => value(column), m.f32.const(0));
      return m.f32.store(lane * 4, 4, address, found);
    };
    const lanes = Array.from({ length: panelWidth }, (_, lane) => lane);
    const scalesAt = (group: Size): Expr =>
      asm.expr(asm.add(this.scratch.panelScales, asm.mul(group, panelWidth * 4)));
    return [
      asm.loop(0, this.groups.count, (group) =>
        lanes.map((lane) =>
          store(scalesAt(group.get), lane, (column) => this.ofColumn(wScale, column, group.get)),
        ),
      ),
      ...(bias === undefined
        ? []
        : lanes.map((lane) =>
            store(this.scratch.panelBias(), lane, (column) =>
              this.values.scalar(bias, [{ at: column, lane: 0 }]),
            ),
          )),
    ];
  }

  /** Rows against a panel that is widened in scratch memory, or packed as it is stored. */
  private tile(
    rows: readonly Make[],
    block: Local,
    panel: Make,
    width: Width,
    source: 'wide' | 'packed',
  ): readonly Expr[] {
    const { asm, m } = this.context;
    const halves = [0, 1].filter((half) => typeof width !== 'number' || width > half * 4);
    const vectors = (): Local[][] => rows.map(() => halves.map(() => asm.local(v128)));
    const [products, sums] = [vectors(), vectors()];
    const pointers = rows.map(() => asm.local(i32));
    const [b, scales] = [asm.local(i32), asm.local(i32)];
    const quad = quadLocals(this.context);
    const x = asm.local(v128);
    const accumulators = products.flatMap((row, r) =>
      row.map((product, h) => ({ product, sum: sums[r]?.[h] as Local, half: halves[h] as number })),
    );
    const quadStep = source === 'wide' ? wideQuadBytes : this.panels.bytes;
    const loadQuad = (): Expr[] =>
      source === 'packed'
        ? this.panels.load(b.get, quad)
        : [0, 1].flatMap((pair) =>
            halves.map((half) => {
              const i = pair * 2 + half;
              return (quad[i] as Local).set(m.v128.load(i * 16, 4, b.get()));
            }),
          );
    const multiplyQuad = (): Expr[] => [
      ...loadQuad(),
      ...[0, 1].flatMap((pair) =>
        rows.flatMap((_, r) => [
          x.set(m.v128.load32_splat(pair * 4, 4, (pointers[r] as Local).get())),
          ...halves.map((half, h) => {
            const product = products[r]?.[h] as Local;
            const dot = m.i32x4.dot_i16x8_s(x.get(), (quad[pair * 2 + half] as Local).get());
            return product.set(m.i32x4.add(product.get(), dot));
          }),
        ]),
      ),
      b.set(m.i32.add(b.get(), asm.const(quadStep))),
      ...pointers.map((p) => p.set(m.i32.add(p.get(), asm.const(rowQuadBytes)))),
    ];
    const oneGroup = (group: Size, quads: Size): readonly Expr[] => [
      ...(source === 'packed' ? this.panels.beginGroup(panel, group) : []),
      ...accumulators.map(({ product }) => product.set(asm.splatInt(0))),
      asm.loop(0, quads, multiplyQuad),
      ...accumulators.map(({ product, sum, half }) => {
        const scale = m.v128.load(half * 16, 4, scales.get());
        const scaled = m.f32x4.mul(m.f32x4.convert_i32x4_s(product.get()), scale);
        return sum.set(m.f32x4.add(sum.get(), scaled));
      }),
      scales.set(m.i32.add(scales.get(), asm.const(panelWidth * 4))),
    ];
    const inBlock = (row: Make): Size => asm.sub(row, block.get);
    return [
      ...pointers.map((p, r) =>
        p.set(asm.expr(asm.add(this.scratch.rows, asm.mul(inBlock(rows[r] as Make), this.rowBytes)))),
      ),
      b.set(source === 'wide' ? this.scratch.panel() : this.panels.address(panel)),
      scales.set(this.scratch.panelScales()),
      ...accumulators.map(({ sum }) => sum.set(asm.splat(0))),
      ...overGroups(this.context, this.groups, oneGroup),
      ...rows.flatMap((row, r) =>
        this.finishRow(row, inBlock(row), panel, width, halves, sums[r] as Local[]),
      ),
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
    const { asm, m } = this.context;
    const rowScale = asm.local(f32);
    const scaleAt = asm.add(this.scratch.rowScales, asm.mul(inBlock, 4));
    return [
      rowScale.set(m.f32.load(0, 4, asm.expr(scaleAt))),
      ...halves.flatMap((half, h) => {
        const sum = sums[h] as Local;
        const scaled = m.f32x4.mul(sum.get(), m.f32x4.splat(rowScale.get()));
        const biased =
          this.operands.bias === undefined
            ? scaled
            : m.f32x4.add(scaled, m.v128.load(half * 16, 4, this.scratch.panelBias()));
        const column = asm.add(asm.mul(panel, panelWidth), half * 4);
        return [sum.set(biased), ...storeVector(this.context, this.stores, row, column, half, width, sum)];
      }),
    ];
  }
}
