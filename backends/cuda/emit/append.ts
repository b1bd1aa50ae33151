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
  code.line(`if (${out} == ${from} || i >= ${context.size(cacheSize)}) return;`);
  code.line(`const bool replaced = fits && i >= start * ${row} && i < (start + count) * ${row};`);
  code.line(`if (!replaced) ${out}[i] = ${from}[i];`);
  return [{ count: addDims(cacheSize, productOfDims(x.type.shape)), per: threads }];
};
