/**
 * Keys or values as attention reads them: rows of floats, or rows of bytes with a scale, and possibly a zero point, for
 * each row. Bytes become floats in registers; the caller applies the scale once per row.
 */
import { defOf, type Value } from '../../../ir/module.js';
import { type Expr, i32, type Local, type Make, type Size, v128 } from './asm.js';
import type { KernelContext } from './kernel.js';
import type { Byte } from './memory.js';

/** Something with one place for each row of a head: the address of row 0, and the bytes from one row to the next. */
interface Column {
  readonly value: Value;
  readonly bytes: Size;
  readonly base: Local;
  readonly step: Size;
}

/** A row that is being read. */
export interface Cursor {
  readonly place: Local;
  readonly address: Make;
  /** The zero point in eight lanes of 16 bits. */
  readonly zero: Local | undefined;
}

export class AttentionRows {
  /** Elements of a row. */
  readonly width: Size;
  private readonly elements: Column;
  private readonly scales: Column | undefined;
  private readonly zeros: Column | undefined;

  constructor(
    private readonly context: KernelContext,
    value: Value,
  ) {
    const { asm } = context;
    const read = defOf(value);
    const [codes, scale, zero] = read?.name === 'dequantize' ? read.operands : [];
    const [, heads, width] = context.sizes(value.type.shape.slice(-3)) as [Size, Size, Size];
    const column = (of: Value, rowBytes: Size): Column => ({
      value: of,
      bytes: rowBytes,
      base: asm.local(i32),
      step: asm.mul(heads, rowBytes),
    });
    this.width = width;
    this.elements = column(codes ?? value, codes === undefined ? asm.mul(width, 4) : width);
    this.scales = scale && column(scale, 4);
    this.zeros = zero && column(zero, 1);
  }

  private get columns(): Column[] {
    return [this.elements, this.scales, this.zeros].filter((column) => column !== undefined);
  }

  private get dtype(): Byte | undefined {
    const { dtype } = this.elements.value.type;
    return dtype === 'i8' || dtype === 'u8' ? dtype : undefined;
  }

  /** Row 0 becomes row `row` of the tensor, counted over all leading axes and heads. */
  begin(row: Size): Expr[] {
    const { asm } = this.context;
    return this.columns.map(({ value, bytes, base }) =>
      base.set(asm.expr(asm.add(this.context.pointer(value).get, asm.mul(row, bytes)))),
    );
  }

  /** Where row 0 is, to be returned to. */
  remember(): { readonly save: readonly Expr[]; readonly restore: () => readonly Expr[] } {
    const saved = this.columns.map((column) => ({ column, local: this.context.asm.local(i32) }));
    return {
      save: saved.map(({ column, local }) => local.set(column.base.get())),
      restore: () => saved.map(({ column, local }) => column.base.set(local.get())),
    };
  }

  /** Leaves rows out at the front. */
  skip(rows: Local): Expr[] {
    const { asm } = this.context;
    return this.columns.map(({ base, step }) =>
      base.set(asm.expr(asm.add(base.get, asm.mul(rows.get, step)))),
    );
  }

  cursor(): Cursor {
    const { asm } = this.context;
    const place = asm.local(i32);
    return { place, address: place.get, zero: this.zeros && asm.local(v128) };
  }

  open({ place, zero }: Cursor, row: Size): Expr[] {
    const { m } = this.context;
    const { zeros } = this;
    const at = place.set(this.at(this.elements, row));
    if (zeros === undefined || zero === undefined) return [at];
    const load = this.dtype === 'u8' ? m.i32.load8_u : m.i32.load8_s;
    return [at, zero.set(m.i16x8.splat(load(0, 1, this.at(zeros, row))))];
  }

  private at({ base, step }: Column, row: Size): Expr {
    const { asm } = this.context;
    return asm.expr(asm.add(base.get, asm.mul(row, step)));
  }

  /** Elements that are loaded at a time, of `count` that follow each other. */
  chunkOf(count: number): 4 | 8 {
    return this.dtype !== undefined && count % 8 === 0 ? 8 : 4;
  }

  /** `chunk` elements from a constant index as vectors of four floats, not scaled, after some statements. */
  load({ address, zero }: Cursor, from: number, chunk: 4 | 8): { before: Expr[]; vectors: Expr[] } {
    const { asm, m, memory } = this.context;
    const { dtype } = this;
    if (dtype === undefined) return { before: [], vectors: [m.v128.load(from * 4, 4, address())] };
    if (chunk === 4) {
      const wide = memory.loadBytes(dtype, address(), from);
      const real = zero === undefined ? wide : m.i32x4.sub(wide, m.i32x4.extend_low_i16x8_s(zero.get()));
      return { before: [], vectors: [m.f32x4.convert_i32x4_s(real)] };
    }
    const eight = asm.local(v128);
    const load = (dtype === 'i8' ? m.v128.load8x8_s : m.v128.load8x8_u)(from, 1, address());
    return {
      before: [eight.set(zero === undefined ? load : m.i16x8.sub(load, zero.get()))],
      vectors: [
        m.f32x4.convert_i32x4_s(m.i32x4.extend_low_i16x8_s(eight.get())),
        m.f32x4.convert_i32x4_s(m.i32x4.extend_high_i16x8_s(eight.get())),
      ],
    };
  }

  /** Four elements from an index that is known at run time. */
  loadAt(cursor: Cursor, from: Local): Expr {
    return this.load({ ...cursor, address: this.moved(cursor, from) }, 0, 4).vectors[0] as Expr;
  }

  /** One element, not scaled. */
  element(cursor: Cursor, index: Local): Expr {
    const { m } = this.context;
    const address = this.moved(cursor, index);
    const { dtype } = this;
    if (dtype === undefined) return m.f32.load(0, 4, address());
    const code = (dtype === 'i8' ? m.i32.load8_s : m.i32.load8_u)(0, 1, address());
    const zero = cursor.zero && m.i16x8.extract_lane_s(cursor.zero.get(), 0);
    return m.f32.convert_s.i32(zero === undefined ? code : m.i32.sub(code, zero));
  }

  /** Address of an element of a row. */
  private moved({ address }: Cursor, index: Local): Make {
    const { asm } = this.context;
    const bytes = this.dtype === undefined ? 4 : 1;
    return () => asm.expr(asm.add(address, asm.mul(index.get, bytes)));
  }

  /** The scale of a row; undefined for floats. */
  scale(row: Size): Expr | undefined {
    return this.scales && this.context.m.f32.load(0, 4, this.at(this.scales, row));
  }
}
