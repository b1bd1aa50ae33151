/**
 * Chooses sizes: the least predicted loss of all that fit the limits. Few combinations are all tried. Otherwise every
 * combination of the axes with few sizes is taken in order of its loss, the others are cut greedily (the step that costs
 * least loss for what it saves), and the best result is improved by exchanges until none helps.
 */

export interface SolveAxis {
  readonly name: string;
  /** Greatest first. */
  readonly sizes: readonly number[];
  /** Predicted loss at each size, not falling. */
  readonly losses: readonly number[];
  /** Whether all sizes are tried. */
  readonly few: boolean;
}

export interface Solution {
  /** Index of the size of each axis. */
  readonly at: readonly number[];
  readonly loss: number;
}

/** How far a choice is over the limits: 0 when it fits; it falls with every axis. */
export type Excess = (at: readonly number[]) => number;

const exhaustive = 4000;

/** Solutions with different sizes of the axes of few sizes, best first; none when nothing fits. */
export function solve(axes: readonly SolveAxis[], excess: Excess, most = 1): Solution[] {
  const over = remembered(excess);
  const smallest = axes.map(({ sizes }) => sizes.length - 1);
  if (over(smallest) > 0) return [];
  const combinations = axes.reduce((n, { sizes }) => n * sizes.length, 1);
  const found = combinations <= exhaustive ? tryAll(axes, over) : search(axes, over, most);
  const best = new Map<string, Solution>();
  for (const solution of found.toSorted((a, b) => a.loss - b.loss)) {
    const key = axes.map(({ few }, i) => (few ? solution.at[i] : '')).join(' ');
    if (!best.has(key)) best.set(key, solution);
  }
  return [...best.values()].slice(0, most);
}

function remembered(excess: Excess): Excess {
  const known = new Map<string, number>();
  return (at) => {
    const key = at.join(' ');
    const value = known.get(key) ?? excess(at);
    known.set(key, value);
    return value;
  };
}

const lossOf = (axes: readonly SolveAxis[], at: readonly number[]): number =>
  axes.reduce((sum, { losses }, i) => sum + (losses[at[i] as number] as number), 0);

function* combinationsOf(axes: readonly SolveAxis[]): Generator<number[]> {
  const [first, ...others] = axes;
  if (first === undefined) {
    yield [];
    return;
  }
  for (const rest of combinationsOf(others)) for (const at of first.sizes.keys()) yield [at, ...rest];
}

function tryAll(axes: readonly SolveAxis[], over: Excess): Solution[] {
  return [...combinationsOf(axes)]
    .filter((at) => over(at) === 0)
    .map((at) => ({ at, loss: lossOf(axes, at) }));
}

function search(axes: readonly SolveAxis[], over: Excess, most: number): Solution[] {
  const fixed = axes.map(({ few }) => few);
  const starts = [
    ...combinationsOf(axes.map((axis) => (axis.few ? axis : { ...axis, sizes: axis.sizes.slice(0, 1) }))),
  ]
    .map((at) => ({ at, loss: lossOf(axes, at) }))
    .sort((a, b) => a.loss - b.loss);
  const found: Solution[] = [];
  for (const { at, loss } of starts) {
    // Losses only grow from here, so once enough are found that are better than any start left, no start can help.
    if (found.filter((solution) => solution.loss <= loss).length >= most) break;
    const solution = descend(axes, over, at, fixed);
    if (solution !== undefined) found.push(improve(axes, over, solution, fixed));
  }
  return found;
}

/** Cuts the free axes until everything fits, then takes back what there is room for. */
function descend(
  axes: readonly SolveAxis[],
  over: Excess,
  start: readonly number[],
  fixed: readonly boolean[],
): Solution | undefined {
  const at = [...start];
  while (over(at) > 0) {
    const steps = axes.flatMap(({ sizes, losses }, i) => {
      const now = at[i] as number;
      if (fixed[i] === true || now + 1 >= sizes.length) return [];
      const saved = over(at) - over(at.with(i, now + 1));
      const cost = (losses[now + 1] as number) - (losses[now] as number);
      return saved > 0 ? [{ i, price: cost / saved }] : [];
    });
    const [cheapest] = steps.toSorted((a, b) => a.price - b.price || a.i - b.i);
    if (cheapest === undefined) return undefined;
    at[cheapest.i] = (at[cheapest.i] as number) + 1;
  }
  return grown(axes, over, at, fixed);
}

/** The same with free axes grown as far as they fit, those first that gain most. */
function grown(
  axes: readonly SolveAxis[],
  over: Excess,
  start: readonly number[],
  fixed: readonly boolean[],
): Solution {
  const at = [...start];
  for (;;) {
    const steps = axes.flatMap(({ losses }, i) => {
      const now = at[i] as number;
      if (fixed[i] === true || now === 0 || over(at.with(i, now - 1)) > 0) return [];
      return [{ i, gain: (losses[now] as number) - (losses[now - 1] as number) }];
    });
    const [best] = steps.toSorted((a, b) => b.gain - a.gain || a.i - b.i);
    if (best === undefined) return { at, loss: lossOf(axes, at) };
    at[best.i] = (at[best.i] as number) - 1;
  }
}

/** Steps by which an axis is cut so that others may grow. */
const exchanges = [1, 2, 3, 5, 8];

function improve(
  axes: readonly SolveAxis[],
  over: Excess,
  from: Solution,
  fixed: readonly boolean[],
): Solution {
  let best = from;
  for (;;) {
    const others = axes.flatMap(({ sizes }, i) =>
      exchanges.flatMap((step) => {
        const now = best.at[i] as number;
        if (fixed[i] === true || now + step >= sizes.length) return [];
        const held = fixed.map((value, j) => value || i === j);
        return [grown(axes, over, best.at.with(i, now + step), held)];
      }),
    );
    const [better] = others.toSorted((a, b) => a.loss - b.loss);
    if (better === undefined || better.loss >= best.loss - 1e-12) return best;
    best = better;
  }
}
