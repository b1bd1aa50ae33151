/**
 * absorb-post-norm (Pangu Light, arXiv 2505.20155; §5 of the reference): the RMSNorm behind a sub-layer divides by the
 * root mean square of its input; where that hardly varies a constant s̄ from calibration data takes its place,
 *
 *   γ ⊙ x / r(x)  ≈  s̄ γ ⊙ x,
 *
 * and s̄ γ is folded into the rows of the linear layers that write x: the norm costs nothing any more. An
 * approximation, so the constants, their spread and what was left alone are reported. In a mixture of experts every
 * expert and the shared expert are scaled; router weights are linear factors and stay.
 */
import { mapFunctions, rewriteFunc } from '../../ir/builder.js';
import { fail } from '../../ir/diagnostics.js';
import { dim } from '../../ir/dim.js';
import { defOf, type Func, type Module, type Param, type Value } from '../../ir/module.js';
import type { Recipe } from '../../ir/recipe.js';
import { scalarType } from '../../ir/type.js';
import { dce } from '../dce.js';
import { definePass, option, type PassData } from '../pass.js';
import { type Probe, sumsAt } from '../probe.js';
import { constantRecipe, opRecipe, recipeAt, scaleRecipe, turnsOf, widen } from '../recipes.js';
import { type Norm, observedStructure, structureOf } from '../structure.js';
import { constantRules, type NormSums, spreadOf } from './constants.js';
import { readersOf, type Writer, writersOf } from './writers.js';

const options = {
  constant: option('string', `what stands for 1/RMS: ${Object.keys(constantRules).join(', ')}`, 'mean'),
  sites: option('string', 'which post-norms: all, attention, mlp', 'all'),
  share: option(
    'float',
    'share of the norms to absorb, those first that cost least on the calibration data',
    1,
  ),
  max_nll: option(
    'float',
    'absorb norms, cheapest first, while the calibration NLL rises by no more; 0 is no limit',
    0,
  ),
};

interface Options {
  readonly constant: string;
  readonly sites: string;
  readonly share: number;
  readonly max_nll: number;
}

export const absorbPostNorm = definePass({
  name: 'absorb-post-norm',
  kind: 'approximate',
  summary: 'Replaces post-norms by constants from calibration data, folded into the layers before them.',
  options,
  data: {
    observe: (module, given) => sitesOf(module, given).flatMap((site, i) => probesOf(module, site, i)),
    run: (module, given, data) => run(module, given, data),
  },
});

/** A post-norm by its gain; one norm in each turn of its loop. */
interface Site {
  readonly gamma: string;
  readonly norm: Norm;
}

function sitesOf(module: Module, { sites, constant }: Options): Site[] {
  if (!Object.hasOwn(constantRules, constant)) {
    fail('HEW6002', `absorb-post-norm has no constant '${constant}'`, {
      help: `constants: ${Object.keys(constantRules).join(', ')}`,
    });
  }
  if (!['all', 'attention', 'mlp'].includes(sites)) {
    fail('HEW6002', `absorb-post-norm has no sites '${sites}'`, { help: 'sites: all, attention, mlp' });
  }
  return observedStructure(module).norms.flatMap((norm) => {
    const { gamma, role, kind } = norm;
    if (role !== 'post' || kind !== 'rms_norm' || gamma === undefined) return [];
    const isAttention = dependsOn(norm.input, 'attention', norm.func, module);
    const wanted = sites === 'all' || (sites === 'attention') === isAttention;
    return wanted ? [{ gamma, norm }] : [];
  });
}

/** Post-norms that the formula does not fit: a LayerNorm subtracts the mean, and a norm without a gain has none to fold. */
function otherNorms(module: Module): string[] {
  return observedStructure(module)
    .norms.filter(({ role, kind, gamma }) => role === 'post' && (kind !== 'rms_norm' || gamma === undefined))
    .map(
      ({ kind, func }) =>
        `a ${kind} behind a branch of @${func} is left: only an RMSNorm with a gain can be absorbed`,
    );
}

/** Whether an op of that name is behind a value, before the stream is reached. */
function dependsOn(value: Value, name: string, func: string, module: Module): boolean {
  const stop = new Set(
    structureOf(module)
      .norms.filter((n) => n.func === func && n.role === 'pre')
      .map((n) => n.result),
  );
  const seen = new Set<Value>();
  const visit = (current: Value): boolean => {
    if (seen.has(current) || stop.has(current)) return false;
    seen.add(current);
    const op = defOf(current);
    return op !== undefined && (op.name === name || op.operands.some(visit));
  };
  return visit(value);
}

function probesOf(module: Module, { norm }: Site, i: number): Probe[] {
  const { func, input, eps } = norm;
  return (['reciprocal_rms', 'square', 'scaled_square'] as const).map((statistic) => ({
    key: `${statistic}.${i}`,
    module,
    func,
    values: [input],
    statistic,
    eps,
  }));
}

/** One norm of one turn: what is absorbed or left. */
interface Candidate {
  readonly site: Site;
  readonly turn: number;
  readonly index: number;
  readonly constant: number | Float64Array;
  /** Whether the norm's gain is kept. */
  readonly gain: boolean;
  readonly spread: number;
}

async function run(module: Module, given: Options, data: PassData) {
  const sites = sitesOf(module, given);
  if (sites.length === 0) {
    const notes = ['the model has no post-norms: nothing to absorb', ...otherNorms(module)];
    return { module, report: { counts: { absorbed: 0, left: 0 }, notes } };
  }
  checkLegal(module, sites);
  const candidates = sites.flatMap((site, i) => candidatesOf(module, site, i, given, data));
  const { chosen, costs } = await choose(module, candidates, given, data);
  const notes = candidates.map(
    (c) =>
      `${c.site.gamma} ${c.index}: ${chosen.includes(c) ? 'absorbed' : 'left'}, constant ${typeof c.constant === 'number' ? c.constant.toPrecision(4) : 'by channel'}, spread ${c.spread.toFixed(3)}`,
  );
  notes.push(...otherNorms(module));
  return {
    module: absorb(module, chosen),
    report: {
      counts: { absorbed: chosen.length, left: candidates.length - chosen.length },
      notes,
      details: {
        norms: candidates.map((c) => ({
          gamma: c.site.gamma,
          index: c.index,
          absorbed: chosen.includes(c),
          constant: typeof c.constant === 'number' ? c.constant : Array.from(c.constant),
          spread: c.spread,
          nll: costs.get(c),
        })),
      },
    },
  };
}

/** HEW6010 with every reason when the norm of some function cannot be folded. */
function checkLegal(module: Module, sites: readonly Site[]): void {
  const problems = sites.flatMap(({ gamma }) => {
    const norms = normsWith(module, gamma);
    const found = norms.map((norm) => writersOf(module.functions.get(norm.func) as Func, norm.input));
    const reasons = found.filter((writers) => typeof writers === 'string');
    if (reasons.length > 0) return [`the norm of ${gamma} cannot be absorbed: ${reasons[0]}`];
    const writers = found.flat() as Writer[];
    const shared = writers.find(
      ({ param }) => readersOf(module, param) !== writers.filter((w) => w.param === param).length,
    );
    return shared === undefined
      ? []
      : [`the norm of ${gamma} cannot be absorbed: weight ${shared.param} has another reader`];
  });
  const [first, ...others] = problems;
  if (first === undefined) return;
  fail('HEW6010', first, { notes: others });
}

function normsWith(module: Module, gamma: string): Norm[] {
  return structureOf(module).norms.filter((norm) => norm.gamma === gamma);
}

function candidatesOf(
  module: Module,
  site: Site,
  i: number,
  { constant }: Options,
  data: PassData,
): Candidate[] {
  const find = (name: string) => {
    const observation = data.statistics.get(`${name}.${i}`);
    if (observation === undefined) throw new Error(`statistic ${name}.${i} was not observed`);
    return observation;
  };
  const [reciprocal, square, scaled] = [find('reciprocal_rms'), find('square'), find('scaled_square')];
  const { loop, eps } = site.norm;
  return (turnsOf(module, loop) ?? []).map((index, turn) => {
    const sums: NormSums = {
      rows: reciprocal.rows,
      eps,
      reciprocal: (sumsAt(reciprocal, index) as Float64Array)[0] as number,
      square: sumsAt(square, index) as Float64Array,
      scaled: sumsAt(scaled, index) as Float64Array,
    };
    const rule = constantRules[constant] as (typeof constantRules)[string];
    const value = rule.of(sums);
    return {
      site,
      turn,
      index,
      constant: value,
      gain: rule.withoutGain !== true,
      spread: spreadOf(sums, value),
    };
  });
}

interface Chosen {
  readonly chosen: readonly Candidate[];
  /** Calibration NLL with one norm alone absorbed. */
  readonly costs: ReadonlyMap<Candidate, number>;
}

/** All of them, or those that cost least when absorbed alone, as far as the limits allow. */
async function choose(
  module: Module,
  candidates: readonly Candidate[],
  given: Options,
  data: PassData,
): Promise<Chosen> {
  const costs = new Map<Candidate, number>();
  const { share, max_nll: limit } = given;
  if (!(share > 0 && share <= 1)) fail('HEW6008', `absorb-post-norm: share=${share} is not between 0 and 1`);
  if (share === 1 && limit === 0) return { chosen: candidates, costs };
  for (const candidate of candidates) costs.set(candidate, await data.evaluate(absorb(module, [candidate])));
  const cheapest = candidates.toSorted((a, b) => (costs.get(a) as number) - (costs.get(b) as number));
  const most = cheapest.slice(0, Math.round(share * candidates.length));
  if (limit === 0) return { chosen: most, costs };
  return { chosen: await withinLimit(module, most, limit, data), costs };
}

/** The longest list of cheapest norms whose joint cost is within the limit, found by bisection. */
async function withinLimit(
  module: Module,
  cheapest: readonly Candidate[],
  limit: number,
  data: PassData,
): Promise<Candidate[]> {
  const base = await data.evaluate(module);
  let [low, high] = [0, cheapest.length];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    const nll = await data.evaluate(absorb(module, cheapest.slice(0, middle)));
    if (nll - base <= limit) low = middle;
    else high = middle - 1;
  }
  return cheapest.slice(0, low);
}

/** The module without the chosen norms. */
function absorb(module: Module, chosen: readonly Candidate[]): Module {
  let current = module;
  for (const [gamma, own] of Map.groupBy(chosen, ({ site }) => site.gamma))
    current = absorbSite(current, gamma, own);
  return dce.run(current, {}).module;
}

function absorbSite(module: Module, gamma: string, chosen: readonly Candidate[]): Module {
  const loop = chosen[0]?.site.norm.loop;
  const turns = turnsOf(module, loop)?.length ?? 0;
  const norms = normsWith(module, gamma);
  const writers = norms.flatMap(
    (norm) => writersOf(module.functions.get(norm.func) as Func, norm.input) as Writer[],
  );
  const axes = new Map(writers.map(({ param, axis }) => [param, axis]));
  const gain = module.params.get(gamma) as Param;
  const params = new Map(module.params);
  for (const [name, axis] of axes) {
    const param = module.params.get(name) as Param;
    params.set(name, {
      ...param,
      recipe: scaleRecipe(param.recipe, factorOf(module, gain, param, axis, chosen), param.type.dtype),
    });
  }
  const flag = `${gamma}.absorbed`;
  const isPartial = chosen.length < turns;
  if (isPartial) {
    const bits = Array.from({ length: turns }, (_, turn) =>
      constantRecipe('bool', [], [Number(chosen.some((c) => c.turn === turn))]),
    );
    params.set(flag, { type: scalarType('bool'), loop, recipe: { kind: 'per_index', parts: bits } });
  }
  const ops = new Set(norms.map(({ op }) => op as unknown));
  return mapFunctions({ ...module, params }, (func, scope) => {
    if (!norms.some((norm) => norm.func === func.name)) return func;
    return rewriteFunc(func, scope, (op, operands, builder) => {
      if (!ops.has(op)) return undefined;
      const [x] = operands as [Value];
      if (!isPartial) return [x];
      const kept = builder.one('rms_norm', operands, op.attrs);
      return [builder.one('where', [builder.one('param', [], { name: flag }), x, kept])];
    });
  });
}

/** s̄ γ along the output channels of a weight, in each turn; 1 where the norm stays. */
function factorOf(
  module: Module,
  gain: Param,
  weight: Param,
  axis: number,
  chosen: readonly Candidate[],
): Recipe {
  const [channels] = gain.type.shape;
  if (channels === undefined) throw new Error('a gain has an axis');
  const indices = turnsOf(module, gain.loop) ?? [];
  const ones = dim(1);
  const trailing = weight.type.shape.slice(axis + 1).map(() => ones);
  const parts = indices.map((index, turn) => {
    const own = chosen.find((c) => c.turn === turn);
    if (own === undefined || !own.gain)
      return opRecipe('full', [], { value: 1, dtype: 'f32', shape: [channels, ...trailing] });
    const constant =
      typeof own.constant === 'number'
        ? constantRecipe('f32', [], [own.constant])
        : constantRecipe('f32', [channels], own.constant);
    const scaled = opRecipe('mul', [widen(recipeAt(gain, turn, index)), constant]);
    return trailing.length === 0 ? scaled : opRecipe('reshape', [scaled], { shape: [channels, ...trailing] });
  });
  return { kind: 'per_index', parts };
}
