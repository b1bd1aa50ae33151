/** The score `obs`: what it costs to do without an index when the layer that reads it is solved again. */
import { dim, evalDim } from '../../ir/dim.js';
import { modelDims } from '../../ir/module.js';
import type { Projection, Structure } from '../structure.js';
import { removalCosts } from './removal-cost.js';
import type { ScoreRule, Site } from './scores.js';

/**
 * Second moments of what a dense layer that writes to the stream reads; behind it may stand a norm, which divides the
 * error of each token by the root mean square of the layer's output.
 */
function momentSites({ norms }: Structure, layers: readonly Reading[]): Site[] {
  return layers
    .filter(({ reader }) => reader.op.name === 'linear')
    .map((layer) => {
      const { input, output } = layer.reader;
      const norm = norms.find(({ role, input: normed }) => role === 'post' && normed === output);
      return norm === undefined
        ? { ...layer, values: [input, input], statistic: 'moment' }
        : { ...layer, norm, values: [input, norm.input], statistic: 'normed_moment' };
    });
}

/** A linear layer whose inputs are ranked, `width` of them to an index. */
type Reading = Pick<Site, 'func' | 'loop' | 'width'> & { readonly reader: Projection };

export function obs(
  doc: string,
  layers: (structure: Structure, name: string) => readonly Reading[],
): ScoreRule {
  return {
    doc,
    sites: (structure, name) => momentSites(structure, layers(structure, name)),
    finish: (sums, site, turn, module, data) => {
      const { weight } = site.reader as Projection;
      const { data: values, shape } = data.weight(module, weight, turn);
      const [, inputs] = shape as [number, number];
      const gamma = site.norm?.gamma;
      const gain = gamma === undefined ? undefined : data.weight(module, gamma, turn).data;
      const weights = values.map((value, i) => value * (gain?.[Math.floor(i / inputs)] ?? 1));
      const block = evalDim(site.width ?? dim(1), modelDims(module));
      return removalCosts({ gram: sums, weights, inputs, block });
    },
  };
}
