/**
 * The constant that stands for 1/RMS of a post-norm's input, from calibration sums over tokens x with d channels,
 * r(x) = sqrt(mean(x²) + eps). The first is the paper's (Pangu Light, arXiv 2505.20155; §5 of the reference):
 * the mean of the reciprocals, not the reciprocal of the mean.
 */
export interface NormSums {
  /** Tokens. */
  readonly rows: number;
  readonly eps: number;
  /** Σ 1/r */
  readonly reciprocal: number;
  /** Σ x_j² */
  readonly square: Float64Array;
  /** Σ x_j²/r */
  readonly scaled: Float64Array;
}

const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0);

interface ConstantRule {
  readonly doc: string;
  /** One number, or one for each channel. */
  of(sums: NormSums): number | Float64Array;
  readonly withoutGain?: true;
}

export const constantRules: Readonly<Record<string, ConstantRule>> = {
  mean: {
    doc: 'mean over tokens of 1/r, as in the paper',
    of: ({ reciprocal, rows }) => reciprocal / rows,
  },
  rms: {
    doc: '1 / sqrt(mean of all squares + eps)',
    of: ({ square, rows, eps }) => 1 / Math.sqrt(sum(square) / (rows * square.length) + eps),
  },
  'least-squares': {
    doc: 'the s that minimises Σ ‖s x − x/r‖²',
    of: ({ square, scaled }) => sum(scaled) / sum(square),
  },
  channel: {
    doc: 'for each channel the s_j that minimises Σ (s_j x_j − x_j/r)²',
    of: ({ square, scaled }) => square.map((value, j) => (value > 0 ? (scaled[j] as number) / value : 1)),
  },
  none: {
    doc: 'the norm is removed with its gain, for comparison',
    of: () => 1,
    withoutGain: true,
  },
};

/** Root mean square over tokens of s·r − 1: how far the constant is from the norm it replaces. */
export function spreadOf({ rows, square, scaled }: NormSums, constant: number | Float64Array): number {
  const s = typeof constant === 'number' ? constant : sum(constant) / constant.length;
  const d = square.length;
  // mean(x²) is r² up to eps, so Σ r = Σ_j x_j²/r / d and Σ r² = Σ_j x_j² / d.
  const [r, r2] = [sum(scaled) / d / rows, sum(square) / d / rows];
  return Math.sqrt(Math.max(0, s * s * r2 - 2 * s * r + 1));
}
