/** On a trained model rounding for its output takes a good part off the error, on noises that it was not calibrated on. */
import { openModel } from 'hew';
import { expect, test } from 'vitest';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { calibrateOnSamples } from '../../compiler/diffusion-calibration.js';
import { evaluateDiffusion, traceReference } from '../../compiler/evaluate/diffusion.js';
import { loadModule } from '../../compiler/in-memory.js';
import { ObservationCache } from '../../compiler/observation-cache.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';

test('dit-1m in W4A8', async () => {
  const opened = openModel({ spec: 'examples/dit-1m/model.hew' });
  const module = runPipeline(opened.module, parsePipeline(standardPipeline)).module;
  const { source } = opened;
  const data = await calibrateOnSamples(module, source, { samples: 6, steps: 20 });
  const cache = new ObservationCache();
  const reference = await loadModule(module, source);
  const settings = { seed: 77, steps: 20, trajectories: 2 };
  const trace = await traceReference(reference, settings);
  const errorOf = async (more: string): Promise<number> => {
    const pipeline = `htg{scale=max},quantize{scheme=w4a8,activations=token,group=64,asymmetric,rounding=gptq,act_order${more}}`;
    const { module: changed } = await runDataPipeline(module, parsePipeline(pipeline), {
      source,
      data,
      cache,
    });
    const { report } = await evaluateDiffusion(await loadModule(changed, source), reference, {
      ...settings,
      trace,
      n: 0,
    });
    return report.epsError;
  };
  const alone = await errorOf('');
  expect(await errorOf(',reconstruct=block')).toBeLessThan(0.99 * alone);
  expect(await errorOf(',reconstruct=model')).toBeLessThan(0.8 * alone);
  opened.close();
});
