/** The result of attention for one head and query, which goes to memory as it is or through the kernel's epilogue. */
import type { Value } from '../../../ir/module.js';
import { type Expr, f32, i32, type Local, type Size, v128 } from './asm.js';
import { type Coordinate, canVectorise, Expressions } from './expression.js';
import type { KernelContext } from './kernel.js';
import { storeElement } from './pointwise.js';

export class OutputRow {
  private readonly hasEpilogue: boolean;
  private readonly takesVectors: boolean;
  /** Byte address, where there is no epilogue. */
  private readonly address: Local;
  /** The axes of the result but the last. */
  private outer: readonly Coordinate[] = [];

  constructor(private readonly context: KernelContext) {
    const { asm, func, root } = context;
    const body = func.body.slice(func.body.indexOf(root) + 1);
    const args = func.args.filter((arg) => body.some(({ operands }) => operands.includes(arg)));
    this.hasEpilogue = body.length > 0;
    this.takesVectors = canVectorise({ ...func, body, args });
    this.address = asm.local(i32);
  }

  /** The row of a query and a head; axes before them are counted as one. */
  begin(batch: Local, query: Local, head: Local): readonly Expr[] {
    const { asm, root } = this.context;
    const result = root.results[0] as Value;
    const sizes = this.context.sizes(result.type.shape);
    this.outer = [
      ...unravel(this.context, batch, sizes.slice(0, -3)),
      { at: query.get, lane: 0 },
      { at: head.get, lane: 0 },
    ];
    if (this.hasEpilogue) return [];
    const [queries, heads, width] = sizes.slice(-3) as [Size, Size, Size];
    const row = asm.add(asm.mul(asm.add(asm.mul(batch.get, queries), query.get), heads), head.get);
    const bytes = asm.mul(asm.mul(row, width), 4);
    return [this.address.set(asm.expr(asm.add(this.context.pointer(result).get, bytes)))];
  }

  /** One element of the row, or four from `column` on. */
  store(column: Size, vector: boolean, value: Expr): Expr {
    const { asm, m, memory } = this.context;
    if (!this.hasEpilogue) {
      const address = asm.expr(asm.add(this.address.get, asm.mul(column, 4)));
      return vector ? memory.storeVector(address, value) : memory.store('f32', address, value);
    }
    // Kept in a local, because the epilogue may read it more than once.
    const finished = asm.local(vector ? v128 : f32);
    if (!vector || this.takesVectors)
      return asm.block([finished.set(value), this.finish(column, vector, finished)]);
    const lane = asm.local(f32);
    const lanes = [0, 1, 2, 3].flatMap((i) => [
      lane.set(m.f32x4.extract_lane(finished.get(), i)),
      this.finish(asm.add(column, i), false, lane),
    ]);
    return asm.block([finished.set(value), ...lanes]);
  }

  private finish(column: Size, vector: boolean, finished: Local): Expr {
    const { func, root } = this.context;
    const known = new Map([[root.results[0] as Value, finished.get]]);
    const index = [...this.outer, { at: column, lane: vector ? 1 : 0 }];
    const [result] = func.results as [Value];
    return storeElement(this.context, result, index, vector, new Expressions(this.context, known));
  }
}

/** The coordinates of a place that is counted over several axes. */
function unravel({ asm }: KernelContext, place: Local, sizes: readonly Size[]): readonly Coordinate[] {
  let rest: Size = place.get;
  const coordinates = sizes.toReversed().map((size, i): Coordinate => {
    if (i === sizes.length - 1) return { at: rest, lane: 0 };
    const [own, above] = [rest, asm.div(rest, size)];
    rest = above;
    return { at: asm.sub(own, asm.mul(above, size)), lane: 0 };
  });
  return coordinates.reverse();
}
