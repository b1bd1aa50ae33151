/** Matrix products on Hopper: the tiles among which the runtime chooses by the size of a product (device/wgmma.ts). */
import { type Dim, dim, dimBounds } from '../../../ir/dim.js';
import { dimRange, type Value } from '../../../ir/module.js';
import { type DType, dtypes } from '../../../ir/type.js';
import type { WgmmaType } from '../device/wgmma.js';
import { type Tile, tiles } from '../tiles.js';
import { rowBucket, type TileShape } from '../tuning.js';
import { Code } from './code.js';
import { type KernelContext, type Library, maxElements, type Variant } from './kernel.js';
import { storageType } from './size.js';

const libraryOf: Readonly<Partial<Record<DType, Library>>> = {
  bf16: 'wgmmaBf16',
  f16: 'wgmmaF16',
  i8: 'wgmmaI8',
} satisfies Record<WgmmaType, Library>;

/** As in device/wgmma.ts: staging of a warpgroup's epilogue, and room to align tiles. */
const stagingBytes = (pieces: number): number => 4 * 16 * (pieces * 32 + 8) * 4;
export const alignmentBytes = 1024;

export interface Product {
  readonly x: Value;
  readonly weights: readonly Value[];
  readonly rows: Dim;
  readonly columns: number;
  readonly inner: number;
  readonly result: Value;
}

/** Whether bulk copies can read the operands: rows are multiples of 16 bytes. */
export function hasVariants({ x, weights, inner }: Product): boolean {
  const bytes = (inner * dtypes[x.type.dtype].bits) / 8;
  return libraryOf[x.type.dtype] !== undefined && bytes % 16 === 0 && inner > 0 && weights.length <= 2;
}

/** `declare` writes the epilogue, `terms` and `four`, into the code of a context. */
export function productVariants(
  context: KernelContext,
  product: Product,
  declare: (context: KernelContext) => void,
): readonly Variant[] {
  if (!hasVariants(product)) return [];
  context.libraries.add('tensorCores');
  context.libraries.add('wgmma');
  context.libraries.add(libraryOf[product.x.type.dtype] as Library);
  context.libraries.add('wgmmaProduct');
  const preferred = preferredRows(context, product);
  return tiles.map((tile) => variant(context, product, declare, tile, preferred.get(tile.name) ?? []));
}

/** For each tile, the ranges of rows for which it was chosen. */
function preferredRows(
  context: KernelContext,
  product: Product,
): Map<string, [least: number, most: number][]> {
  const { x, weights, rows, columns, inner, result } = product;
  const { min, max } = dimBounds(context.resolve(rows), (name) => dimRange(context.module, name));
  const shape: Omit<TileShape, 'rows'> = {
    columns,
    inner,
    weights: weights.length,
    dtype: x.type.dtype,
    result: result.type.dtype,
    reads: epilogueReads(context, product),
  };
  const ranges = new Map<string, [number, number][]>();
  for (let most = rowBucket(min); most <= rowBucket(max); most *= 2) {
    const { tile } = context.parameters('tile', { ...shape, rows: most }, rows);
    const own = ranges.get(tile) ?? [];
    const last = own.at(-1);
    const least = Math.floor(most / 2) + 1;
    if (last !== undefined && last[1] === least - 1) last[1] = most;
    else ranges.set(tile, [...own, [least, most]]);
  }
  return ranges;
}

/** How many tensors of the result's size the epilogue reads. */
function epilogueReads({ func, module }: KernelContext, { x, weights, result }: Product): number {
  const elements = maxElements(module, result.type);
  return func.args.filter(
    (arg) => arg !== x && !weights.includes(arg) && maxElements(module, arg.type) === elements,
  ).length;
}

function variant(
  context: KernelContext,
  product: Product,
  declare: (context: KernelContext) => void,
  tile: Tile,
  preferred: Variant['preferred'],
): Variant {
  const { x, weights, rows, columns, inner, result } = product;
  const code = new Code();
  const groups = tile.share * tile.turns;
  code.line(`constexpr int N = ${columns}, K = ${inner};`);
  declare({ ...context, code });
  const { bits } = dtypes[x.type.dtype];
  const reads = epilogueReads(context, product);
  const pieces = tile.roomy && reads === 0 ? 2 : 1;
  const stages = tile.stages - (pieces - 1);
  const maps = weights.map((_, i) => `&map${i + 1}`).join(', ');
  code.line(`const TensorMap* const weights[] = {${maps}};`);
  const shape = `${storageType[x.type.dtype]}, ${tile.rows}, ${tile.columns}, ${tile.share}, ${tile.turns}, ${stages}, ${pieces}`;
  code.line(
    `wgmma_product<${shape}, N, K>(${context.size(rows)}, &map0, weights, ${context.pointer(result)}, terms, four);`,
  );
  return {
    suffix: `_${tile.name}`,
    preferred,
    code,
    grid: [
      { count: rows, per: tile.rows },
      { count: dim(columns), per: tile.columns / weights.length },
    ],
    threads: 128 + 128 * groups,
    shared: stages * (tile.rows + tile.columns) * 128 + groups * stagingBytes(pieces) + alignmentBytes,
    cost: Math.round(
      (tile.rows *
        tile.columns *
        ((inner * bits) / 16 / tile.efficiency + tile.epilogue + reads * tile.read)) /
        1024,
    ),
    maps: [
      { value: x, rows, columns: inner, boxRows: tile.rows },
      ...weights.map((value) => ({ value, rows: dim(columns), columns: inner, boxRows: tile.columns / 2 })),
    ],
  };
}
