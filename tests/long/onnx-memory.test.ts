/**
 * Models of more than 2 GB, in sparse files, are opened and imported in processes of little memory: their tensors stay
 * in the file, and are copied one at a time, also those that change their order on the way.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { modelBytes, type NodeText } from '../onnx/build-model.js';
import { runMeasured } from './measured.js';

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'hew-onnx-large-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const layers = 32;
const width = 4096;
/** Columns of the matrix at the end, which is the largest tensor. */
const vocabulary = 32768;

/** How a layer reads its matrix: Hew's has the outputs first, so that the first two are transposed. */
const products: readonly Pick<NodeText, 'op' | 'attributes'>[] = [
  { op: 'MatMul' },
  { op: 'Gemm', attributes: { transB: 0 } },
  { op: 'Gemm', attributes: { transB: 1 } },
];

interface Placed {
  readonly name: string;
  readonly dims: readonly number[];
}

/** Products with matrices of 64 MiB, and a last one with a matrix of 512 MiB that is transposed: 2.5 GiB. */
const tensors: readonly Placed[] = [
  ...Array.from({ length: layers }, (_, i) => ({ name: `w${i}`, dims: [width, width] })),
  { name: 'head', dims: [width, vocabulary] },
];

const bytesOf = ({ dims }: Placed): number => dims.reduce((product, n) => product * n, 4);
const total = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
const largest = Math.max(...tensors.map(bytesOf));

function writeLargeModel(): string {
  let offset = 0;
  const initializers = tensors.map((tensor) => {
    const location = [
      { key: 'location', value: 'weights.bin' },
      { key: 'offset', value: String(offset) },
      { key: 'length', value: String(bytesOf(tensor)) },
    ];
    offset += bytesOf(tensor);
    return { ...tensor, dims: [...tensor.dims], dataType: 1, dataLocation: 1, externalData: location };
  });
  const path = join(directory, 'model.onnx');
  const model = modelBytes({
    nodes: [
      ...Array.from({ length: layers }, (_, i) => ({
        ...(products[i % products.length] as Pick<NodeText, 'op'>),
        inputs: [`h${i}`, `w${i}`],
        outputs: [`h${i + 1}`],
      })),
      { op: 'MatMul', inputs: [`h${layers}`, 'head'], outputs: ['logits'] },
    ],
    inputs: { h0: [1, width] },
    outputs: ['logits'],
    initializers,
  });
  writeFileSync(path, model);
  const weights = openSync(join(directory, 'weights.bin'), 'w');
  ftruncateSync(weights, offset);
  closeSync(weights);
  return path;
}

const MiB = 2 ** 20;
const allowance = 400;

test('opening takes less than 400 MiB beyond the largest tensor', () => {
  const path = writeLargeModel();
  const script = `
    import { openModel } from '${new URL('../../dist/compiler/api.js', import.meta.url).href}';
    const model = openModel({ spec: ${JSON.stringify(path)} });
    const read = model.checkpoint.read('head').length;
    model.close();
    console.log(JSON.stringify({ read, peak: process.resourceUsage().maxRSS * 1024 }));
  `;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const { read, peak } = JSON.parse(stdout) as { read: number; peak: number };
  console.log(`opening ${total / MiB} MiB: peak memory ${Math.round(peak / MiB)} MiB`);
  expect(read).toBe(largest);
  expect(peak / MiB).toBeLessThan(largest / MiB + allowance);
});

test('importing takes less than 400 MiB beyond the largest tensor', { timeout: 600_000 }, () => {
  const path = writeLargeModel();
  const output = join(directory, 'imported');
  const { maxRssMiB, seconds } = runMeasured(['import', path, '-o', output]);
  const written = statSync(join(output, 'model.safetensors')).size;
  console.log(
    `importing ${total / MiB} MiB: peak memory ${Math.round(maxRssMiB)} MiB, ${Math.round(seconds)} s`,
  );
  expect(written).toBeGreaterThan(total);
  expect(maxRssMiB).toBeLessThan(largest / MiB + allowance);
});
