/**
 * Reconstruction of blocks: weights are rounded so that the output of the block they are in, or of the whole model, stays
 * near that of the unquantized one (as BRECQ does, arXiv 2102.05426, without gradients of weights). The curvature of
 * that is measured for each layer as a Kronecker factor of its outputs (output-factors.ts), with which GPTQ and its search
 * work on both sides (as in arXiv 2505.22988). It holds to second order, so every block is judged by being run: it is
 * reconstructed only where that lowers the error of calls that nothing was found from.
 */
import { fail } from '../../ir/diagnostics.js';
import { type Dim, evalDim } from '../../ir/dim.js';
import { dimRange, type Module, modelDims, type Value } from '../../ir/module.js';
import { elementCount, evalShape } from '../../ir/type.js';
import type { DataCalls, PassData, PassResult } from '../pass.js';
import { type Place, streamEnds } from '../refit/segment.js';
import type { Carried } from '../refit/stream.js';
import { firstStream, indicesOf, placeOf } from '../refit/walk.js';
import type { Layer } from './layers.js';
import { type Objective, tokenObjective, valueObjective } from './objective.js';
import {
  type Factors,
  factorsOfBlocks,
  factorsOfModel,
  outputsFrom,
  streamsOf,
  throughTurn,
} from './output-factors.js';
import { type LayerChoices, quantizeLayers } from './quantize-layers.js';
import { gptqRounder, type Rounder, usesGram } from './quantize-weights.js';
import type { Settings } from './scheme.js';

/** Calls that factors are measured on, and that blocks are judged on. */
const callsMeasured = 32;
const callsJudged = 8;
/** Bytes that the streams of all calls and turns, and outputs with their cotangents, may take. */
const carriedBytes = 2 ** 30;

/** What became of one block. */
export interface BlockChange {
  readonly turn: number;
  /** Error of what is judged on calls held out, as each layer alone is rounded best and with the block as a whole. */
  readonly before: number;
  readonly after: number;
  readonly kept: boolean;
  /** Of measuring, rounding and judging, beyond rounding each layer for itself. */
  readonly milliseconds: number;
}

export async function reconstructBlocks(
  module: Module,
  layers: readonly Layer[],
  settings: Settings,
  data: PassData,
  choices: LayerChoices,
): Promise<PassResult> {
  const place = placeOf(module, data);
  const own = layers.filter((layer) => isReconstructed(layer, place, settings));
  const { measured, judged } = await divideCalls(place, settings, data);
  const isModel = settings.reconstruct === 'model';
  const plain = remembered(gptqRounder(settings, data));
  const before = quantizeLayers(module, layers, settings, data, { ...choices, round: plain });
  const started = performance.now();
  const factors = await measureFactors(place, own, before.module, isModel, withCalls(data, measured));
  const turns = indicesOf(place);
  const whole = remembered(gptqRounder(settings, data, ({ weight }, turn) => factors[turn]?.get(weight)));
  const isOwn = new Set(own);
  const round = (kept: (turn: number) => boolean): Rounder => {
    return (w, layer, scheme, turn) =>
      (isOwn.has(layer) && kept(turn) ? whole : plain)(w, layer, scheme, turn);
  };
  const after = quantizeLayers(module, layers, settings, data, { ...choices, round: round(() => true) });
  const share = (performance.now() - started) / Math.max(turns.length, 1);
  const judge = await judgeOf(place, isModel, withCalls(data, judged));
  const changes: BlockChange[] = [];
  for (const turn of turns.keys()) {
    const began = performance.now();
    const [plainError, wholeError] = [await judge(before.module, turn), await judge(after.module, turn)];
    const milliseconds = share + performance.now() - began;
    const kept = wholeError < plainError;
    changes.push({ turn, before: plainError, after: wholeError, kept, milliseconds });
  }
  const keptAt = (turn: number): boolean => changes[turn]?.kept === true;
  const result = quantizeLayers(module, layers, settings, data, { ...choices, round: round(keptAt) });
  return withBlocks(result, place, settings, changes);
}

const isReconstructed = (layer: Layer, { stream }: Place, settings: Settings): boolean =>
  layer.kind === 'linear' &&
  layer.place === 'body' &&
  layer.observed.func.name === stream.func &&
  usesGram(layer, settings);

/** Each weight is rounded once, however often it is asked for. */
function remembered(round: Rounder): Rounder {
  const known = new Map<string, ReturnType<Rounder>>();
  return (w, layer, scheme, turn) => {
    const key = `${turn} ${layer.weight}`;
    if (!known.has(key)) known.set(key, round(w, layer, scheme, turn));
    return known.get(key);
  };
}

const withCalls = (data: PassData, calls: DataCalls['calls']): PassData => ({
  ...data,
  calibration: { ...data.calibration, calls },
});

type Calls = DataCalls['calls'];

/**
 * Calls to measure on and calls to judge by, spread over all, the last among the former. Those to judge by are of the
 * calls that no Gram matrix was made of, as far as there are any.
 */
async function divideCalls(
  place: Place,
  { every }: Settings,
  data: PassData,
): Promise<{ readonly measured: Calls; readonly judged: Calls }> {
  const { calls } = data.calibration;
  if (calls.length < 2) {
    fail('HEW6011', 'one call of calibration cannot both tell how to reconstruct blocks and judge it', {
      help: 'give more calibration data, or leave reconstruct out',
    });
  }
  const last = calls.length - 1;
  const others = calls.slice(0, last);
  const unseen = others.filter((_, i) => (last - i) % every !== 0);
  const judged = spread(unseen.length === 0 ? others : unseen, Math.min(callsJudged, Math.ceil(last / 4)));
  const held = new Set(judged);
  const rest = calls.filter((call) => !held.has(call));
  const measured = Math.min(callsMeasured, await callsThatFit(place, data));
  return { measured: spread(rest, measured), judged };
}

/** As many as asked for, at even distances, the last among them. */
function spread(calls: Calls, wanted: number): Calls {
  const count = Math.min(wanted, calls.length);
  return Array.from(
    { length: count },
    (_, i) => calls[Math.ceil(((i + 1) * calls.length) / count) - 1] as Calls[number],
  );
}

/** How many calls like the last fit into memory, at least one. */
async function callsThatFit(place: Place, data: PassData): Promise<number> {
  const [last] = await firstStream(place, withCalls(data, data.calibration.calls.slice(-1)));
  const { dims } = place.module;
  const most = new Map([...dims.keys()].map((name) => [name, dimRange(place.module, name).max]));
  const sizeOf = ({ type }: Value): number => elementCount(evalShape(type.shape, most));
  const [output] = place.entry.results as [Value];
  const stream = sizeOf(streamEnds(place).first);
  const values = stream * (indicesOf(place).length + 1) + 3 * sizeOf(output);
  const share = (last as Float32Array).length / stream;
  return Math.max(1, Math.floor(carriedBytes / (share * values * Float32Array.BYTES_PER_ELEMENT)));
}

function objectiveOf({ module, entry }: Place, isModel: boolean, { calibration }: PassData): Objective {
  if (!isModel || calibration.windows === undefined) return valueObjective;
  const [output] = entry.results as [Value];
  return tokenObjective(evalDim(output.type.shape.at(-1) as Dim, modelDims(module)));
}

/** Factors of each turn. What calls weigh depends on the errors that `present` has in them. */
async function measureFactors(
  place: Place,
  layers: readonly Layer[],
  present: Module,
  isModel: boolean,
  data: PassData,
): Promise<readonly Factors[]> {
  const objective = objectiveOf(place, isModel, data);
  const streams = await streamsOf(place, data);
  if (!isModel)
    return factorsOfBlocks(place, layers, streams, (wanted) => objective.cotangents(wanted, undefined), data);
  const start = objective.weighsCalls ? await wholeOutputs(placeOf(present, data), data) : undefined;
  return factorsOfModel(place, layers, streams, (wanted) => objective.cotangents(wanted, start), data);
}

const wholeOutputs = async (place: Place, data: PassData): Promise<Carried> =>
  outputsFrom(place, 0, await firstStream(place, data), data);

/** The error that a module makes in one turn when all else is unquantized. */
async function judgeOf(
  place: Place,
  isModel: boolean,
  data: PassData,
): Promise<(module: Module, turn: number) => Promise<number>> {
  const objective = objectiveOf(place, isModel, data);
  const streams = await streamsOf(place, data);
  const last = streams.length - 1;
  const wanted = isModel ? await outputsFrom(place, last, streams[last] as Carried, data) : undefined;
  return async (module, turn) => {
    const own = { ...placeOf(module, data), turn };
    const found = await throughTurn(own, streams[turn] as Carried, data);
    if (wanted === undefined) return objective.loss(streams[turn + 1] as Carried, found);
    return objective.loss(wanted, await outputsFrom(place, turn + 1, found, data));
  };
}

function withBlocks(
  result: PassResult,
  { stream }: Place,
  settings: Settings,
  changes: readonly BlockChange[],
): PassResult {
  const { counts = {}, notes = [], details = {} } = result.report ?? {};
  const judged = settings.reconstruct === 'model' ? 'the model' : 'the block';
  const told = changes.map(
    ({ turn, before, after, kept, milliseconds }) =>
      `${stream.loop} ${turn}: error of ${judged} on calls held out ${before.toPrecision(3)}, reconstructed ${after.toPrecision(3)}${kept ? '' : ', left as it was'} (${(milliseconds / 1000).toFixed(1)} s)`,
  );
  return {
    ...result,
    report: {
      counts: { ...counts, reconstructed: changes.filter(({ kept }) => kept).length },
      notes: [...notes, ...told],
      details: { ...details, blocks: changes },
    },
  };
}
