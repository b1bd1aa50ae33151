/** Pointwise kernels: one loop nest over the result, an expression per element, four at a time where lanes allow. */
import { constantOf, dimsEqual } from '../../../ir/dim.js';
import type { Func, Value } from '../../../ir/module.js';
import { opTable } from '../../../ir/ops/table.js';
import { type Asm, type Expr, type Local, type Size, v128 } from './asm.js';
import { type Coordinate, canVectorise, Expressions, type Index, type Known } from './expression.js';
import { bytesOf, type KernelContext, type KernelEmitter } from './kernel.js';
import { isByte, isFourBit } from './memory.js';

export const emitPointwise: KernelEmitter = (context) => {
  const vectors = canVectorise(context.func);
  return isFlat(context.func) ? flatLoop(context, vectors) : nestedLoops(context, vectors);
};

/** Whether every argument is read at the result's own linear index, or is a single value. */
function isFlat(func: Func): boolean {
  const [result] = func.results as [Value];
  const elementwise = func.body.every(
    (op) => opTable[op.name].category === 'elementwise' && op.name !== 'iota',
  );
  const sameShape = (v: Value): boolean =>
    v.type.shape.length === result.type.shape.length &&
    v.type.shape.every((d, i) => dimsEqual(d, result.type.shape[i] as never));
  return (
    elementwise &&
    ![result, ...func.args].some((v) => isFourBit(v.type.dtype)) &&
    [...func.args, ...func.body.flatMap((op) => op.results)].every((v) => sameShape(v) || isSingle(v))
  );
}

function isSingle(value: Value): boolean {
  return value.type.shape.every((d) => constantOf(d) === 1);
}

function flatLoop(context: KernelContext, vectors: boolean): readonly Expr[] {
  const { asm, memory, func } = context;
  const [result] = func.results as [Value];
  const count = context.sizes(result.type.shape).reduce<Size>((product, size) => asm.mul(product, size), 1);
  const element = (value: Value, at: Size): Expr =>
    asm.expr(asm.add(context.pointer(value).get, asm.mul(at, bytesOf(value.type.dtype))));
  const loads = (at: Size, vector: boolean): Known =>
    new Map(
      func.args
        .filter((arg) => !isSingle(arg))
        .map((arg) => [
          arg,
          () =>
            vector
              ? memory.loadVector(arg.type.dtype, element(arg, at))
              : memory.load(arg.type.dtype, element(arg, at)),
        ]),
    );
  const anywhere: Index = result.type.shape.map(() => ({ at: 0, lane: 0 }));
  return vectorLoop(asm, count, vectors, (at, vector) => {
    const expressions = new Expressions(context, loads(at, vector));
    return vector
      ? memory.storeVector(element(result, at), expressions.vector(result, anywhere))
      : memory.store(result.type.dtype, element(result, at), expressions.scalar(result, anywhere));
  });
}

function nestedLoops(context: KernelContext, vectors: boolean): readonly Expr[] {
  const { func } = context;
  const [result] = func.results as [Value];
  const expressions = new Expressions(context);
  return overRows(context, result, (outer) =>
    vectorLoop(
      context.asm,
      lastSize(context, result),
      vectors && result.type.shape.length > 0,
      (at, vector) => {
        const index = result.type.shape.length === 0 ? [] : [...outer, { at, lane: vector ? 1 : 0 }];
        return storeElement(context, result, index, vector, expressions);
      },
    ),
  );
}

export function lastSize(context: KernelContext, value: Value): Size {
  return context.sizes(value.type.shape).at(-1) ?? 1;
}

/** Stores the value of an expression at an index of the result; lanes that are not neighbours go one by one. */
export function storeElement(
  context: KernelContext,
  result: Value,
  index: Index,
  vector: boolean,
  expressions: Expressions,
): Expr {
  const { asm, m, memory } = context;
  const { dtype } = result.type;
  if (!vector) return expressions.store(result, index, expressions.scalar(result, index));
  const { address, laneBytes } = expressions.address(result, index);
  const lanes = asm.local(v128);
  const compute = lanes.set(expressions.vector(result, index));
  if (laneBytes === bytesOf(dtype)) {
    const store = isByte(dtype)
      ? memory.storeBytes(dtype, address(), lanes)
      : memory.storeVector(address(), lanes.get());
    return asm.block([compute, store]);
  }
  const extract = isByte(dtype) ? m.i32x4.extract_lane : m.f32x4.extract_lane;
  const stores = [0, 1, 2, 3].map((lane) =>
    memory.store(dtype, asm.expr(asm.add(address, asm.mul(laneBytes, lane))), extract(lanes.get(), lane)),
  );
  return asm.block([compute, ...stores]);
}

/** Loops over all axes of `value` but the last; the body gets their coordinates. */
export function overRows(
  context: KernelContext,
  value: Value,
  body: (outer: readonly Coordinate[]) => readonly Expr[],
): readonly Expr[] {
  const sizes = context.sizes(value.type.shape).slice(0, -1);
  const nest = (axis: number, outer: readonly Coordinate[]): readonly Expr[] => {
    if (axis === sizes.length) return body(outer);
    return [
      context.asm.loop(0, sizes[axis] as Size, (i: Local) =>
        nest(axis + 1, [...outer, { at: i.get, lane: 0 }]),
      ),
    ];
  };
  return nest(0, []);
}

/** Loops over 0 .. count - 1, by four while that fits when `vectors`, then one by one. */
export function vectorLoop(
  asm: Asm,
  count: Size,
  vectors: boolean,
  body: (at: Size, vector: boolean) => Expr,
): readonly Expr[] {
  if (count === 1) return [body(0, false)];
  const whole = vectors ? asm.floorTo(count, 4) : 0;
  const statements: Expr[] = [];
  if (whole !== 0) statements.push(asm.loop(0, whole, (i) => [body(i.get, true)], 4));
  if (whole !== count) statements.push(asm.loop(whole, count, (i) => [body(i.get, false)]));
  return statements;
}
