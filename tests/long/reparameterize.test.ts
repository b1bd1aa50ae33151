/**
 * htg on a trained model over a whole schedule of 50 steps: with quantizers off it computes what it did, for every
 * number of groups from 1 to 50 at every timestep; groups are contiguous and cover all steps.
 */
import { openModel } from 'hew';
import { beforeAll, expect, test } from 'vitest';
import type { CalibrationData } from '../../compiler/calibration.js';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { calibrateOnSamples } from '../../compiler/diffusion-calibration.js';
import { loadModule } from '../../compiler/in-memory.js';
import { ObservationCache } from '../../compiler/observation-cache.js';
import type { Module } from '../../ir/module.js';
import { parsePipeline, runPipeline, type StepReport } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import { relativeError } from '../quantize/relative-error.js';

const steps = 50;
const timeout = 600_000;
const opened = openModel({ spec: 'examples/dit-1m/model.hew' });
const { source } = opened;
const { module } = runPipeline(opened.module, parsePipeline(standardPipeline));
const cache = new ObservationCache();
let data: CalibrationData;

beforeAll(async () => {
  data = await calibrateOnSamples(module, source, { samples: 2, steps });
}, timeout);

const shifted = (groups: number) =>
  runDataPipeline(module, parsePipeline(`htg{groups=${groups}}`), { source, data, cache });

interface Site {
  /** First and last timestep of every group in every turn. */
  readonly turns: readonly { readonly groups: readonly (readonly [number, number])[] }[];
}

test(
  'exact at every timestep for every number of groups, which are contiguous and cover all steps',
  async () => {
    const run = async (judged: Module): Promise<Float32Array[]> => {
      const model = await loadModule(judged, source, { optimize: false });
      return data.calls.map(
        ({ inputs }) => model.run('denoise', inputs, { outputs: ['eps'] }).eps as Float32Array,
      );
    };
    const wanted = await run(module);
    for (let groups = 1; groups <= steps; groups++) {
      const { module: changed, reports } = await shifted(groups);
      const found = await run(changed);
      const worst = Math.max(...found.map((eps, i) => relativeError(eps, wanted[i] as Float32Array)));
      expect(worst, `${groups} groups`).toBeLessThanOrEqual(1e-5);
      const [{ details }] = reports as [StepReport];
      const { schedule, sites } = details as { schedule: number[]; sites: Site[] };
      expect(schedule).toHaveLength(steps);
      for (const turn of sites.flatMap(({ turns }) => turns)) {
        expect(turn.groups).toHaveLength(groups);
        const covered = turn.groups.flatMap(([first, last]) =>
          schedule.slice(schedule.indexOf(first), schedule.indexOf(last) + 1),
        );
        expect(covered).toEqual(schedule);
      }
    }
  },
  timeout,
);
