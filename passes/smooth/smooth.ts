/**
 * smooth (SmoothQuant, arXiv 2211.10438, equation 4): channels in which activations are large are divided by
 * s_j = max|X_j|^α / max|W_j|^(1-α) and the weights that read them are multiplied by it, so that both are easier to
 * quantize. Exact: 1/s goes into the norm before (gains and shifts), into V for the layer behind attention, and into
 * the ungated layer for the one behind a gate.
 */
import { mapFunctions, rewriteFunc } from '../../ir/builder.js';
import { fail } from '../../ir/diagnostics.js';
import { type Dim, dim } from '../../ir/dim.js';
import type { Module, Param } from '../../ir/module.js';
import { tensorType } from '../../ir/type.js';
import { definePass, option, type PassData, type PassResult } from '../pass.js';
import type { Observation, Probe } from '../probe.js';
import { constantRecipe, opRecipe, perTurn, turnsOf, widen } from '../recipes.js';
import { type SmoothSite, smoothSites } from './smooth-sites.js';

const options = {
  alpha: option('float', 'how much of the difficulty moves from activations to weights, 0 .. 1', 0.5),
  linear: option(
    'bool',
    'also move scales into linear layers: v_proj for o_proj, up_proj for down_proj',
    true,
  ),
  edges: option('bool', 'also at the ends of the model, outside of loops', false),
};

/** Below this a magnitude counts as this: dead channels get a finite scale. */
const magnitudeFloor = 1e-5;

export const smooth = definePass({
  name: 'smooth',
  summary: 'Moves large channels of activations into the weights that read them (SmoothQuant).',
  options,
  notAfter: {
    quantize: 'weights are integers then',
    'quantize-kv': 'caches of values are integers then',
  },
  data: {
    observe: (module, given) => chosenSites(module, given).flatMap((site) => probesOf(module, site)),
    run: (module, given, data) => run(module, given, data),
  },
});

type Options = { readonly alpha: number; readonly linear: boolean; readonly edges: boolean };

function chosenSites(module: Module, { linear, edges }: Options): SmoothSite[] {
  const { sites } = smoothSites(module);
  return sites.filter(({ kind, loop }) => (linear || kind === 'norm') && (edges || loop !== undefined));
}

const keyOf = ({ params }: SmoothSite, input: number, side: string): string =>
  `${side} ${params[0]} ${input}`;

function probesOf(module: Module, site: SmoothSite): Probe[] {
  return site.observed.flatMap(({ func, input }, i) =>
    (['minimum', 'maximum'] as const).map((statistic) => ({
      key: keyOf(site, i, statistic),
      module,
      func,
      values: [input],
      statistic,
    })),
  );
}

function run(module: Module, given: Options, data: PassData): PassResult {
  const { alpha } = given;
  if (!(alpha >= 0 && alpha <= 1)) fail('HEW6121', `smooth: alpha=${alpha} is not within 0 .. 1`);
  const { skipped } = smoothSites(module);
  const sites = chosenSites(module, given);
  if (sites.length === 0)
    fail('HEW6010', 'the model has no norm or linear layer that could take over a scale', { notes: skipped });
  // Linear layers first: their rows decide the scales of the norms before them.
  const order = [...sites].sort((a, b) => Number(a.kind === 'norm') - Number(b.kind === 'norm'));
  let params = module.params;
  const notes: string[] = [];
  order.forEach((site, done) => {
    const current = { ...module, params };
    const turns = (turnsOf(module, site.loop) ?? [undefined]).map((_, turn) =>
      scaleOf(current, site, site.loop === undefined ? undefined : turn, alpha, data),
    );
    params = scaled(current, site, turns);
    const all = turns.flatMap((scale) => [...scale]);
    notes.push(
      `${site.params[0]} / s, ${[...site.readers.keys()].join(', ')} · s: s from ${Math.min(...all).toPrecision(3)} to ${Math.max(...all).toPrecision(3)}`,
    );
    data.progress(done + 1, sites.length);
  });
  return {
    module: withParams(module, params),
    report: {
      counts: { sites: sites.length, skipped: skipped.length },
      notes: [...notes, ...skipped.map((reason) => `left alone: ${reason}`)],
    },
  };
}

/** s of each channel in one turn. */
function scaleOf(
  module: Module,
  site: SmoothSite,
  turn: number | undefined,
  alpha: number,
  data: PassData,
): Float64Array {
  const activation = new Float64Array(site.channels);
  const raise = (most: Float64Array, channel: number, value: number): void => {
    most[channel] = Math.max(most[channel] as number, Math.abs(value));
  };
  site.observed.forEach(({ channels }, i) => {
    for (const side of ['minimum', 'maximum']) {
      const { sums } = data.statistics.get(keyOf(site, i, side)) as Observation;
      const extreme = sums[turn ?? 0] as Float64Array;
      channels.forEach((channel, column) => {
        raise(activation, channel, extreme[column] as number);
      });
    }
  });
  const weight = new Float64Array(site.channels);
  for (const [name, channels] of site.readers) {
    if (site.routers.has(name) && site.routers.size < site.readers.size) continue;
    data.weight(module, name, turn).data.forEach((value, i) => {
      raise(weight, channels[i % channels.length] as number, value);
    });
  }
  return activation.map(
    (most, j) =>
      Math.max(most, magnitudeFloor) ** alpha / Math.max(weight[j] as number, magnitudeFloor) ** (1 - alpha),
  );
}

/** The parameters of a site with its scales [turn][channel]. */
function scaled(
  module: Module,
  site: SmoothSite,
  turns: readonly Float64Array[],
): ReadonlyMap<string, Param> {
  const params = new Map(module.params);
  const change = (name: string, axis: number, of: (scale: Float64Array) => Float64Array): void => {
    const param = params.get(name) as Param;
    const { shape } = param.type;
    const along = (axis + shape.length) % shape.length;
    const factorShape = shape.map((size, i): Dim => (i === along ? size : dim(1)));
    const factors = turns.map((scale) => constantRecipe('f32', factorShape, of(scale)));
    const recipe = opRecipe('mul', [widen(param.recipe), perTurn(factors, site.loop === undefined)]);
    params.set(name, { ...param, type: tensorType('f32', shape), recipe });
  };
  for (const name of site.params) change(name, 0, (scale) => scale.map((s) => 1 / s));
  for (const [name, channels] of site.readers)
    change(name, -1, (scale) => Float64Array.from(channels, (channel) => scale[channel] as number));
  return params;
}

/** Parameters whose type has changed are read anew. */
function withParams(module: Module, params: ReadonlyMap<string, Param>): Module {
  return mapFunctions({ ...module, params }, (func, scope) => {
    const isChanged = (name: string): boolean => params.get(name) !== module.params.get(name);
    if (!func.body.some((op) => op.name === 'param' && isChanged(op.attrs.name))) return func;
    return rewriteFunc(func, scope, (op, _operands, builder) =>
      op.name === 'param' && isChanged(op.attrs.name) ? [builder.one('param', [], op.attrs)] : undefined,
    );
  });
}
