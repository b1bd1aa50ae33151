/** `quantize-kv`: caches in bytes, which attention reads as they are. */
import { generate } from 'hew';
import { describe, expect, test } from 'vitest';
import { emitWasm, lower } from '../../backends/wasm/compile.js';
import { loadModule } from '../../compiler/in-memory.js';
import { interpretEntry, type StateStore } from '../../ir/interpret.js';
import { parseModule } from '../../ir/parse.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import { type TinyModel, tinyModel, tinyMoge, tinyMole } from '../prune/tiny-model.js';
import { relativeError } from './relative-error.js';

const prompt = [3, 1, 4, 1, 5, 9, 2];

function passed({ module, source }: TinyModel, pipeline: string) {
  const { module: changed, reports } = runPipeline(module, parsePipeline(`${standardPipeline}${pipeline}`));
  return { module: changed, source, report: reports.at(-1) };
}

/** Runs prompts through the interpreter, with states. */
function interpreted({ module, source }: TinyModel) {
  const states: StateStore = new Map();
  const logits = (entry: string, ids: readonly number[]): Float64Array =>
    (
      interpretEntry(module, entry, { ids: tensor('i32', [ids.length], ids) }, { source, states })
        .logits as Tensor
    ).data;
  return logits;
}

const argmax = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((best, value, i) => (value > (values[best] as number) ? i : best), 0);

describe.each([
  ['dense', () => tinyModel({ head_dim: '8' })],
  ['heads of six channels', () => tinyModel({ head_dim: '6' })],
  ['grouped experts', tinyMoge],
  ['lookup experts', tinyMole],
] as const)('%s', (_name, make) => {
  const model = make();
  const plain = interpreted(passed(model, ''));
  const wanted = plain('prefill', prompt);

  test.each([',quantize-kv', ',quantize-kv{asymmetric=true}'])(
    '%s: as the interpreter, near the floats',
    async (pipeline) => {
      const changed = passed(model, pipeline);
      const compiled = await loadModule(changed.module, changed.source, { optimize: false });
      const meant = interpreted(changed);
      const found = compiled.run('prefill', { ids: Int32Array.from(prompt) }).logits as Float32Array;
      const prefill = meant('prefill', prompt);
      expect(relativeError(found, prefill)).toBeLessThan(1e-5);
      expect(relativeError(prefill, wanted)).toBeLessThan(0.02);
      expect(relativeError(prefill, wanted)).toBeGreaterThan(1e-6);
      // Greedy continuation, each token behind the cache of those before.
      let next = argmax(prefill.subarray(-32));
      for (let i = 0; i < 5; i++) {
        const step = meant('decode', [next]);
        const compiledStep = compiled.run('decode', { ids: Int32Array.from([next]) }).logits as Float32Array;
        expect(relativeError(compiledStep, step)).toBeLessThan(1e-5);
        expect(argmax(compiledStep)).toBe(argmax(step));
        next = argmax(step);
      }
    },
  );
});

test('a cache takes a byte for each element and four for each head and token, and nothing is widened in memory', () => {
  const model = tinyModel({ head_dim: '32', max_position_embeddings: '512' });
  const [before, after] = ['', ',quantize-kv'].map((pipeline) => passed(model, pipeline));
  const bytes = ({ module }: { module: TinyModel['module'] }) =>
    emitWasm(lower(module).module, { relaxed: false, optimize: false }).schedule.bytes;
  const [floats, integers] = [before, after].map((of) => bytes(of as TinyModel));
  expect((integers?.states ?? 0) / (floats?.states ?? 1)).toBeCloseTo(36 / 128, 2);
  // A widened cache of 512 tokens would add 512 · 2 · 32 floats.
  expect((integers?.arena ?? 0) - (floats?.arena ?? 0)).toBeLessThan(512 * 2 * 32);
  expect(after?.report?.notes[0]).toMatch(/^states of \d+ bytes became \d+, 0\.281 of them$/);
});

test('generation with a quantized cache follows the interpreter token by token', async () => {
  const changed = passed(tinyModel(), ',quantize-kv');
  const model = await loadModule(changed.module, changed.source, { optimize: false });
  const tokens: number[] = [];
  for await (const event of generate(model, prompt, { max_tokens: 6, temperature: 0 }))
    if (event.type === 'token') tokens.push(event.id);
  const meant = interpreted(changed);
  const expected: number[] = [];
  let logits = meant('prefill', prompt).subarray(-32);
  for (let i = 0; i < tokens.length; i++) {
    expected.push(argmax(logits));
    logits = meant('decode', [argmax(logits)]);
  }
  expect(tokens.length).toBeGreaterThan(0);
  expect(tokens).toEqual(expected);
});

test('caches that something else reads are left alone, and a model without one is refused', () => {
  const module = parseModule(`module @m {
    state @c : f32[4, 1, 8]
    entry @main(%x: f32[1, 1, 8], %pos: i32[]) -> (y: f32[4, 1, 8]) {
      %c = state_read(name=@c) : f32[4, 1, 8]
      %d = cache_append(%c, %x, %pos) : f32[4, 1, 8]
      state_write(%d, name=@c)
      return %d
    }
  }`);
  const refused = (): unknown => runPipeline(module, parsePipeline('quantize-kv'));
  expect(refused).toThrow(/HEW6010: the model has no cache of floats that attention alone reads/);
  expect(refused).toThrow(
    expect.objectContaining({
      diagnostics: [expect.objectContaining({ notes: ['c: the caller reads it'] })],
    }),
  );
});
