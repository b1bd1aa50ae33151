/** Panels of integer weights (see ../integer-packing.ts) as 16-bit numbers less their zero points. */
import type { Value } from '../../../ir/module.js';
import type { DType } from '../../../ir/type.js';
import { type InnerGroups, panelQuads, quadBytes, storedOffset } from '../integer-packing.js';
import { panelWidth } from '../packing.js';
import { type Expr, i32, type Local, type Make, type Size, v128 } from './asm.js';
import { Expressions } from './expression.js';
import type { KernelContext } from './kernel.js';
import { isByte } from './memory.js';

/** Bytes of a quad of a panel as 16-bit numbers. */
export const wideQuadBytes = 4 * panelWidth * 2;

/** A matrix of integers [columns, inner] that a kernel reads, packed or row-major. */
export interface IntegerMatrix {
  readonly weight: Value;
  readonly groups: InnerGroups;
  readonly columns: Size;
  /** Byte address of the packed matrix. */
  readonly base: Make;
  /** Leading coordinates of a row-major matrix in a stack. */
  readonly lead: readonly Size[];
  /** Zero point of a column's group, or undefined when there are none. */
  zeroPoint?(column: Size, group: Size): Expr;
}

/** Something that is only done for columns that exist: the last panel may have fewer. */
export function columnValue(
  context: KernelContext,
  columns: Size,
  column: Size,
  value: () => Expr,
  none: Expr,
): Expr {
  const { asm, m } = context;
  if (typeof column === 'number' && typeof columns === 'number') return column < columns ? value() : none;
  return m.if(m.i32.lt_s(asm.expr(column), asm.expr(columns)), value(), none);
}

/** Bytes of four rows of four elements: the first two elements of each row, then the last two. */
const pairsFirst: readonly number[] = [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15];

/** Four 16-bit vectors of a quad: pair 0 of columns 0 to 3 and 4 to 7, then pair 1. */
type Quad = readonly [Local, Local, Local, Local];

export function quadLocals({ asm }: KernelContext): Quad {
  return [asm.local(v128), asm.local(v128), asm.local(v128), asm.local(v128)];
}

export class IntegerPanels {
  readonly isPacked: boolean;
  /** What is subtracted from columns 0 to 3 and 4 to 7, both lanes of a pair alike. */
  private readonly zeros: readonly [Local, Local] | undefined;
  /** Rows 0 to 3 and 4 to 7 of the quad that is being loaded, as bytes. */
  private readonly halves: readonly [Local, Local];

  constructor(
    private readonly context: KernelContext,
    readonly matrix: IntegerMatrix,
  ) {
    const { asm } = context;
    this.isPacked = context.layout(matrix.weight) === 'integers';
    this.zeros = matrix.zeroPoint === undefined ? undefined : [asm.local(v128), asm.local(v128)];
    this.halves = [asm.local(v128), asm.local(v128)];
  }

  /** Bytes of a quad in memory. */
  get bytes(): number {
    return quadBytes(this.matrix.weight.type.dtype);
  }

  /** Byte address of a packed panel. */
  address(panel: Make): Expr {
    const { asm } = this.context;
    return asm.expr(asm.add(this.matrix.base, asm.mul(panel, panelQuads(this.matrix.groups) * this.bytes)));
  }

  /** Reads the zero points of a group, before its quads are loaded. */
  beginGroup(panel: Make, group: Size): Expr[] {
    const { asm, m } = this.context;
    const { zeroPoint, columns, weight } = this.matrix;
    const { zeros } = this;
    if (zeros === undefined || zeroPoint === undefined) return [];
    const offset = this.isPacked ? storedOffset(weight.type.dtype) : 0;
    const value = asm.local(i32);
    return [0, 1].flatMap((half) =>
      [0, 1, 2, 3].flatMap((lane) => {
        const column = asm.add(asm.mul(panel, panelWidth), half * 4 + lane);
        const zero = columnValue(this.context, columns, column, () => zeroPoint(column, group), asm.const(0));
        const target = zeros[half] as Local;
        // Both halves of the 32-bit lane hold the number.
        const both = m.i32.mul(
          m.i32.and(m.i32.add(value.get(), asm.const(offset)), asm.const(0xffff)),
          asm.const(0x10001),
        );
        return [
          value.set(zero),
          target.set(lane === 0 ? m.i32x4.splat(both) : m.i32x4.replace_lane(target.get(), lane, both)),
        ];
      }),
    );
  }

  /** Whether the packed panel is what a dot product of bytes takes. */
  get storesBytes(): boolean {
    return this.isPacked && this.matrix.weight.type.dtype === 'i8';
  }

  /** Loads rows 0 to 3 and 4 to 7 of a quad of a packed panel as signed bytes: u8 less 128, i4 and u4 as they are. */
  loadBytes(address: Make, rows: readonly [Local, Local]): Expr[] {
    const { asm, m } = this.context;
    const { dtype } = this.matrix.weight.type;
    const loaded = this.halves.map((half) => half.get());
    const signed: Partial<Record<DType, (bytes: Expr) => Expr>> = {
      u8: (bytes) => m.v128.xor(bytes, m.i8x16.splat(asm.const(0x80))),
      i4: (bytes) => m.i8x16.sub(bytes, m.i8x16.splat(asm.const(storedOffset('i4')))),
    };
    return [
      ...this.loadHalves(address),
      ...rows.map((row, i) => row.set((signed[dtype] ?? ((bytes) => bytes))(loaded[i] as Expr))),
    ];
  }

  /** Loads a quad of a packed panel. */
  load(address: Make, quad: Quad): Expr[] {
    const { dtype } = this.matrix.weight.type;
    return [...this.loadStored(address, quad), ...this.subtractZeros(quad, dtype === 'i4' ? 8 : 0)];
  }

  private loadStored(address: Make, quad: Quad): Expr[] {
    const { m } = this.context;
    const { dtype } = this.matrix.weight.type;
    const unsigned = dtype !== 'i8';
    const extend = unsigned
      ? ([m.i16x8.extend_low_i8x16_u, m.i16x8.extend_high_i8x16_u] as const)
      : ([m.i16x8.extend_low_i8x16_s, m.i16x8.extend_high_i8x16_s] as const);
    return [
      ...this.loadHalves(address),
      ...this.halves.map((half) => half.set(m.i8x16.shuffle(half.get(), half.get(), pairsFirst))),
      ...quad.map((local, i) =>
        local.set((extend[i >> 1] as (v: Expr) => Expr)((this.halves[i & 1] as Local).get())),
      ),
    ];
  }

  /** The stored bytes of rows 0 to 3 and 4 to 7 of a quad, into `halves`. */
  private loadHalves(address: Make): Expr[] {
    const { asm, m } = this.context;
    const [first, second] = this.halves;
    if (isByte(this.matrix.weight.type.dtype))
      return this.halves.map((half, i) => half.set(m.v128.load(i * 16, 1, address())));
    return [
      second.set(m.v128.load(0, 1, address())),
      first.set(m.v128.and(second.get(), m.i8x16.splat(asm.const(0xf)))),
      second.set(m.i8x16.shr_u(second.get(), asm.const(4))),
    ];
  }

  private subtractZeros(quad: Quad, offset: number): Expr[] {
    const { asm, m } = this.context;
    const { zeros } = this;
    if (zeros === undefined && offset === 0) return [];
    return quad.map((local, i) => {
      const zero = zeros === undefined ? m.i16x8.splat(asm.const(offset)) : (zeros[i & 1] as Local).get();
      return local.set(m.i16x8.sub(local.get(), zero));
    });
  }

  /** Writes a whole panel to `target` as 16-bit numbers, quad after quad. */
  widen(panel: Make, target: Make): Expr[] {
    return this.isPacked ? this.widenPacked(panel, target) : this.widenRows(panel, target);
  }

  private widenPacked(panel: Make, target: Make): Expr[] {
    const { asm, m } = this.context;
    const [from, to, quad] = [asm.local(i32), asm.local(i32), quadLocals(this.context)];
    return [
      from.set(this.address(panel)),
      to.set(target()),
      ...overGroups(this.context, this.matrix.groups, (group, quads) => [
        ...this.beginGroup(panel, group),
        asm.loop(0, quads, () => [
          ...this.load(from.get, quad),
          ...quad.map((local, i) => m.v128.store(i * 16, 4, to.get(), local.get())),
          from.set(m.i32.add(from.get(), asm.const(this.bytes))),
          to.set(m.i32.add(to.get(), asm.const(wideQuadBytes))),
        ]),
      ]),
    ];
  }

  /** Element by element, for weights that are not packed. */
  private widenRows(panel: Make, target: Make): Expr[] {
    const { asm, m } = this.context;
    const { groups, columns, weight, zeroPoint, lead } = this.matrix;
    const inner = this.context.sizes(weight.type.shape).at(-1) as Size;
    const elements = new Expressions(this.context);
    const [to, inGroup] = [asm.local(i32), asm.local(i32)];
    const element = (column: Size, k: Size, group: Size): Expr => {
      const index = [...lead, column, k].map((at) => ({ at, lane: 0 }));
      const value = elements.scalar(weight, index);
      const real = zeroPoint === undefined ? value : m.i32.sub(value, zeroPoint(column, group));
      const inside = m.i32.and(
        m.i32.lt_s(inGroup.get(), asm.const(groups.size)),
        m.i32.lt_s(asm.expr(k), asm.expr(inner)),
      );
      return m.if(
        inside,
        columnValue(this.context, columns, column, () => real, asm.const(0)),
        asm.const(0),
      );
    };
    return [
      to.set(target()),
      ...overGroups(this.context, groups, (group, quads) => [
        asm.loop(0, asm.mul(quads, 4), (step) => {
          const k = asm.add(asm.mul(group, groups.size), step.get);
          const pair = (column: number): Expr =>
            m.i32.store16(
              0,
              2,
              asm.expr(asm.add(to.get, column * 4)),
              element(asm.add(asm.mul(panel, panelWidth), column), k, group),
            );
          return [
            inGroup.set(step.get()),
            ...Array.from({ length: panelWidth }, (_, column) => pair(column)),
            // The second element of a pair lies beside the first, the next pair a vector of columns further.
            to.set(
              m.i32.add(
                to.get(),
                m.select(m.i32.and(step.get(), asm.const(1)), asm.const(panelWidth * 4 - 2), asm.const(2)),
              ),
            ),
          ];
        }),
      ]),
    ];
  }
}

/** Loops over the groups of the inner axis with their numbers of quads. */
export function overGroups(
  { asm }: KernelContext,
  { count, quads, lastQuads }: InnerGroups,
  body: (group: Size, quads: Size) => readonly Expr[],
): readonly Expr[] {
  if (count === 0) return [];
  if (quads === lastQuads) {
    if (count === 1) return body(0, quads);
    return [asm.loop(0, count, (group) => body(group.get, quads))];
  }
  return [asm.loop(0, count - 1, (group) => body(group.get, quads)), ...body(count - 1, lastQuads)];
}
