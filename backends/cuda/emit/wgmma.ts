/** Matrix products on Hopper: the tiles among which the runtime chooses by the size of a product (device/wgmma.ts). */
import { type Dim, dim } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { type DType, dtypes } from '../../../ir/type.js';
import type { WgmmaType } from '../device/wgmma.js';
import { Code } from './code.js';
import { type KernelContext, type Library, maxElements, type Variant } from './kernel.js';
import { storageType } from './size.js';

interface Tile {
  readonly suffix: string;
  readonly rows: number;
  readonly columns: number;
  /** Warpgroups that share the rows of a tile. */
  readonly share: 1 | 2;
  /** Of two, some multiply while others are in their epilogue. */
  readonly turns: 1 | 2;
  readonly stages: number;
  /** Whether the epilogue has room for 64 columns at a time, rather than 32 and a further stage; not where it reads. */
  readonly roomy: boolean;
  /** Of the best rate, that is reached in long sums. */
  readonly efficiency: number;
  /** What the epilogue costs that is not hidden, as columns of x; and more for each tensor that it reads. */
  readonly epilogue: number;
  readonly read: number;
}

/** Figures are from an H200. */
const tiles: readonly Tile[] = [
  {
    suffix: '_wide',
    rows: 128,
    columns: 256,
    share: 2,
    turns: 1,
    stages: 4,
    roomy: false,
    efficiency: 1,
    epilogue: 170,
    read: 700,
  },
  {
    suffix: '_even',
    rows: 128,
    columns: 128,
    share: 1,
    turns: 2,
    stages: 6,
    roomy: true,
    efficiency: 0.9,
    epilogue: 20,
    read: 400,
  },
  {
    suffix: '_low',
    rows: 64,
    columns: 128,
    share: 1,
    turns: 2,
    stages: 8,
    roomy: true,
    efficiency: 0.72,
    epilogue: 20,
    read: 300,
  },
  {
    suffix: '_small',
    rows: 64,
    columns: 64,
    share: 1,
    turns: 2,
    stages: 8,
    roomy: false,
    efficiency: 0.49,
    epilogue: 20,
    read: 300,
  },
];

const libraryOf: Readonly<Partial<Record<DType, Library>>> = {
  bf16: 'wgmmaBf16',
  f16: 'wgmmaF16',
  i8: 'wgmmaI8',
} satisfies Record<WgmmaType, Library>;

/** As in device/wgmma.ts: staging of a warpgroup's epilogue, and room to align tiles. */
const stagingBytes = (pieces: number): number => 4 * 16 * (pieces * 32 + 8) * 4;
const alignmentBytes = 1024;

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
  return tiles.map((tile) => variant(context, product, declare, tile));
}

function variant(
  context: KernelContext,
  product: Product,
  declare: (context: KernelContext) => void,
  tile: Tile,
): Variant {
  const { x, weights, rows, columns, inner, result } = product;
  const code = new Code();
  const groups = tile.share * tile.turns;
  code.line(`constexpr int N = ${columns}, K = ${inner};`);
  declare({ ...context, code });
  const { bits } = dtypes[x.type.dtype];
  const elements = maxElements(context.module, result.type);
  const reads = context.func.args.filter(
    (arg) => arg !== x && !weights.includes(arg) && maxElements(context.module, arg.type) === elements,
  ).length;
  const pieces = tile.roomy && reads === 0 ? 2 : 1;
  const stages = tile.stages - (pieces - 1);
  const maps = weights.map((_, i) => `&map${i + 1}`).join(', ');
  code.line(`const TensorMap* const weights[] = {${maps}};`);
  const shape = `${storageType[x.type.dtype]}, ${tile.rows}, ${tile.columns}, ${tile.share}, ${tile.turns}, ${stages}, ${pieces}`;
  code.line(
    `wgmma_product<${shape}, N, K>(${context.size(rows)}, &map0, weights, ${context.pointer(result)}, terms, four);`,
  );
  return {
    suffix: tile.suffix,
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
