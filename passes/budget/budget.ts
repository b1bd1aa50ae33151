/**
 * budget: cuts a model to a budget of parameters, bytes, FLOPs or predicted time over all its axes at once:
 *
 *   budget{params=70%}      budget{ms=2.5,bandwidth=20e9,axes=d+ffn}
 *
 * Every axis is cut alone to one or two sizes and judged by the calibration loss, which says what its scores are worth
 * (curve.ts); then the sizes with the least predicted loss that fit are looked for (solve.ts). The best few are measured
 * together with the obvious choice, the same share of all channels and neurons, and the best of them is made. Costs are
 * computed from types, so a budget is never exceeded.
 */
import { fail } from '../../ir/diagnostics.js';
import { type Func, type Module, modelDims } from '../../ir/module.js';
import {
  definePass,
  type OptionsOf,
  option,
  type PassData,
  type PassResult,
  type Surroundings,
} from '../pass.js';
import type { Probe } from '../probe.js';
import { pruneData } from '../prune/prune.js';
import { observedEntry } from '../structure.js';
import { type Axis, dimensionsAt, type FoundAxes, fewSizes, findAxes, resized, type Sizes } from './axes.js';
import { lossCurve, type MeasuredPoint, removedShares } from './curve.js';
import { type CostModel, costOf, type Limit, parseLimit, type Unit, units } from './limits.js';
import { type SolveAxis, solve } from './solve.js';

const options = {
  params: option('string', 'most parameters: 8M, or 70% or -30% of the whole', ''),
  bytes: option('string', 'most bytes of weights', ''),
  flops: option('string', 'most operations of the largest call that calibration makes', ''),
  ms: option(
    'string',
    'most milliseconds of a call of `entry`, by a roofline: the longer of operations over peak and weights and caches over bandwidth, summed over ops',
    '',
  ),
  entry: option('string', 'the entry whose time is predicted; decode where there is one', ''),
  peak: option('float', 'operations per second; the default is one thread of WebAssembly', 20e9),
  bandwidth: option('float', 'bytes per second', 6e9),
  axes: option('string', 'dimensions that may be cut, such as d+ffn; all that can be when empty', ''),
  multiple: option('int', 'sizes of channels and neurons are multiples of this', 8),
  score: option('string', 'which score ranks indices, as in prune', 'paper'),
  samples: option('int', 'calibration windows or calls by which sizes are compared', 8),
  candidates: option('int', 'how many solutions are measured', 2),
};
type Options = OptionsOf<typeof options>;

export const budget = definePass({
  name: 'budget',
  kind: 'approximate',
  summary: 'Cuts all axes to a budget of parameters, bytes, FLOPs or predicted time: budget{params=70%}.',
  options,
  notAfter: { 'absorb-post-norm': 'absorbed constants hold for the sizes they were measured at; cut first' },
  data: { observe, run },
});

/** Losses that differ by less are taken as equal. */
const leastDifference = 1e-3;

function axesFor(module: Module, { axes, multiple }: Options): FoundAxes {
  if (multiple < 1) fail('HEW6002', `budget: multiple=${multiple} must be at least 1`);
  const found = findAxes(module, axes.split('+').filter(Boolean), multiple);
  if (found.axes.length === 0)
    fail('HEW6040', 'budget: nothing of the model can be cut', { notes: [...found.skipped] });
  return found;
}

/** The statistics of cuts along every axis. */
function observe(module: Module, given: Options, surroundings: Surroundings): readonly Probe[] {
  const { axes } = axesFor(module, given);
  const smallest = new Map(axes.map(({ name, sizes }) => [name, sizes.at(-1) as number]));
  return pruneData.observe(module, pruneOptions(dimensionsAt(axes, smallest), given), surroundings);
}

function pruneOptions(dimensions: ReadonlyMap<string, number>, { score }: Options) {
  const settings = { score, by: 'influence', apart: 1, windows: 0, drop: '', multiple: 1, seed: 0 };
  return { ...settings, ...Object.fromEntries([...dimensions].map(([name, size]) => [name, `${size}`])) };
}

async function run(module: Module, given: Options, data: PassData): Promise<PassResult> {
  const { axes, skipped } = axesFor(module, given);
  const model = costModelOf(module, given);
  const limits = limitsOf(module, given, model);
  const cut = (sizes: Sizes): Promise<PassResult> | PassResult =>
    pruneData.run(module, pruneOptions(dimensionsAt(axes, sizes), given), data);
  const costAt = (sizes: Sizes, unit: Unit): number =>
    costOf(resized(module, dimensionsAt(axes, sizes)), unit, model);
  const fits = (sizes: Sizes): boolean => limits.every(({ unit, most }) => costAt(sizes, unit) <= most);
  checkReachable(axes, limits, costAt);

  const first = given.samples;
  const base = await data.evaluate(module, { first });
  const curves: AxisCurve[] = [];
  for (const axis of axes)
    curves.push(await measureAxis(axis, base, cut, (m) => data.evaluate(m, { first })));
  const choices = chooseSizes(curves, limits, costAt, given.candidates);
  const uniform = uniformSizes(axes, fits);
  const judged: Judged[] = [];
  for (const { sizes, predicted } of choices) {
    const result = await cut(sizes);
    judged.push({ sizes, predicted, result, loss: await data.evaluate(result.module, { first }) });
  }
  const [best] = judged.toSorted((a, b) => a.loss - b.loss) as [Judged];
  const made = { ...best, loss: await data.evaluate(best.result.module) };
  const plain = uniform && (await judgeUniform(uniform, cut, data));
  const taken = plain !== undefined && plain.loss < made.loss - leastDifference ? plain : made;
  return reported(module, axes, taken, made, plain, {
    limits,
    costAt,
    curves,
    skipped,
    base: await data.evaluate(module),
  });
}

// ---- limits

function costModelOf(module: Module, { entry, peak, bandwidth }: Options): CostModel {
  if (!(peak > 0 && bandwidth > 0)) fail('HEW6002', 'budget: peak and bandwidth must be positive');
  const observed = observedEntry(module) ?? fail('HEW6010', 'budget: the model has no entry');
  const named = (name: string): Func | undefined => {
    const func = module.functions.get(name);
    return func?.outputs === undefined ? undefined : func;
  };
  const timeOf = entry === '' ? (named('decode') ?? observed) : named(entry);
  if (timeOf === undefined) return fail('HEW6002', `budget: the model has no entry '${entry}'`);
  return { flopsOf: observed, timeOf, roofline: { peak, bandwidth } };
}

function limitsOf(module: Module, given: Options, model: CostModel): Limit[] {
  const limits = units.flatMap((unit) =>
    given[unit] === '' ? [] : [parseLimit(unit, given[unit], costOf(module, unit, model))],
  );
  if (limits.length > 0) return limits;
  return fail('HEW6002', 'budget needs a limit', {
    help: `such as budget{params=70%}; limits: ${units.join(', ')}`,
  });
}

/** HEW6040 when the least sizes are still over a limit. */
function checkReachable(
  axes: readonly Axis[],
  limits: readonly Limit[],
  costAt: (sizes: Sizes, unit: Unit) => number,
): void {
  const least = new Map(axes.map(({ name, sizes }) => [name, sizes.at(-1) as number]));
  for (const { unit, most } of limits) {
    const cost = costAt(least, unit);
    if (cost <= most) continue;
    fail('HEW6040', `${shown(unit, most)} cannot be reached: the least sizes have ${shown(unit, cost)}`, {
      notes: [`least sizes: ${sizesText(dimensionsAt(axes, least))}`],
    });
  }
}

// ---- what each axis costs

interface AxisCurve {
  readonly axis: Axis;
  /** Predicted rise of the loss at each size. */
  readonly losses: readonly number[];
  readonly points: readonly (MeasuredPoint & { readonly size: number })[];
}

/** Shares of an axis that are cut away to see what they cost. */
const probedShares = [0.125, 0.3];

function probedSizes({ sizes, kind }: Axis): number[] {
  const [whole, ...smaller] = sizes as [number, ...number[]];
  if (fewSizes.has(kind)) return smaller.slice(0, 2);
  const near = probedShares.map((share) => smaller.findIndex((size) => size <= whole * (1 - share)));
  return [...new Set(near.map((at) => smaller[at < 0 ? smaller.length - 1 : at] as number))];
}

async function measureAxis(
  axis: Axis,
  base: number,
  cut: (sizes: Sizes) => Promise<PassResult> | PassResult,
  evaluate: (module: Module) => Promise<number>,
): Promise<AxisCurve> {
  const { name, kind, sizes } = axis;
  const whole = sizes[0] as number;
  const measured: { size: number; loss: number; scores: unknown }[] = [];
  for (const size of probedSizes(axis)) {
    const { module, report } = await cut(new Map([[name, size]]));
    const details = report?.details?.[name] as { scores: unknown } | undefined;
    measured.push({ size, loss: await evaluate(module), scores: details?.scores });
  }
  const shares = removedShares(scoreLists(measured[0]?.scores, kind === 'groups' ? undefined : whole), whole);
  const points = measured.map(({ size, loss }) => ({
    size,
    share: shares[whole - size] as number,
    rise: loss - base,
  }));
  const curve = lossCurve(points);
  const losses = sizes.map((size) => (size === whole ? 0 : curve(shares[whole - size] as number)));
  return { axis, losses, points };
}

/** Lists of scores: of the model or of every turn, cut into those of each expert where experts have their own. */
function scoreLists(scores: unknown, length: number | undefined): number[][] {
  const lists = Array.isArray(scores)
    ? [scores as number[]]
    : Object.values(scores as Record<string, number[]>);
  if (length === undefined) return lists;
  return lists.flatMap((list) =>
    Array.from({ length: list.length / length }, (_, i) => list.slice(i * length, (i + 1) * length)),
  );
}

// ---- choice

function chooseSizes(
  curves: readonly AxisCurve[],
  limits: readonly Limit[],
  costAt: (sizes: Sizes, unit: Unit) => number,
  most: number,
): { sizes: Sizes; predicted: number }[] {
  const axes = curves.map(
    ({ axis: { name, kind, sizes }, losses }): SolveAxis => ({
      name,
      sizes,
      losses,
      few: fewSizes.has(kind),
    }),
  );
  const sizesAt = (at: readonly number[]): Sizes =>
    new Map(axes.map(({ name, sizes }, i) => [name, sizes[at[i] as number] as number]));
  const excess = (at: readonly number[]): number => {
    const sizes = sizesAt(at);
    return limits.reduce(
      (sum, { unit, most: limit }) => sum + Math.max(0, costAt(sizes, unit) / limit - 1),
      0,
    );
  };
  return solve(axes, excess, Math.max(1, most)).map(({ at, loss }) => ({
    sizes: sizesAt(at),
    predicted: loss,
  }));
}

/** The greatest share that fits when all channels and neurons are cut to it; of all axes when there are none of these. */
function uniformSizes(axes: readonly Axis[], fits: (sizes: Sizes) => boolean): Sizes | undefined {
  const wide = axes.filter(({ kind }) => !fewSizes.has(kind));
  const cut = wide.length > 0 ? wide : axes;
  const shares = new Set(cut.flatMap(({ sizes }) => sizes.map((size) => size / (sizes[0] as number))));
  for (const share of [...shares].sort((a, b) => b - a)) {
    const sizes = new Map(
      cut.map(({ name, sizes: all }) => [
        name,
        all.find((size) => size <= share * (all[0] as number) + 1e-9) ?? (all.at(-1) as number),
      ]),
    );
    if (fits(sizes)) return sizes;
  }
  return undefined;
}

interface Judged {
  readonly sizes: Sizes;
  /** Predicted rise of the loss. */
  readonly predicted?: number;
  readonly result: PassResult;
  readonly loss: number;
}

async function judgeUniform(
  sizes: Sizes,
  cut: (sizes: Sizes) => Promise<PassResult> | PassResult,
  data: PassData,
): Promise<Judged> {
  const result = await cut(sizes);
  return { sizes, result, loss: await data.evaluate(result.module) };
}

// ---- report

interface Findings {
  readonly limits: readonly Limit[];
  readonly costAt: (sizes: Sizes, unit: Unit) => number;
  readonly curves: readonly AxisCurve[];
  readonly skipped: readonly string[];
  readonly base: number;
}

function reported(
  module: Module,
  axes: readonly Axis[],
  taken: Judged,
  solved: Judged,
  uniform: Judged | undefined,
  { limits, costAt, curves, skipped, base }: Findings,
): PassResult {
  const changed = (sizes: Sizes): Map<string, number> => {
    const before = modelDims(module);
    return new Map([...dimensionsAt(axes, sizes)].filter(([name, size]) => before.get(name) !== size));
  };
  const line = (what: string, { sizes, loss }: Judged): string =>
    `${what}: ${sizesText(changed(sizes)) || 'nothing cut'}, calibration loss ${loss.toFixed(4)}`;
  const costs = limits.map(({ unit, most }) => ({ unit, most, cost: costAt(taken.sizes, unit) }));
  const { report } = taken.result;
  return {
    module: taken.result.module,
    report: {
      counts: { ...report?.counts },
      notes: [
        ...costs.map(
          ({ unit, most, cost }) =>
            `${shown(unit, cost)} of at most ${shown(unit, most)} (${((100 * cost) / most).toFixed(2)} %)`,
        ),
        line('chosen', solved),
        uniform === undefined ? 'no equal share of channels and neurons fits' : line('equal shares', uniform),
        `calibration loss before ${base.toFixed(4)}; the same as prune{${sizesText(changed(taken.sizes), ',')}}`,
        ...(taken === solved ? [] : ['equal shares do better, so they are taken']),
        ...skipped,
        ...(report?.notes ?? []),
      ],
      details: {
        ...report?.details,
        budget: {
          limits: costs,
          before: base,
          sizes: Object.fromEntries(dimensionsAt(axes, taken.sizes)),
          predicted: solved.predicted,
          loss: solved.loss,
          uniform: uniform && {
            sizes: Object.fromEntries(dimensionsAt(axes, uniform.sizes)),
            loss: uniform.loss,
          },
          curves: curves.map(({ axis, points, losses }) => ({
            axis: axis.name,
            sizes: axis.sizes,
            predicted: losses,
            points,
          })),
        },
      },
    },
  };
}

function sizesText(dimensions: ReadonlyMap<string, number>, separator = ', '): string {
  return [...dimensions].map(([name, size]) => `${name}=${size}`).join(separator);
}

function shown(unit: Unit, amount: number): string {
  return unit === 'ms' ? `${amount.toPrecision(4)} ms` : `${Math.floor(amount)} ${unit}`;
}
