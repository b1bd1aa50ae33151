/** The device library by parts: a source holds those that its kernels use, in this order. */
import { attentionRows, splitAttention } from './attention.js';
import { gemv, tiledProduct } from './matmul.js';
import { selection } from './selection.js';
import { tensorProduct } from './tensor-product.js';

export const libraries = {
  selection,
  gemv,
  tiledProduct,
  tensorProduct,
  attentionRows,
  splitAttention,
} as const;
