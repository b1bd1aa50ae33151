/**
 * What the passes that re-parameterize sites share: the ranges of each site's input by timestep, the weights that read
 * it, and the order of decisions. The attention's scale comes first, because it rescales rows of the layer that makes
 * V, and that layer's columns decide the next scale (trap 5 of the reference).
 */
import { fail } from '../../ir/diagnostics.js';
import { type Module, modelDims } from '../../ir/module.js';
import { evalShape } from '../../ir/type.js';
import type { PassData, PassResult } from '../pass.js';
import { combinationOf, combinations, type Observation, type Probe, type StepObservation } from '../probe.js';
import { turnsOf } from '../recipes.js';
import { type Layer, layersOf, probeOf } from './layers.js';
import { type InputChange, reparameterize, type SiteChanges } from './reparameterize.js';
import { type LinearOp, type ShiftSite, shiftSites, tiedChannels, weightOf } from './sites.js';
import type { ChannelRange } from './step-groups.js';
import type { StepSchedule } from './timestep.js';

/** Probes for the ranges of every site, by timestep, and of what other layers read, which stays as it is. */
export function siteProbes(module: Module): Probe[] {
  const { sites } = shiftSites(module);
  const others = layersOf(module).layers.filter(
    (layer) => layer.place === 'body' && siteOf(sites, layer) === undefined,
  );
  const plain = others.flatMap((layer) =>
    sides.map((side) => probeOf(module, layer, side, { byTimestep: true })),
  );
  return [...siteRanges(sites, module), ...plain];
}

const sides = ['minimum', 'maximum'] as const;

/** The site whose input a layer reads. */
function siteOf(sites: readonly ShiftSite[], { weight }: Layer): number | undefined {
  const found = sites.findIndex(({ readers }) => readers.some((reader) => weightOf(reader) === weight));
  return found < 0 ? undefined : found;
}

function siteRanges(sites: readonly ShiftSite[], module: Module): Probe[] {
  return sites.flatMap(({ func, input }, i) =>
    sides.map((statistic) => ({
      key: `${statistic}.${i}`,
      module,
      func,
      values: [input],
      statistic,
      byTimestep: true,
    })),
  );
}

/** One site in one turn, as a rule sees it. */
export interface SiteView {
  readonly site: ShiftSite;
  readonly turn: number;
  /** Of the input at each step, in sampling order. */
  readonly ranges: readonly ChannelRange[];
  /** max_o |W_oi| over all layers that read it, with their rows as earlier decisions scaled them. */
  readonly weightMax: Float64Array;
}

export type SiteRule = (view: SiteView) => InputChange;

/** Re-parameterizes every site by a rule; the report says what was done and what was skipped. */
export function planSites(module: Module, data: PassData, rule: SiteRule): PassResult {
  const { sites, skipped } = shiftSites(module);
  if (sites.length === 0) {
    return fail(
      'HEW6010',
      'the model has no modulated norm or attention whose shift and scale can be moved',
      {
        notes: skipped,
        help: 'these passes are for diffusion transformers with adaptive layer norm',
      },
    );
  }
  const ranges = sites.map((_, i) => rangesOf(data, i));
  const rowFactors = new Map<LinearOp, Float64Array[]>();
  const changes: InputChange[][] = [];
  const order = sites.map((_, i) => i).sort((a, b) => rankOf(sites[a]) - rankOf(sites[b]));
  for (const [done, i] of order.entries()) {
    const site = sites[i] as ShiftSite;
    const turns = turnsOf(module, site.loop) ?? [0];
    changes[i] = turns.map((_, turn) => {
      const columns = weightMaxOf(module, site, turn, data, rowFactors);
      const view = { site, turn, ...tied(site, (ranges[i] as ChannelRange[][])[turn] ?? [], columns) };
      const change = rule(view);
      scaleRows(module, site, turn, turns.length, change, rowFactors);
      return change;
    });
    data.progress(done + 1, sites.length);
  }
  const schedule = scheduleOf(module, data);
  const result = reparameterize(module, changes, schedule, (name, turn) => data.weight(module, name, turn));
  const notes = sites.map((site, i) => `${readersOf(site)}: ${describe(changes[i] ?? [], schedule)}`);
  return {
    module: result,
    known: knownRanges(result, sites, changes, data),
    report: {
      counts: { sites: sites.length, skipped: skipped.length },
      notes: [...notes, ...skipped.map((reason) => `left alone: ${reason}`)],
      details: {
        schedule: schedule.timesteps,
        sites: sites.map((site, i) => ({
          weights: site.readers.map(weightOf),
          turns: (changes[i] ?? []).map(({ groups, scale }) => ({
            groups: groups.map(({ first, end }) => [schedule.timesteps[first], schedule.timesteps[end - 1]]),
            scale: [Math.min(...scale), Math.max(...scale)],
          })),
        })),
      },
    },
  };
}

/** Ranges of what layers read now, so that nobody has to observe them again. */
function knownRanges(
  result: Module,
  sites: readonly ShiftSite[],
  changes: SiteChanges,
  data: PassData,
): Map<Probe, Observation> {
  const known = new Map<Probe, Observation>();
  for (const layer of layersOf(result).layers.filter(({ place }) => place === 'body')) {
    const i = siteOf(sites, layer);
    for (const side of sides) {
      const found = data.statistics.get(`${side}.${i}`) ?? data.statistics.get(`${side} ${layer.weight}`);
      if (found === undefined) continue;
      const moved = i === undefined ? found : movedRange(found, side, changes[i] ?? []);
      known.set(probeOf(result, layer, side, { byTimestep: true }), moved);
    }
  }
  return known;
}

/** Extremes of (x - z_g) / s. */
function movedRange(
  { steps = [], ...rest }: Observation,
  side: (typeof sides)[number],
  turns: readonly InputChange[],
): Observation {
  const moved = steps.map((step, at) => ({
    ...step,
    sums: step.sums.map((values, turn) => {
      const { groups, shifts, scale } = turns[turn] as InputChange;
      const shift = shifts[groups.findIndex(({ first, end }) => first <= at && at < end)] as Float64Array;
      return values.map((value, i) => (value - (shift[i] as number)) / (scale[i] as number));
    }),
  }));
  const combine = combinations[combinationOf(side)];
  const sums = rest.sums.map((values, turn) =>
    values.map((_, i) => moved.map((step) => step.sums[turn]?.[i] as number).reduce((a, b) => combine(a, b))),
  );
  return { ...rest, sums, steps: moved };
}

const rankOf = (site: ShiftSite | undefined): number => (site?.kind === 'attention' ? 0 : 1);
const readersOf = ({ readers }: ShiftSite): string => readers.map((reader) => weightOf(reader)).join(', ');

function describe(turns: readonly InputChange[], { timesteps }: StepSchedule): string {
  const counts = turns.map(({ groups }) => groups.length);
  const first = turns[0]?.groups.map(({ first: at }) => timesteps[at]).join(', ');
  return `${Math.max(...counts)} groups of timesteps, the first turn's from t = ${first}`;
}

/** [turn][step] */
function rangesOf(data: PassData, i: number): ChannelRange[][] {
  const stepsOf = (name: string): readonly StepObservation[] =>
    data.statistics.get(`${name}.${i}`)?.steps ?? [];
  const [steps, maxima] = [stepsOf('minimum'), stepsOf('maximum')];
  const turns = steps[0]?.sums.length ?? 0;
  return Array.from({ length: turns }, (_, turn) =>
    steps.map((step, at) => ({
      min: step.sums[turn] as Float64Array,
      max: (maxima[at] as StepObservation).sums[turn] as Float64Array,
    })),
  );
}

/** The timesteps that calibration saw, and how many the model's schedule has. */
export function scheduleOf(module: Module, data: PassData): StepSchedule {
  const observed = [...data.statistics.values()].find(({ steps }) => steps !== undefined);
  const timesteps = (observed?.steps ?? []).map(({ timestep }) => timestep);
  const total = Number(module.sampler?.settings.steps ?? Math.max(...timesteps) + 1);
  return { timesteps, total };
}

/** Channels that share a row of V get the union of their ranges and the greatest of their weights. */
function tied(
  site: ShiftSite,
  ranges: readonly ChannelRange[],
  weightMax: Float64Array,
): Pick<SiteView, 'ranges' | 'weightMax'> {
  const groups = tiedChannels(site);
  if (groups.length === 0) return { ranges, weightMax };
  const spread = (values: Float64Array, of: (...members: number[]) => number): Float64Array => {
    const result = values.slice();
    for (const group of groups) {
      const common = of(...group.map((i) => values[i] as number));
      for (const i of group) result[i] = common;
    }
    return result;
  };
  return {
    ranges: ranges.map(({ min, max }) => ({ min: spread(min, Math.min), max: spread(max, Math.max) })),
    weightMax: spread(weightMax, Math.max),
  };
}

function weightMaxOf(
  module: Module,
  { readers, channels, loop }: ShiftSite,
  turn: number,
  data: PassData,
  rowFactors: ReadonlyMap<LinearOp, Float64Array[]>,
): Float64Array {
  const most = new Float64Array(channels);
  for (const reader of readers) {
    const factors = rowFactors.get(reader)?.[turn];
    const w = data.weight(module, weightOf(reader) as string, loop === undefined ? undefined : turn).data;
    for (let i = 0; i < w.length; i++) {
      const value = Math.abs(w[i] as number) * (factors?.[Math.floor(i / channels)] ?? 1);
      if (value > (most[i % channels] as number)) most[i % channels] = value;
    }
  }
  return most;
}

/** Notes that the rows a site takes over are divided by s. */
function scaleRows(
  module: Module,
  { shift }: ShiftSite,
  turn: number,
  turns: number,
  { scale }: InputChange,
  rowFactors: Map<LinearOp, Float64Array[]>,
): void {
  const name = weightOf(shift.linear) as string;
  const [out = 0] = evalShape(module.params.get(name)?.type.shape ?? [], modelDims(module));
  const factors =
    rowFactors.get(shift.linear) ?? Array.from({ length: turns }, () => new Float64Array(out).fill(1));
  rowFactors.set(shift.linear, factors);
  shift.rows.forEach((row, i) => {
    (factors[turn] as Float64Array)[row] = 1 / (scale[i] as number);
  });
}
