/** Weights of integers for products of floats: each panel is widened and scaled in scratch memory when it is needed. */
import { constantOf, type Dim } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { innerGroups, panelQuads, quadBytes } from '../integer-packing.js';
import { panelWidth } from '../packing.js';
import { type Expr, i32, type Local, type Make, type Size, v128 } from './asm.js';
import { Expressions, type Index } from './expression.js';
import { gatheredPanels, type Panels } from './gemm.js';
import { columnValue, IntegerPanels, overGroups, quadLocals } from './integer-panels.js';
import type { KernelContext } from './kernel.js';

/** Whether the scales of [.., out, in] divide the inner axis as packed integers do: into groups, or not at all. */
export function packsIntegers({ operands, attrs }: OpOf<'dequantize'>): boolean {
  const [x, scale] = operands as [Value, Value];
  const last = x.type.shape.length - 1;
  const axis = (attrs.axis + last + 1) % (last + 1);
  if (attrs.group > 0) return axis === last;
  if (scale.type.shape.length === 0) return true;
  if (scale.type.shape.length === 1) return axis !== last;
  return constantOf(scale.type.shape[last] as Dim) === 1;
}

/** `lead` chooses a matrix of a stack. */
export function dequantizedPanels(
  context: KernelContext,
  op: OpOf<'dequantize'>,
  lead: readonly Size[],
  columns: Size,
  inner: Size,
): Panels {
  const { asm } = context;
  const values = new Expressions(context);
  const at = (...sizes: readonly Size[]): Index => [...lead, ...sizes].map((size) => ({ at: size, lane: 0 }));
  const [weight, scale, zeroPoint] = op.operands as [Value, Value, Value?];
  if (context.layout(weight) !== 'integers' || typeof inner !== 'number')
    return gatheredPanels(context, inner, columns, (column, k) =>
      values.scalar(op.results[0] as Value, at(column, k)),
    );
  const groups = innerGroups(inner, op.attrs.group);
  const ofGroup = (value: Value, column: Size, group: Size): Expr =>
    values.scalar(value, values.scaleIndex(op, value, at(column, asm.mul(group, groups.size))));
  const matrixBytes = asm.mul(
    asm.mul(asm.div(asm.add(columns, panelWidth - 1), panelWidth), panelQuads(groups)),
    quadBytes(weight.type.dtype),
  );
  const base = asm.add(context.pointer(weight).get, asm.mul(lead[0] ?? 0, matrixBytes));
  const panels = new IntegerPanels(context, {
    weight,
    groups,
    columns,
    base: () => asm.expr(base),
    lead,
    ...(zeroPoint && { zeroPoint: (column: Size, group: Size) => ofGroup(zeroPoint, column, group) }),
  });
  return {
    dtype: 'f32',
    address: () => context.scratch.get(),
    prepare: (panel, statements) => {
      const [from, to] = [asm.local(i32), asm.local(i32)];
      const scales = [asm.local(v128), asm.local(v128)] as const;
      statements.push(
        from.set(panels.address(panel)),
        ...overGroups(context, groups, (group, quads) => [
          // The zeros at the end of a group make room for the next.
          to.set(asm.expr(asm.add(context.scratch.get, asm.mul(group, groups.size * panelWidth * 4)))),
          ...panels.beginGroup(panel, group),
          ...loadScales(context, scales, columns, panel, (column) => ofGroup(scale, column, group)),
          asm.loop(0, quads, () => widenQuad(context, panels, from, to, scales)),
        ]),
      );
      return context.scratch.get;
    },
  };
}

function loadScales(
  context: KernelContext,
  scales: readonly [Local, Local],
  columns: Size,
  panel: Make,
  scaleOf: (column: Size) => Expr,
): Expr[] {
  const { asm, m } = context;
  return scales.flatMap((target, half) =>
    [0, 1, 2, 3].map((lane) => {
      const column = asm.add(asm.mul(panel, panelWidth), half * 4 + lane);
      const scale = columnValue(context, columns, column, () => scaleOf(column), m.f32.const(0));
      return target.set(lane === 0 ? m.f32x4.splat(scale) : m.f32x4.replace_lane(target.get(), lane, scale));
    }),
  );
}

/** Four elements of eight columns: the even lanes of a pair are the first element, the odd ones the second. */
function widenQuad(
  context: KernelContext,
  panels: IntegerPanels,
  from: Local,
  to: Local,
  scales: readonly [Local, Local],
): Expr[] {
  const { asm, m } = context;
  const quad = quadLocals(context);
  const bits = (count: number): Expr => asm.const(count);
  const first = (pair: Local): Expr => m.i32x4.shr_s(m.i32x4.shl(pair.get(), bits(16)), bits(16));
  const second = (pair: Local): Expr => m.i32x4.shr_s(pair.get(), bits(16));
  const stores = quad.flatMap((pair, i) => {
    const [half, row] = [i & 1, (i >> 1) * 2];
    const scaled = (integers: Expr): Expr =>
      m.f32x4.mul(m.f32x4.convert_i32x4_s(integers), (scales[half] as Local).get());
    const store = (k: number, value: Expr): Expr =>
      m.v128.store(k * panelWidth * 4 + half * 16, 4, to.get(), value);
    return [store(row, scaled(first(pair))), store(row + 1, scaled(second(pair)))];
  });
  return [
    ...panels.load(from.get, quad),
    ...stores,
    from.set(m.i32.add(from.get(), asm.const(panels.bytes))),
    to.set(m.i32.add(to.get(), asm.const(4 * panelWidth * 4))),
  ];
}
