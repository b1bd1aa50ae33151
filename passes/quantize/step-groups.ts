/**
 * Groups of timesteps: HTG's shift, clustering, group shifts and scale (arXiv 2503.06930, equations 2, 4, 6, 7 and
 * algorithm 1 as its ports cite them). Steps stand in sampling order, the noisiest first, and are addressed by their
 * position in it. Ranges are per channel, [channels].
 */

/** Least and greatest value of each channel at one step. */
export interface ChannelRange {
  readonly min: Float64Array;
  readonly max: Float64Array;
}

/** Steps `first` .. `end - 1`. */
export interface StepGroup {
  readonly first: number;
  readonly end: number;
}

/** z_t = (max X_t + min X_t) / 2 of each channel (equation 2). */
export function midrange({ min, max }: ChannelRange): Float64Array {
  return max.map((high, i) => (high + (min[i] as number)) / 2);
}

/**
 * Merges adjacent clusters until `count` remain (algorithm 1): always the pair whose centroids are nearest in L2, the
 * earlier pair of equals. The centroid of a cluster is the mean of its members.
 * @throws RangeError when there are fewer points than groups, or no group.
 */
export function groupSteps(points: readonly Float64Array[], count: number): StepGroup[] {
  if (!Number.isSafeInteger(count) || count < 1 || count > points.length)
    throw new RangeError(`${points.length} steps cannot be divided into ${count} groups`);
  const clusters = points.map((point, first) => ({ first, end: first + 1, centroid: point }));
  while (clusters.length > count) {
    const at = nearestPair(clusters.map(({ centroid }) => centroid));
    const [a, b] = [clusters[at], clusters[at + 1]] as [(typeof clusters)[0], (typeof clusters)[0]];
    const centroid = meanOf(points.slice(a.first, b.end));
    clusters.splice(at, 2, { first: a.first, end: b.end, centroid });
  }
  return clusters.map(({ first, end }) => ({ first, end }));
}

/** The same with the last step, which has the least noise, in a group of its own where two groups are allowed. */
export function groupStepsWithLast(points: readonly Float64Array[], count: number): StepGroup[] {
  const last = points.length - 1;
  if (count < 2 || last < 1) return groupSteps(points, count);
  return [...groupSteps(points.slice(0, last), Math.min(count - 1, last)), { first: last, end: last + 1 }];
}

function nearestPair(centroids: readonly Float64Array[]): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i + 1 < centroids.length; i++) {
    const distance = squaredDistance(centroids[i] as Float64Array, centroids[i + 1] as Float64Array);
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}

function squaredDistance(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += ((a[i] as number) - (b[i] as number)) ** 2;
  return sum;
}

/** Mean of vectors of one length. */
export function meanOf(vectors: readonly Float64Array[]): Float64Array {
  const sum = new Float64Array(vectors[0]?.length ?? 0);
  for (const vector of vectors) {
    for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (vector[i] as number);
  }
  return sum.map((value) => value / vectors.length);
}

/** z_g, the mean of z_t over the steps of each group (equation 4). */
export function groupShifts(shifts: readonly Float64Array[], groups: readonly StepGroup[]): Float64Array[] {
  return groups.map(({ first, end }) => meanOf(shifts.slice(first, end)));
}

/** How the half widths of a channel at all steps become one magnitude m; steps in sampling order. */
export const magnitudeRules = {
  /** m_T = w_T, m_t = a m_{t+1} + (1 - a) w_t: the running average from T down to 1 (equation 6). */
  paper: (widths: readonly number[], momentum: number): number =>
    widths.reduce((average, width) => momentum * average + (1 - momentum) * width),
  max: (widths: readonly number[]): number => Math.max(...widths),
  mean: (widths: readonly number[]): number => widths.reduce((sum, w) => sum + w, 0) / widths.length,
} satisfies Record<string, (widths: readonly number[], momentum: number) => number>;

export type MagnitudeRule = keyof typeof magnitudeRules;

/** Below this a magnitude counts as this: dead channels get a finite scale. */
export const magnitudeFloor = 1e-8;

/** m of each channel from max(X_t - z_t), which is half the width of the range. */
export function magnitudes(
  ranges: readonly ChannelRange[],
  rule: MagnitudeRule,
  momentum: number,
): Float64Array {
  const channels = ranges[0]?.min.length ?? 0;
  const widths = ranges.map(({ min, max }) => max.map((high, i) => (high - (min[i] as number)) / 2));
  return Float64Array.from({ length: channels }, (_, i) =>
    magnitudeRules[rule](
      widths.map((width) => width[i] as number),
      momentum,
    ),
  );
}

/** s = sqrt(m / max_o |W_oi|) of each channel (equation 7), floored so that it is finite and positive. */
export function balancedScale(magnitude: Float64Array, weightMax: Float64Array): Float64Array {
  return magnitude.map((m, i) =>
    Math.sqrt(Math.max(m, magnitudeFloor) / Math.max(weightMax[i] as number, magnitudeFloor)),
  );
}
