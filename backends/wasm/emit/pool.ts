/** Pooling of [N, C, H, W] images: each window visits the taps that lie inside the image. */
import type { OpOf, Value } from '../../../ir/module.js';
import { type Expr, f32, f64, i32, type Local, type Size } from './asm.js';
import { Expressions, type Index } from './expression.js';
import { overAxes } from './iteration.js';
import type { KernelContext, KernelEmitter } from './kernel.js';

type Pool = OpOf<'max_pool2d'>;

/** One spatial axis of a window: its first row in the image (perhaps negative), and the taps from `low` to `high`. */
interface Extent {
  readonly start: Local;
  readonly low: Local;
  readonly high: Local;
}

/** Sets the extent of the window at `position`: taps are clipped to the image of `size` rows. */
function place(
  context: KernelContext,
  extent: Extent,
  axis: 0 | 1,
  position: Size,
  size: Size,
): readonly Expr[] {
  const { asm, m } = context;
  const { kernel, stride, padding } = (context.root as Pool).attrs;
  const { start, low, high } = extent;
  const most = asm.const(kernel[axis] as number);
  const left = (): Expr => asm.expr(asm.sub(size, start.get));
  return [
    start.set(asm.expr(asm.sub(asm.mul(position, stride[axis] as number), padding[axis] as number))),
    low.set(
      m.select(m.i32.lt_s(start.get(), asm.const(0)), m.i32.sub(asm.const(0), start.get()), asm.const(0)),
    ),
    high.set(m.select(m.i32.lt_s(left(), most), left(), asm.const(kernel[axis] as number))),
  ];
}

interface Window {
  readonly rows: Extent;
  readonly columns: Extent;
  /** Loops over the taps inside the image with the element of x at each. */
  each(visit: (element: Expr) => readonly Expr[]): Expr;
}

/** Runs over all windows; `reduce` gives statements and the value of a window. */
function pool(
  context: KernelContext,
  reduce: (window: Window) => { statements: readonly Expr[]; value: Expr },
): readonly Expr[] {
  const { asm, memory, root } = context;
  const [x] = root.operands as [Value];
  const [result] = root.results as [Value];
  const [, , height, width] = context.sizes(x.type.shape) as [Size, Size, Size, Size];
  const sizes = context.sizes(result.type.shape);
  const expressions = new Expressions(context);
  const extent = (): Extent => ({ start: asm.local(i32), low: asm.local(i32), high: asm.local(i32) });
  const [rows, columns] = [extent(), extent()];
  const taps =
    (index: Index) =>
    (visit: (element: Expr) => readonly Expr[]): Expr =>
      asm.loop(rows.low.get, rows.high.get, (i) => [
        asm.loop(columns.low.get, columns.high.get, (j) => {
          const [row, column] = [asm.add(rows.start.get, i.get), asm.add(columns.start.get, j.get)];
          return visit(
            expressions.scalar(x, [...index.slice(0, 2), { at: row, lane: 0 }, { at: column, lane: 0 }]),
          );
        }),
      ]);
  return overAxes(context, sizes, [0, 1, 2], (outer) => [
    ...place(context, rows, 0, outer[2]?.at ?? 0, height),
    ...overAxes(
      context,
      sizes,
      [3],
      (index) => {
        const { statements, value } = reduce({ rows, columns, each: taps(index) });
        const address = expressions.address(result, index).address();
        const placed = place(context, columns, 1, index[3]?.at ?? 0, width);
        return [...placed, ...statements, memory.store(result.type.dtype, address, value)];
      },
      outer,
    ),
  ]);
}

export const emitMaxPool: KernelEmitter = (context) => {
  const { asm, m } = context;
  const greatest = asm.local(f32);
  return pool(context, ({ each }) => ({
    statements: [
      greatest.set(m.f32.const(Number.NEGATIVE_INFINITY)),
      each((element) => [greatest.set(m.f32.max(greatest.get(), element))]),
    ],
    value: greatest.get(),
  }));
};

export const emitAvgPool: KernelEmitter = (context) => {
  const { asm, m, root } = context;
  const { kernel, count_include_pad: whole } = (root as OpOf<'avg_pool2d'>).attrs;
  const sum = asm.local(f64);
  const taps = ({ low, high }: Extent): Expr => m.i32.sub(high.get(), low.get());
  const all = kernel.reduce((product, size) => product * size, 1);
  return pool(context, ({ rows, columns, each }) => ({
    statements: [
      sum.set(m.f64.const(0)),
      each((element) => [sum.set(m.f64.add(sum.get(), m.f64.promote(element)))]),
    ],
    value: m.f32.demote(
      m.f64.div(
        sum.get(),
        m.f64.convert_s.i32(whole ? asm.const(all) : m.i32.mul(taps(rows), taps(columns))),
      ),
    ),
  }));
};
