/** split-loop: exact on every family, with caches that follow, and what only some turns need is gone from the others. */
import fc from 'fast-check';
import { loadModule } from 'hew';
import { describe, expect, test } from 'vitest';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { interpretEntry } from '../../ir/interpret.js';
import type { Module } from '../../ir/module.js';
import { parseModule } from '../../ir/parse.js';
import { printModule } from '../../ir/print.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { assertValid } from '../../ir/verify.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { hasChoices, splitLoop } from '../../passes/split-loop.js';
import { structureOf } from '../../passes/structure.js';
import { logitsOf, type TinyModel, tinyData, tinyDit, tinyModel, tinyMoge, tinyMole } from './tiny-model.js';

const tiny = tinyModel({ num_hidden_layers: '5' });

/** Logits of a prefill, then of tokens read one by one: caches and position go on from call to call. */
function conversation({ module, source }: TinyModel): number[] {
  const states = new Map<string, Tensor>();
  const settings = { source, states, precision: 'f64' } as const;
  const read = (entry: string, ids: number[]): number[] => {
    const { logits } = interpretEntry(module, entry, { ids: tensor('i32', [ids.length], ids) }, settings);
    return Array.from((logits as Tensor).data);
  };
  return [...read('prefill', [3, 1, 4]), ...read('decode', [1]), ...read('decode', [5])];
}

function noiseOf({ module, source }: TinyModel): number[] {
  const x = tensor(
    'f32',
    [1, 1, 8, 8],
    Array.from({ length: 64 }, (_, i) => Math.sin(i)),
  );
  const [t, y] = [tensor('i32', [1], [9]), tensor('i32', [1], [2])];
  return Array.from(
    (interpretEntry(module, 'denoise', { x, t, y }, { source, precision: 'f64' }).eps as Tensor).data,
  );
}

const families: readonly (readonly [string, TinyModel, string, (model: TinyModel) => number[]])[] = [
  ['dense', tiny, 'layer', conversation],
  ['grouped experts', tinyMoge(), 'layer', conversation],
  ['lookup experts', tinyMole(), 'layer', conversation],
  ['diffusion transformer', tinyDit({ depth: '4' }), 'block', noiseOf],
];

describe.each(families)('%s', (_name, model, loop, outputs) => {
  test('gives the same bits, however it is split', () => {
    const wanted = outputs(model);
    const turns = model.module.loops.get(loop)?.indices.length ?? 0;
    const starts = fc.subarray(Array.from({ length: turns - 1 }, (_, i) => i + 1));
    const property = fc.property(starts, (at) => {
      const module = splitLoop(model.module, loop, at);
      assertValid(module, 'split-loop');
      expect(module.loops.size).toBe(model.module.loops.size + at.length);
      const text = printModule(module);
      expect(printModule(parseModule(text))).toBe(text);
      expect(outputs({ ...model, module })).toEqual(wanted);
    });
    fc.assert(property, { numRuns: 4 });
  }, 60_000);
});

test('a split model compiles, and computes the same bits', async () => {
  const { module } = runPipeline(tiny.module, parsePipeline('split-loop{loop=layer,at=2+3}'));
  expect([...module.loops].map(([name, { indices }]) => `${name} ${indices}`)).toEqual([
    'layer 0,1',
    'layer_2 2',
    'layer_3 3,4',
  ]);
  const run = async (m: Module) => {
    const loaded = await loadModule(m, tiny.source, { optimize: false });
    const first = loaded.run('prefill', { ids: Int32Array.of(3, 1, 4) }).logits;
    return [first, loaded.run('decode', { ids: Int32Array.of(7) }).logits];
  };
  expect(await run(module)).toEqual(await run(tiny.module));
}, 60_000);

describe('norms that some layers have lost', () => {
  const data = tinyData(tiny.module, 2, 6);
  const apply = async (text: string) =>
    (await runDataPipeline(tiny.module, parsePipeline(text), { source: tiny.source, data })).module;

  test('are gone from their runs, with nothing to choose by', async () => {
    const partial = await apply('absorb-post-norm{share=0.4}');
    expect(hasChoices(partial)).toBe(true);
    const { module } = runPipeline(partial, parsePipeline('split-loop'));
    expect(hasChoices(module)).toBe(false);
    const text = printModule(module);
    expect(text).not.toMatch(/where\(|absorbed/);
    expect(conversation({ ...tiny, module })).toEqual(conversation({ ...tiny, module: partial }));
    const turnsWith = (m: Module): number =>
      structureOf(m)
        .norms.filter(({ role, func }) => role === 'post' && func.startsWith('prefill'))
        .reduce((sum, { loop }) => sum + (m.loops.get(loop ?? '')?.indices.length ?? 0), 0);
    // 4 of the 10 post-norms are absorbed.
    expect(turnsWith(module)).toBe(6);
    expect(logitsOf({ ...tiny, module }).every(Number.isFinite)).toBe(true);
  }, 120_000);

  test('leave loops alone that do not differ', () => {
    expect(runPipeline(tiny.module, parsePipeline('split-loop')).module).toBe(tiny.module);
  });
});

test.each([
  ['split-loop{loop=layers}', /HEW6010.*no loop 'layers'/],
  ['split-loop{loop=layer,at=5}', /HEW6010.*no turn 5; it has 5/],
  ['split-loop{loop=layer,at=two}', /HEW6002.*no list of turns/],
])('%s is refused', (text, message) => {
  expect(() => runPipeline(tiny.module, parsePipeline(text))).toThrow(message);
});
