/** cache_append: copies the new rows and, unless it happens in place, everything else. */
import { addDims, type Dim, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { type KernelEmitter, threads } from './kernel.js';

export const emitAppend: KernelEmitter = (context) => {
  const { code, root } = context;
  const [cache, x, position] = root.operands as [Value, Value, Value];
  const [result] = context.func.results as [Value];
  const [capacity, count] = [cache, x].map((value) => context.size(value.type.shape[0] as Dim)) as [
    string,
    string,
  ];
  const row = context.size(productOfDims(cache.type.shape.slice(1)));
  const index = context.indexType(cache.type);
  const [from, added, out] = [cache, x, result].map(context.pointer) as [string, string, string];
  const cacheSize = productOfDims(cache.type.shape);
  code.line('await_predecessor();');
  code.line(`const ${index} start = ${context.pointer(position)}[0], count = ${count};`);
  code.line(`const bool fits = start >= 0 && start + count <= ${capacity};`);
  code.line(`const ${index} i = static_cast<${index}>(block) * kThreads + threadIdx.x;`);
  code.line('if (!fits && i == 0) fail(kContextFull, start, count);');
  code.line(`if (fits && i < count * ${row}) ${out}[start * ${row} + i] = ${added}[i];`);
  code.line(`if (${out} == ${from}) return;`);
  code.block(
    `for (${index} at = i; at < ${context.size(cacheSize)}; at += static_cast<${index}>(gridDim.x) * kThreads)`,
    () => {
      code.line(`const bool replaced = fits && at >= start * ${row} && at < (start + count) * ${row};`);
      code.line(`if (!replaced) ${out}[at] = ${from}[at];`);
    },
  );
  // At least one block reports a position that does not fit, even when nothing is appended.
  return [{ count: addDims(productOfDims(x.type.shape), 1), per: threads }];
};
