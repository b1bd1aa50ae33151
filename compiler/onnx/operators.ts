/** The operators that are read, by domain and name. */
import { attentionOperators } from './convert/attention.js';
import { bitOperators } from './convert/bits.js';
import { contractionOperators } from './convert/contraction.js';
import { controlOperators } from './convert/control.js';
import { convolutionOperators } from './convert/convolution.js';
import { elementwiseOperators } from './convert/elementwise.js';
import { indexingOperators } from './convert/indexing.js';
import { lossOperators } from './convert/loss.js';
import { microsoftOperators } from './convert/microsoft.js';
import { movementOperators } from './convert/movement.js';
import { normalizationOperators } from './convert/normalization.js';
import { quantizationOperators } from './convert/quantization.js';
import { reductionOperators } from './convert/reduction.js';
import { resizeOperators } from './convert/resize.js';
import { shapeOperators } from './convert/shape.js';
import type { OperatorEntry, OperatorTable } from './node.js';

const standard: OperatorTable = {
  ...elementwiseOperators,
  ...bitOperators,
  ...contractionOperators,
  ...movementOperators,
  ...indexingOperators,
  ...reductionOperators,
  ...normalizationOperators,
  ...convolutionOperators,
  ...resizeOperators,
  ...shapeOperators,
  ...attentionOperators,
  ...controlOperators,
  ...lossOperators,
  ...quantizationOperators,
};

export const operatorTables: Readonly<Record<string, OperatorTable>> = {
  '': standard,
  'com.microsoft': microsoftOperators,
};

/** The entry that reads an operator; undefined when there is none for this version of its domain. */
export function findOperator(domain: string, op: string, opset: number): OperatorEntry | undefined {
  const table = operatorTables[domain];
  const entry = table !== undefined && Object.hasOwn(table, op) ? table[op] : undefined;
  return entry !== undefined && entry.since <= opset ? entry : undefined;
}
