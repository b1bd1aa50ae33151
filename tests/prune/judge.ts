/** Runs pipelines on one of the trained models and measures what comes out, sharing calibration runs. */
import { existsSync } from 'node:fs';
import {
  type CalibrationData,
  evaluateTokens,
  figures,
  loadModule,
  type Model,
  ObservationCache,
  type OpenedModel,
  openCalibration,
  openCheckpoint,
  openModel,
  parsePipeline,
  readTokenFile,
  runDataPipeline,
  sample,
} from 'hew';
import { toFloat32 } from '../../compiler/checkpoint/dtypes.js';
import { psnr } from '../../compiler/evaluate/golden.js';

export const calibrationFile = '../shared/models/calibration.safetensors';

/** Why a model cannot be judged here. */
export function reasonToSkip(model: string): string | undefined {
  return [calibrationFile, `../shared/models/${model}/golden.safetensors`].find((file) => !existsSync(file));
}

export interface Judged {
  /** Mean NLL of the evaluation windows, of a language model. */
  readonly nll: number;
  /** Of a diffusion model: ‖eps − golden eps‖ / ‖golden eps‖, and PSNR in dB of DDIM-20 against golden samples. */
  readonly eps: number;
  readonly psnr: number;
  readonly parameters: number;
  readonly seconds: number;
}

export interface Judge {
  /** What a pipeline makes of the model. */
  run(pipeline: string): Promise<Judged>;
  close(): void;
}

type Measure = (model: Model) => Promise<Pick<Judged, 'nll' | 'eps' | 'psnr'>>;

interface Kind {
  calibrate(model: OpenedModel): Promise<CalibrationData>;
  measure(golden: string): Measure;
}

const languageModel: Kind = {
  calibrate: (model) => openCalibration(model, calibrationFile),
  measure: (golden) => {
    const windows = readTokenFile(golden, { tensor: 'eval_tokens' });
    return async (model) => ({ nll: evaluateTokens(model, windows).nll, eps: Number.NaN, psnr: Number.NaN });
  },
};

const diffusionModel: Kind = {
  calibrate: (model) => openCalibration(model, 'sample:16,steps=10'),
  measure: (golden) => {
    const read = tensorsOf(golden);
    const [x, t, y, eps, noise, classes, samples] = (
      ['x', 't', 'y', 'eps', 'noise', 'noise_y', 'ddim20_cfg1.5'] as const
    ).map((name) => read(name)) as [Float32Array, ...Float32Array[]];
    // Half of the golden samples are enough to compare by.
    const drawnCount = (classes?.length ?? 0) / 2;
    const part = (values: Float32Array | undefined): Float32Array =>
      (values ?? new Float32Array()).slice(0, ((values?.length ?? 0) / (classes?.length ?? 1)) * drawnCount);
    const given = { x, t: Int32Array.from(t ?? []), y: Int32Array.from(y ?? []) };
    return async (model) => {
      const found = model.run('denoise', given, { outputs: ['eps'] }).eps as Float32Array;
      const settings = { classes: Array.from(part(classes)), steps: 20, guidance: 1.5, noise: part(noise) };
      const drawn = await sample(model, settings);
      return {
        nll: Number.NaN,
        eps: relativeError(found, eps ?? []),
        psnr: psnr(drawn.data, part(samples), 2),
      };
    };
  },
};

function tensorsOf(path: string): (name: string) => Float32Array {
  const checkpoint = openCheckpoint(path);
  return (name) => {
    const info = checkpoint.tensors.get(name);
    if (info === undefined) throw new Error(`${path} has no tensor ${name}`);
    return toFloat32(info.dtype, checkpoint.read(name));
  };
}

/** ‖a − b‖ / ‖b‖ */
function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [error, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    error += ((a[i] as number) - (b[i] as number)) ** 2;
    size += (b[i] as number) ** 2;
  }
  return Math.sqrt(error / size);
}

/** Weights in float32, as the golden figures were measured. */
export function openJudge(name: string): Judge {
  const folder = `../shared/models/${name}`;
  const weights = `${folder}/model.safetensors`;
  const kind = name.startsWith('dit') ? diffusionModel : languageModel;
  const model = openModel({ spec: `examples/${name}/model.hew`, weights, weightsDtype: 'f32' });
  const { module, source } = model;
  const measure = kind.measure(`${folder}/golden.safetensors`);
  const cache = new ObservationCache();
  let data: Promise<CalibrationData> | undefined;
  return {
    run: async (pipeline) => {
      const started = performance.now();
      data ??= kind.calibrate(model);
      const settings = { source, data: await data, cache };
      const pruned = (await runDataPipeline(module, parsePipeline(pipeline), settings)).module;
      const quality = await measure(await loadModule(pruned, source, { relaxed: true }));
      const { parameters } = figures(pruned);
      return { ...quality, parameters, seconds: (performance.now() - started) / 1000 };
    },
    close: () => model.close(),
  };
}
