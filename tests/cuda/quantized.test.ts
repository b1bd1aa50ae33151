/** Integer products without a GPU: the form that becomes a kernel has the meaning of quantized_linear, to the last bit. */
import { expect, test } from 'vitest';
import { emitCuda, lower } from '../../backends/cuda/compile.js';
import { integerProducts } from '../../backends/cuda/integer-products.js';
import { narrowEarly } from '../../backends/cuda/narrow-early.js';
import type { PlanStep } from '../../backends/native/manifest.js';
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { dim } from '../../ir/dim.js';
import { interpretEntry } from '../../ir/interpret.js';
import { emptyModule, type Module } from '../../ir/module.js';
import { tensorType } from '../../ir/type.js';
import { verifyModule } from '../../ir/verify.js';
import { quantizedCases } from './quantized.js';

function launchesOf(module: Module): readonly (PlanStep & { readonly kernel: string })[] {
  const { plans } = emitCuda(lower(module, 'bf16').module);
  return (plans.get('main') ?? []).filter((step) => 'kernel' in step);
}

test.each(quantizedCases)('$name', ({ name, module, calls }) => {
  const rewritten = integerProducts(module);
  expect(verifyModule(rewritten)).toEqual([]);
  const body = rewritten.functions.get('main')?.body ?? [];
  const onTensorCores = !name.includes('x 20 to');
  expect(body.some((op) => op.name === 'integer_linear')).toBe(onTensorCores);
  expect(rewritten.params.has('first.codes.row_sums')).toBe(onTensorCores);
  const inputs = calls[0]?.inputs ?? {};
  const wanted = interpretEntry(module, 'main', inputs);
  expect(interpretEntry(rewritten, 'main', inputs)).toEqual(wanted);
  expect(interpretEntry(lower(module, 'bf16').module, 'main', inputs)).toEqual(wanted);
});

test('scales are looked up where they are read: a layer is what quantizes its input, and the product', () => {
  const names = launchesOf(quantizedCases[0]?.module as Module).map(({ kernel }) => kernel);
  expect(names).toHaveLength(3);
  expect(names[0]).toContain('quantize');
  expect(names[0]?.match(/gather/g)).toHaveLength(2);
  for (const name of names.slice(1)) expect(name).toContain('integer_linear');
});

test('tiles fit the shared memory of a block', () => {
  const variants = quantizedCases.flatMap(({ module }) =>
    launchesOf(module).flatMap((step) => ('variants' in step ? (step.variants ?? []) : [])),
  );
  expect(variants.length).toBeGreaterThan(0);
  for (const { shared } of variants) expect(shared).toBeLessThanOrEqual(227 * 1024);
});

test('what is only narrowed after movements is narrowed where it is made', () => {
  const builder = new FuncBuilder('main', moduleScope(emptyModule('parts')), { outputs: ['a', 'b', 'c'] });
  const x = builder.arg(tensorType('f32', [4, 6].map(dim)), 'x');
  const shape = [4, 2, 3].map(dim);
  const parts = builder.one('reshape', [builder.one('exp', [x])], { shape });
  const part = (at: number) => builder.one('slice', [parts], { axis: 1, start: dim(at), end: dim(at + 1) });
  const narrow = (value: typeof x) => builder.one('cast', [value], { dtype: 'bf16' });
  const kept = builder.one('reshape', [builder.one('log', [x])], { shape });
  const func = builder.finish([narrow(part(0)), narrow(part(1)), builder.one('neg', [kept])]);
  const module = { ...emptyModule('parts'), functions: new Map([['main', func]]) };
  const early = narrowEarly(module, 'bf16').functions.get('main')?.body ?? [];
  expect(early.map(({ name, results }) => `${name} ${results[0]?.type.dtype}`)).toEqual([
    'exp f32',
    'cast bf16',
    'reshape bf16',
    'log f32',
    'reshape f32',
    'slice bf16',
    'slice bf16',
    'neg f32',
  ]);
});
