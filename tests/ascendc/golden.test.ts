/** What is emitted for every class of kernel, on every chip, as files to read. */
import { describe, expect, test } from 'vitest';
import { chips } from '../../backends/ascendc/chips.js';
import { type Prepared, prepare } from './conformance.js';
import { samples } from './samples.js';

const shown = ['910b3', '910b1', '910_9391'] as const;

describe.each(shown)('kernels for %s', (name) => {
  const prepared = samples.map((sample) => prepare(sample, chips[name], 1));

  test('all samples are kernels', () => {
    const refused = prepared.filter((p) => typeof p === 'string');
    expect(refused).toEqual([]);
  });

  test.each(
    prepared.filter((p): p is Prepared => typeof p !== 'string').map((p) => [p.subject.title, p] as const),
  )('%s', async (title, { call }) => {
    await expect(call.kernel.code).toMatchFileSnapshot(`golden/${name}/${title}.cpp`);
  });
});
