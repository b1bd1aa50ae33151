/**
 * quantized_linear as the sums that tensor cores make of integers and the operations that follow them, one by one, which
 * become the epilogue of the product. A zero point of the input is taken off the sums, times the sums of the weight's rows;
 * those are parameters, computed with the other weights.
 */
import { type FuncBuilder, mapFunctions, rewriteFunc } from '../../ir/builder.js';
import { constantOf, type Dim } from '../../ir/dim.js';
import { type Module, modelDims, type Param, type Value } from '../../ir/module.js';
import { tensorType } from '../../ir/type.js';
import { fullValue, madeBy } from '../../passes/rules/rule.js';
import { resolver } from '../kernel-function.js';

/** Bulk copies read rows in pieces of 16 bytes. */
const rowUnit = 16;

type Resolve = (value: Dim) => Dim;

/** Whether tensor cores read these rows. */
export function readsRows(x: Value, resolve: Resolve): boolean {
  const inner = constantOf(resolve(x.type.shape.at(-1) as Dim));
  return inner !== undefined && inner > 0 && inner % rowUnit === 0;
}

export function integerProducts(module: Module): Module {
  const functions = [...module.functions.values()];
  if (!functions.some(({ body }) => body.some(({ name }) => name === 'quantized_linear'))) return module;
  const params = new Map(module.params);
  const resolve = resolver(modelDims(module));
  return mapFunctions({ ...module, params }, (func, scope) =>
    rewriteFunc(func, scope, (op, operands, builder) => {
      if (op.name !== 'quantized_linear') return undefined;
      const [x, w, , , , wZero] = operands as [Value, Value, Value, Value, Value?, Value?];
      const isByte = x.type.dtype === 'i8' && w.type.dtype === 'i8' && op.attrs.group === 0;
      const isSymmetric = wZero === undefined || fullValue(wZero) === 0;
      if (!isByte || !isSymmetric || !readsRows(x, resolve)) return undefined;
      return [integerProduct(builder, operands, params)];
    }),
  );
}

function integerProduct(b: FuncBuilder, operands: readonly Value[], params: Map<string, Param>): Value {
  const [x, w, xScale, wScale, bias, , xZero] = operands as [
    Value,
    Value,
    Value,
    Value,
    Value?,
    Value?,
    Value?,
  ];
  const wide = (value: Value, dtype: 'f32' | 'i32'): Value =>
    value.type.dtype === dtype ? value : b.one('cast', [value], { dtype });
  const sums = b.one('integer_linear', [x, w]);
  const moved =
    xZero === undefined
      ? sums
      : b.one('sub', [sums, b.one('mul', [wide(xZero, 'i32'), rowSums(b, w, params)])]);
  const scaled = b.one('mul', [b.one('mul', [wide(moved, 'f32'), wide(wScale, 'f32')]), xScale]);
  return bias === undefined ? scaled : b.one('add', [scaled, wide(bias, 'f32')]);
}

/** The sum of each row of a weight. */
function rowSums(b: FuncBuilder, w: Value, params: Map<string, Param>): Value {
  const param = madeBy(w, 'param');
  const attrs = { axes: [1], keepdims: false };
  if (param === undefined) return b.one('reduce_sum', [b.one('cast', [w], { dtype: 'i32' })], attrs);
  const weight = params.get(param.attrs.name) as Param;
  const name = `${param.attrs.name}.row_sums`;
  const wide = { kind: 'op', op: 'cast', attrs: { dtype: 'i32' }, args: [weight.recipe] } as const;
  params.set(name, {
    type: tensorType('i32', weight.type.shape.slice(0, 1)),
    loop: weight.loop,
    recipe: { kind: 'op', op: 'reduce_sum', attrs, args: [wide] },
  });
  return b.one('param', [], { name });
}
