/**
 * Row kernels: rms_norm, layer_norm and softmax over the last axis. Each row is reduced to one or two numbers in
 * f32x4 accumulators, then written once through the epilogue.
 */
import type { Value } from '../../../ir/module.js';
import { type Expr, f32, type Size, v128 } from './asm.js';
import { canVectorise, Expressions, type Index, type Known } from './expression.js';
import type { KernelContext, KernelEmitter } from './kernel.js';
import { overRows, storeElement, vectorLoop } from './pointwise.js';
import { quantizeRow, rowQuantizer, scratchRow, storeInScratch } from './quantized-row.js';
import { type Row, rowOf, spread } from './row-reader.js';

function square(context: KernelContext, x: Expr, vector: boolean): Expr {
  const { asm, m } = context;
  const local = asm.local(vector ? v128 : f32);
  return m.block(
    null,
    [local.set(x), (vector ? m.f32x4 : m.f32).mul(local.get(), local.get())],
    vector ? v128 : f32,
  );
}

/**
 * Writes the row: `finish` turns an element of x into the root's result, the epilogue does the rest. Where the kernel ends in
 * `dynamic_quantize`, the row waits in scratch memory until its range is known.
 */
function writeRow(
  context: KernelContext,
  row: Row,
  outer: Index,
  finish: (x: Expr, at: Size, vector: boolean) => Expr,
): readonly Expr[] {
  const { asm, func, root } = context;
  const quantizer = rowQuantizer(func);
  const [result] = (quantizer?.operands ?? func.results) as [Value];
  const body = func.body.filter((op) => op !== root && op !== quantizer);
  const vectors = canVectorise({ ...func, body, results: quantizer === undefined ? func.results : [result] });
  const written = vectorLoop(asm, row.length, vectors, (at, vector) => {
    // Kept in a local, because the epilogue may read it more than once.
    const finished = asm.local(vector ? v128 : f32);
    const known: Known = new Map([[root.results[0] as Value, finished.get]]);
    const index = [...outer, { at, lane: vector ? 1 : 0 }];
    const expressions = new Expressions(context, known);
    return asm.block([
      finished.set(finish(row.element(at, vector), at, vector)),
      quantizer === undefined
        ? storeElement(context, result, index, vector, expressions)
        : storeInScratch(context, result, index, vector, expressions),
    ]);
  });
  if (quantizer === undefined) return written;
  return [...written, ...quantizeRow(context, quantizer, scratchRow(context, row.length), outer)];
}

/** x * factor, then times gamma and plus beta where they are given. */
function affine(
  context: KernelContext,
  normalised: Expr,
  at: Size,
  vector: boolean,
  gamma?: Value,
  beta?: Value,
): Expr {
  const floats = vector ? context.m.f32x4 : context.m.f32;
  const expressions = new Expressions(context);
  const parameter = (value: Value): Expr => {
    const index = [{ at, lane: vector ? 1 : 0 }];
    return vector ? expressions.vector(value, index) : expressions.scalar(value, index);
  };
  const scaled = gamma === undefined ? normalised : floats.mul(normalised, parameter(gamma));
  return beta === undefined ? scaled : floats.add(scaled, parameter(beta));
}

export const emitRmsNorm: KernelEmitter = (context) => {
  const { m, asm, root } = context;
  const [x, gamma] = root.operands as [Value, Value?];
  const { eps } = root.attrs as { eps: number };
  return overRows(context, x, (outer) => {
    const row = rowOf(context, x, outer);
    const statements: Expr[] = [];
    const squares = row.sum((v, vector) => square(context, v, vector), statements);
    const factor = asm.local(f32);
    const mean = m.f32.div(squares.get(), row.lengthAsFloat());
    statements.push(factor.set(m.f32.div(m.f32.const(1), m.f32.sqrt(m.f32.add(mean, m.f32.const(eps))))));
    const finish = (v: Expr, at: Size, vector: boolean): Expr => {
      const floats = vector ? m.f32x4 : m.f32;
      return affine(context, floats.mul(v, spread(context, factor, vector)), at, vector, gamma);
    };
    return [...statements, ...writeRow(context, row, outer, finish)];
  });
};

export const emitLayerNorm: KernelEmitter = (context) => {
  const { m, asm, root } = context;
  const [x, gamma, beta] = root.operands as [Value, Value?, Value?];
  const { eps } = root.attrs as { eps: number };
  return overRows(context, x, (outer) => {
    const row = rowOf(context, x, outer);
    const statements: Expr[] = [];
    const [mean, factor] = [asm.local(f32), asm.local(f32)];
    const centred = (v: Expr, vector: boolean): Expr =>
      (vector ? m.f32x4 : m.f32).sub(v, spread(context, mean, vector));
    const total = row.sum((v) => v, statements);
    statements.push(mean.set(m.f32.div(total.get(), row.lengthAsFloat())));
    const squares = row.sum((v, vector) => square(context, centred(v, vector), vector), statements);
    const variance = m.f32.div(squares.get(), row.lengthAsFloat());
    statements.push(factor.set(m.f32.div(m.f32.const(1), m.f32.sqrt(m.f32.add(variance, m.f32.const(eps))))));
    const finish = (v: Expr, at: Size, vector: boolean): Expr => {
      const floats = vector ? m.f32x4 : m.f32;
      return affine(
        context,
        floats.mul(centred(v, vector), spread(context, factor, vector)),
        at,
        vector,
        gamma,
        beta,
      );
    };
    return [...statements, ...writeRow(context, row, outer, finish)];
  });
};

/** e^(x - max) / sum; exponentials are computed twice, which costs less than holding a row. */
export const emitSoftmax: KernelEmitter = (context) => {
  const { m, asm, root, math } = context;
  const [x] = root.operands as [Value];
  return overRows(context, x, (outer) => {
    const row = rowOf(context, x, outer);
    const statements: Expr[] = [];
    const greatest = row.max(statements);
    const exponential = (v: Expr, vector: boolean): Expr =>
      vector
        ? math.vector('exp', m.f32x4.sub(v, m.f32x4.splat(greatest.get())))
        : math.scalar('exp', m.f32.sub(v, greatest.get()));
    const total = row.sum(exponential, statements);
    const factor = asm.local(f32);
    statements.push(factor.set(m.f32.div(m.f32.const(1), total.get())));
    const finish = (v: Expr, _at: Size, vector: boolean): Expr =>
      (vector ? m.f32x4 : m.f32).mul(exponential(v, vector), spread(context, factor, vector));
    return [...statements, ...writeRow(context, row, outer, finish)];
  });
};
