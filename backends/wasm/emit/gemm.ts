/**
 * The matrix product under every matmul-like kernel: C[rows, columns] = A[rows, inner] · B, with B given as panels of
 * `panelWidth` columns (see packing.ts).
 *
 * With many rows, a panel is widened to f32 once and all rows of a block run over it in register tiles of
 * `tileRowsOf` x `panelWidth`; blocks of `blockRows` rows keep A in the second-level cache. With fewer rows (decode) each
 * panel is read once, in its storage dtype, and the inner loop runs in `gemvChains` independent chains, because a single
 * row has too little parallelism to hide the latency of an addition.
 */
import type { DType } from '../../../ir/type.js';
import { panelWidth } from '../packing.js';
import { type Expr, i32, type Local, type Make, type Size, v128 } from './asm.js';
import { bytesOf, type KernelContext } from './kernel.js';

/**
 * Rows of a register tile: with fused multiply-add, six rows fill the sixteen registers of x86-64; without it the
 * arithmetic is the bound from four rows on (see docs/benchmarks.md).
 */
function tileRowsOf({ options }: KernelContext['asm']): number {
  return options.relaxed ? 6 : 4;
}

/** A multiple of both tile heights. */
const blockRows = 120;
const gemvChains = 4;
const unroll = 4;
const vectors = panelWidth / 4;

/** Where the panels of B come from. */
export interface Panels {
  /** Dtype of the panel that `address` points to. */
  readonly dtype: DType;
  /** Byte address of a panel that is ready to be read. */
  address(panel: Make): Expr;
  /** Makes the panel ready as f32 at the returned address, when it has to be converted or gathered first. */
  prepare?(panel: Make, statements: Expr[]): Make;
}

export interface Product {
  readonly rows: Size;
  readonly inner: Size;
  readonly columns: Size;
  readonly panels: Panels;
  /** Byte address of row `row` of A, f32, contiguous along the inner axis. */
  rowAddress(row: Make): Expr;
  /** Start value of four columns (a bias), or undefined for zero. */
  initial?(column: Size): Expr;
  /** Stores four finished elements. */
  store(row: Make, column: Size, value: Local): Expr;
  /** Stores one finished element: used at the right edge, where four would not fit. */
  storeLane(row: Make, column: Size, value: Expr): Expr;
}

export function emitProduct(context: KernelContext, product: Product): readonly Expr[] {
  const { asm, m } = context;
  const tileRows = tileRowsOf(asm);
  const statements: Expr[] = [];
  const rows = asm.hoist(product.rows, statements);
  const few = typeof rows === 'number' ? undefined : m.i32.lt_s(rows(), asm.const(tileRows));
  const manyRows = (): readonly Expr[] => blockedRows(context, product, rows);
  const fewRows = (): readonly Expr[] => singleRows(context, product, rows);
  if (few === undefined) return [...statements, ...((rows as number) < tileRows ? fewRows() : manyRows())];
  return [...statements, asm.if(few, fewRows(), manyRows())];
}

/** Every panel once, all rows over it one by one. */
function singleRows(context: KernelContext, product: Product, rows: Size): readonly Expr[] {
  const { asm } = context;
  return overPanels(context, product.columns, (panel, width) => {
    const statements: Expr[] = [];
    const ready =
      product.panels.prepare && product.panels.dtype === 'f32'
        ? product.panels.prepare(panel, statements)
        : undefined;
    const address = ready ?? (() => product.panels.address(panel));
    const dtype = ready === undefined ? product.panels.dtype : 'f32';
    return [
      ...statements,
      asm.loop(0, rows, (row) => tile(context, product, [row.get], address, dtype, panel, width)),
    ];
  });
}

function blockedRows(context: KernelContext, product: Product, rows: Size): readonly Expr[] {
  const { asm, m } = context;
  const tileRows = tileRowsOf(asm);
  const blockEnd = asm.local(i32);
  return [
    asm.loop(
      0,
      rows,
      (block) => [
        blockEnd.set(asm.expr(asm.add(block.get, blockRows))),
        asm.if(m.i32.gt_s(blockEnd.get(), asm.expr(rows)), [blockEnd.set(asm.expr(rows))]),
        ...overPanels(context, product.columns, (panel, width) => {
          const statements: Expr[] = [];
          const address =
            product.panels.prepare?.(panel, statements) ?? (() => product.panels.address(panel));
          const whole = asm.hoist(
            asm.sub(blockEnd.get, asm.rem(asm.sub(blockEnd.get, block.get), tileRows)),
            statements,
          );
          const tileAt = (row: Local): Make[] =>
            Array.from({ length: tileRows }, (_, r) => () => asm.expr(asm.add(row.get, r)));
          return [
            ...statements,
            asm.loop(
              block.get,
              whole,
              (row) => tile(context, product, tileAt(row), address, 'f32', panel, width),
              tileRows,
            ),
            asm.loop(whole, blockEnd.get, (row) =>
              tile(context, product, [row.get], address, 'f32', panel, width),
            ),
          ];
        }),
      ],
      blockRows,
    ),
  ];
}

/** How many columns of a panel exist: a number, or decided at run time for the last panel. */
export type Width = number | Make;

export function overPanels(
  context: KernelContext,
  columnCount: Size,
  body: (panel: Make, width: Width) => readonly Expr[],
): readonly Expr[] {
  const { asm, m } = context;
  const statements: Expr[] = [];
  const columns = asm.hoist(columnCount, statements);
  const full = asm.hoist(asm.div(columns, panelWidth), statements);
  statements.push(asm.loop(0, full, (panel) => body(panel.get, panelWidth)));
  if (typeof columns === 'number') {
    const rest = columns % panelWidth;
    if (rest > 0) statements.push(...body(() => asm.expr(full), rest));
    return statements;
  }
  const rest = asm.local(i32);
  statements.push(rest.set(asm.expr(asm.rem(columns, panelWidth))));
  statements.push(
    asm.if(
      m.i32.gt_s(rest.get(), asm.const(0)),
      body(() => asm.expr(full), rest.get),
    ),
  );
  return statements;
}

/** One register tile: the rows against one panel. */
function tile(
  context: KernelContext,
  product: Product,
  rows: readonly Make[],
  panelAddress: Make,
  dtype: DType,
  panel: Make,
  width: Width,
): readonly Expr[] {
  const { asm, m } = context;
  const chains = rows.length === 1 ? gemvChains : 1;
  const used = typeof width === 'number' ? Math.ceil(width / 4) : vectors;
  const sums = rows.map(() =>
    Array.from({ length: chains }, () => Array.from({ length: used }, () => asm.local(v128))),
  );
  const pointers = rows.map(() => asm.local(i32));
  const b = asm.local(i32);
  const column = (j: number): Size => asm.add(asm.mul(panel, panelWidth), j * 4);
  const start = sums.flatMap((row) =>
    row.flatMap((chain, c) =>
      chain.map((sum, j) =>
        sum.set(c === 0 && product.initial !== undefined ? product.initial(column(j)) : asm.splat(0)),
      ),
    ),
  );
  const panelBytes = panelWidth * bytesOf(dtype);
  const weights = Array.from({ length: used }, () => asm.local(v128));
  const raw = asm.local(v128);
  const step = (k: number): Expr[] => [
    ...context.memory.loadPanel(dtype, b.get, k * panelBytes, raw, weights),
    ...rows.flatMap((_, r) => {
      const a = asm.local(v128);
      const chain = sums[r]?.[k % chains] as Local[];
      return [
        a.set(m.v128.load32_splat(k * 4, 4, (pointers[r] as Local).get())),
        ...chain.map((sum, j) => sum.set(asm.multiplyAdd(a.get(), (weights[j] as Local).get(), sum.get()))),
      ];
    }),
  ];
  const advance = (count: number): Expr[] => [
    b.set(m.i32.add(b.get(), asm.const(count * panelBytes))),
    ...pointers.map((p) => p.set(m.i32.add(p.get(), asm.const(count * 4)))),
  ];
  const whole = asm.floorTo(product.inner, unroll);
  const unrolled = [...Array.from({ length: unroll }, (_, k) => k).flatMap(step), ...advance(unroll)];
  return [
    ...pointers.map((p, r) => p.set(product.rowAddress(rows[r] as Make))),
    b.set(panelAddress()),
    ...start,
    asm.loop(0, whole, () => unrolled, unroll),
    asm.loop(whole, product.inner, () => [...step(0), ...advance(1)]),
    ...sums.flatMap((row, r) => [
      ...mergeChains(context, row),
      ...(row[0] as Local[]).flatMap((sum, j) =>
        storeVector(context, product, rows[r] as Make, column(j), j, width, sum),
      ),
    ]),
  ];
}

/** Adds all chains into the first. */
function mergeChains(
  { m }: KernelContext,
  [first = [], ...others]: readonly (readonly Local[])[],
): readonly Expr[] {
  return others.flatMap((chain) =>
    first.map((total, j) => total.set(m.f32x4.add(total.get(), (chain[j] as Local).get()))),
  );
}

export function storeVector(
  context: KernelContext,
  product: Pick<Product, 'store' | 'storeLane'>,
  row: Make,
  column: Size,
  j: number,
  width: Width,
  sum: Local,
): readonly Expr[] {
  const { asm, m } = context;
  if (typeof width === 'number' && width >= (j + 1) * 4) return [product.store(row, column, sum)];
  const lanes = typeof width === 'number' ? width - j * 4 : 4;
  return Array.from({ length: lanes }, (_, lane) => {
    const store = product.storeLane(row, asm.add(column, lane), m.f32x4.extract_lane(sum.get(), lane));
    return typeof width === 'number' ? store : m.if(m.i32.gt_s(width(), asm.const(j * 4 + lane)), store);
  });
}

/** Panels of a packed weight; narrow ones are widened to scratch memory when many rows share them. */
export function packedPanels(context: KernelContext, base: Make, dtype: DType, inner: Size): Panels {
  const { asm, memory } = context;
  const elements = asm.mul(inner, panelWidth);
  const address = (panel: Make): Expr =>
    asm.expr(asm.add(base, asm.mul(panel, asm.mul(elements, bytesOf(dtype)))));
  if (dtype === 'f32') return { dtype, address };
  return {
    dtype,
    address,
    prepare: (panel, statements) => {
      const [from, to, raw] = [asm.local(i32), asm.local(i32), asm.local(v128)];
      const columns = Array.from({ length: vectors }, () => asm.local(v128));
      statements.push(
        from.set(address(panel)),
        to.set(context.scratch.get()),
        asm.loop(0, inner, () => [
          ...memory.loadPanel(dtype, from.get, 0, raw, columns),
          ...columns.map((column, j) => memory.storeVector(to.get(), column.get(), j * 16)),
          from.set(asm.expr(asm.add(from.get, panelWidth * bytesOf(dtype)))),
          to.set(asm.expr(asm.add(to.get, panelWidth * 4))),
        ]),
      );
      return context.scratch.get;
    },
  };
}

/** Panels gathered element by element: `element(column, k)` is the value of one that exists. */
export function gatheredPanels(
  context: KernelContext,
  inner: Size,
  columns: Size,
  element: (column: Size, k: Make) => Expr,
): Panels {
  const { asm, m } = context;
  return {
    dtype: 'f32',
    address: () => context.scratch.get(),
    prepare: (panel, statements) => {
      const to = asm.local(i32);
      const lane = (k: Local, l: number): Expr => {
        const column = asm.add(asm.mul(panel, panelWidth), l);
        const inside = m.i32.lt_s(asm.expr(column), asm.expr(columns));
        return m.f32.store(l * 4, 4, to.get(), m.if(inside, element(column, k.get), m.f32.const(0)));
      };
      statements.push(
        to.set(context.scratch.get()),
        asm.loop(0, inner, (k) => [
          ...Array.from({ length: panelWidth }, (_, l) => lane(k, l)),
          to.set(asm.expr(asm.add(to.get, panelWidth * 4))),
        ]),
      );
      return context.scratch.get;
    },
  };
}
