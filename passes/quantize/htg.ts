/**
 * htg (HTG, arXiv 2503.06930; §2 of the reference): centres and balances the inputs of linear layers of a diffusion
 * transformer. The centre of each channel moves with the timestep: shifts are held for groups of timesteps, found by
 * merging neighbours. Exact: shift and scale move into the layers before and behind.
 */
import { fail } from '../../ir/diagnostics.js';
import { definePass, option } from '../pass.js';
import { planSites, siteProbes } from './site-plan.js';
import {
  balancedScale,
  groupShifts,
  groupSteps,
  groupStepsWithLast,
  type MagnitudeRule,
  magnitudeRules,
  magnitudes,
  midrange,
} from './step-groups.js';

const options = {
  groups: option('int', 'groups of timesteps, each with shifts of its own', 10),
  scale: option('string', `how a channel's widths at all steps become one: ${names()}`, 'paper'),
  momentum: option('float', 'of the running average over timesteps (scale=paper)', 0.99),
  last: option('bool', 'the last step, with the least noise, is a group of its own', true),
};

function names(): string {
  return Object.keys(magnitudeRules).join(', ');
}

export const htg = definePass({
  name: 'htg',
  summary:
    'Centres and balances the inputs of linear layers of a diffusion transformer, by groups of timesteps.',
  options,
  data: {
    observe: (module) => siteProbes(module),
    run: (module, { groups, scale, momentum, last }, data) => {
      if (!Object.hasOwn(magnitudeRules, scale))
        fail('HEW6002', `htg has no scale '${scale}'`, { help: `scales: ${names()}` });
      if (!(momentum >= 0 && momentum < 1)) fail('HEW6121', `htg: momentum=${momentum} is not within 0 .. 1`);
      return planSites(module, data, ({ ranges, weightMax }) => {
        if (groups < 1 || groups > ranges.length) {
          fail(
            'HEW6121',
            `htg: ${groups} groups do not fit the ${ranges.length} timesteps of the calibration`,
          );
        }
        const shifts = ranges.map(midrange);
        const found = (last ? groupStepsWithLast : groupSteps)(shifts, groups);
        const magnitude = magnitudes(ranges, scale as MagnitudeRule, momentum);
        return {
          scale: balancedScale(magnitude, weightMax),
          groups: found,
          shifts: groupShifts(shifts, found),
        };
      });
    },
  },
});
