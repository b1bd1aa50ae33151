/**
 * Where the scale of channels can move from the inputs of linear layers to their weights: a gain, or rows of a linear
 * layer, take 1/s, and the columns of all that reads them take s. Sites are found by their parameters, because a
 * parameter may be read in several functions, such as those of prefill and decode.
 *
 *   norm    γ / s (and β / s)      readers of the norm: q, k and v, gate and up, routers, experts
 *   linear  rows W / s, b / s      v → attention → o,  up → gate ⊙ up → down
 */
import { evalDim } from '../../ir/dim.js';
import { defOf, type Func, type Module, modelDims, type Op, type Value } from '../../ir/module.js';
import { readersOf } from '../absorb/writers.js';
import { observedEntry, reachableFunctions, structureOf } from '../structure.js';
import { type Arrival, arrivalsOf } from './flows.js';

export interface SmoothSite {
  readonly kind: 'norm' | 'linear';
  /** Gain and shift, or weight and bias: their first axis takes 1/s. */
  readonly params: readonly string[];
  readonly loop: string | undefined;
  readonly channels: number;
  /** The channel of each column of each weight that reads them. */
  readonly readers: ReadonlyMap<string, Int32Array>;
  /** Readers whose inputs stay in float, so that their weights do not count. */
  readonly routers: ReadonlySet<string>;
  /** Inputs of readers, where statistics are taken. */
  readonly observed: readonly Arrival[];
}

export interface FoundSmoothSites {
  readonly sites: readonly SmoothSite[];
  readonly skipped: readonly string[];
}

/** An op whose parameters could take a factor, and the place in its operands where they stand. */
const sources: Readonly<
  Record<string, { readonly kind: SmoothSite['kind']; readonly params: readonly number[] }>
> = {
  rms_norm: { kind: 'norm', params: [1] },
  layer_norm: { kind: 'norm', params: [1, 2] },
  linear: { kind: 'linear', params: [1, 2] },
};

interface Source {
  readonly func: Func;
  readonly op: Op;
}

export function smoothSites(module: Module): FoundSmoothSites {
  const byParam = new Map<string, Source[]>();
  for (const func of module.functions.values()) {
    for (const op of func.body) {
      const name = paramName(op.operands[sources[op.name]?.params[0] ?? -1]);
      if (name !== undefined) byParam.set(name, [...(byParam.get(name) ?? []), { func, op }]);
    }
  }
  const sites: SmoothSite[] = [];
  const skipped: string[] = [];
  for (const [name, found] of byParam) {
    const site = siteOf(module, found);
    if (typeof site !== 'string') sites.push(site);
    else if (sources[found[0]?.op.name ?? '']?.kind === 'norm') skipped.push(`${name}: ${site}`);
  }
  return { sites, skipped };
}

function paramName(value: Value | undefined): string | undefined {
  const op = value === undefined ? undefined : defOf(value);
  return op?.name === 'param' ? op.attrs.name : undefined;
}

function siteOf(module: Module, found: readonly Source[]): SmoothSite | string {
  const [first] = found as [Source, ...Source[]];
  const { kind } = sources[first.op.name] as (typeof sources)[string];
  const params = paramsOf(first.op);
  if (params === undefined) return 'its gain or bias is computed';
  if (found.some(({ op }) => op.name !== first.op.name || String(paramsOf(op)) !== String(params)))
    return 'it is read in different ways';
  const busy = params.find((name) => readersOf(module, name) > found.length);
  if (busy !== undefined) return `${busy} has another reader`;
  const arrivals: Arrival[] = [];
  for (const { func, op } of found) {
    const reached = arrivalsOf(module, func, op.results[0] as Value);
    if (typeof reached === 'string') return reached;
    arrivals.push(...reached);
  }
  const readers = new Map(arrivals.map(({ weight, channels }) => [weight, channels]));
  if (arrivals.some(({ weight, channels }) => String(readers.get(weight)) !== String(channels)))
    return 'its readers see the channels in different orders';
  const other = [...readers.keys()].find(
    (weight) => readersOf(module, weight) > arrivals.filter((arrival) => arrival.weight === weight).length,
  );
  if (other !== undefined) return `${other} has another reader`;
  const { loop } = first.func;
  const loops = [...params, ...readers.keys()].map((name) => module.params.get(name)?.loop);
  if (loops.some((own) => own !== loop)) return 'it belongs to another loop than what reads it';
  const entry = observedEntry(module);
  const observed = entry && reachableFunctions(module, entry);
  const here = arrivals.filter(({ func }) => observed?.has(func));
  const logits = new Set(structureOf(module).routers.map((router) => defOf(router.logits)));
  const routers = arrivals.filter(({ op }) => logits.has(op)).map(({ weight }) => weight);
  const size = (first.op.results[0] as Value).type.shape.at(-1);
  return {
    kind,
    params,
    loop,
    channels: size === undefined ? 1 : evalDim(size, modelDims(module)),
    readers,
    routers: new Set(routers),
    observed: distinctInputs(here.length === 0 ? arrivals : here),
  };
}

/** Names of the parameters of a source; undefined when one of them is no parameter. */
function paramsOf(op: Op): string[] | undefined {
  const given = (sources[op.name]?.params ?? []).filter((at) => op.operands[at] !== undefined);
  const names = given.map((at) => paramName(op.operands[at]));
  return names.every((name) => name !== undefined) ? names : undefined;
}

function distinctInputs(arrivals: readonly Arrival[]): Arrival[] {
  return [...new Map(arrivals.map((arrival) => [arrival.input, arrival])).values()];
}
