/** Matmul kernels: linear, batched matmul and grouped linear, with their epilogues. */
import { addDims, constantOf, type Dim, mulDims, productOfDims } from '../../../ir/dim.js';
import { defOf, type Op, type Value } from '../../../ir/module.js';
import { panelWidth } from '../packing.js';
import { type Expr, f64, i32, i64, type Local, type Make, type Size } from './asm.js';
import { dequantizedPanels } from './dequantized-panels.js';
import { type Coordinate, canVectorise, Expressions, type Index, type Known } from './expression.js';
import { emitProduct, gatheredPanels, type Panels, type Product, packedPanels } from './gemm.js';
import { bytesOf, failures, type KernelContext, type KernelEmitter, type ScratchSize } from './kernel.js';
import { overRows, storeElement } from './pointwise.js';

/** Bytes of one widened panel; integers are widened four elements at a time, which may end beyond it. */
const widePanelBytes = (inner: Dim): Dim => mulDims(addDims(inner, 3), panelWidth * 4);

function lastDim(value: Value): Dim {
  return value.type.shape.at(-1) as Dim;
}

/** Stores of a product whose result is at `index(row, column)`, through the epilogue of the kernel. */
export function epilogue(
  context: KernelContext,
  index: (row: Make, column: Size, lane: number) => Index,
): Pick<Product, 'store' | 'storeLane'> {
  const { func, root, m } = context;
  const [result] = func.results as [Value];
  const rootResult = root.results[0] as Value;
  const vectors = canVectorise({
    ...func,
    body: epilogueOps(context),
    args: epilogueArgs(context),
  });
  const known = (value: Make): Known => new Map([[rootResult, value]]);
  const storeLane: Product['storeLane'] = (row, column, value) =>
    storeElement(
      context,
      result,
      index(row, column, 0),
      false,
      new Expressions(
        context,
        known(() => value),
      ),
    );
  return {
    storeLane,
    store: (row, column, value) => {
      if (vectors)
        return storeElement(
          context,
          result,
          index(row, column, 1),
          true,
          new Expressions(context, known(value.get)),
        );
      const lanes = [0, 1, 2, 3].map((lane) =>
        storeLane(row, context.asm.add(column, lane), m.f32x4.extract_lane(value.get(), lane)),
      );
      return context.asm.block(lanes);
    },
  };
}

/** What makes the results from that of the root; other ops make the operands of the root. */
function epilogueOps({ func, root }: KernelContext): Op[] {
  const needed = new Set<Value>(func.results);
  return func.body
    .toReversed()
    .filter((op) => {
      if (op === root || !op.results.some((result) => needed.has(result))) return false;
      for (const operand of op.operands) needed.add(operand);
      return true;
    })
    .reverse();
}

/** Arguments that the epilogue reads, without those only the root reads. */
function epilogueArgs(context: KernelContext): Value[] {
  const read = new Set(epilogueOps(context).flatMap((op) => op.operands));
  return context.func.args.filter((arg) => read.has(arg));
}

/** Index of a result whose leading axes are flattened into `row`. */
export function rowMajorIndex(
  context: KernelContext,
  result: Value,
): (row: Make, column: Size, lane: number) => Index {
  const { asm } = context;
  const lead = context.sizes(result.type.shape).slice(0, -1);
  return (row, column, lane) => {
    const coordinates: Coordinate[] = [];
    let rest: Size = row;
    for (let axis = lead.length - 1; axis > 0; axis--) {
      coordinates.unshift({ at: asm.rem(rest, lead[axis] as Size), lane: 0 });
      rest = asm.div(rest, lead[axis] as Size);
    }
    if (lead.length > 0) coordinates.unshift({ at: rest, lane: 0 });
    return [...coordinates, { at: column, lane }];
  };
}

/** Panels of the [columns, inner] matrix at `base` that is, or is part of, a weight: packed or row-major. */
export function matrixPanels(
  context: KernelContext,
  weight: Value,
  base: Make,
  columns: Size,
  inner: Size,
): Panels {
  const { asm, memory } = context;
  const { dtype } = weight.type;
  if (context.layout(weight) === 'panels') return packedPanels(context, base, dtype, inner);
  const element = (column: Size, k: Make): Expr =>
    memory.load(dtype, asm.expr(asm.add(base, asm.mul(asm.add(asm.mul(column, inner), k), bytesOf(dtype)))));
  return gatheredPanels(context, inner, columns, element);
}

/** Panels of a [.., columns, inner] weight of floats, or of integers that the kernel itself widens; `lead` chooses a matrix. */
function weightPanels(
  context: KernelContext,
  weight: Value,
  lead: readonly Local[],
  columns: Size,
  inner: Size,
): Panels {
  const { asm } = context;
  const widened = defOf(weight);
  if (widened?.name === 'dequantize')
    return dequantizedPanels(
      context,
      widened,
      lead.map(({ get }) => get),
      columns,
      inner,
    );
  const base = context.pointer(weight).get;
  const [matrix] = lead;
  const start = matrix && asm.mul(matrix.get, matrixBytes(context, weight, columns, inner));
  return matrixPanels(context, weight, () => asm.expr(asm.add(base, start ?? 0)), columns, inner);
}

/** Bytes from one [columns, inner] matrix of a stacked weight to the next. */
export function matrixBytes(context: KernelContext, weight: Value, columns: Size, inner: Size): Size {
  const { asm } = context;
  const packed = context.layout(weight) === 'panels';
  const rows = packed ? asm.mul(asm.div(asm.add(columns, panelWidth - 1), panelWidth), panelWidth) : columns;
  return asm.mul(asm.mul(rows, inner), bytesOf(weight.type.dtype));
}

export const emitLinear: KernelEmitter = (context) => {
  const { asm, root } = context;
  const [x, w, bias] = root.operands as [Value, Value, Value?];
  const [columns, inner] = context.sizes(w.type.shape) as [Size, Size];
  const rows = context.size(productOfDims(x.type.shape.slice(0, -1)));
  const biasAt = new Expressions(context);
  return emitProduct(context, {
    rows,
    inner,
    columns,
    panels: weightPanels(context, w, [], columns, inner),
    rowAddress: (row) => asm.expr(asm.add(context.pointer(x).get, asm.mul(row, asm.mul(inner, 4)))),
    ...(bias === undefined
      ? {}
      : { initial: (column: Size) => biasAt.vector(bias, [{ at: column, lane: 1 }]) }),
    ...epilogue(context, rowMajorIndex(context, root.results[0] as Value)),
  });
};

export const linearScratch: ScratchSize = (_func, root) => widePanelBytes(lastDim(root.operands[1] as Value));

export const emitMatmul: KernelEmitter = (context) => {
  const { root } = context;
  const [a, b] = root.operands as [Value, Value];
  if (a.type.dtype !== 'f32') return scalarMatmul(context);
  const result = root.results[0] as Value;
  const [rows, inner] = context.sizes(a.type.shape.slice(-2)) as [Size, Size];
  const columns = context.size(lastDim(b));
  return overBatches(context, result, (batch) => {
    const matrixOf = (value: Value, row: Size, column: Size): Make =>
      matrixElement(context, value, batch, row, column);
    return emitProduct(context, {
      rows,
      inner,
      columns,
      panels: gatheredPanels(context, inner, columns, (column, k) =>
        context.memory.load('f32', matrixOf(b, k, column)()),
      ),
      rowAddress: (row) => matrixOf(a, row, 0)(),
      ...epilogue(context, (row, column, lane) => [...batch, { at: row, lane: 0 }, { at: column, lane }]),
    });
  });
};

export const matmulScratch: ScratchSize = (_func, root) => widePanelBytes(lastDim(root.operands[0] as Value));

/** Loops over the leading axes of a batched result. */
function overBatches(
  context: KernelContext,
  result: Value,
  body: (batch: readonly Coordinate[]) => readonly Expr[],
): readonly Expr[] {
  const sizes = context.sizes(result.type.shape).slice(0, -2);
  const nest = (axis: number, batch: readonly Coordinate[]): readonly Expr[] =>
    axis === sizes.length
      ? body(batch)
      : [context.asm.loop(0, sizes[axis] as Size, (i) => nest(axis + 1, [...batch, { at: i.get, lane: 0 }]))];
  return nest(0, []);
}

/** Byte address of an element of the operand's matrix that meets `batch`, leading axes of 1 repeating. */
function matrixElement(
  context: KernelContext,
  value: Value,
  batch: readonly Coordinate[],
  row: Size,
  column: Size,
): Make {
  const own = value.type.shape.slice(0, -2);
  const lead = own.map((d, axis) =>
    constantOf(d) === 1 ? { at: 0, lane: 0 } : (batch[axis + batch.length - own.length] as Coordinate),
  );
  return new Expressions(context).address(value, [...lead, { at: row, lane: 0 }, { at: column, lane: 0 }])
    .address;
}

/** Integers and narrow floats: one element at a time. Narrow floats sum in f64. */
function scalarMatmul(context: KernelContext): readonly Expr[] {
  const { asm, m, memory, root } = context;
  const [a, b] = root.operands as [Value, Value];
  const result = root.results[0] as Value;
  const { dtype } = a.type;
  const kind = dtype === 'i64' ? 'i64' : dtype === 'f16' || dtype === 'bf16' ? 'f64' : 'i32';
  const sum = asm.local({ i64, f64, i32 }[kind]);
  const widen = (x: Expr): Expr => (kind === 'f64' ? m.f64.promote(x) : x);
  const zero = { i64: () => m.i64.const(0n), f64: () => m.f64.const(0), i32: () => m.i32.const(0) }[kind];
  const inner = context.size(lastDim(a));
  return overRows(context, result, (outer) => [
    asm.loop(0, context.size(lastDim(result)), (column) => {
      const batch = outer.slice(0, -1);
      const row = (outer.at(-1) as Coordinate).at;
      const term = (k: Local): Expr =>
        m[kind].mul(
          widen(memory.load(dtype, matrixElement(context, a, batch, row, k.get)())),
          widen(memory.load(dtype, matrixElement(context, b, batch, k.get, column.get)())),
        );
      const finished = kind === 'f64' ? m.f32.demote(sum.get()) : memory.round(dtype, sum.get());
      const known: Known = new Map([[result, () => finished]]);
      const index: Index = [...outer, { at: column.get, lane: 0 }];
      return [
        sum.set(zero()),
        asm.loop(0, inner, (k) => [sum.set(m[kind].add(sum.get(), term(k)))]),
        storeElement(
          context,
          context.func.results[0] as Value,
          index,
          false,
          new Expressions(context, known),
        ),
      ];
    }),
  ]);
}

/**
 * Rows are sorted by the weight they use: for each weight, the list of its slots is collected in scratch memory, and
 * the product runs over that list.
 */
export const emitGroupedLinear: KernelEmitter = (context) => {
  const { asm, m, memory, root } = context;
  const [x, index, w] = root.operands as [Value, Value, Value];
  const [experts, columns, inner] = context.sizes(w.type.shape) as [Size, Size, Size];
  const slotsPerRow = context.size(lastDim(index));
  const slots = context.size(productOfDims(index.type.shape));
  const perSlot = x.type.shape.length === 3;
  const [list, count] = [asm.local(i32), asm.local(i32)];
  const wide = index.type.dtype === 'i64';
  const loadIndex = (slot: Make): Expr => {
    const address = asm.add(context.pointer(index).get, asm.mul(slot, bytesOf(index.type.dtype)));
    return memory.load(index.type.dtype, asm.expr(address));
  };
  const indexAt = (slot: Make): Expr => (wide ? m.i32.wrap(loadIndex(slot)) : loadIndex(slot));
  const isOutside = (slot: Make): Expr =>
    wide
      ? m.i64.ge_u(loadIndex(slot), m.i64.extend_u(asm.expr(experts)))
      : m.i32.ge_u(loadIndex(slot), asm.expr(experts));
  const listed =
    (row: Make): Make =>
    () =>
      m.i32.load(0, 4, asm.expr(asm.add(list.get, asm.mul(row, 4))));
  const product = (expert: Local): Product => ({
    rows: count.get,
    inner,
    columns,
    panels: weightPanels(context, w, [expert], columns, inner),
    rowAddress: (row) => {
      const from = perSlot ? listed(row) : () => asm.expr(asm.div(listed(row), slotsPerRow));
      return asm.expr(asm.add(context.pointer(x).get, asm.mul(from, asm.mul(inner, 4))));
    },
    ...epilogue(context, (row, column, lane) => [
      { at: asm.div(listed(row), slotsPerRow), lane: 0 },
      { at: asm.rem(listed(row), slotsPerRow), lane: 0 },
      { at: column, lane },
    ]),
  });
  return [
    list.set(asm.expr(asm.add(context.scratch.get, context.size(widePanelBytes(lastDim(w)))))),
    asm.loop(0, slots, (slot) => [
      m.if(isOutside(slot.get), context.fail(failures.indexOutOfRange, indexAt(slot.get), asm.expr(experts))),
    ]),
    asm.loop(0, experts, (expert) => [
      count.set(asm.const(0)),
      asm.loop(0, slots, (slot) => [
        asm.if(m.i32.eq(indexAt(slot.get), expert.get()), [
          m.i32.store(0, 4, asm.expr(asm.add(list.get, asm.mul(count.get, 4))), slot.get()),
          count.set(asm.expr(asm.add(count.get, 1))),
        ]),
      ]),
      ...emitProduct(context, product(expert)),
    ]),
  ];
};

export const groupedLinearScratch: ScratchSize = (_func, root) => {
  const [, index, w] = root.operands as [Value, Value, Value];
  return addDims(widePanelBytes(lastDim(w)), mulDims(productOfDims(index.type.shape), 4));
};
