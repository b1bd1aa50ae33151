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
  /** Each warpgroup takes a tile of its own, rather than half of one. */
  readonly alternate: boolean;
  readonly stages: number;
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
    alternate: false,
    stages: 4,
    efficiency: 1,
    epilogue: 170,
    read: 700,
  },
  {
    suffix: '_even',
    rows: 128,
    columns: 128,
    alternate: true,
    stages: 6,
    efficiency: 0.9,
    epilogue: 20,
    read: 400,
  },
  {
    suffix: '_low',
    rows: 64,
    columns: 128,
    alternate: true,
    stages: 8,
    efficiency: 0.72,
    epilogue: 20,
    read: 300,
  },
  {
    suffix: '_small',
    rows: 64,
    columns: 64,
    alternate: true,
    stages: 8,
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

/** A producer warpgroup and two that multiply. */
const productThreads = 384;
/** As in device/wgmma.ts: staging of the epilogue, and room to align tiles. */
const stagingBytes = 8 * 16 * 40 * 4;
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

/** `declare` writes the epilogue `element` into the code of a context. */
export function productVariants(
  context: KernelContext,
  product: Product,
  declare: (context: KernelContext) => void,
): readonly Variant[] {
  if (!hasVariants(product)) return [];
  context.libraries.add('wgmma');
  context.libraries.add(libraryOf[product.x.type.dtype] as Library);
  context.libraries.add('wgmmaProduct');
  return tiles.map((tile) => variant(context, product, declare, tile));
}

function variant(
  context: KernelContext,
  { x, weights, rows, columns, inner, result }: Product,
  declare: (context: KernelContext) => void,
  tile: Tile,
): Variant {
  const code = new Code();
  code.line(`constexpr int N = ${columns}, K = ${inner};`);
  declare({ ...context, code });
  const elements = maxElements(context.module, result.type);
  const reads = context.func.args.filter(
    (arg) => arg !== x && !weights.includes(arg) && maxElements(context.module, arg.type) === elements,
  ).length;
  const maps = weights.map((_, i) => `&map${i + 1}`).join(', ');
  code.line(`const TensorMap* const weights[] = {${maps}};`);
  const shape = `${storageType[x.type.dtype]}, ${tile.rows}, ${tile.columns}, ${tile.alternate}, ${tile.stages}`;
  code.line(
    `wgmma_product<${shape}, N, K>(${context.size(rows)}, &map0, weights, ${context.pointer(result)}, element);`,
  );
  return {
    suffix: tile.suffix,
    code,
    grid: [
      { count: rows, per: tile.rows },
      { count: dim(columns), per: tile.columns / weights.length },
    ],
    threads: productThreads,
    shared: tile.stages * (tile.rows + tile.columns) * 128 + stagingBytes + alignmentBytes,
    cost: Math.round(
      (tile.rows * tile.columns * (inner / tile.efficiency + tile.epilogue + reads * tile.read)) / 1024,
    ),
    maps: [
      { value: x, rows, columns: inner, boxRows: tile.rows },
      ...weights.map((value) => ({ value, rows: dim(columns), columns: inner, boxRows: tile.columns / 2 })),
    ],
  };
}
