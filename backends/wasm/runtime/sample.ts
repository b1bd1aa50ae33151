/**
 * Sampling of diffusion models. By convention entry `denoise` takes `x` [B, ...] (the noisy samples), `t`
 * [B] (timesteps) and, for class-conditional models, `y` [B] (classes), and returns `eps`, the noise it
 * sees in x; where eps has twice the channels of x (a learned variance), only the first half is used.
 */
import { createBreather } from './breathe.js';
import { type DType, dtypes, type TypedArray, viewOf } from './dtype.js';
import { listNames, refuse } from './errors.js';
import type { DiffusionSampler, EntryInfo, ModelInfo, TensorSlot } from './manifest.js';
import type { Inputs, Outputs } from './model.js';
import { createRandom, normalNoise, type Random } from './rng.js';
import { alphaBars, type SamplingMethod, type StepBars, stepRules, timesteps } from './schedule.js';
import { type Dimension, symbolsOf } from './shape.js';

export interface SampleOptions {
  /** The class of each sample to draw. Unconditional models use only the number of classes given. */
  readonly classes: readonly number[];
  readonly method?: SamplingMethod;
  /** Sampling steps; 50 by default (at most the steps of the schedule). */
  readonly steps?: number;
  /** Classifier-free guidance (Ho and Salimans, 2022): eps_null + g (eps_class - eps_null); 1 is none. */
  readonly guidance?: number;
  /** Seed of the noise; 0 by default. */
  readonly seed?: number;
  /** The noise to start from, [n, ...], instead of noise from the seed. */
  readonly noise?: Float32Array;
  /** Predicted samples are clamped to -clip..clip; the bundle's by default; null for no clamping. */
  readonly clip?: number | null;
  readonly onProgress?: (done: number, total: number) => void;
  /** Told of every call of the model behind it. All samples of a call are at the timestep. */
  readonly onCall?: (inputs: Inputs, timestep: number, outputs: Outputs) => void;
  readonly signal?: AbortSignal;
}

/** What a sampler needs of a model: a loaded one, or one that takes its time to run. */
export interface SampledModel {
  readonly manifest: ModelInfo;
  readonly entries: Readonly<Record<string, EntryInfo>>;
  entry(name: string): EntryInfo;
  run(
    name: string,
    inputs: Inputs,
    options?: { readonly outputs?: readonly string[] },
  ): Outputs | Promise<Outputs>;
}

export interface Samples {
  /** Row-major. */
  readonly data: Float32Array;
  /** [n, ...], as the model's `x`. */
  readonly shape: readonly number[];
}

interface Process extends Required<Omit<DiffusionSampler, 'kind'>> {}

const defaults: Process = {
  steps: 1000,
  schedule: 'linear',
  beta_start: 1e-4,
  beta_end: 0.02,
  predict: 'epsilon',
  clip: 1,
  null_class: null,
};

/**
 * Draws one sample per class. The result depends only on model and options, not on how the batch is split.
 * @throws LoadError HEW7008 when the bundle has no diffusion model, HEW7011 for a bad setting.
 */
export async function sample(model: SampledModel, options: SampleOptions): Promise<Samples> {
  const process = processOf(model);
  const denoiser = describeDenoiser(model);
  const {
    classes,
    method = 'ddim',
    guidance = 1,
    seed = 0,
    clip = process.clip,
    onProgress,
    onCall,
    signal,
  } = options;
  checkSettings(model, process, denoiser, options);
  const bars = alphaBars(process);
  const schedule = timesteps(process.steps, options.steps ?? Math.min(50, process.steps));
  const random = createRandom(seed);
  const shape = [classes.length, ...denoiser.sampleShape];
  const x = Float64Array.from(startNoise(options.noise, shape, random));
  const breathe = createBreather();

  for (const [index, t] of schedule.entries()) {
    await breathe();
    signal?.throwIfAborted();
    const nullClass = process.null_class;
    const eps = await guidedNoise(model, denoiser, { x, t, classes, guidance, nullClass, onCall });
    const next = schedule[index + 1];
    const stepBars = { bar: bars[t] ?? 1, nextBar: next === undefined ? 1 : (bars[next] ?? 1) };
    step(x, eps, stepBars, method, clip, random);
    onProgress?.(index + 1, schedule.length);
  }
  return { data: Float32Array.from(x), shape };
}

function processOf(model: SampledModel): Process {
  const { sampler } = model.manifest;
  if (sampler?.kind !== 'diffusion') {
    refuse(
      'HEW7008',
      'the bundle declares no diffusion sampler',
      "add 'sampler diffusion { … }' to the spec",
    );
  }
  const process = { ...defaults, ...sampler };
  if (process.predict !== 'epsilon') {
    refuse('HEW7011', `the model predicts '${process.predict}'; only 'epsilon' can be sampled`);
  }
  return process;
}

function checkSettings(
  model: SampledModel,
  process: Process,
  denoiser: Denoiser,
  options: SampleOptions,
): void {
  const { classes, method = 'ddim', guidance = 1, clip } = options;
  if (classes.length === 0) refuse('HEW7011', 'no classes are given, so there is nothing to sample');
  const wrong = classes.find((id) => !Number.isSafeInteger(id) || id < 0 || id >= 2 ** 31);
  if (wrong !== undefined) refuse('HEW7011', `${wrong} is not a class`);
  if (!Object.hasOwn(stepRules, method)) {
    refuse('HEW7011', `unknown method '${method}'; there are ${listNames(Object.keys(stepRules))}`);
  }
  if (!Number.isFinite(guidance)) refuse('HEW7011', `guidance ${guidance} is not a number`);
  if (clip !== undefined && clip !== null && !(clip > 0)) refuse('HEW7011', `clip ${clip} is not positive`);
  if (guidance !== 1 && (denoiser.y === undefined || process.null_class === null)) {
    refuse(
      'HEW7008',
      `'${model.manifest.name}' has no null class, which guidance ${guidance} needs`,
      'use guidance 1, or declare null_class in the sampler of the spec',
    );
  }
}

/** The noise that `sample` starts `count` samples from. */
export function noiseFromSeed(model: SampledModel, count: number, seed: number): Float32Array {
  processOf(model);
  return normalNoise(createRandom(seed), count * describeDenoiser(model).sampleSize);
}

function startNoise(noise: Float32Array | undefined, shape: readonly number[], random: Random): Float32Array {
  const count = shape.reduce((product, size) => product * size, 1);
  if (noise === undefined) return normalNoise(random, count);
  if (noise.length !== count) {
    refuse('HEW7011', `the noise has ${noise.length} elements, but [${shape.join(', ')}] has ${count}`);
  }
  return noise;
}

/**
 * Moves x (in place) one step towards the data. The noise is recomputed from the clamped sample, so that
 * both stay consistent with x.
 */
function step(
  x: Float64Array,
  eps: Float64Array,
  bars: StepBars,
  method: SamplingMethod,
  clip: number | null,
  random: Random,
): void {
  const { toStart, toNoise, toX, sigma } = stepRules[method](bars);
  const signal = Math.sqrt(bars.bar);
  const spread = Math.sqrt(1 - bars.bar);
  const limit = clip ?? Number.POSITIVE_INFINITY;
  for (let i = 0; i < x.length; i++) {
    const value = x[i] ?? 0;
    const predicted = (value - spread * (eps[i] ?? 0)) / signal;
    const start = Math.max(-limit, Math.min(limit, predicted));
    const noise = spread === 0 ? 0 : (value - signal * start) / spread;
    x[i] = toStart * start + toNoise * noise + toX * value + (sigma > 0 ? sigma * random.normal() : 0);
  }
}

// --- The model's side ---

interface Denoiser {
  readonly t: TensorSlot;
  readonly y: TensorSlot | undefined;
  /** Shape of one sample. */
  readonly sampleShape: readonly number[];
  readonly sampleSize: number;
  readonly minBatch: number;
  readonly maxBatch: number;
}

function describeDenoiser(model: SampledModel): Denoiser {
  if (!Object.hasOwn(model.entries, 'denoise')) {
    refuse('HEW7008', `the bundle has no entry 'denoise'; it has ${listNames(Object.keys(model.entries))}`);
  }
  const { inputs } = model.entry('denoise');
  const input = (name: string): TensorSlot | undefined => inputs.find((slot) => slot.name === name);
  const [x, t, y] = [input('x'), input('t'), input('y')];
  if (x === undefined || x.dtype !== 'f32' || t === undefined) {
    refuse('HEW7008', "entry 'denoise' does not take 'x' in f32 and 't'");
  }
  const [batch, ...rest] = x.shape;
  const sampleShape = rest.filter((dimension) => typeof dimension === 'number');
  if (batch === undefined || sampleShape.length !== rest.length) {
    refuse('HEW7008', "entry 'denoise' takes samples whose size is not fixed");
  }
  const sampleSize = sampleShape.reduce((product, size) => product * size, 1);
  return { t, y, sampleShape, sampleSize, ...batchBounds(model, batch) };
}

function batchBounds(model: SampledModel, batch: Dimension): { minBatch: number; maxBatch: number } {
  if (typeof batch === 'number') return { minBatch: batch, maxBatch: batch };
  const [symbol] = symbolsOf([batch]);
  const bounds = symbol === undefined ? undefined : model.manifest.symbols[symbol];
  if (bounds === undefined || bounds.max < 1) refuse('HEW7008', "entry 'denoise' takes no samples");
  return { minBatch: bounds.min, maxBatch: bounds.max };
}

interface NoiseRequest {
  readonly x: Float64Array;
  readonly t: number;
  readonly classes: readonly number[];
  readonly guidance: number;
  readonly nullClass: number | null;
  readonly onCall: SampleOptions['onCall'];
}

/** One item of a batch: which sample, and under which class. */
interface BatchItem {
  readonly sample: number;
  readonly label: number;
}

/**
 * The noise in x, guided: both predictions of a sample are in one batch of 2n, so that guidance costs no
 * second call, unless the batch has to be split.
 */
async function guidedNoise(
  model: SampledModel,
  denoiser: Denoiser,
  request: NoiseRequest,
): Promise<Float64Array> {
  const { classes, guidance, nullClass } = request;
  const conditional = classes.map((label, sample): BatchItem => ({ sample, label }));
  if (guidance === 1 || nullClass === null) return predictNoise(model, denoiser, request, conditional);
  const unconditional = classes.map((_, sample): BatchItem => ({ sample, label: nullClass }));
  const both = await predictNoise(model, denoiser, request, [...conditional, ...unconditional]);
  const eps = new Float64Array(both.length / 2);
  for (let i = 0; i < eps.length; i++) {
    const [withClass, without] = [both[i] ?? 0, both[i + eps.length] ?? 0];
    eps[i] = without + guidance * (withClass - without);
  }
  return eps;
}

/** [items, sample size]; as few calls as the bound of the batch allows. */
async function predictNoise(
  model: SampledModel,
  denoiser: Denoiser,
  request: NoiseRequest,
  items: readonly BatchItem[],
): Promise<Float64Array> {
  const { sampleSize, maxBatch } = denoiser;
  const eps = new Float64Array(items.length * sampleSize);
  for (let start = 0; start < items.length; start += maxBatch) {
    const part = items.slice(start, start + maxBatch);
    const found = await predictBatch(model, denoiser, request, part);
    const stride = found.length / Math.max(part.length, denoiser.minBatch);
    for (let item = 0; item < part.length; item++) {
      eps.set(found.subarray(item * stride, item * stride + sampleSize), (start + item) * sampleSize);
    }
  }
  return eps;
}

/** One call; a batch below the least the model takes is filled up with zeros. */
async function predictBatch(
  model: SampledModel,
  denoiser: Denoiser,
  { x, t, onCall }: NoiseRequest,
  items: readonly BatchItem[],
): Promise<Float32Array> {
  const { sampleSize, sampleShape, minBatch } = denoiser;
  const size = Math.max(items.length, minBatch);
  const data = new Float32Array(size * sampleSize);
  items.forEach(({ sample }, index) => {
    data.set(x.subarray(sample * sampleSize, (sample + 1) * sampleSize), index * sampleSize);
  });
  const labels = Array.from({ length: size }, (_, index) => items[index]?.label ?? 0);
  const inputs = {
    x: { data, shape: [size, ...sampleShape] },
    t: numbers(denoiser.t.dtype, new Array<number>(size).fill(t)),
    ...(denoiser.y === undefined ? {} : { y: numbers(denoiser.y.dtype, labels) }),
  };
  const outputs = await model.run('denoise', inputs, { outputs: ['eps'] });
  onCall?.(inputs, t, outputs);
  const { eps } = outputs;
  if (!(eps instanceof Float32Array) || eps.length < data.length) {
    refuse('HEW7008', "entry 'denoise' does not return 'eps' in f32 of at least the size of 'x'");
  }
  return eps;
}

/** Small integers in the dtype that the model wants them in. */
function numbers(dtype: DType, values: readonly number[]): TypedArray {
  if (dtype === 'i64') return BigInt64Array.from(values, BigInt);
  if (dtype === 'bf16' || dtype === 'bool')
    refuse('HEW7008', `timesteps and classes cannot be given in ${dtype}`);
  const array = viewOf(dtype, new ArrayBuffer(values.length * dtypes[dtype].bytes), 0, values.length);
  values.forEach((value, index) => {
    array[index] = value;
  });
  return array;
}
