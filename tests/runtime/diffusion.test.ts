import { beforeAll, describe, expect, it } from 'vitest';
import { load, type Model, type SampleOptions, sample } from '../../backends/wasm/runtime/load.js';
import { createRandom, normalNoise } from '../../backends/wasm/runtime/rng.js';
import { alphaBars, roundHalfEven, timesteps } from '../../backends/wasm/runtime/schedule.js';
import { codeOf, diffusionSteps, nullClass, serve, toyBundle, toyNoise } from './fixture.js';

describe('noise schedules', () => {
  const linear = { steps: 1000, schedule: 'linear', beta_start: 1e-4, beta_end: 0.02 };

  it('are running products of 1 - beta', () => {
    const bars = alphaBars(linear);
    expect(bars[0]).toBeCloseTo(0.9999, 15);
    expect(bars[1]).toBeCloseTo(0.9999 * (1 - (1e-4 + 0.0199 / 999)), 15);
    // As the paper says of this schedule: the signal that is left is about 4e-5.
    expect(bars[999]).toBeCloseTo(4.0358e-5, 8);
    expect(alphaBars({ ...linear, schedule: 'scaled_linear' })[999]).toBeGreaterThan(bars[999] ?? 1);
  });

  it('have the cosine form', () => {
    const bars = alphaBars({ ...linear, schedule: 'cosine' });
    const form = (t: number): number => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
    expect(bars[499]).toBeCloseTo(form(0.5) / form(0), 12);
  });

  it.each([
    { steps: 0 },
    { steps: 1.5 },
    { schedule: 'zigzag' },
    { beta_end: 1.5 },
    { beta_start: Number.NaN },
  ])('refuse %j', async (change) => {
    expect(await codeOf(() => alphaBars({ ...linear, ...change }))).toBe('HEW7011');
  });
});

describe('timesteps', () => {
  it('are round(linspace(0, steps - 1, n)), descending', () => {
    expect(timesteps(1000, 20)).toEqual([
      999, 946, 894, 841, 789, 736, 684, 631, 578, 526, 473, 421, 368, 315, 263, 210, 158, 105, 53, 0,
    ]);
    expect(timesteps(4, 4)).toEqual([3, 2, 1, 0]);
    expect(timesteps(1000, 1)).toEqual([999]);
  });

  it('round halves to even', () => {
    expect([0.5, 1.5, 2.5, 2.4999, 2.6].map(roundHalfEven)).toEqual([0, 2, 2, 2, 3]);
    expect(timesteps(6, 3)).toEqual([5, 2, 0]);
  });

  it.each([0, 1001, 2.5])('refuse a count of %s', async (count) => {
    expect(await codeOf(() => timesteps(1000, count))).toBe('HEW7011');
  });
});

describe('sample', () => {
  let model: Model;
  beforeAll(async () => {
    model = await load('toy', { fetchFile: serve(toyBundle('diffusion')) });
  });

  /** alpha_bar of the toy's schedule, by its formula. */
  const bar = (t: number): number => {
    let product = 1;
    for (let s = 0; s <= t; s++) product *= 1 - (1e-3 + ((0.05 - 1e-3) * s) / (diffusionSteps - 1));
    return product;
  };
  const clamp = (value: number): number => Math.min(1, Math.max(-1, value));

  /** One element through DDIM, as the paper has it, on the toy denoiser. */
  function ddim(noise: number, y: number, guidance: number, steps: number): number {
    let x = noise;
    const schedule = timesteps(diffusionSteps, steps);
    schedule.forEach((t, index) => {
      const next = schedule[index + 1];
      const [a, b] = [bar(t), next === undefined ? 1 : bar(next)];
      const without = toyNoise(x, t, nullClass);
      const eps = without + guidance * (toyNoise(x, t, y) - without);
      const start = clamp((x - Math.sqrt(1 - a) * eps) / Math.sqrt(a));
      const direction = (x - Math.sqrt(a) * start) / Math.sqrt(1 - a);
      x = Math.sqrt(b) * start + Math.sqrt(1 - b) * direction;
    });
    return x;
  }

  const classes = [0, 3, 1, 2, 3];
  const noise = normalNoise(createRandom(9), classes.length * 4);

  it.each([1, 1.5])(
    'is DDIM in float64, with guidance %s and batches split by the bound',
    async (guidance) => {
      const progress: number[] = [];
      const { data, shape } = await sample(model, {
        classes,
        noise,
        steps: 12,
        guidance,
        onProgress: (done) => progress.push(done),
      });
      expect(shape).toEqual([5, 1, 2, 2]);
      expect(progress).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
      data.forEach((value, i) => {
        expect(value).toBeCloseTo(ddim(noise[i] ?? 0, classes[Math.floor(i / 4)] ?? 0, guidance, 12), 5);
      });
    },
  );

  it('is DDPM with the posterior mean and variance', async () => {
    const random = createRandom(4);
    const x = Float64Array.from(normalNoise(random, 4));
    for (let t = diffusionSteps - 1; t >= 0; t--) {
      const beta = 1e-3 + ((0.05 - 1e-3) * t) / (diffusionSteps - 1);
      const [a, b] = [bar(t), t === 0 ? 1 : bar(t - 1)];
      for (let i = 0; i < 4; i++) {
        const value = x[i] ?? 0;
        const start = clamp((value - Math.sqrt(1 - a) * toyNoise(value, t, 2)) / Math.sqrt(a));
        const mean =
          (Math.sqrt(b) * beta * start) / (1 - a) + (Math.sqrt(1 - beta) * (1 - b) * value) / (1 - a);
        x[i] = mean + (t === 0 ? 0 : Math.sqrt((beta * (1 - b)) / (1 - a)) * random.normal());
      }
    }
    const { data } = await sample(model, { classes: [2], method: 'ddpm', steps: diffusionSteps, seed: 4 });
    data.forEach((value, i) => {
      expect(value).toBeCloseTo(x[i] ?? 0, 5);
    });
  });

  it('depends on the seed, not on the size of the batch', async () => {
    const draw = async (count: number, seed: number): Promise<Float32Array> =>
      (await sample(model, { classes: classes.slice(0, count), seed, steps: 5, guidance: 2 })).data;
    expect((await draw(5, 1)).subarray(0, 8)).toEqual(await draw(2, 1));
    expect(await draw(2, 2)).not.toEqual(await draw(2, 1));
  });

  it('makes one call of 2n where the bound allows', async () => {
    const calls: number[] = [];
    const spied = new Proxy(model, {
      get: (target, key) =>
        key === 'run'
          ? (...args: Parameters<Model['run']>) => {
              const { t } = args[1];
              calls.push(ArrayBuffer.isView(t) ? t.length : 0);
              return target.run(...args);
            }
          : Reflect.get(target, key, target),
    });
    await sample(spied, { classes: [1], steps: 1, guidance: 2 });
    await sample(spied, { classes: [1, 2], steps: 1, guidance: 1 });
    await sample(spied, { classes: [1, 2, 3], steps: 1, guidance: 2 });
    expect(calls).toEqual([2, 2, 3, 3]);
  });

  it.each<[string, SampleOptions]>([
    ['HEW7011', { classes: [] }],
    ['HEW7011', { classes: [-1] }],
    ['HEW7011', { classes: [1], steps: 0 }],
    ['HEW7011', { classes: [1], steps: 101 }],
    ['HEW7011', { classes: [1], guidance: Number.NaN }],
    ['HEW7011', { classes: [1], clip: 0 }],
    ['HEW7011', { classes: [1], noise: new Float32Array(3) }],
    ['HEW7011', { classes: [1], seed: -1 }],
    ['HEW7011', { classes: [1], method: 'euler' as 'ddim' }],
  ])('is %s for %j', async (code, options) => {
    expect(await codeOf(sample(model, options))).toBe(code);
  });

  it('needs a diffusion model', async () => {
    const textModel = await load('toy', { fetchFile: serve(toyBundle('text')) });
    expect(await codeOf(sample(textModel, { classes: [1] }))).toBe('HEW7008');
  });
});
