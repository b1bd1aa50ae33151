/**
 * The conformance suite: one table of cases that the interpreter and every backend run. `opCases` are single ops,
 * `moduleCases` of cases/structure.ts are modules for the ops that have no meaning alone. A new op needs cases in a
 * file of cases/.
 */
import type { OpCase } from './case.js';
import { attentionOpCases } from './cases/attention.js';
import { contractionCases } from './cases/contraction.js';
import { convolutionCases } from './cases/convolution.js';
import { elementwiseCases } from './cases/elementwise.js';
import { expertCases } from './cases/experts.js';
import { movementCases } from './cases/movement.js';
import { normalizationCases } from './cases/normalization.js';
import { quantizationCases } from './cases/quantization.js';
import { reductionCases } from './cases/reduction.js';

export const opCases: readonly OpCase[] = [
  ...elementwiseCases,
  ...contractionCases,
  ...normalizationCases,
  ...attentionOpCases,
  ...expertCases,
  ...quantizationCases,
  ...movementCases,
  ...reductionCases,
  ...convolutionCases,
];
