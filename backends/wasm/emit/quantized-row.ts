/**
 * Rows that get integers of their own range: one pass for the range, one that writes the integers. A row that its kernel
 * makes waits in scratch memory in between.
 */
import { type Dim, dim, mulDims } from '../../../ir/dim.js';
import type { Func, OpOf, Value } from '../../../ir/module.js';
import { type QuantizedDType, quantizedRange } from '../../../ir/ops/quantization.js';
import { type Expr, f32, i32, type Local, type Size, v128 } from './asm.js';
import { Expressions, type Index } from './expression.js';
import type { KernelContext, ScratchSize } from './kernel.js';
import type { Byte } from './memory.js';
import { vectorLoop } from './pointwise.js';
import { Row, spread } from './row-reader.js';

type Quantizer = OpOf<'dynamic_quantize'>;

/** The op that ends a kernel by quantizing the rows that ops before it make; undefined for other kernels. */
export function rowQuantizer({ body }: Func): Quantizer | undefined {
  const last = body.at(-1);
  return last?.name === 'dynamic_quantize' && body.length > 1 ? last : undefined;
}

/** One row of floats, in kernels that end so. */
export const quantizedRowScratch: ScratchSize = (func) => {
  const x = rowQuantizer(func)?.operands[0];
  return x === undefined ? dim(0) : mulDims(x.type.shape.at(-1) as Dim, 4);
};

function scratchAddress({ asm, scratch }: KernelContext, at: Size): Expr {
  return asm.expr(asm.add(scratch.get, asm.mul(at, 4)));
}

export function scratchRow(context: KernelContext, length: Size): Row {
  const { memory } = context;
  return new Row(context, length, (at, vector) =>
    vector
      ? memory.loadVector('f32', scratchAddress(context, at))
      : memory.load('f32', scratchAddress(context, at)),
  );
}

/** Stores the value of an expression in the row that waits. */
export function storeInScratch(
  context: KernelContext,
  value: Value,
  index: Index,
  vector: boolean,
  expressions: Expressions,
): Expr {
  const { memory } = context;
  const address = scratchAddress(context, index.at(-1)?.at ?? 0);
  return vector
    ? memory.storeVector(address, expressions.vector(value, index))
    : memory.store('f32', address, expressions.scalar(value, index));
}

/** Writes the integers of a row, its scale and its zero point. */
export function quantizeRow(
  context: KernelContext,
  quantizer: Quantizer,
  row: Row,
  outer: Index,
): readonly Expr[] {
  const { asm } = context;
  const [, scaleResult, zeroResult] = quantizer.results as [Value, Value, Value?];
  const results = new Expressions(context);
  const [scale, zero] = [asm.local(f32), asm.local(i32)];
  const statements: Expr[] = [];
  findRange(context, quantizer, row, scale, zero, statements);
  const one: Index = [...outer, { at: 0, lane: 0 }];
  return [
    ...statements,
    results.store(scaleResult, one, scale.get()),
    ...(zeroResult === undefined ? [] : [results.store(zeroResult, one, zero.get())]),
    ...writeIntegers(context, quantizer, row, outer, scale, zero),
  ];
}

/** The declared formulas, in f32. */
function findRange(
  { asm, m }: KernelContext,
  { attrs: { dtype, symmetric } }: Quantizer,
  row: Row,
  scale: Local,
  zero: Local,
  statements: Expr[],
): void {
  const [low, high] = quantizedRange[dtype as QuantizedDType];
  const orOne = scale.set(m.select(m.f32.eq(scale.get(), m.f32.const(0)), m.f32.const(1), scale.get()));
  if (symmetric) {
    const absmax = row.max(statements, (v, vector) => (vector ? m.f32x4 : m.f32).abs(v));
    statements.push(
      scale.set(m.f32.div(m.f32.max(absmax.get(), m.f32.const(0)), m.f32.const(high))),
      orOne,
      zero.set(asm.const(0)),
    );
    return;
  }
  const greatest = row.max(statements, (v) => v);
  const opposite = row.max(statements, (v, vector) => (vector ? m.f32x4 : m.f32).neg(v));
  const steps = asm.local(f32);
  statements.push(
    greatest.set(m.f32.max(greatest.get(), m.f32.const(0))),
    opposite.set(m.f32.max(opposite.get(), m.f32.const(0))),
    scale.set(m.f32.div(m.f32.add(greatest.get(), opposite.get()), m.f32.const(high - low))),
    orOne,
    steps.set(m.f32.nearest(m.f32.div(opposite.get(), scale.get()))),
    zero.set(
      m.i32.add(
        m.i32.trunc_s_sat.f32(m.f32.min(m.f32.max(steps.get(), m.f32.const(0)), m.f32.const(high - low))),
        asm.const(low),
      ),
    ),
  );
}

function writeIntegers(
  context: KernelContext,
  quantizer: Quantizer,
  row: Row,
  outer: Index,
  scale: Local,
  zero: Local,
): readonly Expr[] {
  const { asm, m, memory } = context;
  const [result] = quantizer.results as [Value];
  const dtype = result.type.dtype as Byte;
  const [low, high] = quantizedRange[dtype];
  const results = new Expressions(context);
  return vectorLoop(asm, row.length, true, (at, vector) => {
    const [floats, integers] = vector ? ([m.f32x4, m.i32x4] as const) : ([m.f32, m.i32] as const);
    const wideZero = (): Expr => (vector ? m.i32x4.splat(zero.get()) : zero.get());
    const floatZero = (): Expr =>
      vector ? m.f32x4.convert_i32x4_s(wideZero()) : m.f32.convert_s.i32(zero.get());
    const bound = (v: number): Expr => floats.sub(vector ? asm.splat(v) : m.f32.const(v), floatZero());
    const steps = floats.nearest(floats.div(row.element(at, vector), spread(context, scale, vector)));
    const clamped = floats.min(floats.max(steps, bound(low)), bound(high));
    const truncated = vector ? m.i32x4.trunc_sat_f32x4_s(clamped) : m.i32.trunc_s_sat.f32(clamped);
    const integer = integers.add(truncated, wideZero());
    const index = [...outer, { at, lane: vector ? 1 : 0 }];
    if (!vector) return results.store(result, index, integer);
    const lanes = asm.local(v128);
    const { address } = results.address(result, index);
    return asm.block([lanes.set(integer), memory.storeBytes(dtype, address(), lanes)]);
  });
}
