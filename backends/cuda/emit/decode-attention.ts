/**
 * Attention of one token: blocks share the keys of a head. The kernel may also rotate queries and keys and append to the
 * caches (see ../merge-attention.ts): the newest key and value are then in its registers.
 */
import { constantOf, type Dim, dim, productOfDims } from '../../../ir/dim.js';
import { defOf, type Func, type Module, modelDims, type OpOf, type Value } from '../../../ir/module.js';
import { resolver, rootOf } from '../../kernel-function.js';
import { type DecodeShape, kinds, type Tuning } from '../tuning.js';
import { emitRest } from './append.js';
import { type CacheRows, cacheKind, cacheRows, rowsText, rowsType } from './cache-rows.js';
import { codeText, type Quantizer, rangeText } from './dynamic-quantize.js';
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
  return { rows, width, keyHeads, length, ...cacheKind(k, v) };
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

/** Keys or values as the kernel meets them. */
interface Source {
  readonly name: 'key' | 'value';
  readonly rows: CacheRows;
  /** Of every tensor of the rows, where the kernel appends to them. */
  readonly appended: readonly Appended[];
  /** The ops that quantize what is appended. */
  readonly quantizer: Quantizer | undefined;
}

export function emitDecode(context: KernelContext, shape: DecodeShape): readonly Phase[] {
  const { code, root } = context;
  const { rows, width, keyHeads } = shape;
  const { splits, resident } = context.parameters('decode', shape);
  const { operands, attrs } = root as OpOf<'attention'>;
  const [q, k, v, position] = operands as [Value, Value, Value, Value?];
  const sources = [sourceOf(context, 'key', k), sourceOf(context, 'value', v)] as const;
  const isFresh = sources[0].appended.length > 0;
  const type = storageType[q.type.dtype];
  context.libraries.add('cacheRows');
  context.libraries.add('decodeAttention');
  code.line(
    `constexpr int kRows = ${rows}, kWidth = ${width}, kSplits = ${splits}, kKeyHeads = ${keyHeads};`,
  );
  code.line(`__shared__ __align__(16) ${type} queries[kRows][kWidth];`);
  for (const source of sources) declareFresh(context, source);
  code.line('static unsigned arrivals[kKeyHeads];');
  code.line('const int head = block / kSplits, split = block % kSplits;');
  code.line('await_predecessor();');
  declareCached(context, shape, position, isFresh);
  code.block(
    'const auto prepare = [&]',
    () => {
      code.line('#pragma unroll');
      code.block('for (int at = threadIdx.x; at < kRows * kWidth; at += kThreads)', () => {
        code.line('const int query = head * kRows + at / kWidth, channel = at % kWidth;');
        const value = new Expressions(context).value(q, ['0', 'query', 'channel']);
        code.line(`queries[at / kWidth][channel] = convert<${type}>(${value});`);
      });
      if (!isFresh) return;
      append(context, shape, sources);
      for (const { appended } of sources) for (const each of appended) copyRest(context, each);
    },
    '};',
  );
  const caches = sources.flatMap(({ appended }) => appended.map(({ result }) => result));
  const [result] = context.func.results.filter((value) => !caches.includes(value));
  const parts =
    splits === 1 ? 'nullptr' : `reinterpret_cast<PartialRow<kWidth>*>(${scratch}) + head * kSplits * kRows`;
  code.line('const long long first_row = static_cast<long long>(oldest) * kKeyHeads + head;');
  code.line(`PartialRow<kWidth>* const parts = ${parts};`);
  const cached = sources.map(({ rows: own, appended }) => {
    const [data, ...parameters] = (
      appended.length > 0 ? appended.map(({ cache }) => cache) : [own.data, ...own.parameters]
    ).map(context.pointer);
    const places = [`${data} + first_row * kWidth`, ...parameters.map((each) => `${each} + first_row`)];
    return rowsText(own, places, 'kKeyHeads * kWidth', 'kKeyHeads');
  });
  const fresh = sources.map(({ name, rows: own }) => {
    const places = [`fresh_${name}`, `&fresh_${name}_scale`, `&fresh_${name}_zero`];
    return isFresh
      ? rowsText(own, places.slice(0, 1 + own.parameters.length), '0', '0')
      : `${rowsType(own)}{}`;
  });
  const byTiles = fitsTiles(q, shape, splits);
  if (byTiles) for (const library of ['tensorCores', 'decodeTiles'] as const) context.libraries.add(library);
  code.line(
    `${byTiles ? 'attend_tiles' : 'attend_cached'}<kRows, kWidth, kSplits, ${isFresh}>(queries, ${[...fresh, ...cached].join(', ')}, cached, split, ${floatLiteral(attrs.scale)}, parts, arrivals + head, ${context.pointer(result as Value)} + head * kRows * kWidth, prepare);`,
  );
  return [{ suffix: '', grid: [{ count: dim(keyHeads * splits), per: 1 }], code, resident }];
}

/** Keys of a block from which on tensor cores gain over floats: of fewer, warps would have a tile each or none. */
const keysForTiles = 256;

/**
 * Whether tensor cores multiply: bytes as bf16 (in f16, probabilities times the scales of values could fall below the range),
 * and floats where a block has many.
 */
function fitsTiles(q: Value, { width, length, cache }: DecodeShape, splits: number): boolean {
  const { dtype } = q.type;
  const gains = cache === 'bytes' ? dtype === 'bf16' : length / splits >= keysForTiles;
  return dtype !== 'f32' && gains && (width === 64 || width === 128);
}

function sourceOf({ func }: KernelContext, name: Source['name'], value: Value): Source {
  const rows = cacheRows(value);
  const appended = [rows.data, ...rows.parameters].flatMap((result) => {
    const op = defOf(result);
    if (op?.name !== 'cache_append' || !func.results.includes(result)) return [];
    const [cache, fresh] = op.operands as [Value, Value];
    return [{ cache, fresh, result }];
  });
  const maker = appended[0] && defOf(appended[0].fresh);
  return { name, rows, appended, quantizer: maker?.name === 'dynamic_quantize' ? maker : undefined };
}

/** Shared memory for the newest row. */
function declareFresh({ code }: KernelContext, { name, rows, appended }: Source): void {
  if (appended.length === 0) return;
  const type = storageType[rows.data.type.dtype];
  code.line(`__shared__ __align__(16) ${type} fresh_${name}[kWidth];`);
  const [scale, zero] = rows.parameters;
  if (scale !== undefined) code.line(`__shared__ float fresh_${name}_scale;`);
  if (zero !== undefined) code.line(`__shared__ ${type} fresh_${name}_zero;`);
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
function append(context: KernelContext, { length }: DecodeShape, sources: readonly Source[]): void {
  const { code } = context;
  code.line(`const bool fits = position >= 0 && position < ${length};`);
  code.line('if (!fits && block == 0 && threadIdx.x == 0) fail(kContextFull, position, 1);');
  code.block('if (split == cached / share_keys<kSplits>(cached + 1).part)', () => {
    code.line('const int channel = threadIdx.x;');
    code.line('const long long row = static_cast<long long>(position) * kKeyHeads + head;');
    const made = sources.map(({ name, appended, quantizer }) => {
      const [{ fresh }] = appended as [Appended];
      const value = quantizer?.operands[0] ?? fresh;
      code.line(`float made_${name} = 0.0f;`);
      code.block('if (channel < kWidth)', () =>
        code.line(`made_${name} = ${new Expressions(context).value(value, ['0', 'head', 'channel'])};`),
      );
      return `made_${name}`;
    });
    const quantized = sources.flatMap(({ quantizer }, i) => (quantizer === undefined ? [] : [i]));
    if (quantized.length > 0) {
      context.libraries.add('dynamicQuantize');
      code.line(`Extent extents[${quantized.length}] = {};`);
      quantized.forEach((i, at) => {
        code.line(`extents[${at}].add(${made[i]});`);
      });
      code.line('block_extents(extents);');
    }
    sources.forEach((source, i) => {
      storeFresh(context, source, made[i] as string, `extents[${quantized.indexOf(i)}]`);
    });
  });
}

/** Puts a number of every thread into shared memory and, where it fits, into the cache. */
function storeFresh(context: KernelContext, source: Source, made: string, extent: string): void {
  const { code } = context;
  const { name, rows, appended, quantizer } = source;
  const [data, scale, zero] = appended.map(({ result }) => context.pointer(result));
  const type = storageType[rows.data.type.dtype];
  if (quantizer !== undefined) code.line(`const Range range_${name} = ${rangeText(quantizer, extent)};`);
  const stored =
    quantizer === undefined ? `convert<${type}>(${made})` : codeText(quantizer, made, `range_${name}`);
  code.block('if (channel < kWidth)', () => {
    code.line(`fresh_${name}[channel] = ${stored};`);
    code.line(`if (fits) ${data}[row * kWidth + channel] = fresh_${name}[channel];`);
  });
  if (scale === undefined) return;
  code.block('if (threadIdx.x == 0)', () => {
    code.line(`fresh_${name}_scale = range_${name}.scale;`);
    code.line(`if (fits) ${scale}[row] = fresh_${name}_scale;`);
    if (zero === undefined) return;
    code.line(`fresh_${name}_zero = convert<${type}>(range_${name}.zero);`);
    code.line(`if (fits) ${zero}[row] = fresh_${name}_zero;`);
  });
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
