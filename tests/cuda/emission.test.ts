/** The CUDA backend without a GPU: what it emits for the small examples, and that 16-bit compute keeps the meaning. */
import { describe, expect, test } from 'vitest';
import { supports } from '../../backends/cuda/capabilities.js';
import { emitCuda, lower } from '../../backends/cuda/compile.js';
import { computeDTypes, narrow } from '../../backends/narrow.js';
import type { PlanStep } from '../../backends/native/manifest.js';
import { openModel } from '../../compiler/compile.js';
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { interpretEntry } from '../../ir/interpret.js';
import { emptyModule, type Module } from '../../ir/module.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { tensorType } from '../../ir/type.js';
import { verifyModule } from '../../ir/verify.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import { caseModule, caseTitle } from '../conformance/case.js';
import { opCases } from '../conformance/cases.js';
import { randomFrom, uniform } from '../conformance/random.js';

function simplified(name: string, more = ''): Module {
  const model = openModel({ spec: `examples/${name}/model.hew` });
  model.close();
  return runPipeline(model.module, parsePipeline(`${standardPipeline}${more}`)).module;
}

/** Kernels alone: the device library has files of its own. */
const kernelsOf = (source: string): string => source.slice(source.indexOf('// ---- kernels of the model'));

describe('golden files', () => {
  test.each([
    ['pangu-2m', 'bf16'],
    ['dit-1m', 'f32'],
  ] as const)('%s in %s', async (name, compute) => {
    const { source, plans } = emitCuda(lower(simplified(name), compute).module);
    await expect(kernelsOf(source)).toMatchFileSnapshot(`golden/${name}-${compute}.cu`);
    await expect(`${JSON.stringify(Object.fromEntries(plans), undefined, 1)}\n`).toMatchFileSnapshot(
      `golden/${name}-${compute}.plan.json`,
    );
  });
});

test('golden file of caches of bytes: only what differs from the kernels above', async () => {
  const { source } = emitCuda(lower(simplified('pangu-2m', ',quantize-kv'), 'bf16').module);
  const own = kernelsOf(source)
    .split('\n\n')
    .filter((kernel) => /func @(decode_attention|quantized_append|attention)\b/.test(kernel));
  await expect(own.join('\n\n')).toMatchFileSnapshot('golden/pangu-2m-bf16-caches-of-bytes.cu');
});

test('every supported op of the suite has a kernel in every compute dtype', () => {
  for (const c of opCases) {
    const { module } = caseModule(c, { weights: 'parameters' });
    const body = module.functions.get('main')?.body ?? [];
    if (body.some((op) => supports(op) !== true)) continue;
    for (const compute of computeDTypes) {
      const { source, plans } = emitCuda(lower(module, compute).module);
      const own = kernelsOf(source);
      expect(own.includes('undefined') || own.includes('[object'), caseTitle(c)).toBe(false);
      const kernels = (plans.get('main') ?? []).flatMap((step: PlanStep) =>
        'kernel' in step ? [step.kernel] : [],
      );
      for (const kernel of kernels) expect(own).toContain(` ${kernel}(`);
    }
  }
});

test('results of four-bit integers are refused by name', () => {
  const builder = new FuncBuilder('main', moduleScope(emptyModule('small')));
  const x = builder.arg(tensorType('f32', [4]), 'x');
  const func = { ...builder.finish([builder.one('cast', [x], { dtype: 'i4' })]), outputs: ['y'] };
  const module = { ...emptyModule('small'), functions: new Map([['main', func]]) };
  expect(() => lower(module, 'f32')).toThrow('HEW6003: cuda cannot run cast: on i4');
});

/** x @ w.T appended to a cache that attention reads: everything that 16-bit compute changes. */
function cachedAttention(): { module: Module; inputs: Record<string, Tensor> } {
  const [tokens, context, width] = [3, 5, 8];
  const base: Module = {
    ...emptyModule('small'),
    states: new Map([['cache', { type: tensorType('f32', [context, 1, width]) }]]),
  };
  const builder = new FuncBuilder('main', moduleScope(base));
  const x = builder.arg(tensorType('f32', [tokens, width]), 'x');
  const w = builder.arg(tensorType('bf16', [width, width]), 'w');
  const position = builder.arg(tensorType('i32', []), 'position');
  const q = builder.one('linear', [x, w]);
  const shape = [tokens, 1, width].map((n) => ({
    terms: [{ coefficient: n, factors: [] }],
    divisor: 1,
  }));
  const heads = builder.one('reshape', [q], { shape });
  const cache = builder.one('state_read', [], { name: 'cache' });
  const appended = builder.one('cache_append', [cache, heads, position]);
  const out = builder.one('attention', [heads, appended, appended, position], { causal: true, scale: 0.35 });
  builder.emit('state_write', [appended], { name: 'cache' });
  const func = { ...builder.finish([out]), outputs: ['y'] };
  const values = (count: number, seed: number): Float64Array =>
    Float64Array.from(uniform(-1, 1)(count, randomFrom(seed)), Math.fround);
  return {
    module: { ...base, functions: new Map([['main', func]]) },
    inputs: {
      x: tensor('f32', [tokens, width], values(tokens * width, 1)),
      w: tensor(
        'bf16',
        [width, width],
        Array.from({ length: width * width }, (_, i) => ((i * 5) % 9) / 8 - 0.5),
      ),
      position: tensor('i32', [], [1]),
    },
  };
}

test('16-bit compute: the cache and the products narrow, the result keeps its dtype and nearly its values', () => {
  const { module, inputs } = cachedAttention();
  const narrowed = narrow(module, 'bf16');
  expect(verifyModule(narrowed)).toEqual([]);
  expect(narrowed.states.get('cache')?.type.dtype).toBe('bf16');
  const linear = narrowed.functions.get('main')?.body.find((op) => op.name === 'linear');
  expect(linear?.operands.map((o) => o.type.dtype)).toEqual(['bf16', 'bf16']);
  const [wanted, actual] = [module, narrowed].map((m) => interpretEntry(m, 'main', inputs).y as Tensor);
  expect(actual?.dtype).toBe('f32');
  const [a, b] = [wanted?.data ?? [], actual?.data ?? []].map((d) => Array.from(d));
  const norm = (v: readonly number[]): number => Math.hypot(...v);
  const error = norm((a ?? []).map((v, i) => v - (b?.[i] ?? 0))) / norm(a ?? []);
  expect(error).toBeGreaterThan(0);
  expect(error).toBeLessThan(1e-2);
});
