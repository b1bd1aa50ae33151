/** The device library by parts: a source holds those that its kernels use, in this order. */
import { attentionRows } from './attention.js';
import { batchProduct } from './batch-product.js';
import { cacheRows } from './cache-rows.js';
import { collectives } from './collectives.js';
import { decodeAttention } from './decode-attention.js';
import { decodeTiles } from './decode-tiles.js';
import { dynamicQuantize } from './dynamic-quantize.js';
import { flashAttention } from './flash-attention.js';
import { flashBf16, flashF16, flashWgmma } from './flash-wgmma.js';
import { tiledProduct } from './matmul.js';
import { packedProduct, zeroPoints } from './packed-product.js';
import { selection } from './selection.js';
import { tensorCores, tensorProduct } from './tensor-product.js';
import { vectorProduct } from './vector-product.js';
import { wgmma, wgmmaBf16, wgmmaF16, wgmmaI8, wgmmaProduct } from './wgmma.js';

export const libraries = {
  selection,
  vectorProduct,
  zeroPoints,
  packedProduct,
  batchProduct,
  tiledProduct,
  tensorCores,
  tensorProduct,
  wgmma,
  wgmmaBf16,
  wgmmaF16,
  wgmmaI8,
  wgmmaProduct,
  cacheRows,
  dynamicQuantize,
  attentionRows,
  decodeAttention,
  decodeTiles,
  flashAttention,
  flashBf16,
  flashF16,
  flashWgmma,
  collectives,
} as const;
