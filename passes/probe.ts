/**
 * Probes: statistics that a pass wants of values of a module, summed over all rows of the calibration data. A row is
 * one index of the leading axes: a token. `probedModule` makes a module that accumulates them with ordinary IR ops in
 * states of f32, which a driver reads and zeroes often enough that the sums stay exact, adding them up in float64.
 */
import { FuncBuilder, moduleScope } from '../ir/builder.js';
import { type Dim, dim, productOfDims } from '../ir/dim.js';
import { calleesOf, type Func, type Module, type State, type Value } from '../ir/module.js';
import { dce } from './dce.js';

interface StatisticDecl {
  readonly doc: string;
  /** How many trailing axes of the value make up a row. */
  readonly rowRank: number;
  /** How the results of calls are combined; they are added unless said otherwise. */
  readonly combine?: 'min' | 'max';
  /** The sum over rows, or what `combine` is of them; `lead` are the axes to sum over. */
  sum(b: FuncBuilder, values: readonly Value[], lead: readonly number[], eps: number): Value;
}

const one = (b: FuncBuilder, name: string, ...operands: Value[]): Value => b.one(name, operands);
const square = (b: FuncBuilder, x: Value): Value => one(b, 'mul', x, x);
const sumOver = (b: FuncBuilder, x: Value, axes: readonly number[]): Value =>
  b.one('reduce_sum', [x], { axes });

/** 1 / sqrt(mean(x²) + eps) of each row, with the last axis kept as 1. */
function reciprocalRms(b: FuncBuilder, x: Value, eps: number): Value {
  const mean = b.one('reduce_mean', [square(b, x)], { axes: [-1], keepdims: true });
  return one(b, 'rsqrt', one(b, 'add', mean, b.one('full', [], { value: eps })));
}

/** Everything summed into a scalar, for values whose rows are already numbers. */
const total = (b: FuncBuilder, x: Value): Value => sumOver(b, x, allAxes(x));
const allAxes = (x: Value): number[] => x.type.shape.map((_, axis) => axis);

/** Rows of a value as a matrix [rows, n]. */
function asMatrix(b: FuncBuilder, x: Value): Value {
  const last = x.type.shape.at(-1) as Dim;
  if (x.type.shape.length === 2) return x;
  return b.one('reshape', [x], { shape: [productOfDims(x.type.shape.slice(0, -1)), last] });
}

function moment(b: FuncBuilder, x: Value, y: Value): Value {
  const transposed = b.one('transpose', [asMatrix(b, x)], { perm: [1, 0] });
  return one(b, 'matmul', transposed, asMatrix(b, y));
}

export const statistics = {
  abs: {
    doc: 'Σ |x| of each channel',
    rowRank: 1,
    sum: (b, [x], lead) => sumOver(b, one(b, 'abs', x as Value), lead),
  },
  sum: {
    doc: 'Σ x of each channel',
    rowRank: 1,
    sum: (b, [x], lead) => sumOver(b, x as Value, lead),
  },
  minimum: {
    doc: 'the least x of each channel',
    rowRank: 1,
    combine: 'min',
    sum: (b, [x], lead) => b.one('reduce_min', [x as Value], { axes: lead }),
  },
  maximum: {
    doc: 'the greatest x of each channel',
    rowRank: 1,
    combine: 'max',
    sum: (b, [x], lead) => b.one('reduce_max', [x as Value], { axes: lead }),
  },
  square: {
    doc: 'Σ x² of each channel',
    rowRank: 1,
    sum: (b, [x], lead) => sumOver(b, square(b, x as Value), lead),
  },
  leading_abs: {
    doc: 'Σ |x| of each channel of x [leading, .., n], for each leading index: [leading, n]',
    rowRank: 1,
    sum: (b, [x]) => keepEnds(b, one(b, 'abs', x as Value)),
  },
  leading_square: {
    doc: 'Σ x² of the same',
    rowRank: 1,
    sum: (b, [x]) => keepEnds(b, square(b, x as Value)),
  },
  routed_abs: {
    doc: 'Σ |x| of each channel of x [.., n], rows by the expert that index [..] names: [experts, n]; w [experts, ..] is any stack of the experts',
    rowRank: 1,
    sum: (b, [x, index, w]) => byExpert(b, one(b, 'abs', x as Value), index as Value, w as Value),
  },
  routed_square: {
    doc: 'Σ x² of the same',
    rowRank: 1,
    sum: (b, [x, index, w]) => byExpert(b, square(b, x as Value), index as Value, w as Value),
  },
  routed_rows: {
    doc: 'how many rows of x each expert sees: [experts, 1]; x [T, n] or [T, k, n], index [T, k], w any stack of the experts',
    rowRank: 1,
    sum: (b, [x, index, w]) => {
      const seen = expertMask(b, x as Value, index as Value, w as Value);
      return b.one('reduce_sum', [seen], { axes: [-1], keepdims: true });
    },
  },
  routed_moment: {
    doc: 'Σ x xᵀ of the rows that each expert sees: [experts, n, n]',
    rowRank: 1,
    sum: (b, [x, index, w]) => {
      const rows = asMatrix(b, x as Value);
      const seen = expertMask(b, x as Value, index as Value, w as Value);
      const [experts, count] = seen.type.shape as [Dim, Dim];
      const [, n] = rows.type.shape as [Dim, Dim];
      const stack = b.one('reshape', [rows], { shape: [dim(1), count, n] });
      const mask = b.one('reshape', [seen], { shape: [experts, count, dim(1)] });
      const own = b.one('transpose', [one(b, 'mul', stack, mask)], { perm: [0, 2, 1] });
      return one(b, 'matmul', own, stack);
    },
  },
  group_norm: {
    doc: 'Σ ‖x_g‖₂ of each group of a value [.., groups, n]',
    rowRank: 2,
    sum: (b, [x], lead) => sumOver(b, one(b, 'sqrt', sumOver(b, square(b, x as Value), [-1])), lead),
  },
  projected_norm: {
    doc: 'Σ ‖W_g x_g‖₂ of each group of a value [.., groups, n], W [out, groups·n] being what reads it',
    rowRank: 2,
    sum: (b, [x, w]) => projectedNorms(b, x as Value, w as Value),
  },
  softmax: {
    doc: 'Σ softmax(x) of each channel',
    rowRank: 1,
    sum: (b, [x], lead) => sumOver(b, one(b, 'softmax', x as Value), lead),
  },
  cosine: {
    doc: 'Σ cos(x, y) over rows',
    rowRank: 1,
    sum: (b, [x, y]) => {
      const dot = sumOver(b, one(b, 'mul', x as Value, y as Value), [-1]);
      const lengths = [x, y].map((v) => sumOver(b, square(b, v as Value), [-1])) as [Value, Value];
      return total(b, one(b, 'div', dot, one(b, 'sqrt', one(b, 'mul', ...lengths))));
    },
  },
  reciprocal_rms: {
    doc: 'Σ 1 / sqrt(mean(x²) + eps) over rows',
    rowRank: 1,
    sum: (b, [x], _lead, eps) => total(b, reciprocalRms(b, x as Value, eps)),
  },
  scaled_square: {
    doc: 'Σ x² / sqrt(mean(x²) + eps) of each channel',
    rowRank: 1,
    sum: (b, [x], lead, eps) =>
      sumOver(b, one(b, 'mul', square(b, x as Value), reciprocalRms(b, x as Value, eps)), lead),
  },
  moment: {
    doc: 'Σ x yᵀ, a matrix: the Gram matrix when x is y',
    rowRank: 1,
    sum: (b, [x, y]) => moment(b, x as Value, y as Value),
  },
  normed_moment: {
    doc: 'Σ x xᵀ / (mean(u²) + eps), the Gram matrix of x behind a norm of u',
    rowRank: 1,
    sum: (b, [x, u], _lead, eps) => {
      const scaled = one(b, 'mul', x as Value, reciprocalRms(b, u as Value, eps));
      return moment(b, scaled, scaled);
    },
  },
} as const satisfies Record<string, StatisticDecl>;

export type StatisticName = keyof typeof statistics;

/** The sum over all axes but the first and the last. */
function keepEnds(b: FuncBuilder, x: Value): Value {
  const { length } = x.type.shape;
  return length === 2
    ? x
    : sumOver(
        b,
        x,
        Array.from({ length: length - 2 }, (_, i) => i + 1),
      );
}

/** Rows added up by expert: a matrix product with the rows' experts as unit vectors. */
function byExpert(b: FuncBuilder, x: Value, index: Value, w: Value): Value {
  return one(b, 'matmul', expertUnits(b, index, w), asMatrix(b, x));
}

/** 1 where a place of the index names an expert: [experts, places]. */
function expertUnits(b: FuncBuilder, index: Value, w: Value): Value {
  const [experts] = w.type.shape as [Dim];
  const all = b.one('iota', [], { length: experts, dtype: 'i32' });
  const column = b.one('reshape', [all], { shape: [experts, dim(1)] });
  const flat = b.one('reshape', [index], { shape: [dim(1), productOfDims(index.type.shape)] });
  return b.one('cast', [one(b, 'eq', column, flat)], { dtype: 'f32' });
}

/** How often each expert sees each row of x [T, n], which index [T, k] sends to k experts, or x [T, k, n]. */
function expertMask(b: FuncBuilder, x: Value, index: Value, w: Value): Value {
  const units = expertUnits(b, index, w);
  if (x.type.shape.length > index.type.shape.length) return units;
  const [experts] = units.type.shape as [Dim];
  return sumOver(b, b.one('reshape', [units], { shape: [experts, ...index.type.shape] }), [-1]);
}

/** How a statistic of several calls follows from those of each. */
export const combinations = {
  add: (a: number, b: number): number => a + b,
  min: Math.min,
  max: Math.max,
} as const;

export function combinationOf(statistic: StatisticName): keyof typeof combinations {
  const { combine }: StatisticDecl = statistics[statistic];
  return combine ?? 'add';
}

/** Each group's part of a linear layer that reads all groups, without the sum over groups. */
function projectedNorms(b: FuncBuilder, x: Value, w: Value): Value {
  const [groups, size] = x.type.shape.slice(-2) as [Dim, Dim];
  const rows = productOfDims(x.type.shape.slice(0, -2));
  const [out] = w.type.shape as [Dim];
  const heads = b.one('transpose', [b.one('reshape', [x], { shape: [rows, groups, size] })], {
    perm: [1, 0, 2],
  });
  const parts = b.one('transpose', [b.one('reshape', [w], { shape: [out, groups, size] })], {
    perm: [1, 2, 0],
  });
  return sumOver(b, one(b, 'sqrt', sumOver(b, square(b, one(b, 'matmul', heads, parts)), [-1])), [1]);
}

export interface Probe {
  /** The name under which the pass finds the result; unique among the probes of a step. */
  readonly key: string;
  readonly module: Module;
  /** The function that makes `values`. */
  readonly func: string;
  readonly values: readonly Value[];
  readonly statistic: StatisticName;
  /** For statistics that divide by a root mean square. */
  readonly eps?: number | undefined;
  /** Keep the statistic of each timestep as well. */
  readonly byTimestep?: boolean | undefined;
  /** Look at every n-th call only, the last one among them; all by default. */
  readonly every?: number | undefined;
}

/** A statistic after the data was seen. */
export interface Observation {
  readonly rows: number;
  /** For a probe in a loop: the source index of each turn. */
  readonly indices: readonly number[] | undefined;
  /** One array per turn, or a single one; extremes for statistics that are no sums. */
  readonly sums: readonly Float64Array[];
  /** The same of each timestep, in sampling order (descending), for a probe that asked for it. */
  readonly steps?: readonly StepObservation[] | undefined;
}

export interface StepObservation {
  readonly timestep: number;
  readonly rows: number;
  readonly sums: readonly Float64Array[];
}

export type Statistics = ReadonlyMap<string, Observation>;

/** The sums of a probe in the turn with a source index; undefined when the loop has no such turn. */
export function sumsAt(observation: Observation, index: number): Float64Array | undefined {
  const turn = observation.indices?.indexOf(index) ?? 0;
  return observation.sums[turn];
}

/** How many rows one call adds, in terms of run-time symbols. */
export function rowsOf({ values, statistic }: Probe): Dim {
  const shape = (values[0] as Value).type.shape;
  return productOfDims(shape.slice(0, shape.length - statistics[statistic].rowRank));
}

export interface ProbedModule {
  readonly module: Module;
  /** Names of the states that hold the sums, in the order of the probes. */
  readonly states: readonly string[];
}

/** The part of a module that an entry needs for these probes and for its outputs, which are dropped unless kept. */
export function probedModule(
  module: Module,
  entry: string,
  probes: readonly Probe[],
  outputs: 'dropped' | 'kept' = 'dropped',
): ProbedModule {
  const reached = reachable(module, entry);
  const byFunction = Map.groupBy(
    probes.map((probe, i) => ({ probe, state: `probe.${i}` })),
    ({ probe }) => probe.func,
  );
  const states = new Map(module.states);
  const functions = [...module.functions.values()].filter(({ name }) => reached.has(name));
  const probed = functions.map((func) => {
    const added = (byFunction.get(func.name) ?? []).map(({ probe, state }) =>
      measure(module, func, probe, state),
    );
    for (const { state, decl } of added) states.set(state, decl);
    const body = [...func.body, ...added.flatMap((a) => a.ops)];
    const isDropped = func.name === entry && outputs === 'dropped';
    return isDropped ? { ...func, body, results: [], outputs: [] } : { ...func, body };
  });
  const whole: Module = { ...module, states, functions: new Map(probed.map((f) => [f.name, f])) };
  return { module: dce.run(whole, {}).module, states: probes.map((_, i) => `probe.${i}`) };
}

function reachable(module: Module, entry: string): Set<string> {
  const reached = new Set<string>();
  const visit = (name: string): void => {
    if (reached.has(name)) return;
    reached.add(name);
    for (const op of module.functions.get(name)?.body ?? []) calleesOf(op).forEach(visit);
  };
  visit(entry);
  return reached;
}

/** Ops that add a statistic to its state. */
function measure(
  module: Module,
  func: Func,
  probe: Probe,
  state: string,
): { state: string; decl: State; ops: Func['body'] } {
  const plain = new FuncBuilder(func.name, moduleScope(module, func.loop));
  const { rowRank, sum } = statistics[probe.statistic] as StatisticDecl;
  const [first] = probe.values as [Value];
  const lead = first.type.shape.slice(0, first.type.shape.length - rowRank).map((_, axis) => axis);
  const value = sum(plain, probe.values, lead, probe.eps ?? 0);
  const decl: State = { type: value.type, loop: func.loop };
  const scope = moduleScope({ ...module, states: new Map([...module.states, [state, decl]]) }, func.loop);
  const builder = new FuncBuilder(func.name, scope);
  // Calls start from zero, which is no extreme: extremes of calls are combined by who reads them.
  const isSum = combinationOf(probe.statistic) === 'add';
  const total = isSum ? builder.one('add', [builder.one('state_read', [], { name: state }), value]) : value;
  builder.emit('state_write', [total], { name: state });
  return { state, decl, ops: [...plain.body, ...builder.body] };
}
