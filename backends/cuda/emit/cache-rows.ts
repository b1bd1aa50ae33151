/** Where attention finds its keys and values: floats, or bytes with the scales of their rows (device/cache-rows.ts). */
import { type Dim, mulDims } from '../../../ir/dim.js';
import { defOf, type Op, type Value } from '../../../ir/module.js';
import { Expressions } from './expression.js';
import type { KernelContext } from './kernel.js';
import { storageType } from './size.js';
import { viewed } from './view.js';

/** What a kernel reads of keys or values. */
export interface CacheRows {
  /** The floats or the bytes. */
  readonly data: Value;
  /** Of bytes: the scale and, if there is one, the zero point of each row. */
  readonly parameters: readonly Value[];
}

/** Dequantization, and the cast to the type of the queries behind it, are what reading bytes is. */
export function cacheRows(value: Value): CacheRows {
  const op = defOf(value);
  const wide = op?.name === 'cast' ? defOf(op.operands[0] as Value) : op;
  if (wide?.name !== 'dequantize') return { data: value, parameters: [] };
  const [data, ...parameters] = wide.operands as [Value, ...Value[]];
  return { data, parameters };
}

/** What tells attention over bytes from attention over floats, for kernels that are tuned apart. */
export function cacheKind(...values: readonly Value[]): { readonly cache?: 'bytes' } {
  return values.some((value) => cacheRows(value).parameters.length > 0) ? { cache: 'bytes' } : {};
}

/** All tensors that keys or values are read from. */
export function cacheTensors(value: Value): readonly Value[] {
  const { data, parameters } = cacheRows(value);
  return [data, ...parameters];
}

/** The op of an attention kernel that computes nothing beside what it reads from caches. */
export function plainAttention(body: readonly Op[]): Op | undefined {
  const attention = body.find(({ name }) => name === 'attention');
  const reading = new Set<Op | undefined>(
    attention?.operands.slice(1, 3).flatMap((value) => {
      const op = defOf(value);
      return op?.name === 'cast' ? [op, defOf(op.operands[0] as Value)] : [op];
    }),
  );
  const isPlain = body.every((op) => op === attention || (isReading(op) && reading.has(op)));
  return isPlain ? attention : undefined;
}

const isReading = ({ name }: Op): boolean => name === 'cast' || name === 'dequantize';

/** The device library's type of rows of keys or values. */
export function rowsType({ data, parameters }: CacheRows): string {
  const type = storageType[data.type.dtype];
  return parameters.length === 0 ? `FloatRows<${type}>` : `ByteRows<${type}, ${parameters.length === 2}>`;
}

/** Rows from the places on that pointers to data and parameters name; `heads` are between two tokens. */
export function rowsText(rows: CacheRows, places: readonly string[], stride: string, heads: string): string {
  const [data, scale, zero = 'nullptr'] = places;
  const own = rows.parameters.length === 0 ? [] : [scale, zero, heads];
  return `${rowsType(rows)}{${[data, stride, ...own].join(', ')}}`;
}

/** Keys or values from an index on, [.., token, head, channel]. */
export function keyRows(context: KernelContext, value: Value, index: readonly string[]): string {
  const rows = cacheRows(value);
  const expressions = new Expressions(context);
  const { source, index: own } = viewed(context, rows.data, index);
  const places = [
    `&${expressions.element(source, own)}`,
    ...rows.parameters.map((value) => `&${expressions.element(value, index.with(-1, '0'))}`),
  ];
  const [heads, width] = source.type.shape.slice(-2) as [Dim, Dim];
  return rowsText(rows, places, context.size(mulDims(heads, width)), context.size(heads));
}
