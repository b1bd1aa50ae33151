/**
 * prune: fewer layers, groups, heads, neurons, experts or channels, by the names of their dimensions:
 *
 *   prune{layers=10, d=75%, ffn=-25%}
 *
 * Channels have one ranking for the whole model, because all layers share one stream; heads are ranked inside their
 * KV group, experts inside their routing group, neurons by layer (arXiv 2505.20155, §1 and §2 of the reference).
 * Scores are those of the module that the pipeline started from, as long as it still has the dimension's size.
 */
import { fail } from '../../ir/diagnostics.js';
import { nameOf } from '../../ir/dim.js';
import type { Module } from '../../ir/module.js';
import { definePass, option, type PassData, type Surroundings } from '../pass.js';
import type { Probe } from '../probe.js';
import { turnsOf } from '../recipes.js';
import { observedStructure, type Structure, structureOf } from '../structure.js';
import { expertsOwning } from './expert-neurons.js';
import { chooseLayers, influenceProbe, type LayerRequest } from './layers.js';
import { keepLoopTurns, pruneDim, type SharedKept, sizeOfDim } from './prune-dim.js';
import {
  type AxisKind,
  axisKind,
  computeScores,
  greatest,
  greatestInGroups,
  groupMeans,
  planScores,
  randomNumbers,
  type ScorePlan,
  type Scores,
  scoreProbes,
} from './scores.js';
import { checkGroups, describeIndices, keptSize } from './target.js';

const options = {
  score: option(
    'string',
    'which score ranks indices: paper, pre-norms, l2, projected, down-norm, obs, random',
    'paper',
  ),
  by: option('string', 'how layers are chosen: influence, greedy (calibration NLL), random', 'influence'),
  apart: option('int', 'least distance of two removed layers', 1),
  windows: option(
    'int',
    'windows of the calibration data, from the first, that by=greedy judges layers by; 0 is all',
    0,
  ),
  drop: option('string', 'layers to remove, such as 3+7, in place of a choice', ''),
  multiple: option('int', 'kept sizes are rounded to multiples of this; layers, heads and groups are not', 1),
  seed: option('int', 'seed of random scores', 0),
};

type Options = {
  readonly score: string;
  readonly by: string;
  readonly apart: number;
  readonly windows: number;
  readonly drop: string;
  readonly multiple: number;
  readonly seed: number;
};

export const prune = definePass({
  name: 'prune',
  kind: 'approximate',
  summary:
    'Cuts named dimensions to the indices that matter most on calibration data: prune{layers=10,d=75%,ffn=-25%}.',
  options,
  dimensionOption: option('string', 'size to keep of a dimension: 192, 75% or -25%', ''),
  notAfter: {
    'absorb-post-norm': 'absorbed constants hold for the sizes they were measured at; prune first',
  },
  data: {
    observe: (module, given, surroundings) => pruneData.observe(module, given, surroundings),
    run: (module, given, data) => pruneData.run(module, given, data),
  },
});

/** The pass with its options as they are, for passes that decide on sizes themselves. */
export const pruneData = {
  observe: (module: Module, given: Options, surroundings: Surroundings): Probe[] =>
    requestsOf(module, given).flatMap((r) => probesOf(r, module, given, surroundings)),
  run,
};

/** One dimension to cut. */
interface Request {
  readonly name: string;
  readonly kind: AxisKind;
  readonly count: number;
}

/** Axes in the order they are cut: layers first, so that nothing is ranked in a layer that goes. */
const order: readonly AxisKind[] = ['layers', 'groups', 'heads', 'experts', 'neurons', 'channels'];

/** Kinds whose sizes are not rounded. */
const unrounded: ReadonlySet<AxisKind> = new Set(['layers', 'groups', 'heads', 'experts']);

function requestsOf(module: Module, given: Options): Request[] {
  const targets = Object.entries(given).filter(([key]) => !Object.hasOwn(options, key)) as [string, string][];
  if (targets.length === 0)
    fail('HEW6002', 'prune needs a dimension to cut', { help: 'such as prune{d=75%}' });
  const structure = structureOf(module);
  const requests = targets.map(([name, target]) => {
    const size = sizeOfDim(module, name);
    const kind = axisKind(structure, name) ?? unknownKind(structure, name);
    const multiple = unrounded.has(kind) ? 1 : given.multiple;
    return { name, kind, count: keptSize(name, target, size, multiple) };
  });
  const smaller = requests.filter(({ name, count }) => count < sizeOfDim(module, name));
  return smaller.sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
}

function unknownKind(structure: Structure, name: string): never {
  const kinds = [...structure.module.dims.keys()].filter((other) => axisKind(structure, other) !== undefined);
  return fail('HEW6007', `nothing in the model shows what ${name} counts, so its indices cannot be ranked`, {
    help: `dimensions that can be pruned: ${kinds.join(', ') || 'none'}`,
    notes: structure.skipped.map((text) => `not understood: ${text}`),
  });
}

/** Scores come from the original module while it agrees with the current one about the dimension. */
function planOf(
  { name, kind }: Request,
  module: Module,
  given: Options,
  { original }: Surroundings,
): ScorePlan {
  if (kind === 'layers') throw new Error('layers are not ranked by a score rule');
  const subjects = subjectsOf(module, name, kind);
  const agrees = subjects.every(
    (subject) => sizeOrNothing(original, subject) === sizeOrNothing(module, subject),
  );
  return planScores(agrees ? original : module, name, kind, given.score);
}

/** Dimensions that the scores of one depend on. */
function subjectsOf(module: Module, name: string, kind: AxisKind): string[] {
  if (kind === 'groups') return [name, headsOf(module, name)];
  const experts = kind === 'neurons' ? expertsOwning(module, name) : undefined;
  return experts === undefined ? [name] : [name, experts];
}

function sizeOrNothing(module: Module, name: string): number | undefined {
  const decl = module.dims.get(name);
  return decl !== undefined && 'value' in decl ? decl.value : undefined;
}

function probesOf(request: Request, module: Module, given: Options, surroundings: Surroundings): Probe[] {
  if (request.kind !== 'layers') return scoreProbes(planOf(request, module, given, surroundings));
  return given.drop === '' && given.by === 'influence'
    ? [influenceProbe(module, loopCountedBy(module, request.name))]
    : [];
}

function loopCountedBy(module: Module, name: string): string {
  const found = [...module.loops].find(([, { count }]) => nameOf(count) === name);
  return found?.[0] ?? fail('HEW6007', `${name} counts no loop`);
}

function headsOf(module: Module, kv: string): string {
  const attention = structureOf(module).attentions.find((a) => a.kv === kv);
  return attention?.heads ?? fail('HEW6010', `no attention has ${kv} groups`);
}

async function run(module: Module, given: Options, data: PassData) {
  let current = module;
  const earlier: KeptEarlier = new Map();
  const notes = [...observedStructure(module).skipped];
  const details: Record<string, unknown> = {};
  const counts: Record<string, number> = {};
  for (const request of requestsOf(module, given)) {
    const before = current;
    const cut =
      request.kind === 'layers'
        ? await cutLayers(current, request, given, data)
        : cutIndices(module, current, request, given, data, earlier);
    current = cut.module;
    notes.push(...cut.notes);
    details[request.name] = cut.details;
    counts[request.name] = sizeOfDim(before, request.name) - sizeOfDim(current, request.name);
  }
  return { module: current, report: { counts, notes, details } };
}

interface Cut {
  readonly module: Module;
  readonly notes: readonly string[];
  readonly details: unknown;
}

async function cutLayers(
  module: Module,
  { name, count }: Request,
  given: Options,
  data: PassData,
): Promise<Cut> {
  const loop = loopCountedBy(module, name);
  const indices = turnsOf(module, loop) ?? [];
  const { by, apart, windows, seed } = given;
  const request: LayerRequest = { module, loop, count, by, apart, windows, seed };
  const { kept, scores } =
    given.drop === '' ? await chooseLayers(request, data) : dropped(given.drop, request);
  const gone = indices.filter((_, turn) => !kept.includes(turn));
  return {
    module: keepLoopTurns(module, loop, kept),
    notes: [`${name}: ${count} of ${indices.length} kept, removed ${describeIndices(gone) || 'none'}`],
    details: {
      kept: kept.map((turn) => indices[turn]),
      removed: gone,
      by: given.drop === '' ? by : 'given',
      scores,
    },
  };
}

function dropped(text: string, { module, loop, count }: LayerRequest): { kept: number[]; scores: number[] } {
  const indices = turnsOf(module, loop) ?? [];
  const gone = text.split('+').map(Number);
  const unknown = gone.find((index) => !indices.includes(index));
  if (unknown !== undefined)
    fail('HEW6008', `prune: drop=${text} names a layer that loop ${loop} does not have`);
  const kept = indices.flatMap((index, turn) => (gone.includes(index) ? [] : [turn]));
  if (kept.length !== count)
    fail('HEW6008', `prune: drop=${text} leaves ${kept.length} layers, not ${count}`);
  return { kept, scores: [] };
}

/**
 * What earlier cuts of the same pass have kept of other dimensions, by name and the source index of the turn: scores are
 * those of the module before them.
 */
type KeptEarlier = Map<string, ReadonlyMap<number, readonly number[]>>;

function cutIndices(
  start: Module,
  module: Module,
  request: Request,
  given: Options,
  data: PassData,
  earlier: KeptEarlier,
): Cut {
  const { name, count } = request;
  const size = sizeOfDim(module, name);
  const plan = planOf(request, start, given, data);
  const scores = plan.rule === 'random' ? randomScores(start, request, given) : computeScores(plan, data);
  const choose = selectionOf(module, request);
  const note = `${name}: ${count} of ${size} kept`;
  if (scores.loop === undefined) {
    const all = scores.byIndex.get(0) as Float64Array;
    const kept = choose(all);
    const removed = removedShare(all, kept);
    return {
      module: applyKept(module, request, { dim: name, indices: kept }),
      notes: [`${note}, ${removedText([removed])}: ${describeIndices(kept)}`],
      details: { kept, removed, scores: Array.from(all) },
    };
  }
  const { loop, experts, byIndex } = scores;
  const indices = turnsOf(module, loop) ?? [];
  const details = (kept: readonly unknown[], removed: readonly number[]) => ({
    kept: Object.fromEntries(indices.map((index, turn) => [index, kept[turn]])),
    removed: Object.fromEntries(indices.map((index, turn) => [index, removed[turn]])),
    scores: Object.fromEntries(indices.map((index) => [index, Array.from(byIndex.get(index) ?? [])])),
  });
  if (experts !== undefined) {
    const own = indices.map((index) =>
      ownScores(byIndex.get(index) as Float64Array, size, earlier.get(experts)?.get(index)),
    );
    const perExpert = own.map((lists) => lists.map(choose));
    const removed = own.map((lists, turn) =>
      meanOf(lists.map((list, e) => removedShare(list, perExpert[turn]?.[e] ?? []))),
    );
    const places = `each of ${perExpert[0]?.length} ${experts} in each of ${indices.length} turns of ${loop}`;
    return {
      module: pruneDim(module, { dim: name, loop, experts, perExpert }),
      notes: [`${note} in ${places}, ${removedText(removed, indices)}`],
      details: details(perExpert, removed),
    };
  }
  const lists = indices.map((index) => {
    const left = earlier.get(name)?.get(index);
    const all = byIndex.get(index) as Float64Array;
    const heads = left === undefined ? all : Float64Array.from(left, (at) => all[at] as number);
    return request.kind === 'groups' ? groupMeans(heads, size) : heads;
  });
  const perTurn = lists.map(choose);
  const removed = lists.map((list, turn) => removedShare(list, perTurn[turn] ?? []));
  const remember = (dimension: string, lists: readonly (readonly number[])[]): void => {
    earlier.set(dimension, new Map(indices.map((index, turn) => [index, lists[turn] as readonly number[]])));
  };
  if (request.kind === 'experts') remember(name, perTurn);
  if (request.kind === 'groups')
    remember(
      headsOf(module, name),
      perTurn.map((groups) => headsIn(module, name, groups)),
    );
  return {
    module: applyKept(module, request, { dim: name, loop, perTurn }),
    notes: [`${note} in each of ${indices.length} turns of ${loop}, ${removedText(removed, indices)}`],
    details: details(perTurn, removed),
  };
}

const meanOf = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length;

/** The part of all score that goes with the indices that are not kept. */
function removedShare(scores: ArrayLike<number>, kept: readonly number[]): number {
  const total = Array.from(scores).reduce((sum, score) => sum + score, 0);
  const left = kept.reduce((sum, index) => sum + (scores[index] as number), 0);
  return total > 0 ? 1 - left / total : 0;
}

/** `6.1 % of the score removed (2.3 % in turn 0 to 9.8 % in turn 11)` */
function removedText(shares: readonly number[], indices: readonly number[] = []): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const mean = `${percent(meanOf(shares))} of the score removed`;
  if (indices.length < 2) return mean;
  const [least, most] = [Math.min(...shares), Math.max(...shares)];
  const turn = (share: number): string => `${percent(share)} in turn ${indices[shares.indexOf(share)]}`;
  return `${mean} (${turn(least)} to ${turn(most)})`;
}

/** The scores of each expert that is left. */
function ownScores(scores: Float64Array, size: number, left: readonly number[] | undefined): Float64Array[] {
  const experts = left ?? Array.from({ length: scores.length / size }, (_, i) => i);
  return experts.map((expert) => scores.subarray(expert * size, (expert + 1) * size));
}

function randomScores(module: Module, { name, kind }: Request, { seed }: Options): Scores {
  const random = randomNumbers(seed);
  const experts = kind === 'neurons' ? expertsOwning(module, name) : undefined;
  const owners = experts === undefined ? 1 : sizeOfDim(module, experts);
  const size = sizeOfDim(module, kind === 'groups' ? headsOf(module, name) : name);
  const list = (): Float64Array => Float64Array.from({ length: owners * size }, random);
  if (kind === 'channels') return { loop: undefined, byIndex: new Map([[0, list()]]) };
  const { attentions, feedForwards, routers } = structureOf(module);
  const { loop } = [...attentions, ...feedForwards, ...routers].find((part) => part.loop !== undefined) ?? {};
  return { loop, experts, byIndex: new Map((turnsOf(module, loop) ?? [0]).map((index) => [index, list()])) };
}

/** How indices are chosen from the scores of one turn. */
function selectionOf(module: Module, { name, kind, count }: Request): (scores: Float64Array) => number[] {
  const structure = structureOf(module);
  if (kind === 'groups') {
    const groups = sizeOfDim(module, name);
    checkGroups('query heads', sizeOfDim(module, headsOf(module, name)), groups, 'KV groups');
    return (scores) => greatest(scores, count);
  }
  if (kind === 'heads') {
    const { kv } = structure.attentions.find(({ heads }) => heads === name) ?? {};
    const groups = kv === undefined || kv === name ? 1 : sizeOfDim(module, kv);
    checkGroups(name, count, groups, 'KV groups');
    return (scores) => greatestInGroups(scores, groups, count);
  }
  if (kind === 'experts') {
    const groups = structure.routers.find(({ experts }) => experts === name)?.groups ?? 1;
    checkGroups(name, count, groups, 'routing groups');
    return (scores) => greatestInGroups(scores, groups, count);
  }
  return (scores) => greatest(scores, count);
}

/** Cuts the dimension; a KV group takes its query heads with it. */
function applyKept(module: Module, { name, kind }: Request, kept: SharedKept): Module {
  if (kind !== 'groups') return pruneDim(module, kept);
  const heads = headsOf(module, name);
  const withHeads = (groups: readonly number[]): number[] => headsIn(module, name, groups);
  const headKept: SharedKept =
    'indices' in kept
      ? { dim: heads, indices: withHeads(kept.indices) }
      : { dim: heads, loop: kept.loop, perTurn: kept.perTurn.map(withHeads) };
  return pruneDim(pruneDim(module, headKept), kept);
}

/** The query heads of some KV groups. */
function headsIn(module: Module, kv: string, groups: readonly number[]): number[] {
  const perGroup = sizeOfDim(module, headsOf(module, kv)) / sizeOfDim(module, kv);
  return groups.flatMap((g) => Array.from({ length: perGroup }, (_, i) => g * perGroup + i));
}
