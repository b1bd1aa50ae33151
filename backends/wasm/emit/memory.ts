/** Loads and stores of every dtype. In registers, floats are f32 (or four of them), i64 is i64, all else is i32. */
import type binaryen from 'binaryen';
import { type DType, dtypes } from '../../../ir/type.js';
import { Asm, type AsmOptions, type Expr, f32, i32, i64, type Local, type Make, v128 } from './asm.js';

/** Wasm type that holds one element of a dtype. */
export function registerType(dtype: DType): binaryen.Type {
  if (dtypes[dtype].kind === 'float') return f32;
  return dtype === 'i64' ? i64 : i32;
}

export type Byte = 'i8' | 'u8';

export function isByte(dtype: DType): dtype is Byte {
  return dtype === 'i8' || dtype === 'u8';
}

export type FourBit = 'i4' | 'u4';

export function isFourBit(dtype: DType): dtype is FourBit {
  return dtypes[dtype].bits === 4;
}

function noAddress(dtype: FourBit): never {
  throw new Error(`an element of ${dtype} has no address`);
}

type Conversion = 'f16_to_f32' | 'f32_to_f16' | 'f32_to_bf16';

export class Memory {
  private readonly defined = new Set<Conversion>();

  constructor(
    private readonly m: binaryen.Module,
    private readonly options: AsmOptions,
  ) {}

  /** One element; `address` in bytes. */
  load(dtype: DType, address: Expr, offset = 0): Expr {
    const { m } = this;
    const loads: Record<DType, () => Expr> = {
      f32: () => m.f32.load(offset, 4, address),
      bf16: () => m.f32.reinterpret(m.i32.shl(m.i32.load16_u(offset, 2, address), m.i32.const(16))),
      f16: () => this.convert('f16_to_f32', m.i32.load16_u(offset, 2, address)),
      i32: () => m.i32.load(offset, 4, address),
      i64: () => m.i64.load(offset, 8, address),
      i8: () => m.i32.load8_s(offset, 1, address),
      u8: () => m.i32.load8_u(offset, 1, address),
      i4: () => noAddress('i4'),
      u4: () => noAddress('u4'),
      bool: () => m.i32.load8_u(offset, 1, address),
    };
    return loads[dtype]();
  }

  store(dtype: DType, address: Expr, value: Expr, offset = 0): Expr {
    const { m } = this;
    const stores: Record<DType, () => Expr> = {
      f32: () => m.f32.store(offset, 4, address, value),
      bf16: () => m.i32.store16(offset, 2, address, this.convert('f32_to_bf16', value)),
      f16: () => m.i32.store16(offset, 2, address, this.convert('f32_to_f16', value)),
      i32: () => m.i32.store(offset, 4, address, value),
      i64: () => m.i64.store(offset, 8, address, value),
      i8: () => m.i32.store8(offset, 1, address, value),
      u8: () => m.i32.store8(offset, 1, address, value),
      i4: () => noAddress('i4'),
      u4: () => noAddress('u4'),
      bool: () => m.i32.store8(offset, 1, address, value),
    };
    return stores[dtype]();
  }

  /** The element of a four-bit type at an index from `base`. */
  loadNibble(dtype: FourBit, base: Expr, index: Local): Expr {
    const { m } = this;
    const bits = m.i32.shr_u(m.i32.load8_u(0, 1, this.byteOf(base, index)), this.nibbleShift(index));
    return this.round(dtype, bits);
  }

  /** Replaces one half of a byte; `address` is a local of the caller. */
  storeNibble(base: Expr, index: Local, address: Local, value: Expr): Expr {
    const { m } = this;
    const shifted = (bits: Expr): Expr => m.i32.shl(bits, this.nibbleShift(index));
    const others = m.i32.and(
      m.i32.load8_u(0, 1, address.get()),
      m.i32.xor(shifted(m.i32.const(0xf)), m.i32.const(-1)),
    );
    return m.block(null, [
      address.set(this.byteOf(base, index)),
      m.i32.store8(0, 1, address.get(), m.i32.or(others, shifted(m.i32.and(value, m.i32.const(0xf))))),
    ]);
  }

  private byteOf(base: Expr, index: Local): Expr {
    const { m } = this;
    return m.i32.add(base, m.i32.shr_u(index.get(), m.i32.const(1)));
  }

  private nibbleShift(index: Local): Expr {
    const { m } = this;
    return m.i32.shl(m.i32.and(index.get(), m.i32.const(1)), m.i32.const(2));
  }

  /** Four consecutive floats, widened to f32x4. */
  loadVector(dtype: DType, address: Expr, offset = 0): Expr {
    const { m } = this;
    if (dtype === 'f32') return m.v128.load(offset, 4, address);
    const bits = m.v128.load16x4_u(offset, 2, address);
    return dtype === 'bf16' ? m.i32x4.shl(bits, m.i32.const(16)) : this.widenF16(bits);
  }

  /** Four consecutive bytes, widened to i32x4. */
  loadBytes(dtype: Byte, address: Expr, offset = 0): Expr {
    const { m } = this;
    const four = m.v128.load32_zero(offset, 1, address);
    return dtype === 'i8'
      ? m.i32x4.extend_low_i16x8_s(m.i16x8.extend_low_i8x16_s(four))
      : m.i32x4.extend_low_i16x8_u(m.i16x8.extend_low_i8x16_u(four));
  }

  /** Stores four numbers of an i32x4, which are in the range of the dtype. */
  storeBytes(dtype: Byte, address: Expr, value: Local, offset = 0): Expr {
    const { m } = this;
    const narrow = dtype === 'i8' ? m.i8x16.narrow_i16x8_s : m.i8x16.narrow_i16x8_u;
    const halves = (): Expr => m.i16x8.narrow_i32x4_s(value.get(), value.get());
    const bytes = narrow(halves(), m.i16x8.splat(m.i32.const(0)));
    return m.v128.store32_lane(offset, 1, 0, address, bytes);
  }

  /** One step of a panel of eight columns (see packing.ts) into `columns`: the first four, and the last when wanted. */
  loadPanel(dtype: DType, address: Make, offset: number, raw: Local, columns: readonly Local[]): Expr[] {
    const { m } = this;
    if (dtype === 'f32')
      return columns.map((column, j) => column.set(m.v128.load(offset + j * 16, 4, address())));
    const halves: readonly Make[] =
      dtype === 'bf16'
        ? [
            () => m.i32x4.shl(raw.get(), m.i32.const(16)),
            () => m.v128.and(raw.get(), m.i32x4.splat(m.i32.const(-0x10000))),
          ]
        : [
            () => this.widenF16(m.v128.and(raw.get(), m.i32x4.splat(m.i32.const(0xffff)))),
            () => this.widenF16(m.i32x4.shr_u(raw.get(), m.i32.const(16))),
          ];
    const load = raw.set(m.v128.load(offset, 4, address()));
    return [load, ...columns.map((column, j) => column.set((halves[j] as Make)()))];
  }

  /** f32x4 from four f16 in the low halves: the exponent is rebased by a multiplication, which is exact. */
  private widenF16(bits: Expr): Expr {
    return this.m.call(this.widenF16Function(), [bits], v128);
  }

  private widenF16Defined = false;

  private widenF16Function(): string {
    const name = 'convert.f16x4_to_f32x4';
    if (this.widenF16Defined) return name;
    this.widenF16Defined = true;
    const { m } = this;
    const asm = new Asm(m, this.options, [v128]);
    const bits = asm.params[0] as Local;
    const magnitude = asm.local(v128);
    const special = m.v128.and(
      m.i32x4.ge_s(magnitude.get(), asm.splatInt(0x0f800000)),
      asm.splatInt(0x7f800000),
    );
    const sign = m.i32x4.shl(m.v128.and(bits.get(), asm.splatInt(0x8000)), asm.const(16));
    asm.define(name, v128, [
      magnitude.set(m.i32x4.shl(m.v128.and(bits.get(), asm.splatInt(0x7fff)), asm.const(13))),
      m.v128.or(m.v128.or(m.f32x4.mul(magnitude.get(), asm.splat(2 ** 112)), special), sign),
    ]);
    return name;
  }

  storeVector(address: Expr, value: Expr, offset = 0): Expr {
    return this.m.v128.store(offset, 4, address, value);
  }

  /** Rounds an f32 register to what a storage type can hold. */
  round(dtype: DType, value: Expr): Expr {
    const { m } = this;
    if (dtype === 'bf16')
      return m.f32.reinterpret(m.i32.shl(this.convert('f32_to_bf16', value), m.i32.const(16)));
    if (dtype === 'f16') return this.convert('f16_to_f32', this.convert('f32_to_f16', value));
    if (dtype === 'i8') return m.i32.extend8_s(value);
    if (dtype === 'i4') return m.i32.shr_s(m.i32.shl(value, m.i32.const(28)), m.i32.const(28));
    if (dtype === 'u4') return m.i32.and(value, m.i32.const(0xf));
    return dtype === 'u8' ? m.i32.and(value, m.i32.const(0xff)) : value;
  }

  private convert(name: Conversion, value: Expr): Expr {
    if (!this.defined.has(name)) {
      this.defined.add(name);
      this.definitions[name]();
    }
    return this.m.call(`convert.${name}`, [value], name === 'f16_to_f32' ? f32 : i32);
  }

  private readonly definitions: Readonly<Record<Conversion, () => void>> = {
    f16_to_f32: () => {
      const { m } = this;
      const asm = new Asm(m, this.options, [i32]);
      const bits = asm.params[0] as Local;
      const magnitude = asm.local(i32);
      const scaled = m.f32.mul(m.f32.reinterpret(magnitude.get()), m.f32.const(2 ** 112));
      const special = m.select(
        m.i32.ge_s(magnitude.get(), asm.const(0x0f800000)),
        asm.const(0x7f800000),
        asm.const(0),
      );
      const sign = m.i32.shl(m.i32.and(bits.get(), asm.const(0x8000)), asm.const(16));
      asm.define('convert.f16_to_f32', f32, [
        magnitude.set(m.i32.shl(m.i32.and(bits.get(), asm.const(0x7fff)), asm.const(13))),
        m.f32.reinterpret(m.i32.or(m.i32.or(m.i32.reinterpret(scaled), special), sign)),
      ]);
    },

    /** Round to nearest even: subnormals by adding 0.5 (which aligns their bits), normals by a rounding bias. */
    f32_to_f16: () => {
      const { m } = this;
      const asm = new Asm(m, this.options, [f32]);
      const value = asm.params[0] as Local;
      const [bits, sign] = [asm.local(i32), asm.local(i32)];
      const withSign = (magnitude: Expr): Expr => m.return(m.i32.or(magnitude, sign.get()));
      const subnormal = m.i32.sub(
        m.i32.reinterpret(m.f32.add(m.f32.reinterpret(bits.get()), m.f32.const(0.5))),
        asm.const(0x3f000000),
      );
      const odd = m.i32.and(m.i32.shr_u(bits.get(), asm.const(13)), asm.const(1));
      const normal = m.i32.shr_u(
        m.i32.add(m.i32.add(bits.get(), asm.const(0xc8000fff | 0)), odd),
        asm.const(13),
      );
      asm.define('convert.f32_to_f16', i32, [
        bits.set(m.i32.reinterpret(value.get())),
        sign.set(m.i32.and(m.i32.shr_u(bits.get(), asm.const(16)), asm.const(0x8000))),
        bits.set(m.i32.and(bits.get(), asm.const(0x7fffffff))),
        m.if(m.i32.gt_s(bits.get(), asm.const(0x7f800000)), withSign(asm.const(0x7e00))),
        m.if(m.i32.ge_s(bits.get(), asm.const(0x477ff000)), withSign(asm.const(0x7c00))),
        m.if(m.i32.lt_s(bits.get(), asm.const(0x38800000)), withSign(subnormal)),
        m.i32.or(normal, sign.get()),
      ]);
    },

    f32_to_bf16: () => {
      const { m } = this;
      const asm = new Asm(m, this.options, [f32]);
      const value = asm.params[0] as Local;
      const bits = asm.local(i32);
      const odd = m.i32.and(m.i32.shr_u(bits.get(), asm.const(16)), asm.const(1));
      asm.define('convert.f32_to_bf16', i32, [
        bits.set(m.i32.reinterpret(value.get())),
        m.if(
          m.f32.ne(value.get(), value.get()),
          m.return(m.i32.or(m.i32.shr_u(bits.get(), asm.const(16)), asm.const(0x40))),
        ),
        m.i32.shr_u(m.i32.add(m.i32.add(bits.get(), asm.const(0x7fff)), odd), asm.const(16)),
      ]);
    },
  };
}
