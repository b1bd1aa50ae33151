/**
 * How far a changed diffusion model is from the one it was made of: the noise it predicts at every timestep of the
 * reference's own trajectory, and the samples that both draw from the same noise, compared pixel by pixel and in the
 * features of a classifier.
 */
import {
  type Inputs,
  type Model,
  type Outputs,
  type Samples,
  sample,
} from '../../backends/wasm/runtime/load.js';
import { createRandom } from '../../backends/wasm/runtime/rng.js';
import { fail } from '../../ir/diagnostics.js';
import { runBatches } from './batches.js';
import { bootstrapError, frechetDistance, type Gaussian, gaussianOf } from './frechet.js';
import { psnr } from './golden.js';

export interface DiffusionEvalOptions {
  /** Samples in all, as many of each class; none compares predicted noise alone. */
  readonly n: number;
  readonly steps?: number | undefined;
  readonly guidance?: number | undefined;
  readonly seed?: number | undefined;
  /** Samples whose trajectory the predicted noise is compared on; 12 by default. */
  readonly trajectories?: number | undefined;
  /** A classifier with outputs `features` and `logits`, for distances and class accuracy. */
  readonly features?: Model | undefined;
  /** Features of real data. */
  readonly real?: Gaussian | undefined;
  /** What `traceReference` found with the same options; the outputs of blocks are not compared then. */
  readonly trace?: readonly TracedCall[] | undefined;
  /** Samples of the reference from the same seed and options, drawn earlier. */
  readonly referenceSamples?: Samples | undefined;
  readonly onProgress?: ((stage: string, done: number, total: number) => void) | undefined;
}

export interface StepError {
  readonly timestep: number;
  /** ‖ε - ε₀‖ / ‖ε₀‖ over all samples at this step. */
  readonly eps: number;
  /** The same of each block's output, if both models return them. */
  readonly blocks: readonly number[];
}

export interface Estimate {
  readonly value: number;
  /** From resampling the images; 0 where there is nothing to resample. */
  readonly standardError: number;
}

export interface FeatureFigures {
  /** Squared Fréchet distance to the reference's samples. */
  readonly toReference: Estimate;
  readonly toReal: Estimate | undefined;
  readonly referenceToReal: Estimate | undefined;
  /** Share of samples that the classifier takes for their class. */
  readonly accuracy: Estimate;
  readonly referenceAccuracy: Estimate;
}

export interface DiffusionReport {
  readonly n: number;
  readonly steps: readonly StepError[];
  /** Mean over steps of the relative error of ε. */
  readonly epsError: number;
  /** Of a sample against the reference's, in dB, the mean over all; values range over -1 .. 1. */
  readonly psnr: number | undefined;
  readonly features: FeatureFigures | undefined;
}

export interface DiffusionEvaluation {
  readonly report: DiffusionReport;
  readonly samples: Samples | undefined;
  readonly referenceSamples: Samples | undefined;
}

/** Fails with HEW7008 for models that are not diffusion models of the same samples. */
export async function evaluateDiffusion(
  model: Model,
  reference: Model,
  options: DiffusionEvalOptions,
): Promise<DiffusionEvaluation> {
  const { n, features, real, onProgress } = options;
  const steps = await stepErrors(model, reference, options);
  const epsError = steps.reduce((sum, { eps }) => sum + eps, 0) / steps.length;
  if (n === 0) {
    const report = { n, steps, epsError, psnr: undefined, features: undefined };
    return { report, samples: undefined, referenceSamples: undefined };
  }
  const classes = balancedClasses(reference, n);
  const draw = (drawn: Model, stage: string): Promise<Samples> =>
    sample(drawn, {
      ...settings(options),
      classes,
      onProgress: (done, total) => onProgress?.(stage, done, total),
    });
  const referenceSamples = options.referenceSamples ?? (await draw(reference, 'samples of the reference'));
  const samples = await draw(model, 'samples');
  const figures = features && compareFeatures(features, samples, referenceSamples, classes, real);
  const distance = meanPsnr(samples, referenceSamples);
  return { report: { n, steps, epsError, psnr: distance, features: figures }, samples, referenceSamples };
}

/** A few samples that take another turn would decide the PSNR of all values together. */
function meanPsnr(samples: Samples, reference: Samples): number {
  const [count = 1] = samples.shape;
  const size = samples.data.length / count;
  const each = Array.from({ length: count }, (_, i) => {
    const part = ({ data }: Samples): Float32Array => data.subarray(i * size, (i + 1) * size);
    return psnr(part(samples), part(reference), 2);
  });
  return each.reduce((sum, value) => sum + value, 0) / count;
}

function settings({ steps = 50, guidance = 1, seed = 0 }: Omit<DiffusionEvalOptions, 'n'>) {
  return { steps, guidance, seed };
}

/** 0, 1, .., 0, 1, ..; all 0 for a model without classes. */
export function balancedClasses({ manifest: { sampler } }: Model, n: number): number[] {
  const count = sampler?.kind === 'diffusion' ? (sampler.null_class ?? 1) : 1;
  return Array.from({ length: n }, (_, i) => i % Math.max(1, count));
}

// ---- predicted noise

/** A call of the reference on its trajectory, and the noise it predicted there. */
export interface TracedCall {
  readonly inputs: Inputs;
  readonly timestep: number;
  readonly eps: Float32Array;
}

/** The calls of the reference that the predicted noise of other models is compared on. */
export async function traceReference(
  reference: Model,
  options: Omit<DiffusionEvalOptions, 'n'>,
): Promise<TracedCall[]> {
  const { trajectories = 12, onProgress } = options;
  const calls: TracedCall[] = [];
  await sample(reference, {
    ...settings(options),
    classes: balancedClasses(reference, trajectories),
    onCall: (inputs, timestep, { eps }) => calls.push({ inputs, timestep, eps: eps as Float32Array }),
    onProgress: (done, total) => onProgress?.('trajectories of the reference', done, total),
  });
  return calls;
}

async function stepErrors(
  model: Model,
  reference: Model,
  options: DiffusionEvalOptions,
): Promise<StepError[]> {
  const calls = options.trace ?? (await traceReference(reference, options));
  const blocks = options.trace === undefined ? blockOutput(model, reference) : undefined;
  const outputs = blocks === undefined ? ['eps'] : ['eps', blocks.name];
  const sums = new Map<number, ErrorSums>();
  calls.forEach(({ inputs, timestep, eps }, i) => {
    const wanted: Outputs = blocks === undefined ? { eps } : reference.run('denoise', inputs, { outputs });
    const found = model.run('denoise', inputs, { outputs });
    const own = sums.get(timestep) ?? new ErrorSums(1 + (blocks?.depth ?? 0));
    sums.set(timestep, own);
    own.add(0, found.eps, wanted.eps);
    for (let block = 0; block < (blocks?.depth ?? 0); block++) {
      const name = blocks?.name as string;
      const part = (values: unknown): Float32Array => {
        const all = values as Float32Array;
        const size = all.length / (blocks?.depth as number);
        return all.subarray(block * size, (block + 1) * size);
      };
      own.add(1 + block, part(found[name]), part(wanted[name]));
    }
    options.onProgress?.('predicted noise', i + 1, calls.length);
  });
  return [...sums]
    .sort(([a], [b]) => b - a)
    .map(([timestep, own]) => {
      const [eps = 0, ...rest] = own.errors();
      return { timestep, eps, blocks: rest };
    });
}

/** The output of both models whose leading axis is the same fixed number of blocks. */
function blockOutput(model: Model, reference: Model): { name: string; depth: number } | undefined {
  const find = (m: Model) => m.entry('denoise').outputs.find(({ name }) => name === 'block_out');
  const [own, other] = [find(model)?.shape[0], find(reference)?.shape[0]];
  return typeof own === 'number' && own === other ? { name: 'block_out', depth: own } : undefined;
}

class ErrorSums {
  private readonly difference: Float64Array;
  private readonly size: Float64Array;

  constructor(count: number) {
    this.difference = new Float64Array(count);
    this.size = new Float64Array(count);
  }

  add(at: number, found: unknown, wanted: unknown): void {
    const [a, b] = [found as Float32Array, wanted as Float32Array];
    if (a.length !== b.length)
      fail('HEW7008', 'the model and its reference have outputs of different shapes');
    let [difference, size] = [0, 0];
    for (let i = 0; i < a.length; i++) {
      difference += ((a[i] as number) - (b[i] as number)) ** 2;
      size += (b[i] as number) ** 2;
    }
    this.difference[at] = (this.difference[at] as number) + difference;
    this.size[at] = (this.size[at] as number) + size;
  }

  errors(): number[] {
    return Array.from(this.difference, (d, i) => Math.sqrt(d / (this.size[i] as number)));
  }
}

// ---- features

const resamples = 20;

function compareFeatures(
  classifier: Model,
  samples: Samples,
  reference: Samples,
  classes: readonly number[],
  real: Gaussian | undefined,
): FeatureFigures {
  const [own, other] = [classify(classifier, samples), classify(classifier, reference)];
  const { width } = own;
  if (real !== undefined && real.mean.length !== width)
    fail('HEW7008', `the classifier has ${width} features, the real data has ${real.mean.length}`);
  const random = createRandom(0);
  const estimate = (statistic: (chosen?: readonly number[]) => number): Estimate => ({
    value: statistic(),
    standardError: bootstrapError(classes.length, resamples, () => random.uniform(), statistic),
  });
  const gaussian = (features: Float32Array, chosen?: readonly number[]): Gaussian =>
    gaussianOf(features, width, chosen);
  const accuracy = ({ predicted }: Classified): Estimate =>
    estimate((chosen = classes.map((_, i) => i)) => {
      const right = chosen.filter((i) => predicted[i] === classes[i]);
      return right.length / chosen.length;
    });
  const toReal = ({ features }: Classified): Estimate | undefined =>
    real && estimate((chosen) => frechetDistance(gaussian(features, chosen), real));
  return {
    toReference: estimate((chosen) =>
      frechetDistance(gaussian(own.features, chosen), gaussian(other.features, chosen)),
    ),
    toReal: toReal(own),
    referenceToReal: toReal(other),
    accuracy: accuracy(own),
    referenceAccuracy: accuracy(other),
  };
}

interface Classified {
  readonly features: Float32Array;
  readonly width: number;
  readonly predicted: readonly number[];
}

function classify(classifier: Model, { data, shape }: Samples): Classified {
  const [count = 0] = shape;
  const found = Object.entries(classifier.entries).find(([, { outputs }]) =>
    ['features', 'logits'].every((name) => outputs.some((output) => output.name === name)),
  );
  const [entry, spec] =
    found ?? fail('HEW7008', "the classifier has no entry with outputs 'features' and 'logits'");
  const [input] = spec.inputs;
  if (input === undefined) return fail('HEW7008', `entry '${entry}' of the classifier takes no images`);
  const all = (output: string): Float32Array => {
    const parts = [
      ...runBatches(classifier, entry, { [input.name]: { values: data, shape } }, count, output),
    ];
    const joined = new Float32Array(parts.reduce((sum, { values }) => sum + values.length, 0));
    let offset = 0;
    for (const { values } of parts) {
      joined.set(values, offset);
      offset += values.length;
    }
    return joined;
  };
  const [features, logits] = [all('features'), all('logits')];
  const labels = logits.length / count;
  const predicted = Array.from({ length: count }, (_, i) => {
    const row = logits.subarray(i * labels, (i + 1) * labels);
    return row.indexOf(row.reduce((a, b) => Math.max(a, b)));
  });
  return { features, width: features.length / count, predicted };
}
