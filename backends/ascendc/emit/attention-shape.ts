/** The operands and sizes of an attention, as both of its kernels take them. */
import { constantOf, type Dim, productOfDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import type { DType } from '../../../ir/type.js';
import { floatLiteral } from './elementwise.js';
import type { KernelContext } from './kernel.js';

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
