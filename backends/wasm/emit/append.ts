/**
 * cache_append: replaces rows of the cache. When the result shares the buffer of the cache, only the new rows are
 * written; otherwise the whole cache is copied first. The rows are checked before anything is written.
 */
import { defOf, type Value } from '../../../ir/module.js';
import { type Expr, i32, type Size } from './asm.js';
import { Expressions } from './expression.js';
import { overAxes } from './iteration.js';
import { bytesOf, failures, type KernelContext, type KernelEmitter } from './kernel.js';

export const emitAppend: KernelEmitter = (context) => {
  const { asm, m, root } = context;
  const [cache, x, position] = root.operands as [Value, Value, Value];
  const [result] = root.results as [Value];
  const [capacity, ...rest] = context.sizes(cache.type.shape) as [Size, ...Size[]];
  const [tokens] = context.sizes(x.type.shape) as [Size];
  const rowBytes = rest.reduce<Size>((product, size) => asm.mul(product, size), bytesOf(cache.type.dtype));
  const start = asm.local(i32);
  const target = context.pointer(result);
  const outside = m.i32.or(
    m.i32.lt_s(start.get(), asm.const(0)),
    m.i32.gt_s(start.get(), asm.expr(asm.sub(capacity, tokens))),
  );
  const rows = asm.add(target.get, asm.mul(start.get, rowBytes));
  return [
    start.set(new Expressions(context).scalar(position, [])),
    asm.if(outside, [context.fail(failures.contextFull, start.get(), asm.expr(tokens))]),
    ...copyCache(context, cache, asm.mul(capacity, rowBytes)),
    ...write(context, x, rows, asm.mul(tokens, rowBytes)),
  ];
};

function copyCache(context: KernelContext, cache: Value, bytes: Size): readonly Expr[] {
  const { asm, m } = context;
  const target = context.pointer(context.root.results[0] as Value);
  const copy = write(context, cache, target.get, bytes);
  if (defOf(cache) !== undefined) return copy;
  return [asm.if(m.i32.ne(target.get(), context.pointer(cache).get()), copy)];
}

/** Stores a whole tensor at `target`: an argument by a copy of its bytes, a constant element by element. */
function write(context: KernelContext, value: Value, target: Size, bytes: Size): readonly Expr[] {
  const { asm, m, memory } = context;
  if (defOf(value) === undefined) {
    return [m.memory.copy(asm.expr(target), context.pointer(value).get(), asm.expr(bytes))];
  }
  const { dtype, shape } = value.type;
  const next = asm.local(i32);
  const sizes = context.sizes(shape);
  const loops = overAxes(context, sizes, [...sizes.keys()], (index) => [
    memory.store(dtype, next.get(), new Expressions(context).scalar(value, index)),
    next.set(m.i32.add(next.get(), asm.const(bytesOf(dtype)))),
  ]);
  return [next.set(asm.expr(target)), ...loops];
}
