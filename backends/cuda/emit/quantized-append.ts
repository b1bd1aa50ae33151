/** New rows of caches of bytes: quantized, and appended with their scales (see ../merge-append.ts). */
import { addDims, type Dim, productOfDims } from '../../../ir/dim.js';
import type { Func, OpOf, Value } from '../../../ir/module.js';
import { emitAppend, emitRest } from './append.js';
import { declareRow, isRowOfWarp, type Quantizer, quantizeRow, quantizerOf } from './dynamic-quantize.js';
import { type KernelContext, type KernelEmitter, warps } from './kernel.js';

function emitQuantizedAppend(context: KernelContext, op: Quantizer): ReturnType<KernelEmitter> {
  const { code } = context;
  const [x] = op.operands as [Value];
  const appends = appendsOf(context.func);
  const tensors = op.results.map(
    (made) => appends.find((append) => append.operands[1] === made)?.results[0] as Value,
  );
  const [, , position] = context.root.operands as [Value, Value, Value];
  const [codes] = tensors as [Value];
  const tokens = x.type.shape[0] as Dim;
  const [count, perToken] = [tokens, productOfDims(x.type.shape.slice(1, -1))].map(context.size);
  const type = context.indexType(x.type, codes.type);
  const byWarp = isRowOfWarp(context, x);
  context.libraries.add('dynamicQuantize');
  code.line('await_predecessor();');
  code.line(`const ${type} start = ${context.pointer(position)}[0], count = ${count};`);
  code.line(`const bool fits = start >= 0 && start + count <= ${context.size(codes.type.shape[0] as Dim)};`);
  code.line('if (!fits && block == 0 && threadIdx.x == 0) fail(kContextFull, start, count);');
  for (const append of appends) {
    const [cache] = append.operands as [Value];
    const [from, out] = [cache, append.results[0] as Value].map(context.pointer) as [string, string];
    const row = context.size(productOfDims(cache.type.shape.slice(1)));
    code.block(`if (${out} != ${from})`, () =>
      emitRest(context, {
        from,
        out,
        size: context.size(productOfDims(cache.type.shape)),
        first: `start * ${row}`,
        end: `(start + count) * ${row}`,
        start: `static_cast<${type}>(block) * kThreads + threadIdx.x`,
        index: type,
      }),
    );
  }
  declareRow(context, x, type);
  code.line(`if (!fits || row >= count * ${perToken}) return;`);
  quantizeRow(context, op, { tensors, row: `start * ${perToken} + row` });
  // At least one block reports a position that does not fit, even when nothing is appended.
  const rows = addDims(productOfDims(x.type.shape.slice(0, -1)), 1);
  return [{ count: rows, per: byWarp ? warps : 1 }];
}

/** Copies rows, or quantizes those that are made in the kernel. */
export const emitAppends: KernelEmitter = (context) => {
  const quantizer = quantizerOf(context.func);
  return quantizer === undefined ? emitAppend(context) : emitQuantizedAppend(context, quantizer);
};

/** The appends of a kernel. */
function appendsOf({ body }: Func): readonly OpOf<'cache_append'>[] {
  return body.filter((op) => op.name === 'cache_append');
}
