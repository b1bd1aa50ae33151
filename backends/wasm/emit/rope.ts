/** rope: rotates the pairs of every head; halves are rotated four pairs at a time, interleaved pairs one by one. */
import type { OpOf, Value } from '../../../ir/module.js';
import { type Expr, f32, type Local, type Size, v128 } from './asm.js';
import { type Coordinate, Expressions, type Index } from './expression.js';
import type { KernelContext, KernelEmitter } from './kernel.js';
import { overRows, vectorLoop } from './pointwise.js';

export const emitRope: KernelEmitter = (context) => {
  const { asm, root } = context;
  const [x] = root.operands as [Value];
  const { interleaved } = (root as OpOf<'rope'>).attrs;
  const half = asm.div(context.sizes(x.type.shape).at(-1) as Size, 2);
  const wide = !interleaved && typeof half === 'number' && half % 4 === 0;
  return overRows(context, x, (outer) =>
    vectorLoop(asm, half, wide, (at, vector) => {
      const lane = vector ? 1 : 0;
      const first = interleaved ? asm.mul(at, 2) : at;
      const second = asm.add(first, interleaved ? 1 : half);
      const token = outer.at(-2) as Coordinate;
      return rotate(
        context,
        vector,
        [...outer, { at: first, lane }],
        [...outer, { at: second, lane }],
        [token, { at, lane }],
      );
    }),
  );
};

/** (a, b) becomes (a cos - b sin, b cos + a sin). */
function rotate(context: KernelContext, vector: boolean, first: Index, second: Index, angle: Index): Expr {
  const { asm, m, memory, root } = context;
  const [x, cosines, sines] = root.operands as [Value, Value, Value];
  const [result] = root.results as [Value];
  const expressions = new Expressions(context);
  const floats = vector ? m.f32x4 : m.f32;
  const load = (value: Value, index: Index): { local: Local; set: Expr } => {
    const local = asm.local(vector ? v128 : f32);
    return {
      local,
      set: local.set(vector ? expressions.vector(value, index) : expressions.scalar(value, index)),
    };
  };
  const store = (index: Index, value: Expr): Expr => {
    const address = expressions.address(result, index).address();
    return vector ? memory.storeVector(address, value) : memory.store('f32', address, value);
  };
  const [a, b, c, s] = [load(x, first), load(x, second), load(cosines, angle), load(sines, angle)];
  const product = (left: Local, right: Local): Expr => floats.mul(left.get(), right.get());
  return asm.block([
    ...[a, b, c, s].map(({ set }) => set),
    store(first, floats.sub(product(a.local, c.local), product(b.local, s.local))),
    store(second, floats.add(product(b.local, c.local), product(a.local, s.local))),
  ]);
}
