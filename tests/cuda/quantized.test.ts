/** Integer products without a GPU: the form that becomes a kernel has the meaning of quantized_linear, to the last bit. */
import { expect, test } from 'vitest';
import { emitCuda, lower } from '../../backends/cuda/compile.js';
import { integerProducts } from '../../backends/cuda/integer-products.js';
import { interpretEntry } from '../../ir/interpret.js';
import { verifyModule } from '../../ir/verify.js';
import { quantizedCases } from './quantized.js';

test.each(quantizedCases)('$name', ({ name, module, calls }) => {
  const rewritten = integerProducts(module);
  expect(verifyModule(rewritten)).toEqual([]);
  const body = rewritten.functions.get('main')?.body ?? [];
  const onTensorCores = !name.includes('x 20 to');
  expect(body.some((op) => op.name === 'integer_linear')).toBe(onTensorCores);
  expect(rewritten.params.has('first.codes.row_sums')).toBe(onTensorCores);
  const inputs = calls[0]?.inputs ?? {};
  expect(interpretEntry(rewritten, 'main', inputs)).toEqual(interpretEntry(module, 'main', inputs));
  const { source } = emitCuda(lower(module, 'bf16').module);
  expect(source.includes('wgmma_product<signed char')).toBe(onTensorCores);
});
