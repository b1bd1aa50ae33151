/**
 * ptq4dit (PTQ4DiT, arXiv 2405.16005; §3 of the reference): balances the inputs and weights of linear layers of a
 * diffusion transformer by salience, without a shift. Exact, with the same absorption as `htg`.
 */
import { definePass } from '../pass.js';
import { calibratedSalience } from './salience.js';
import { planSites, siteProbes } from './site-plan.js';
import { balancedScale } from './step-groups.js';

export const ptq4dit = definePass({
  name: 'ptq4dit',
  summary:
    'Balances inputs and weights of linear layers of a diffusion transformer by salience (CSB and SSC).',
  data: {
    observe: (module) => siteProbes(module),
    run: (module, _options, data) =>
      planSites(module, data, ({ ranges, weightMax }) => {
        const saliences = ranges.map(({ min, max }) =>
          max.map((high, i) => Math.max(Math.abs(high), Math.abs(min[i] as number))),
        );
        return {
          scale: balancedScale(calibratedSalience(saliences, weightMax), weightMax),
          groups: [{ first: 0, end: ranges.length }],
          shifts: [new Float64Array(weightMax.length)],
        };
      }),
  },
});
