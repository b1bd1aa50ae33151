/**
 * Weights of routed experts by GPTQ: each expert is rounded for the tokens it sees. An expert that saw fewer tokens than
 * it has inputs has no Gram matrix of full rank, and is rounded for the tokens of all experts of its layer.
 */
import { type GptqOptions, gptq } from './gptq.js';
import { type QuantizedWeight, roundWeight, type WeightScheme } from './rounding.js';

/** What calibration says of the experts of one layer in one turn. */
export interface ExpertInputs {
  /** Σ x xᵀ of each expert, [experts, columns, columns]. */
  readonly grams: Float64Array;
  /** Tokens of each expert. */
  readonly tokens: Float64Array;
}

/** Stacked codes [experts · out, columns], and which experts had too few tokens. */
export function roundExperts(
  w: Float64Array,
  columns: number,
  { grams, tokens }: ExpertInputs,
  scheme: WeightScheme,
  options: GptqOptions,
): { readonly weight: QuantizedWeight; readonly sparse: readonly number[] } {
  const size = columns * columns;
  const ofLayer = new Float64Array(size);
  grams.forEach((value, i) => {
    ofLayer[i % size] = (ofLayer[i % size] as number) + value;
  });
  const each = w.length / tokens.length;
  const sparse: number[] = [];
  const parts = Array.from(tokens, (count, expert) => {
    const own = w.subarray(expert * each, (expert + 1) * each);
    if (count < columns) sparse.push(expert);
    const gram = count < columns ? ofLayer : grams.subarray(expert * size, (expert + 1) * size);
    const rows = each / columns;
    return gptq(own, rows, columns, gram, scheme, options) ?? roundWeight(own, rows, columns, scheme);
  });
  return { weight: stacked(parts), sparse };
}

function stacked(parts: readonly QuantizedWeight[]): QuantizedWeight {
  const [first] = parts as [QuantizedWeight];
  return {
    codes: Int8Array.from(parts.flatMap(({ codes }) => [...codes])),
    scales: Float64Array.from(parts.flatMap(({ scales }) => [...scales])),
    zeros: Int8Array.from(parts.flatMap(({ zeros }) => [...zeros])),
    rows: parts.reduce((sum, { rows }) => sum + rows, 0),
    columns: first.columns,
    group: first.group,
  };
}
