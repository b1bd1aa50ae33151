/** Runs pipelines on one of the trained models and measures what comes out, sharing calibration runs. */
import { existsSync } from 'node:fs';
import {
  evaluateTokens,
  figures,
  loadModule,
  ObservationCache,
  openModel,
  parsePipeline,
  readCalibration,
  readTokenFile,
  runDataPipeline,
} from 'hew';

export const calibrationFile = '../shared/models/calibration.safetensors';

/** Why a model cannot be judged here. */
export function reasonToSkip(model: string): string | undefined {
  return [calibrationFile, `../shared/models/${model}/golden.safetensors`].find((file) => !existsSync(file));
}

export interface Judge {
  /** Evaluation NLL after a pipeline, the number of parameters, and seconds taken. */
  run(pipeline: string): Promise<{ nll: number; parameters: number; seconds: number }>;
  close(): void;
}

/** Weights in float32, as the golden figures were measured. */
export function openJudge(name: string): Judge {
  const folder = `../shared/models/${name}`;
  const weights = `${folder}/model.safetensors`;
  const model = openModel({ spec: `examples/${name}/model.hew`, weights, weightsDtype: 'f32' });
  const { module, source } = model;
  const data = readCalibration(module, calibrationFile);
  const windows = readTokenFile(`${folder}/golden.safetensors`, { tensor: 'eval_tokens' });
  const cache = new ObservationCache();
  return {
    run: async (pipeline) => {
      const started = performance.now();
      const pruned = (await runDataPipeline(module, parsePipeline(pipeline), { source, data, cache })).module;
      const { nll } = evaluateTokens(await loadModule(pruned, source, { relaxed: true }), windows);
      return { nll, parameters: figures(pruned).parameters, seconds: (performance.now() - started) / 1000 };
    },
    close: () => model.close(),
  };
}
