/** cache_append: copies the new rows and, unless it happens in place, everything else. */
import { addDims, constantOf, type Dim, divDims, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { vectorElements } from '../tuning.js';
import { type KernelContext, type KernelEmitter, threads } from './kernel.js';

/** Elements that a thread copies at once: 16 bytes, if rows are multiples of them. */
function elementsAtOnce(context: KernelContext, { shape, dtype }: Value['type']): number {
  const elements = vectorElements(dtype);
  const row = constantOf(context.resolve(productOfDims(shape.slice(1))));
  return row !== undefined && row % elements === 0 ? elements : 1;
}

export const emitAppend: KernelEmitter = (context) => {
  const { code, root } = context;
  const [cache, x, position] = root.operands as [Value, Value, Value];
  const [result] = context.func.results as [Value];
  const { shape } = cache.type;
  const [capacity, count] = [cache, x].map((value) => context.size(value.type.shape[0] as Dim)) as [
    string,
    string,
  ];
  const atOnce = elementsAtOnce(context, cache.type);
  const own = (size: Dim): string => context.size(divDims(size, atOnce));
  const row = own(productOfDims(shape.slice(1)));
  const index = context.indexType(cache.type);
  const [from, added, out] = [cache, x, result].map((value) => {
    const pointer = context.pointer(value);
    if (atOnce === 1) return pointer;
    const type = value === result ? 'uint4*' : 'const uint4*';
    const vectors = code.fresh('vectors');
    code.line(`${type} const ${vectors} = reinterpret_cast<${type}>(${pointer});`);
    return vectors;
  }) as [string, string, string];
  code.line('await_predecessor();');
  code.line(`const ${index} start = ${context.pointer(position)}[0], count = ${count};`);
  code.line(`const bool fits = start >= 0 && start + count <= ${capacity};`);
  code.line(`const ${index} i = static_cast<${index}>(block) * kThreads + threadIdx.x;`);
  code.line('if (!fits && i == 0) fail(kContextFull, start, count);');
  code.line(`if (fits && i < count * ${row}) ${out}[start * ${row} + i] = ${added}[i];`);
  code.line(`if (${out} == ${from}) return;`);
  emitRest(context, {
    from,
    out,
    size: own(productOfDims(shape)),
    first: `start * ${row}`,
    end: `(start + count) * ${row}`,
    start: 'i',
    index,
  });
  // At least one block reports a position that does not fit, even when nothing is appended.
  return [{ count: addDims(divDims(productOfDims(x.type.shape), atOnce), 1), per: threads }];
};

/** Elements that a cache keeps when it is copied: all but those from `first` to `end`, if the new rows fit. */
interface Rest {
  readonly from: string;
  readonly out: string;
  readonly size: string;
  readonly first: string;
  readonly end: string;
  /** The element that a thread begins with. */
  readonly start: string;
  readonly index: 'int' | 'long long';
}

export function emitRest({ code }: KernelContext, { from, out, size, first, end, start, index }: Rest): void {
  code.block(
    `for (${index} at = ${start}; at < ${size}; at += static_cast<${index}>(gridDim.x) * kThreads)`,
    () => {
      code.line(`const bool replaced = fits && at >= ${first} && at < ${end};`);
      code.line(`if (!replaced) ${out}[at] = ${from}[at];`);
    },
  );
}
