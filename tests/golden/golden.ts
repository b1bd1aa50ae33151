/** Tests of a model of examples/ against its golden outputs, compiled for wasm with the usual options. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compile, evaluateGolden, load, type Model, openModel } from 'hew';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { feed, prefillLogits } from '../../backends/wasm/runtime/language-model.js';
import { largestDifference } from '../../compiler/evaluate/golden.js';

const timeout = 300_000;

/** Why the tests of a model cannot run; models with weights in examples/ always run. */
export function reasonToSkip(golden: string): string | undefined {
  return existsSync(golden) ? undefined : `${golden} is absent`;
}

export function goldenTests(name: string, golden: string): void {
  const reason = reasonToSkip(golden);
  if (reason !== undefined) console.log(`skipping ${name}: ${reason}`);
  describe.skipIf(reason !== undefined)(`${name} against its golden outputs`, () => {
    const { open, isLanguageModel } = compiledOnce(name);
    test('every check is within its limit', { timeout }, async () => {
      const { checks } = await evaluateGolden(await open(), golden);
      expect(checks.map(({ pass, ...check }) => (pass ? 'pass' : check))).toEqual(checks.map(() => 'pass'));
    });
    if (!isLanguageModel) return;
    test('one call, chunks and single tokens give the same logits', { timeout }, async () => {
      expect(chunkDifference(await open())).toBeLessThan(1e-4);
    });
  });
}

/** Models with a text sampler; told by the spec alone, since tests are declared before anything is compiled. */
const languageModels = /^(pangu|moge|mole)-/;

function compiledOnce(name: string): { open: () => Promise<Model>; isLanguageModel: boolean } {
  let directory = '';
  let model: Promise<Model> | undefined;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'hew-golden-'));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  const build = async (): Promise<Model> => {
    const output = join(directory, name);
    await compile({ spec: `examples/${name}/model.hew`, output });
    return load(output);
  };
  return { open: () => (model ??= build()), isLanguageModel: languageModels.test(name) };
}

/** Largest difference of the last logits between ways to feed the same tokens. */
function chunkDifference(model: Model): number {
  const ids = Array.from({ length: 37 }, (_, i) => (i * 97 + 11) % 4096);
  model.reset();
  const vocab = feed(model, [0]).length;
  const inOneCall = lastRow(model, vocab, [ids]);
  const inChunks = lastRow(model, vocab, [ids.slice(0, 1), ids.slice(1, 18), ids.slice(18)]);
  const singly = lastRow(
    model,
    vocab,
    ids.map((id) => [id]),
  );
  model.reset();
  let decoded: Float32Array = new Float32Array();
  for (const id of ids) decoded = model.run('decode', { ids: Int32Array.of(id) }).logits as Float32Array;
  return Math.max(...[inChunks, singly, decoded].map((logits) => largestDifference(logits, inOneCall)));
}

function lastRow(model: Model, vocab: number, chunks: readonly (readonly number[])[]): Float32Array {
  model.reset();
  const rows = chunks.map((chunk) => prefillLogits(model, chunk));
  const last = rows.at(-1) as Float32Array;
  return last.slice(last.length - vocab);
}

/** Opening without compiling: what every example must survive even where its weights are absent. */
export function opens(name: string): void {
  openModel({ spec: `examples/${name}/model.hew` }).close();
}
