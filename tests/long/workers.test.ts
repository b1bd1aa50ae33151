/** Calibration in several threads: what `hew quantize` writes does not depend on how many there are. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scratchDirectory } from '../cli/run-cli.js';
import { runMeasured } from './measured.js';

const directory = scratchDirectory();
const pipeline = 'htg{groups=2},quantize{scheme=w4a8,activations=step,groups=2,rounding=gptq}';

/** Digests of the bundle's files, and how far it is from the model. */
function quantized(workers: number): { files: Record<string, unknown>; relativeError: number } {
  const output = join(directory, `workers-${workers}`);
  const argv = ['quantize', 'examples/dit-1m/model.hew', '--calib', 'sample:10,steps=4'];
  runMeasured([...argv, '--pipeline', pipeline, '--workers', String(workers), '-o', output]);
  const { relativeError } = JSON.parse(readFileSync(join(output, 'quantize.json'), 'utf8'));
  const { files } = JSON.parse(readFileSync(join(output, 'bundle', 'manifest.json'), 'utf8'));
  return { files, relativeError };
}

test('one, two and three threads write the same weights', () => {
  const alone = quantized(1);
  expect(Object.keys(alone.files).length).toBeGreaterThan(1);
  for (const workers of [2, 3]) {
    expect(quantized(workers)).toEqual(alone);
  }
}, 240_000);
