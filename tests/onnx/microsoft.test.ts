/** Operators of ONNX Runtime against loops written from their documentation. */
import { describe, expect, test } from 'vitest';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { randomTensors, runNode } from './run-node.js';

const domain = 'com.microsoft';

function expectValues(found: Tensor | undefined, wanted: ArrayLike<number>, tolerance = 1e-6): void {
  const { data = [] } = found ?? {};
  expect(data.length).toBe(wanted.length);
  const worst = Array.from(wanted).reduce(
    (max, value, i) => Math.max(max, Math.abs(value - (data[i] as number))),
    0,
  );
  expect(worst).toBeLessThan(tolerance);
}

function rowsOf({ shape, data }: Tensor): number[][] {
  const width = shape.at(-1) as number;
  return Array.from({ length: data.length / width }, (_, i) => [
    ...data.subarray(i * width, (i + 1) * width),
  ]);
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

describe('norms of a sum', () => {
  const random = randomTensors(1);
  const [x, skip, gamma, beta, bias] = [random(2, 3, 8), random(2, 3, 8), random(8), random(8), random(8)];
  const sums = rowsOf(x).map((row, r) =>
    row.map((value, i) => value + (rowsOf(skip)[r]?.[i] as number) + (bias.data[i] as number)),
  );
  const eps = 1e-3;

  test('SkipLayerNormalization', () => {
    const found = runNode({
      op: 'SkipLayerNormalization',
      domain,
      inputs: [x, skip, gamma, beta, bias],
      outputs: 1,
      attributes: { epsilon: { float: eps } },
    });
    const wanted = sums.flatMap((row) => {
      const mean = sum(row) / 8;
      const deviation = Math.sqrt(sum(row.map((v) => (v - mean) ** 2)) / 8 + eps);
      return row.map(
        (v, i) => ((v - mean) / deviation) * (gamma.data[i] as number) + (beta.data[i] as number),
      );
    });
    expectValues(found[0], wanted);
  });

  test('SkipSimplifiedLayerNormalization, and the sum for the next residual', () => {
    const found = runNode({
      op: 'SkipSimplifiedLayerNormalization',
      domain,
      inputs: [x, skip, gamma, bias],
      outputs: 4,
      outputNames: ['norm', '', '', 'sum'],
      attributes: { epsilon: { float: eps } },
    });
    const wanted = sums.flatMap((row) => {
      const scale = 1 / Math.sqrt(sum(row.map((v) => v * v)) / 8 + eps);
      return row.map((v, i) => v * scale * (gamma.data[i] as number));
    });
    expectValues(found[0], wanted);
    expectValues(found[3], sums.flat());
  });

  test.each(['', domain])('SimplifiedLayerNormalization in the domain "%s"', (own) => {
    const [y] = runNode({ op: 'SimplifiedLayerNormalization', domain: own, inputs: [x, gamma], outputs: 1 });
    const wanted = rowsOf(x).flatMap((row) => {
      const scale = 1 / Math.sqrt(sum(row.map((v) => v * v)) / 8 + 1e-5);
      return row.map((v, i) => v * scale * (gamma.data[i] as number));
    });
    expectValues(y, wanted);
  });
});

test.each([
  ['BiasGelu', true, {}, (x: number) => x * normal(x)],
  ['Gelu', false, {}, (x: number) => x * normal(x)],
  [
    'FastGelu',
    true,
    {},
    (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  ],
  ['QuickGelu', false, { alpha: { float: 1.5 } }, (x: number) => x / (1 + Math.exp(-1.5 * x))],
] as const)('%s', (op, hasBias, attributes, formula) => {
  const random = randomTensors(2);
  const [x, bias] = [random(3, 5), random(5)];
  const [y] = runNode({ op, domain, inputs: hasBias ? [x, bias] : [x], outputs: 1, attributes });
  const wanted = [...x.data].map((v, i) => formula(v + (hasBias ? (bias.data[i % 5] as number) : 0)));
  expectValues(y, wanted, 1e-5);
});

/** The standard normal distribution, by Simpson's rule. */
function normal(x: number): number {
  const steps = 400;
  const density = (t: number): number => Math.exp((-t * t) / 2) / Math.sqrt(2 * Math.PI);
  let total = density(0) + density(x);
  for (let i = 1; i < steps; i++) total += (i % 2 === 1 ? 4 : 2) * density((x * i) / steps);
  return 0.5 + (total * x) / steps / 3;
}

test('FusedMatMul', () => {
  const random = randomTensors(3);
  const [a, b] = [random(2, 4, 3), random(2, 5, 4)];
  const [y] = runNode({
    op: 'FusedMatMul',
    domain,
    inputs: [a, b],
    outputs: 1,
    attributes: { transA: 1, transB: 1, alpha: { float: 0.5 } },
  });
  const wanted: number[] = [];
  for (let n = 0; n < 2; n++) {
    for (let i = 0; i < 3; i++) {
      for (let j = 0; j < 5; j++) {
        let product = 0;
        for (let k = 0; k < 4; k++)
          product += (a.data[(n * 4 + k) * 3 + i] as number) * (b.data[(n * 5 + j) * 4 + k] as number);
        wanted.push(product / 2);
      }
    }
  }
  expectValues(y, wanted);
});

/** Numbers of `bits` bits as bytes, the low bits first; each row ends with its byte. */
function packed(rows: readonly (readonly number[])[], bits: number): number[] {
  const each = 8 / bits;
  return rows.flatMap((row) =>
    Array.from({ length: Math.ceil(row.length / each) }, (_, i) =>
      sum(row.slice(i * each, (i + 1) * each).map((value, k) => value * 2 ** (bits * k))),
    ),
  );
}

describe.each([2, 4, 8])('MatMulNBits with %i bits', (bits) => {
  const [rows, inner, outputs, block] = [3, 40, 5, 16];
  const blocks = Math.ceil(inner / block);
  const random = randomTensors(bits);
  const x = random(rows, inner);
  const scales = random(outputs, blocks);
  const levels = 2 ** bits;
  const integers = (count: number): number[] =>
    [...random(count).data].map((value) => Math.min(levels - 1, Math.floor(((value + 1) / 2) * levels)));
  const q = Array.from({ length: outputs }, () => integers(blocks * block));
  const points = Array.from({ length: outputs }, () => integers(blocks));
  const bias = random(outputs);
  const weight = tensor('u8', [outputs, blocks, (block * bits) / 8], packed(q, bits));
  const wanted = (pointOf: (n: number, b: number) => number): number[] =>
    rowsOf(x).flatMap((row) =>
      q.map((own, n) =>
        sum(
          row.map((value, k) => {
            const b = Math.floor(k / block);
            return value * ((own[k] as number) - pointOf(n, b)) * (scales.data[n * blocks + b] as number);
          }),
        ),
      ),
    );
  const zeroPoints = tensor('u8', [outputs, Math.ceil((blocks * bits) / 8)], packed(points, bits));
  const asFloats = tensor(
    'f32',
    [outputs, blocks],
    points.flat().map((value) => value + 0.25),
  );
  const attributes = { K: inner, N: outputs, bits, block_size: block };

  test.each([
    ['the middle as zero point', undefined, () => levels / 2],
    ['zero points', zeroPoints, (n: number, b: number) => points[n]?.[b] as number],
    ['zero points that are floats', asFloats, (n: number, b: number) => (points[n]?.[b] as number) + 0.25],
  ] as const)('%s', (_, zero, pointOf) => {
    const found = runNode({
      op: 'MatMulNBits',
      domain,
      inputs: [x, weight, scales, zero],
      outputs: 1,
      weightsFrom: 1,
      attributes,
    });
    expectValues(found[0], wanted(pointOf), 1e-4);
  });

  test('a bias', () => {
    const [y] = runNode({
      op: 'MatMulNBits',
      domain,
      inputs: [x, weight, scales, zeroPoints, undefined, bias],
      outputs: 1,
      weightsFrom: 1,
      attributes,
    });
    const plain = wanted((n, b) => points[n]?.[b] as number);
    expectValues(
      y,
      plain.map((value, i) => value + (bias.data[i % outputs] as number)),
      1e-4,
    );
  });
});
