/**
 * How much a smaller size of an axis costs in loss. Scores say which share of all score an axis loses when its least
 * indices go, which is no loss yet; the calibration loss at one or two sizes says what such a share is worth:
 *
 *   loss(s) = α m(s)^β,   m(s) the share of score removed at size s
 *
 * through the measured points. Losses of several axes are added.
 */

/** Share of the score that goes with the `k` least of `count` units, for k = 0 .. count; mean over the lists. */
export function removedShares(lists: readonly ArrayLike<number>[], count: number): number[] {
  const shares = Array.from({ length: count + 1 }, () => 0);
  for (const list of lists) {
    const units = unitSums(list, count).sort((a, b) => a - b);
    const total = units.reduce((sum, value) => sum + value, 0);
    let removed = 0;
    units.forEach((value, k) => {
      removed += value;
      shares[k + 1] =
        (shares[k + 1] as number) + (total > 0 ? removed / total : (k + 1) / count) / lists.length;
    });
  }
  return shares;
}

/** Scores of units: runs of equal length, such as the heads of a group, added up. Negative scores count as none. */
function unitSums(list: ArrayLike<number>, count: number): number[] {
  const size = list.length / count;
  return Array.from({ length: count }, (_, unit) =>
    Array.from({ length: size }, (_, i) => Math.max(0, list[unit * size + i] as number)).reduce(
      (a, b) => a + b,
      0,
    ),
  );
}

export interface MeasuredPoint {
  readonly share: number;
  /** Rise of the loss. */
  readonly rise: number;
}

/** A rise below this is noise. */
const leastRise = 1e-5;
const [leastPower, greatestPower] = [0.5, 4];

/** The curve through one or two points. */
export function lossCurve(points: readonly MeasuredPoint[]): (share: number) => number {
  const [first, second] = points
    .map(({ share, rise }) => ({ share: Math.max(share, 1e-9), rise: Math.max(rise, leastRise) }))
    .toSorted((a, b) => a.share - b.share);
  if (first === undefined) throw new Error('a curve needs a point');
  const slope =
    second === undefined || second.share <= first.share
      ? 1
      : Math.log(second.rise / first.rise) / Math.log(second.share / first.share);
  const power = Math.min(greatestPower, Math.max(leastPower, slope));
  // The larger cut is the one that budgets are about.
  const { share, rise } = second ?? first;
  return (at) => rise * (at / share) ** power;
}
