/**
 * Pointwise expressions: the value of an IR value at an index, as code. Elementwise ops combine the values of their
 * operands at the (broadcast) index, movement ops change the index, arguments load.
 *
 * An index has one coordinate per axis; `lane` says how the coordinate grows over the four lanes of a vector (0: the
 * same for all). In vector mode every value is f32x4, conditions are lane masks; `canVectorise` says when that works.
 */
import { constantOf, type Dim } from '../../../ir/dim.js';
import { defOf, type Func, type Op, type OpOf, type Value } from '../../../ir/module.js';
import { type QuantizedDType, quantizedRange } from '../../../ir/ops/quantization.js';
import type { OpName } from '../../../ir/ops/table.js';
import { isFloat } from '../../../ir/type.js';
import { panelWidth } from '../packing.js';
import { type Expr, i32, type Local, type Make, type Size, v128 } from './asm.js';
import { constantOfType, constantVector, convertRegister, scalarOps, vectorOps } from './elementwise.js';
import { bytesOf, failures, type KernelContext } from './kernel.js';
import { isByte, isFourBit, registerType } from './memory.js';

export interface Coordinate {
  readonly at: Size;
  readonly lane: number;
}
export type Index = readonly Coordinate[];

const origin: Coordinate = { at: 0, lane: 0 };

/** Values already in registers at a given index, such as the result of the kernel's root. */
export type Known = ReadonlyMap<Value, (index: Index) => Expr>;

export class Expressions {
  constructor(
    private readonly context: KernelContext,
    private readonly known: Known = new Map(),
  ) {}

  /** One element, in the register type of its dtype. */
  scalar(value: Value, index: Index): Expr {
    return this.at(value, index, false);
  }

  /** Four elements as f32x4 (or a mask, for bool). */
  vector(value: Value, index: Index): Expr {
    return this.at(value, index, true);
  }

  private at(value: Value, index: Index, vector: boolean): Expr {
    const known = this.known.get(value);
    if (known !== undefined) return known(index);
    const op = defOf(value);
    if (op === undefined) return vector ? this.loadVector(value, index) : this.load(value, index);
    const movement = movements[op.name];
    if (movement !== undefined) return movement.call(this, op as never, index, vector);
    const kept: Expr[] = [];
    const operands = this.operands(op, index, vector, kept);
    const { m, memory } = this.context;
    const result = vector
      ? vectorOps[op.name as keyof typeof vectorOps](this.context, operands, op)
      : memory.round(
          value.type.dtype,
          scalarOps[op.name as keyof typeof scalarOps](this.context, operands, op),
        );
    if (kept.length === 0) return result;
    return m.block(null, [...kept, result], vector ? v128 : registerType(value.type.dtype));
  }

  /** Operands at the result's index; a value that is several of them, as in x * x, is computed once, in `kept`. */
  private operands(op: Op, index: Index, vector: boolean, kept: Expr[]): Expr[] {
    const result = op.results[0] as Value;
    const at = (operand: Value): Expr => this.at(operand, this.broadcast(operand, result, index), vector);
    const locals = new Map<Value, Local>();
    return op.operands.map((operand) => {
      if (op.operands.filter((other) => other === operand).length === 1) return at(operand);
      const local =
        locals.get(operand) ?? this.context.asm.local(vector ? v128 : registerType(operand.type.dtype));
      if (!locals.has(operand)) kept.push(local.set(at(operand)));
      locals.set(operand, local);
      return local.get();
    });
  }

  /** The operand's index when the result is asked at `index`. */
  private broadcast(operand: Value, result: Value, index: Index): Index {
    const lead = result.type.shape.length - operand.type.shape.length;
    return operand.type.shape.map((d, axis) =>
      constantOf(d) === 1 ? origin : (index[axis + lead] as Coordinate),
    );
  }

  private load(value: Value, index: Index): Expr {
    const { asm, m, memory } = this.context;
    const { dtype } = value.type;
    if (!isFourBit(dtype)) return memory.load(dtype, this.address(value, index).address());
    const element = asm.local(i32);
    const place = element.set(asm.expr(this.place(value, index).offset));
    return m.block(null, [place, memory.loadNibble(dtype, this.context.pointer(value).get(), element)], i32);
  }

  /** Stores one element of a result. */
  store(result: Value, index: Index, value: Expr): Expr {
    const { asm, m, memory } = this.context;
    const { dtype } = result.type;
    if (!isFourBit(dtype)) return memory.store(dtype, this.address(result, index).address(), value);
    const [element, address] = [asm.local(i32), asm.local(i32)];
    const place = element.set(asm.expr(this.place(result, index).offset));
    return m.block(null, [
      place,
      memory.storeNibble(this.context.pointer(result).get(), element, address, value),
    ]);
  }

  private loadVector(value: Value, index: Index): Expr {
    const { m, memory } = this.context;
    const { address, laneBytes } = this.address(value, index);
    const dtype = value.type.dtype;
    const { splat, replace_lane } = isByte(dtype) ? m.i32x4 : m.f32x4;
    if (laneBytes === 0) return splat(memory.load(dtype, address()));
    if (laneBytes === bytesOf(dtype))
      return isByte(dtype) ? memory.loadBytes(dtype, address()) : memory.loadVector(dtype, address());
    const lane = (i: number): Expr =>
      memory.load(
        dtype,
        this.context.asm.expr(this.context.asm.add(address, this.context.asm.mul(laneBytes, i))),
      );
    return [1, 2, 3].reduce<Expr>((v, i) => replace_lane(v, i, lane(i)), splat(lane(0)));
  }

  /** Byte address of an argument's element, and how it grows per lane. */
  address(value: Value, index: Index): { address: Make; laneBytes: Size } {
    const { asm } = this.context;
    const bytes = bytesOf(value.type.dtype);
    const { offset, lane } = this.place(value, index);
    const base = this.context.pointer(value).get;
    return {
      address: () => asm.expr(asm.add(base, asm.mul(offset, bytes))),
      laneBytes: asm.mul(lane, bytes),
    };
  }

  /** The place of an argument's element, and how it grows per lane, in elements. */
  private place(value: Value, index: Index): { offset: Size; lane: Size } {
    const { asm } = this.context;
    const strides = this.strides(value);
    const sum = (terms: readonly Size[]): Size => terms.reduce((total, term) => asm.add(total, term), 0);
    const offset =
      this.context.layout(value) === 'panels'
        ? this.panelOffset(value, index)
        : sum(index.map(({ at }, axis) => asm.mul(at, strides[axis] as Size)));
    const lane = sum(index.map(({ lane: step }, axis) => asm.mul(step, strides[axis] as Size)));
    return { offset, lane };
  }

  /** Element strides; a panel steps by its width along the inner axis. */
  private strides(value: Value): Size[] {
    const { asm } = this.context;
    if (this.context.layout(value) === 'panels') return [0, panelWidth];
    const sizes = this.context.sizes(value.type.shape);
    const strides: Size[] = sizes.map(() => 1);
    for (let axis = sizes.length - 2; axis >= 0; axis--)
      strides[axis] = asm.mul(strides[axis + 1] as Size, sizes[axis + 1] as Size);
    return strides;
  }

  private panelOffset(value: Value, [row, column]: Index): Size {
    const { asm } = this.context;
    const inner = this.context.sizes(value.type.shape)[1] as Size;
    const [rowAt, columnAt] = [(row as Coordinate).at, (column as Coordinate).at];
    const inPanel = asm.add(asm.mul(asm.div(rowAt, panelWidth), inner), columnAt);
    return asm.add(
      asm.mul(inPanel, panelWidth),
      this.panelSlot(asm.rem(rowAt, panelWidth), bytesOf(value.type.dtype)),
    );
  }

  /** See `panelSlot` of packing.ts. */
  private panelSlot(column: Size, elementBytes: number): Size {
    const { asm } = this.context;
    if (elementBytes !== 2) return column;
    return asm.add(asm.mul(asm.rem(column, 4), 2), asm.div(column, 4));
  }

  slice(op: OpOf<'slice'>, index: Index, vector: boolean): Expr {
    const { asm } = this.context;
    const source = op.operands[0] as Value;
    const axis = (op.attrs.axis + source.type.shape.length) % source.type.shape.length;
    const start = this.context.size(op.attrs.start);
    const moved = index.map((c, i) =>
      i === axis ? { at: asm.add(asm.mul(c.at, op.attrs.step), start), lane: c.lane * op.attrs.step } : c,
    );
    return this.at(source, moved, vector);
  }

  transpose(op: OpOf<'transpose'>, index: Index, vector: boolean): Expr {
    const moved: Coordinate[] = [];
    op.attrs.perm.forEach((from, to) => {
      moved[from] = index[to] as Coordinate;
    });
    return this.at(op.operands[0] as Value, moved, vector);
  }

  broadcastTo(op: OpOf<'broadcast_to'>, index: Index, vector: boolean): Expr {
    const source = op.operands[0] as Value;
    return this.at(source, this.broadcast(source, op.results[0] as Value, index), vector);
  }

  /** Chooses the part by range; parts before the last that are chosen never read outside themselves. */
  concat(op: OpOf<'concat'>, index: Index, vector: boolean): Expr {
    const { asm, m } = this.context;
    const rank = (op.results[0] as Value).type.shape.length;
    const axis = (op.attrs.axis + rank) % rank;
    const choose = (part: number, start: Size): Expr => {
      const source = op.operands[part] as Value;
      const end = asm.add(start, this.context.sizes(source.type.shape)[axis] as Size);
      const moved = index.map((c, i) => (i === axis ? { at: asm.sub(c.at, start), lane: c.lane } : c));
      const own = this.at(source, moved, vector);
      if (part === op.operands.length - 1) return own;
      const inside = m.i32.lt_s(asm.expr((index[axis] as Coordinate).at), asm.expr(end));
      return m.if(inside, own, choose(part + 1, end));
    };
    return choose(0, 0);
  }

  pad(op: OpOf<'pad'>, index: Index, vector: boolean): Expr {
    const { asm, m } = this.context;
    const source = op.operands[0] as Value;
    const sizes = this.context.sizes(source.type.shape);
    const moved = index.map((c, i) => ({ at: asm.sub(c.at, op.attrs.before[i] as number), lane: c.lane }));
    const padded = sizes.flatMap((size, i) =>
      op.attrs.before[i] === 0 && op.attrs.after[i] === 0
        ? []
        : [m.i32.lt_u(asm.expr((moved[i] as Coordinate).at), asm.expr(size))],
    );
    const inside = padded.reduce<Expr | undefined>(
      (all, one) => (all === undefined ? one : m.i32.and(all, one)),
      undefined,
    );
    const own = this.at(source, moved, vector);
    if (inside === undefined) return own;
    const constant = vector ? constantVector : constantOfType;
    const fill = constant(this.context, source.type.dtype, op.attrs.value);
    return m.if(inside, own, fill);
  }

  /** The row number is checked; a bad one fails with its value and the bound. */
  gather(op: OpOf<'gather'>, index: Index, vector: boolean): Expr {
    const { asm, m } = this.context;
    const [table, indices] = op.operands as [Value, Value];
    const axis = (op.attrs.axis + table.type.shape.length) % table.type.shape.length;
    const inner = indices.type.shape.length;
    const bound = this.context.sizes(table.type.shape)[axis] as Size;
    const chosen = asm.local(registerType(indices.type.dtype));
    const isWide = indices.type.dtype === 'i64';
    const row = (): Expr => (isWide ? m.i32.wrap(chosen.get()) : chosen.get());
    const own = chosen.tee(this.at(indices, index.slice(axis, axis + inner), false));
    const outside = isWide
      ? m.i64.ge_u(own, m.i64.extend_u(asm.expr(bound)))
      : m.i32.ge_u(own, asm.expr(bound));
    const check = m.if(outside, this.context.fail(failures.indexOutOfRange, row(), asm.expr(bound)));
    const moved = [...index.slice(0, axis), { at: row, lane: 0 }, ...index.slice(axis + inner)];
    return m.block(
      null,
      [check, this.at(table, moved, vector)],
      vector ? v128 : registerType(table.type.dtype),
    );
  }

  /** clamp(round(x / scale)) as an integer, shifted by the zero point; see ir/ops/quantization.ts. */
  quantize(op: OpOf<'quantize'>, index: Index, vector: boolean): Expr {
    const { asm, m } = this.context;
    const [x, scale, zeroPoint] = op.operands as [Value, Value, Value?];
    const [low, high] = quantizedRange[op.attrs.dtype as QuantizedDType];
    const own = this.scaleIndex(op, scale, index);
    const [floats, integers] = vector ? ([m.f32x4, m.i32x4] as const) : ([m.f32, m.i32] as const);
    const convert = vector ? m.f32x4.convert_i32x4_s : m.f32.convert_s.i32;
    const truncate = vector ? m.i32x4.trunc_sat_f32x4_s : m.i32.trunc_s_sat.f32;
    const constant = (value: number): Expr => (vector ? asm.splat(value) : m.f32.const(value));
    const steps = floats.nearest(floats.div(this.at(x, index, vector), this.at(scale, own, vector)));
    if (zeroPoint === undefined)
      return truncate(floats.min(floats.max(steps, constant(low)), constant(high)));
    const zero = asm.local(vector ? v128 : i32);
    const bound = (value: number): Expr => floats.sub(constant(value), convert(zero.get()));
    // NaN passes through min and max and becomes 0, before the zero point is added.
    const clamped = truncate(floats.min(floats.max(steps, bound(low)), bound(high)));
    return m.block(
      null,
      [zero.set(this.at(zeroPoint, own, vector)), integers.add(clamped, zero.get())],
      vector ? v128 : i32,
    );
  }

  dequantize(op: OpOf<'dequantize'>, index: Index, vector: boolean): Expr {
    const { m } = this.context;
    const [x, scale, zeroPoint] = op.operands as [Value, Value, Value?];
    const own = this.scaleIndex(op, scale, index);
    const [floats, integers] = vector ? ([m.f32x4, m.i32x4] as const) : ([m.f32, m.i32] as const);
    const convert = vector ? m.f32x4.convert_i32x4_s : m.f32.convert_s.i32;
    const stored = this.at(x, index, vector);
    const real = zeroPoint === undefined ? stored : integers.sub(stored, this.at(zeroPoint, own, vector));
    return floats.mul(convert(real), this.at(scale, own, vector));
  }

  /** Index of the scale, or zero point, of an element of x. */
  scaleIndex(op: OpOf<'quantize' | 'dequantize'>, scale: Value, index: Index): Index {
    const { asm } = this.context;
    const { shape } = scale.type;
    const { group } = op.attrs;
    const axis = (op.attrs.axis + index.length) % Math.max(1, index.length);
    const along = (d: Dim, i: number): Coordinate => {
      if (constantOf(d) === 1) return origin;
      const own = index[i] as Coordinate;
      if (group === 0 || i !== axis) return own;
      // Vectors begin at multiples of four and so lie in one group; canVectorise sees to it.
      return { at: asm.div(own.at, group), lane: 0 };
    };
    if (shape.length === 1 && group === 0) return [along(shape[0] as Dim, axis)];
    return shape.map(along);
  }

  iota(op: OpOf<'iota'>, [position]: Index, vector: boolean): Expr {
    const { asm, m } = this.context;
    const { at, lane } = position as Coordinate;
    if (!vector) return convertRegister(this.context, 'i32', op.attrs.dtype, asm.expr(at));
    const steps = [0, 1, 2, 3].map((i) => i * lane);
    const offsets = m.i32x4.splat(asm.expr(at));
    const ramp = steps.reduce<Expr>(
      (v, step, i) => m.i32x4.replace_lane(v, i, asm.const(step)),
      asm.splatInt(0),
    );
    return m.f32x4.convert_i32x4_s(m.i32x4.add(offsets, ramp));
  }

  full(op: OpOf<'full'>, _index: Index, vector: boolean): Expr {
    const constant = vector ? constantVector : constantOfType;
    return constant(this.context, op.attrs.dtype, op.attrs.value);
  }

  dimSize(op: OpOf<'dim_size'>): Expr {
    return this.context.asm.expr(this.context.size(op.attrs.dim));
  }
}

type Movement = (this: Expressions, op: never, index: Index, vector: boolean) => Expr;

/** Ops whose operands are not read at the index of the result, or which make values from the index. */
const movements: Partial<Record<OpName, Movement>> = {
  slice: Expressions.prototype.slice as Movement,
  transpose: Expressions.prototype.transpose as Movement,
  broadcast_to: Expressions.prototype.broadcastTo as Movement,
  concat: Expressions.prototype.concat as Movement,
  pad: Expressions.prototype.pad as Movement,
  gather: Expressions.prototype.gather as Movement,
  quantize: Expressions.prototype.quantize as Movement,
  dequantize: Expressions.prototype.dequantize as Movement,
  iota: Expressions.prototype.iota as Movement,
  full: Expressions.prototype.full as Movement,
  dim_size: Expressions.prototype.dimSize as Movement,
};

/** Ops whose meaning is a change of index: where they move lanes apart, a kernel is emitted per element. */
const laneBreaking: ReadonlySet<OpName> = new Set(['concat', 'pad', 'gather']);

/** Whether four elements along the last axis can be computed at once. */
export function canVectorise(func: Func): boolean {
  const transposed = func.body.some((op) => op.name === 'transpose');
  const indices = new Set(func.body.flatMap((op) => (op.name === 'gather' ? [op.operands[1]] : [])));
  const argsFit = func.args.every(
    (arg) => isFloat(arg.type.dtype) || indices.has(arg) || isOnlyQuantized(func, arg),
  );
  const fits = (op: Op): boolean => {
    if (laneBreaking.has(op.name)) return !transposed && keepsLanes(op);
    if (op.name === 'iota') return op.attrs.dtype === 'f32';
    if (op.name === 'quantize' || op.name === 'dequantize') return quantizesLanes(op, func);
    if (op.name === 'dim_size') return false;
    const known = Object.hasOwn(movements, op.name) || Object.hasOwn(vectorOps, op.name);
    return (
      known &&
      op.results.every(
        (r) =>
          r.type.dtype === 'f32' ||
          r.type.dtype === 'bool' ||
          (isFloat(r.type.dtype) && Object.hasOwn(movements, op.name)),
      )
    );
  };
  const resultFits = ({ type, def }: Value): boolean =>
    type.dtype === 'f32' || (isByte(type.dtype) && def?.name === 'quantize');
  return argsFit && func.body.every(fits) && func.results.every(resultFits);
}

/** Bytes are four integers in a vector, which only quantization computes with. */
function isOnlyQuantized(func: Func, arg: Value): boolean {
  const readers = func.body.filter((op) => op.operands.includes(arg));
  return isByte(arg.type.dtype) && readers.every((op) => op.name === 'quantize' || op.name === 'dequantize');
}

/** Whether four elements of a quantization have their scales at one place or side by side. */
function quantizesLanes(op: OpOf<'quantize' | 'dequantize'>, func: Func): boolean {
  const [x, , zeroPoint] = op.operands as [Value, Value, Value?];
  const { dtype } = op.name === 'quantize' ? (op as OpOf<'quantize'>).attrs : x.type;
  const fitsTypes = isByte(dtype) && [x, zeroPoint].every((v) => v?.type.dtype !== 'i32');
  const { group } = op.attrs;
  const moves = func.body.some((other) => ['slice', 'concat', 'pad', 'transpose'].includes(other.name));
  return fitsTypes && (group === 0 || (group % 4 === 0 && !moves));
}

function keepsLanes(op: Op): boolean {
  const rank = (op.operands[0] as Value).type.shape.length;
  if (op.name === 'pad') return op.attrs.before.at(-1) === 0 && op.attrs.after.at(-1) === 0;
  const axis = op.name === 'concat' || op.name === 'gather' ? (op.attrs.axis + rank) % rank : 0;
  return axis < rank - 1;
}
