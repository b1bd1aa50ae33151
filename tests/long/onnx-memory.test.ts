/** A model of 2 GB, in a sparse file, is opened in a process of little memory: its tensors stay in the file. */
import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ModelText, modelBytes } from '../onnx/build-model.js';

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'hew-onnx-large-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const layers = 32;
const width = 4096;
const bytes = width * width * 4;

/** A chain of products with matrices of 64 MB, 2 GB in all. */
function largeModel(): Uint8Array {
  const text: ModelText = {
    nodes: Array.from({ length: layers }, (_, i) => ({
      op: 'MatMul',
      inputs: [`h${i}`, `w${i}`],
      outputs: [`h${i + 1}`],
    })),
    inputs: { h0: [1, width] },
    outputs: [`h${layers}`],
    initializers: Array.from({ length: layers }, (_, i) => ({
      name: `w${i}`,
      dataType: 1,
      dims: [width, width],
      dataLocation: 1,
      externalData: [
        { key: 'location', value: 'weights.bin' },
        { key: 'offset', value: String(i * bytes) },
        { key: 'length', value: String(bytes) },
      ],
    })),
  };
  return modelBytes(text);
}

test('peak memory stays below 400 MB beyond the largest tensor', () => {
  const path = join(directory, 'model.onnx');
  writeFileSync(path, largeModel());
  const weights = openSync(join(directory, 'weights.bin'), 'w');
  ftruncateSync(weights, layers * bytes);
  closeSync(weights);
  const script = `
    import { openModel } from '${new URL('../../dist/compiler/api.js', import.meta.url).href}';
    const model = openModel({ spec: ${JSON.stringify(path)} });
    const read = model.checkpoint.read('w${layers - 1}').length;
    model.close();
    console.log(JSON.stringify({ read, peak: process.resourceUsage().maxRSS * 1024 }));
  `;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const { read, peak } = JSON.parse(stdout) as { read: number; peak: number };
  console.log(`a model of ${(layers * bytes) / 2 ** 20} MB: peak memory ${Math.round(peak / 2 ** 20)} MB`);
  expect(read).toBe(bytes);
  expect(peak).toBeLessThan(bytes + 400 * 2 ** 20);
});
