/** What is emitted for every class of kernel, on every chip, as files to read. */
import { describe, expect, test } from 'vitest';
import { chips } from '../../backends/ascendc/chips.js';
import { type Prepared, prepare } from './conformance.js';
import { samples } from './samples.js';

const shown = ['910b3', '910b1', '910_9391', '310p3'] as const;

/** Samples that a chip has no kernel for. */
const refused: Readonly<Record<(typeof shown)[number], readonly string[]>> = {
  '910b3': [],
  '910b1': [],
  '910_9391': [],
  '310p3': [
    '310p3 has no bf16',
    '310p3 has no bf16',
    'the cube of 310p3 has no kernel yet',
    'the cube of 310p3 has no kernel yet',
  ],
};

describe.each(shown)('kernels for %s', (name) => {
  const prepared = samples.map((sample) => prepare(sample, chips[name], 1));

  test('samples are kernels', () => {
    expect(prepared.filter((p) => typeof p === 'string')).toEqual(refused[name]);
  });

  test.each(
    prepared.filter((p): p is Prepared => typeof p !== 'string').map((p) => [p.subject.title, p] as const),
  )('%s', async (title, { call }) => {
    await expect(call.kernel.code).toMatchFileSnapshot(`golden/${name}/${title}.cpp`);
  });
});
