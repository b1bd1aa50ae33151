/** Evaluation of diffusion models: distances against closed forms, plots, and the command on a trained model. */
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  bootstrapError,
  frechetDistance,
  gaussianOf,
  readGaussian,
} from '../../compiler/evaluate/frechet.js';
import { symmetricEigen } from '../../compiler/evaluate/symmetric-eigen.js';
import { heatMap, linePlot } from '../../compiler/plots.js';
import { randomNumbers } from '../../passes/prune/scores.js';
import { hew } from '../cli/run-cli.js';

const random = randomNumbers(3);
const numbers = (count: number): Float64Array => Float64Array.from({ length: count }, () => random() * 2 - 1);

describe('symmetric eigenvalues', () => {
  test.each([1, 2, 3, 17, 40])('rebuild a matrix of size %i', (n) => {
    const half = numbers(n * n);
    const a = Float64Array.from({ length: n * n }, (_, at) => {
      const [i, j] = [Math.floor(at / n), at % n];
      return (half[i * n + j] as number) + (half[j * n + i] as number);
    });
    const { values, vectors } = symmetricEigen(a, n);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let [sum, dot] = [0, 0];
        for (let k = 0; k < n; k++) {
          sum += (values[k] as number) * (vectors[k * n + i] as number) * (vectors[k * n + j] as number);
          dot += (vectors[i * n + k] as number) * (vectors[j * n + k] as number);
        }
        expect(sum).toBeCloseTo(a[i * n + j] as number, 10);
        expect(dot).toBeCloseTo(i === j ? 1 : 0, 10);
      }
    }
  });

  test('of a matrix of zeros are zero', () => {
    expect([...symmetricEigen(new Float64Array(9), 3).values]).toEqual([0, 0, 0]);
  });
});

describe('Frechet distance', () => {
  test('of diagonal covariances is a sum over features', () => {
    const a = { mean: Float64Array.of(0, 1), covariance: Float64Array.of(4, 0, 0, 9) };
    const b = { mean: Float64Array.of(3, 1), covariance: Float64Array.of(1, 0, 0, 0) };
    expect(frechetDistance(a, b)).toBeCloseTo(9 + (2 - 1) ** 2 + 9, 9);
    expect(frechetDistance(a, a)).toBeCloseTo(0, 9);
  });

  test('does not change when both are rotated, nor when they change places', () => {
    const rows = [numbers(60), numbers(60)] as const;
    const [a, b] = rows.map((r) => gaussianOf(r, 3)) as [
      ReturnType<typeof gaussianOf>,
      ReturnType<typeof gaussianOf>,
    ];
    const [c, s] = [Math.cos(0.7), Math.sin(0.7)];
    const rotated = (values: Float64Array): Float64Array =>
      values.map((v, i) => {
        const at = i - (i % 3);
        const [x, y] = [values[at] as number, values[at + 1] as number];
        return i % 3 === 0 ? c * x - s * y : i % 3 === 1 ? s * x + c * y : v;
      });
    const distance = frechetDistance(a, b);
    expect(distance).toBeGreaterThan(1e-3);
    expect(frechetDistance(b, a)).toBeCloseTo(distance, 9);
    expect(frechetDistance(gaussianOf(rotated(rows[0]), 3), gaussianOf(rotated(rows[1]), 3))).toBeCloseTo(
      distance,
      9,
    );
  });

  test('covariances are unbiased, of the chosen rows', () => {
    const { mean, covariance } = gaussianOf([0, 100, 2], 1, [0, 2]);
    expect([mean[0], covariance[0]]).toEqual([1, 2]);
  });

  test('the standard error of a mean is sd / sqrt(n)', () => {
    const values = Array.from({ length: 400 }, () => random());
    const error = bootstrapError(
      400,
      300,
      random,
      (chosen) => chosen.reduce((sum, i) => sum + (values[i] as number), 0) / 400,
    );
    expect(error).toBeGreaterThan(0.8 * (Math.sqrt(1 / 12) / 20));
    expect(error).toBeLessThan(1.25 * (Math.sqrt(1 / 12) / 20));
  });

  test('files without features of real data are refused', () => {
    expect(() => readGaussian('examples/dit-1m/golden.safetensors')).toThrow(/HEW6122.*no tensor 'real_mu'/);
  });
});

describe('plots', () => {
  test('escape what they show and leave out what has no logarithm', () => {
    const svg = linePlot([{ name: '<a & b>', values: [1, 0, 100] }], {
      title: 't"',
      labels: [3, 2, 1],
      yTitle: 'y',
      logarithmic: true,
    });
    expect(svg).toContain('&lt;a &amp; b&gt;');
    expect(svg.match(/points="([^"]*)"/)?.[1]?.split(' ')).toHaveLength(2);
    expect(svg).not.toMatch(/NaN|Infinity/);
  });

  test('heat maps hold one pixel for each value, and boundaries', () => {
    const svg = heatMap(
      [
        [1, -1],
        [0, 0.5],
      ],
      { title: 'h', labels: [1, 0], yTitle: 'channel', boundaries: [1] },
    );
    const png = Buffer.from(/base64,([^"]*)/.exec(svg)?.[1] ?? '', 'base64');
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([2, 2]);
    expect(svg.match(/<line/g)).toHaveLength(1);
  });
});

describe('hew eval-diffusion', () => {
  const directory = mkdtempSync(join(tmpdir(), 'hew-eval-diffusion-'));
  const model = 'examples/dit-1m/model.hew';
  const glyphnet = '../shared/models/glyphnet';
  const classifier = existsSync(`${glyphnet}/model.safetensors`);

  test('finds no error of a model against itself, and writes a page', async () => {
    const page = join(directory, 'report.html');
    const features = classifier
      ? ['--features', 'examples/glyphnet/model.hew', '--real', `${glyphnet}/golden.safetensors`]
      : [];
    const argv = [
      'eval-diffusion',
      model,
      '--reference',
      model,
      '--n',
      '4',
      '--steps',
      '2',
      '--trajectories',
      '2',
    ];
    const { code, stdout } = await hew([...argv, ...features, '--report', page, '--json']);
    expect(code).toBe(0);
    const report = JSON.parse(stdout);
    expect(report.epsError).toBe(0);
    expect(report.psnr).toBe(200);
    expect(report.steps.map(({ timestep }: { timestep: number }) => timestep)).toEqual([999, 0]);
    expect(report.steps[0].blocks).toEqual([0, 0, 0, 0]);
    if (classifier) {
      expect(report.features.toReference.value).toBeLessThan(1e-6);
      expect(report.features.toReal.value).toBeGreaterThan(0);
    }
    const html = readFileSync(page, 'utf8');
    expect(html).toContain('blocks.{block}.attn.qkv.weight, turn 0');
    expect(html).not.toMatch(/<script|NaN/);
    expect(JSON.parse(readFileSync(join(directory, 'report.json'), 'utf8')).epsError).toBe(0);
  });

  test.each([
    [['--limit', 'psnr=300'], 3, /HEW8002.*psnr is 200, below 300/],
    [['--limit', 'speed=1'], 2, /there is no limit 'speed'/],
    [['--report', 'page.txt'], 2, /does not end in .html/],
    [['--trajectories', '0'], 2, /count samples and steps/],
  ])('with %j ends with exit code %i', async (flags, wanted, message) => {
    const argv = [
      'eval-diffusion',
      model,
      '--reference',
      model,
      '--n',
      '1',
      '--steps',
      '1',
      '--trajectories',
      '1',
    ];
    const { code, stderr } = await hew([...argv, ...flags]);
    expect(stderr).toMatch(message);
    expect(code).toBe(wanted);
  });
});
