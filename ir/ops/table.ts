/** The table of all operations. A new op is one declaration in a file of this folder. */
import type { OpDecl } from '../op.js';
import { attentionOps } from './attention.js';
import { collectiveOps } from './collective.js';
import { contractionOps } from './contraction.js';
import { convolutionOps } from './convolution.js';
import { elementwiseOps } from './elementwise.js';
import { expertOps } from './experts.js';
import { integerProductOps } from './integer-products.js';
import { movementOps } from './movement.js';
import { normalizationOps } from './normalization.js';
import { quantizationOps } from './quantization.js';
import { reductionOps } from './reduction.js';
import { structureOps } from './structure.js';

const declarations = {
  ...elementwiseOps,
  ...contractionOps,
  ...normalizationOps,
  ...attentionOps,
  ...expertOps,
  ...quantizationOps,
  ...integerProductOps,
  ...movementOps,
  ...reductionOps,
  ...convolutionOps,
  ...structureOps,
  ...collectiveOps,
};

export type Ops = typeof declarations;
export type OpName = keyof Ops;

/** Declarations by name, with their attribute types erased; `Ops` keeps them. */
export const opTable: Readonly<Record<OpName, OpDecl>> = declarations as unknown as Record<OpName, OpDecl>;
export const opNames = Object.keys(declarations) as OpName[];

export function isOpName(name: string): name is OpName {
  return Object.hasOwn(declarations, name);
}
