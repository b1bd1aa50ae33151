/**
 * PTQ4DiT (arXiv 2405.16005): the salience of a channel is its largest magnitude. Balancing (CSB) divides activations
 * by sqrt(s(X) / s(W)) and multiplies the weights by it; calibration (SSC) weighs the saliences of timesteps by how
 * little they agree with the weights', in Spearman's rank correlation.
 */

/** Ranks from 1; equal values share the mean of their ranks. */
export function averageRanks(values: Float64Array): Float64Array {
  const order = Array.from(values.keys()).sort((a, b) => (values[a] as number) - (values[b] as number));
  const ranks = new Float64Array(values.length);
  for (let start = 0; start < order.length; ) {
    let end = start + 1;
    while (end < order.length && values[order[end] as number] === values[order[start] as number]) end += 1;
    for (let i = start; i < end; i++) ranks[order[i] as number] = (start + 1 + end) / 2;
    start = end;
  }
  return ranks;
}

/** Spearman's ρ, Pearson's correlation of average ranks; 0 where one side is constant. */
export function spearman(a: Float64Array, b: Float64Array): number {
  const [x, y] = [averageRanks(a), averageRanks(b)];
  const mean = (a.length + 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [dx, dy] = [(x[i] as number) - mean, (y[i] as number) - mean];
    xy += dx * dy;
    xx += dx * dx;
    yy += dy * dy;
  }
  return xx === 0 || yy === 0 ? 0 : xy / Math.sqrt(xx * yy);
}

/** η_t = softmax over t of -ρ(s(X_t), s(W)). */
export function stepWeights(saliences: readonly Float64Array[], weightSalience: Float64Array): number[] {
  const exponents = saliences.map((salience) => Math.exp(-spearman(salience, weightSalience)));
  const sum = exponents.reduce((total, e) => total + e, 0);
  return exponents.map((e) => e / sum);
}

/** s_ρ(X) = Σ_t η_t s(X_t). */
export function calibratedSalience(
  saliences: readonly Float64Array[],
  weightSalience: Float64Array,
): Float64Array {
  const weights = stepWeights(saliences, weightSalience);
  return weightSalience.map((_, i) =>
    saliences.reduce((sum, salience, t) => sum + (weights[t] as number) * (salience[i] as number), 0),
  );
}
