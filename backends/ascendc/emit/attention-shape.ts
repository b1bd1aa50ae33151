/** The operands and sizes of an attention, as both of its kernels take them. */
import { constantOf, type Dim, productOfDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import type { DType } from '../../../ir/type.js';
import { floatLiteral } from './elementwise.js';
import type { KernelContext } from './kernel.js';
import { elementType, factor, product } from './size.js';

export interface AttentionShape {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly dtype: DType;
  readonly causal: boolean;
  readonly window: number;
  /** As text of C++, like the position of the first query. */
  readonly scale: string;
  readonly position: string;
  /** Elements of a key and of a value. */
  readonly width: number;
  readonly valueWidth: number;
  readonly tokens: Dim;
  readonly keys: Dim;
  readonly heads: Dim;
  readonly kvHeads: Dim;
  /** Heads of all sequences. */
  readonly groups: Dim;
}

export function attentionShape(context: KernelContext): AttentionShape {
  const root = context.root as OpOf<'attention'>;
  const [q, k, v, offset] = root.operands as [Value, Value, Value, Value?];
  const { causal, scale, window } = root.attrs;
  const width = (value: Value): number =>
    constantOf(context.resolve(value.type.shape.at(-1) as Dim)) as number;
  const heads = q.type.shape.at(-2) as Dim;
  return {
    q,
    k,
    v,
    dtype: q.type.dtype,
    causal,
    window,
    scale: floatLiteral(scale),
    position: offset === undefined ? '0' : `${context.pointer(offset)}Gm_.GetValue(0)`,
    width: width(q),
    valueWidth: width(v),
    tokens: q.type.shape.at(-3) as Dim,
    keys: k.type.shape.at(-3) as Dim,
    heads,
    kvHeads: k.type.shape.at(-2) as Dim,
    groups: productOfDims([...q.type.shape.slice(0, -3), heads]),
  };
}

/** A number of keys as text, kept between none and all of them. */
export const visible = (count: string, length: string): string =>
  `${count} < 0 ? 0 : ${count} < ${length} ? static_cast<uint32_t>(${count}) : ${length}`;

/** Texts of C++ that the parts of a kernel share. */
export interface AttentionNames {
  readonly type: string;
  readonly queries: string;
  readonly keys: string;
  readonly values: string;
  readonly tokens: string;
  readonly length: string;
  readonly heads: string;
  readonly kvHeads: string;
  readonly groups: string;
  readonly position: string;
  readonly scale: string;
}

export function namesOf(context: KernelContext, shape: AttentionShape): AttentionNames {
  const pointer = (value: Value): string => `${context.pointer(value)}Gm_`;
  return {
    type: elementType[shape.dtype],
    queries: pointer(shape.q),
    keys: pointer(shape.k),
    values: pointer(shape.v),
    tokens: context.size(shape.tokens),
    length: context.size(shape.keys),
    heads: context.size(shape.heads),
    kvHeads: context.size(shape.kvHeads),
    groups: context.size(shape.groups),
    position: shape.position,
    scale: shape.scale,
  };
}

/** The tiles of queries of a group of cores, and within each the keys that any of its queries sees. */
export function forTiles(
  { causal, window }: AttentionShape,
  { tokens, length, groups, position }: AttentionNames,
  group: string,
  body: readonly string[],
): string[] {
  return [
    'tiles_ = 0;  // of keys, of all units',
    `const uint32_t queryTiles = CeilDiv(${tokens}, kQueries);`,
    `for (uint32_t unit = ${group}; unit < ${product([factor(groups), 'queryTiles'])}; unit += GetBlockNum()) {`,
    '    const uint32_t head = unit / queryTiles % kHeads;',
    '    const uint32_t batch = unit / queryTiles / kHeads;',
    '    const uint32_t token = unit % queryTiles * kQueries;',
    `    const uint32_t m = Minimum(kQueries, ${tokens} - token);`,
    ...(causal
      ? [
          `    const int64_t seen = static_cast<int64_t>(${position}) + token + 1;  // keys of the first query`,
          `    const uint32_t end = ${visible('seen + m - 1', length)};`,
        ]
      : [`    const uint32_t end = ${length};`]),
    window > 0
      ? `    const uint32_t begin = seen > ${window} ? Minimum(static_cast<uint32_t>(seen - ${window}), end) : 0;`
      : '    const uint32_t begin = 0;',
    ...body.map((line) => `    ${line}`),
    '}',
  ];
}
