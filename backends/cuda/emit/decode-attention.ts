/**
 * Attention of one token: blocks share the keys of a head. The kernel may also rotate queries and keys and append to the
 * caches (see ../merge-attention.ts): the newest key and value are then in its registers.
 */
import { constantOf, type Dim, dim, productOfDims } from '../../../ir/dim.js';
import { defOf, type Func, type Module, modelDims, type OpOf, type Value } from '../../../ir/module.js';
import { resolver, rootOf } from '../../kernel-function.js';
import { type DecodeShape, kinds, type Tuning } from '../tuning.js';
import { emitRest } from './append.js';
import { floatLiteral } from './elementwise.js';
import { Expressions } from './expression.js';
import { type KernelContext, type Phase, scratch } from './kernel.js';
import { storageType } from './size.js';

/** The shape of attention of one token without a batch, over heads of a power of two; undefined for any other. */
export function decodeShape(
  { operands }: OpOf<'attention'>,
  resolve: (value: Dim) => Dim,
): DecodeShape | undefined {
  const [q, k, v] = operands as [Value, Value, Value];
  if (q.type.shape.length !== 3) return undefined;
  const sizes = [...q.type.shape, ...k.type.shape, v.type.shape[2] as Dim].map((d) => constantOf(resolve(d)));
  if (sizes.some((size) => size === undefined)) return undefined;
  const [tokens, heads, width, length, keyHeads, , valueWidth] = sizes as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const rows = heads / keyHeads;
  const fits = [16, 32, 64, 128, 256].includes(width) && width === valueWidth;
  if (tokens !== 1 || length === 0 || !fits || rows < 1 || rows > 8 || rows * width > 1024) return undefined;
  return { rows, width, keyHeads, length };
}

/** Bytes of the partial results. */
export function attentionScratch(module: Module, func: Func, tuning: Tuning): Dim {
  const shape = decodeShape(rootOf(func) as OpOf<'attention'>, resolver(modelDims(module)));
  if (shape === undefined) return dim(0);
  const { splits } = tuning({ kind: 'decode', shape, func }) ?? kinds.decode.standard(shape);
  if (splits === 1) return dim(0);
  return dim(shape.keyHeads * splits * shape.rows * (shape.width + 2) * 4);
}

/** A cache that the kernel appends to, and what it appends. */
interface Appended {
  readonly cache: Value;
  readonly fresh: Value;
  readonly result: Value;
}

export function emitDecode(context: KernelContext, shape: DecodeShape): readonly Phase[] {
  const { code, root } = context;
  const { rows, width, keyHeads } = shape;
  const { splits, resident } = context.parameters('decode', shape);
  const { operands, attrs } = root as OpOf<'attention'>;
  const [q, k, v, position] = operands as [Value, Value, Value, Value?];
  const [keys, values] = [k, v].map((value) => appendedTo(context, value));
  const type = storageType[q.type.dtype];
  context.libraries.add('decodeAttention');
  code.line(
    `constexpr int kRows = ${rows}, kWidth = ${width}, kSplits = ${splits}, kKeyHeads = ${keyHeads};`,
  );
  code.line(
    `__shared__ __align__(16) ${type} queries[kRows][kWidth], fresh_key[kWidth], fresh_value[kWidth];`,
  );
  code.line('static unsigned arrivals[kKeyHeads];');
  code.line('const int head = block / kSplits, split = block % kSplits;');
  code.line('await_predecessor();');
  declareCached(context, shape, position, keys !== undefined);
  code.block(
    'const auto prepare = [&]',
    () => {
      code.line('#pragma unroll');
      code.block('for (int at = threadIdx.x; at < kRows * kWidth; at += kThreads)', () => {
        code.line('const int query = head * kRows + at / kWidth, channel = at % kWidth;');
        const value = new Expressions(context).value(q, ['0', 'query', 'channel']);
        code.line(`queries[at / kWidth][channel] = convert<${type}>(${value});`);
      });
      if (keys !== undefined && values !== undefined) {
        append(context, shape, keys, values);
        for (const appended of [keys, values]) copyRest(context, appended);
      }
    },
    '};',
  );
  const [cachedKeys, cachedValues] = [keys?.cache ?? k, values?.cache ?? v].map(context.pointer);
  const [result] = context.func.results.filter((value) => value !== keys?.result && value !== values?.result);
  const parts =
    splits === 1 ? 'nullptr' : `reinterpret_cast<PartialRow<kWidth>*>(${scratch}) + head * kSplits * kRows`;
  code.line('const long long skipped = (static_cast<long long>(oldest) * kKeyHeads + head) * kWidth;');
  code.line(`PartialRow<kWidth>* const parts = ${parts};`);
  code.line(
    `attend_cached<kRows, kWidth, kSplits, ${keys !== undefined}>(queries, fresh_key, fresh_value, ${cachedKeys} + skipped, ${cachedValues} + skipped, kKeyHeads * kWidth, cached, split, ${floatLiteral(attrs.scale)}, parts, arrivals + head, ${context.pointer(result as Value)} + head * kRows * kWidth, prepare);`,
  );
  return [{ suffix: '', grid: [{ count: dim(keyHeads * splits), per: 1 }], code, resident }];
}

function appendedTo({ func }: KernelContext, value: Value): Appended | undefined {
  const op = defOf(value);
  if (op?.name !== 'cache_append' || !func.results.includes(value)) return undefined;
  const [cache, fresh] = op.operands as [Value, Value];
  return { cache, fresh, result: value };
}

/** Declares how many keys of the cache the token sees, `cached`, from the key `oldest` on. */
function declareCached(
  context: KernelContext,
  { length }: DecodeShape,
  position: Value | undefined,
  isFresh: boolean,
): void {
  const { code } = context;
  const { causal, window } = (context.root as OpOf<'attention'>).attrs;
  const at = position === undefined ? '0' : `${context.pointer(position)}[0]`;
  code.line(`const int position = ${at};`);
  if (!causal) {
    code.line(`const int oldest = 0, cached = ${length};`);
    return;
  }
  code.line(`const int end = max(0, min(${length}, position${isFresh ? '' : ' + 1'}));`);
  code.line(`const int oldest = ${window > 0 ? `min(end, max(0, position + 1 - ${window}))` : '0'};`);
  code.line('const int cached = end - oldest;');
}

/** The block of a head that takes the newest key and value makes them, and writes them to the caches. */
function append(context: KernelContext, { length }: DecodeShape, keys: Appended, values: Appended): void {
  const { code } = context;
  code.line(`const bool fits = position >= 0 && position < ${length};`);
  code.line('if (!fits && block == 0 && threadIdx.x == 0) fail(kContextFull, position, 1);');
  code.block('if (split == cached / share_keys<kSplits>(cached + 1).part)', () =>
    code.block('for (int channel = threadIdx.x; channel < kWidth; channel += kThreads)', () => {
      const expressions = new Expressions(context);
      const made = [keys, values].map(({ fresh }) => expressions.value(fresh, ['0', 'head', 'channel']));
      const type = storageType[keys.fresh.type.dtype];
      code.line(`fresh_key[channel] = convert<${type}>(${made[0]});`);
      code.line(`fresh_value[channel] = convert<${type}>(${made[1]});`);
      code.line('if (!fits) continue;');
      code.line(
        'const long long at = (static_cast<long long>(position) * kKeyHeads + head) * kWidth + channel;',
      );
      code.line(`${context.pointer(keys.result)}[at] = fresh_key[channel];`);
      code.line(`${context.pointer(values.result)}[at] = fresh_value[channel];`);
    }),
  );
}

/** Caches that are not appended to in place keep what they held. */
function copyRest(context: KernelContext, { cache, result }: Appended): void {
  const [from, out] = [cache, result].map(context.pointer) as [string, string];
  const row = context.size(productOfDims(cache.type.shape.slice(1)));
  context.code.block(`if (${out} != ${from})`, () =>
    emitRest(context, {
      from,
      out,
      size: context.size(productOfDims(cache.type.shape)),
      first: `position * ${row}`,
      end: `(position + 1) * ${row}`,
      start: 'static_cast<int>(block) * kThreads + threadIdx.x',
      index: context.indexType(cache.type),
    }),
  );
}
