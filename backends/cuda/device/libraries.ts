/** The device library by parts: a source holds those that its kernels use, in this order. */
import { attentionRows } from './attention.js';
import { batchProduct } from './batch-product.js';
import { decodeAttention } from './decode-attention.js';
import { tiledProduct } from './matmul.js';
import { selection } from './selection.js';
import { tensorProduct } from './tensor-product.js';
import { vectorProduct } from './vector-product.js';

export const libraries = {
  selection,
  vectorProduct,
  batchProduct,
  tiledProduct,
  tensorProduct,
  attentionRows,
  decodeAttention,
} as const;
