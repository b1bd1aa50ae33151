/**
 * clap: cross-layer attention pruning (Pangu Light, arXiv 2505.20155; §3 of the reference). It follows a prune of
 * layers: KV groups of a removed layer compete with those of the layer before it, and the best become its attention.
 * A group moves as a unit: its key and value rows, the query rows of its heads, and the columns of o_proj. One weight may
 * make q, k and v, as in diffusion transformers; its three parts are cut alike.
 *
 * What the paper leaves open: K is the group count of the layer that stays; a run of removed layers competes as one
 * list; a run without a layer before it (layer 0) is removed plainly and reported; the bias of o_proj is the
 * recipient's. Only the moved weights change, so the module's types and functions stay as they are.
 */
import { fail } from '../ir/diagnostics.js';
import { type Dim, evalDim, nameOf } from '../ir/dim.js';
import { type Module, modelDims, type Param, type Value } from '../ir/module.js';
import type { Recipe } from '../ir/recipe.js';
import { definePass, option, type PassData, type Surroundings } from './pass.js';
import { type Probe, sumsAt } from './probe.js';
import { layoutsOf } from './prune/axis-layout.js';
import { expandIndices, sizeOfDim } from './prune/prune-dim.js';
import { greatest, groupMeans } from './prune/scores.js';
import { constantRecipe, opRecipe, recipeAt, scaleRecipe, widen } from './recipes.js';
import { type Attention, type Norm, observedStructure, structureOf } from './structure.js';

const options = {
  score: option(
    'string',
    'score of a head: paper (its output), projected (its output through o_proj)',
    'paper',
  ),
  normalise: option('bool', 'divide scores by the mean of their layer before layers compete', false),
  gamma: option('bool', 'correct moved q, k, v for the gain of the norm they were trained under', false),
};

interface Options {
  readonly score: string;
  readonly normalise: boolean;
  readonly gamma: boolean;
}

const statisticOf: Readonly<Record<string, 'group_norm' | 'projected_norm'>> = {
  paper: 'group_norm',
  projected: 'projected_norm',
};

export const clap = definePass({
  name: 'clap',
  kind: 'approximate',
  summary: 'Gives the attention groups of removed layers to the layers before them, where they matter more.',
  options,
  notAfter: { 'absorb-post-norm': 'moved groups change what the absorbed constants were measured on' },
  data: { observe, run: (module, given, data) => run(module, given, data) },
});

function observe(_module: Module, { score }: Options, { original }: Surroundings): Probe[] {
  const statistic = statisticOf[score];
  if (statistic === undefined) {
    return fail('HEW6002', `clap has no score '${score}'`, {
      help: `scores: ${Object.keys(statisticOf).join(', ')}`,
    });
  }
  return observedStructure(original).attentions.map(({ func, result, o }, i) => ({
    key: `heads.${i}`,
    module: original,
    func,
    values: score === 'paper' ? [result] : [result, o.op.operands[1] as Value],
    statistic,
  }));
}

/** A removed run of turns and the turn before it, as source indices; the recipient is undefined at the start. */
interface Run {
  readonly recipient: number | undefined;
  readonly removed: readonly number[];
}

function removedRuns(all: readonly number[], kept: readonly number[]): Run[] {
  const runs: { recipient: number | undefined; removed: number[] }[] = [];
  all.forEach((index, turn) => {
    if (kept.includes(index)) return;
    const before = all[turn - 1];
    if (before === undefined || kept.includes(before)) runs.push({ recipient: before, removed: [index] });
    else runs.at(-1)?.removed.push(index);
  });
  return runs;
}

function run(module: Module, given: Options, data: PassData) {
  const { original } = data;
  const structure = observedStructure(original);
  const attentions = structure.attentions.filter(({ loop }) => loop !== undefined);
  if (attentions.length === 0)
    fail('HEW6010', 'clap found no attention in a loop', { notes: [...structure.skipped] });
  let current = module;
  const notes: string[] = [];
  const details: unknown[] = [];
  let moved = 0;
  attentions.forEach((attention, i) => {
    const loop = attention.loop as string;
    const before = original.loops.get(loop)?.indices ?? [];
    const runs = removedRuns(before, current.loops.get(loop)?.indices ?? []);
    if (runs.length > 0) requireUncut(module, original, attention);
    for (const { recipient, removed } of runs) {
      if (recipient === undefined) {
        notes.push(`layers ${removed.join(', ')} of ${loop} have no layer before them: removed plainly`);
        continue;
      }
      const choice = chooseGroups(attention, `heads.${i}`, [recipient, ...removed], given, data);
      const foreign = choice.filter(({ index }) => index !== recipient);
      details.push({ loop, recipient, removed, groups: choice });
      notes.push(
        `layer ${recipient} takes ${foreign.map((c) => `group ${c.group} of layer ${c.index}`).join(', ') || 'nothing'}`,
      );
      moved += foreign.length;
      if (foreign.length > 0)
        current = transplant(current, original, attention, recipient, choice, given.gamma);
    }
    if (runs.length === 0) notes.push(`no layer of ${loop} was removed: nothing to do`);
  });
  return { module: current, report: { counts: { moved }, notes, details: { moves: details } } };
}

/** A KV group of a layer. */
interface Choice {
  readonly index: number;
  readonly group: number;
}

/** The best groups of several layers, as many as one layer has; in the order of layers and groups. */
function chooseGroups(
  { kv }: Attention,
  key: string,
  layers: readonly number[],
  { normalise }: Options,
  { original, statistics }: PassData,
): Choice[] {
  const groups = sizeOfDim(original, kv);
  const observation = statistics.get(key);
  const scores = layers.flatMap((index) => {
    const heads = observation && sumsAt(observation, index);
    if (heads === undefined) throw new Error(`no head scores of layer ${index}`);
    const own = Array.from(groupMeans(heads, groups));
    const mean = own.reduce((sum, s) => sum + s, 0) / own.length;
    return normalise ? own.map((s) => s / mean) : own;
  });
  return greatest(scores, groups).map((at) => ({
    index: layers[Math.floor(at / groups)] as number,
    group: at % groups,
  }));
}

/** How the axis of a projection that ranges over heads is cut: `parts` times all groups, each of `block` rows. */
interface Slice {
  readonly param: string;
  readonly axis: number;
  /** One, or three where one weight makes q, k and v. */
  readonly parts: number;
  readonly block: number;
  /** The gain of the norm that the weight reads is corrected along this axis. */
  readonly corrected?: number;
}

function slicesOf(original: Module, attention: Attention): Slice[] {
  const { q, k, v, o, heads, kv } = attention;
  const hd = headSize(original, attention);
  const perGroup = sizeOfDim(original, heads) / sizeOfDim(original, kv);
  const written: Slice = { param: o.weight, axis: 1, parts: 1, block: perGroup * hd };
  const fused = new Set([q.weight, k.weight, v.weight]).size;
  if (fused === 1) return [...fusedSlices(original, attention), written];
  if (fused !== 3) {
    fail('HEW6010', `clap cannot tell the heads of q, k and v apart in weight ${q.weight}`, {
      help: 'q, k and v have weights of their own, or share one that holds equal parts of all three',
    });
  }
  const made = [
    { projection: q, block: perGroup * hd },
    { projection: k, block: hd },
    { projection: v, block: hd },
  ].flatMap(({ projection: { weight, bias }, block }): Slice[] => [
    { param: weight, axis: 0, parts: 1, block, corrected: 1 },
    ...(bias === undefined ? [] : [{ param: bias, axis: 0, parts: 1, block }]),
  ]);
  return [...made, written];
}

/** One weight for q, k and v: its rows are laid out as the reshape that splits them says. */
function fusedSlices(original: Module, { q, heads, kv }: Attention): Slice[] {
  const [layout, ...others] = layoutsOf(original, q.weight, 0);
  const at = layout?.findIndex((factor) => nameOf(factor) === heads) ?? -1;
  if (layout === undefined || others.length > 0 || at < 0 || heads !== kv) {
    return fail('HEW6010', `clap cannot tell the heads of q, k and v apart in weight ${q.weight}`, {
      help: 'a weight that makes all three holds as many heads of each, split by one reshape',
    });
  }
  const env = modelDims(original);
  const product = (factors: readonly Dim[]): number =>
    factors.reduce((n, factor) => n * evalDim(factor, env), 1);
  const cut = { axis: 0, parts: product(layout.slice(0, at)), block: product(layout.slice(at + 1)) };
  return [
    { param: q.weight, ...cut, corrected: 1 },
    ...(q.bias === undefined ? [] : [{ param: q.bias, ...cut }]),
  ];
}

function headSize(original: Module, { result }: Attention): number {
  const name = result.type.shape.at(-1)?.terms[0]?.factors[0];
  return name === undefined ? fail('HEW6010', 'clap needs heads of a named size') : sizeOfDim(original, name);
}

/** The module whose turn `recipient` has the chosen groups as its attention. */
function transplant(
  module: Module,
  original: Module,
  attention: Attention,
  recipient: number,
  choice: readonly Choice[],
  gamma: boolean,
): Module {
  const params = new Map(module.params);
  const groups = sizeOfDim(original, attention.kv);
  const norm = gamma ? normBefore(original, attention) : undefined;
  for (const slice of slicesOf(original, attention)) {
    const param = module.params.get(slice.param) as Param;
    const layers = [...new Set([recipient, ...choice.map(({ index }) => index)])].sort((a, b) => a - b);
    const parts = layers.map((index) => correctedPart(original, slice, index, recipient, norm));
    const positions = Array.from({ length: slice.parts }, (_, part) =>
      choice.flatMap(({ index, group }) => {
        const at = (layers.indexOf(index) * slice.parts + part) * groups + group;
        return expandIndices([at], 1, groups * slice.parts * layers.length, slice.block);
      }),
    ).flat();
    const axisDim = param.type.shape[slice.axis];
    const index = constantRecipe('i32', axisDim === undefined ? [] : [axisDim], positions);
    const joined = opRecipe('gather', [opRecipe('concat', parts, { axis: slice.axis }), index], {
      axis: slice.axis,
    });
    params.set(slice.param, { ...param, recipe: replaceTurn(module, param, recipient, joined) });
  }
  return { ...module, params };
}

/** A removed layer's weights are those of the original module, so nothing else may have been cut since. */
function requireUncut(module: Module, original: Module, attention: Attention): void {
  const cut = slicesOf(original, attention).find(({ param }) => {
    const [now, before] = [module, original].map((m) => m.params.get(param)?.recipe);
    return now !== before && now?.kind !== 'per_index';
  });
  const counts = loopCounts(module);
  const smaller = [...module.dims.keys()].find(
    (name) => !counts.has(name) && module.dims.get(name) !== original.dims.get(name),
  );
  if (cut === undefined && smaller === undefined) return;
  fail('HEW6009', `clap cannot move groups: ${smaller ?? cut?.param} was cut after layers were removed`, {
    help: 'write clap directly after the prune of layers, and cut other dimensions after it',
  });
}

function loopCounts(module: Module): Set<string> {
  return new Set([...module.loops.values()].flatMap(({ count }) => count.terms.flatMap((t) => t.factors)));
}

function correctedPart(
  original: Module,
  { param: name, corrected }: Slice,
  index: number,
  recipient: number,
  norm: Norm | undefined,
): Recipe {
  const param = original.params.get(name) as Param;
  const at = (owner: Param, value: number): Recipe =>
    recipeAt(owner, original.loops.get(owner.loop ?? '')?.indices.indexOf(value) ?? 0, value);
  const part = at(param, index);
  if (norm?.gamma === undefined || corrected === undefined || index === recipient) return part;
  const gain = original.params.get(norm.gamma) as Param;
  const ratio = opRecipe('div', [widen(at(gain, index)), widen(at(gain, recipient))]);
  return scaleRecipe(part, ratio, param.type.dtype);
}

/** The norm whose result q reads. */
function normBefore(original: Module, { func, q }: Attention): Norm {
  const found = structureOf(original).norms.find((norm) => norm.func === func && norm.result === q.input);
  return found ?? fail('HEW6010', 'clap{gamma} needs a norm that q reads');
}

function replaceTurn(module: Module, param: Param, index: number, recipe: Recipe): Recipe {
  const indices = module.loops.get(param.loop ?? '')?.indices ?? [];
  const parts = indices.map((other, turn) => (other === index ? recipe : recipeAt(param, turn, other)));
  return { kind: 'per_index', parts };
}
