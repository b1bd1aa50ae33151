/**
 * Noise schedules of diffusion models and the steps that samplers take through them, in float64. The
 * forward process is x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise, with alpha_bar the running
 * product of 1 - beta (Ho et al., "Denoising diffusion probabilistic models", 2020).
 */
import { listNames, refuse } from './errors.js';

export interface ScheduleSettings {
  readonly steps: number;
  readonly schedule: string;
  readonly beta_start: number;
  readonly beta_end: number;
}

type BetaRule = (settings: ScheduleSettings, step: number) => number;

const betaRules: Readonly<Record<string, BetaRule>> = {
  linear: ({ steps, beta_start, beta_end }, step) => linear(beta_start, beta_end, steps, step),
  /** Linear in sqrt(beta), as latent diffusion has it. */
  scaled_linear: ({ steps, beta_start, beta_end }, step) =>
    linear(Math.sqrt(beta_start), Math.sqrt(beta_end), steps, step) ** 2,
  /** Nichol and Dhariwal, "Improved denoising diffusion probabilistic models", 2021. */
  cosine: ({ steps }, step) => Math.min(1 - cosineBar((step + 1) / steps) / cosineBar(step / steps), 0.999),
};

function cosineBar(fraction: number): number {
  return Math.cos((((fraction + 0.008) / 1.008) * Math.PI) / 2) ** 2;
}

function linear(start: number, end: number, count: number, index: number): number {
  return count === 1 ? start : start + ((end - start) * index) / (count - 1);
}

/**
 * alpha_bar of every timestep, [steps].
 * @throws LoadError HEW7011 for an unknown schedule or values that make no schedule.
 */
export function alphaBars(settings: ScheduleSettings): Float64Array {
  const { steps, schedule } = settings;
  if (!Number.isSafeInteger(steps) || steps < 1 || steps > 1e6) {
    refuse('HEW7011', `the schedule has ${steps} steps, not 1 to 1000000`);
  }
  const rule = Object.hasOwn(betaRules, schedule) ? betaRules[schedule] : undefined;
  if (rule === undefined) {
    refuse('HEW7011', `unknown schedule '${schedule}'; there are ${listNames(Object.keys(betaRules))}`);
  }
  const bars = new Float64Array(steps);
  let product = 1;
  for (let step = 0; step < steps; step++) {
    const beta = rule(settings, step);
    if (!(beta >= 0 && beta < 1)) refuse('HEW7011', `beta of step ${step} is ${beta}, not within 0 to 1`);
    product *= 1 - beta;
    bars[step] = product;
  }
  return bars;
}

/**
 * The timesteps of a sampler with `count` steps, descending: `round(linspace(0, steps - 1, count))` with
 * halves rounded to even, as numpy does. One step starts at the last timestep, where there is only noise.
 * @throws LoadError HEW7011 when `count` is not within 1..steps.
 */
export function timesteps(steps: number, count: number): number[] {
  if (!Number.isSafeInteger(count) || count < 1 || count > steps) {
    refuse('HEW7011', `${count} sampling steps are not within 1..${steps}`);
  }
  if (count === 1) return [steps - 1];
  const stride = (steps - 1) / (count - 1);
  return Array.from({ length: count }, (_, index) =>
    index === count - 1 ? steps - 1 : roundHalfEven(index * stride),
  ).reverse();
}

export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const fraction = value - floor;
  if (fraction !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** alpha_bar at a timestep and at the one that follows (1 after the last). */
export interface StepBars {
  readonly bar: number;
  readonly nextBar: number;
}

/**
 * x of the next timestep = toStart * x_0 + toNoise * eps + toX * x + sigma * fresh noise, where x_0 and eps
 * are what the model predicts from x.
 */
export interface StepCoefficients {
  readonly toStart: number;
  readonly toNoise: number;
  readonly toX: number;
  readonly sigma: number;
}

export type SamplingMethod = 'ddim' | 'ddpm';

export const stepRules: Readonly<Record<SamplingMethod, (bars: StepBars) => StepCoefficients>> = {
  /** Deterministic, eta = 0 (Song et al., "Denoising diffusion implicit models", 2021, equation 12). */
  ddim: ({ nextBar }) => ({
    toStart: Math.sqrt(nextBar),
    toNoise: Math.sqrt(1 - nextBar),
    toX: 0,
    sigma: 0,
  }),
  /**
   * Ancestral: mean and variance of the posterior q(x_next | x, x_0) (Ho et al., equations 6 and 7), with
   * alpha = bar / nextBar, so that it also holds for steps that skip timesteps.
   */
  ddpm: ({ bar, nextBar }) => {
    const alpha = bar / nextBar;
    const beta = 1 - alpha;
    return {
      toStart: (Math.sqrt(nextBar) * beta) / (1 - bar),
      toNoise: 0,
      toX: (Math.sqrt(alpha) * (1 - nextBar)) / (1 - bar),
      sigma: Math.sqrt((beta * (1 - nextBar)) / (1 - bar)),
    };
  },
};
