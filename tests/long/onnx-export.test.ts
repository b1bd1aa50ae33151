/**
 * The example models as ONNX files: ONNX Runtime gives the golden outputs, and the import gives the model back, with
 * the same ops in the same numbers.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../compiler/checkpoint/checkpoint.js';
import { toFloat32 } from '../../compiler/checkpoint/dtypes.js';
import { type OpenedModel, openModel } from '../../compiler/compile.js';
import { exportOnnx } from '../../compiler/onnx/export/export.js';
import { flattenEntry } from '../../compiler/onnx/export/flatten.js';
import type { Func, Module } from '../../ir/module.js';
import { modelDims } from '../../ir/module.js';
import type { Tensor } from '../../ir/tensor.js';
import { emptyTensor, tensor } from '../../ir/tensor.js';
import { evalShape } from '../../ir/type.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { missingRuntime, runInRuntime } from '../onnx/runtime.js';
import { instantiate } from '../wasm/run-module.js';

interface Case {
  readonly model: string;
  readonly entry: string;
  readonly golden: string;
  /** Tensors of the golden file that are inputs, by the names of the entry. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly outputs: readonly string[];
  readonly set: Readonly<Record<string, string>>;
}

const cases: readonly Case[] = [
  {
    model: 'glyphnet',
    entry: 'classify',
    golden: '../shared/models/glyphnet/golden.safetensors',
    inputs: { x: 'x' },
    outputs: ['logits', 'features'],
    set: { B: '1..8' },
  },
  {
    model: 'dit-1m',
    entry: 'denoise',
    golden: 'examples/dit-1m/golden.safetensors',
    inputs: { x: 'x', t: 't', y: 'y' },
    outputs: ['eps'],
    set: { B: '1..8' },
  },
  {
    model: 'pangu-2m',
    entry: 'prefill',
    golden: 'examples/pangu-2m/golden.safetensors',
    inputs: { ids: 'prompt' },
    outputs: ['logits'],
    set: { T: '1..128' },
  },
  {
    model: 'moge-8m',
    entry: 'prefill',
    golden: '../shared/models/moge-8m/golden.safetensors',
    inputs: { ids: 'prompt' },
    outputs: ['logits'],
    set: { T: '1..128' },
  },
];

/** The same normal form for both. */
const pipeline = parsePipeline('lift,fold,cse,dce');

function opCounts(module: Module, entry: string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { name } of (runPipeline(module, pipeline).module.functions.get(entry) as Func).body) {
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'hew-onnx-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

if (missingRuntime !== undefined) console.warn(`skipped in part: ${missingRuntime}`);

for (const { model, entry, golden, inputs, outputs, set } of cases) {
  const reason = existsSync(golden) ? undefined : `${golden} is absent`;
  if (reason !== undefined) console.warn(`skipping ${model}: ${reason}`);

  describe.skipIf(reason !== undefined)(model, () => {
    let original: OpenedModel;
    let path = '';
    let given: Record<string, Tensor> = {};
    let wanted: Record<string, Float32Array> = {};

    beforeAll(async () => {
      original = openModel({ spec: `examples/${model}/model.hew` });
      path = join(directory, `${model}.onnx`);
      await exportOnnx(original, { output: path, entry });
      const file = openCheckpoint(golden);
      const read = (name: string): Float32Array =>
        toFloat32(file.tensors.get(name)?.dtype ?? 'f32', file.read(name));
      const { module, states } = flattenEntry(original.module, entry);
      const func = module.functions.get(entry) as Func;
      given = Object.fromEntries(
        func.args.map((arg) => {
          const name = arg.name as string;
          const { dtype, shape } = arg.type;
          const state = states.some(({ input }) => input === name);
          const tensorName = inputs[name] as string;
          return [
            name,
            state
              ? emptyTensor(dtype, evalShape(shape, modelDims(module)))
              : tensor(dtype, file.tensors.get(tensorName)?.shape ?? [], read(tensorName)),
          ];
        }),
      );
      wanted = Object.fromEntries(outputs.map((name) => [name, read(name)]));
      file.close();
    });
    afterAll(() => original.close());

    test('the import has the ops of the spec, and gives the golden outputs', () => {
      const imported = openModel({ spec: path, set });
      expect(opCounts(imported.module, 'main')).toEqual(
        opCounts(flattenEntry(original.module, entry).module, entry),
      );
      const results = instantiate(imported.module, {
        ...(imported.source && { source: imported.source }),
      }).run('main', given, outputs);
      imported.close();
      for (const name of outputs) {
        expect(largestDifference((results[name] as Tensor).data, wanted[name] as Float32Array)).toBeLessThan(
          1e-3,
        );
      }
    });

    test.skipIf(missingRuntime !== undefined)('ONNX Runtime gives the golden outputs', async () => {
      const results = await runInRuntime(path, given);
      for (const name of outputs) {
        const difference = largestDifference(results[name] as Float64Array, wanted[name] as Float32Array);
        console.log(`${model} in ONNX Runtime: ${name} differs by at most ${difference.toExponential(1)}`);
        expect(difference).toBeLessThan(1e-3);
      }
    });
  });
}

function largestDifference(found: ArrayLike<number>, wanted: ArrayLike<number>): number {
  expect(found.length).toBe(wanted.length);
  let largest = 0;
  for (let i = 0; i < wanted.length; i++) {
    largest = Math.max(largest, Math.abs((found[i] as number) - (wanted[i] as number)));
  }
  return largest;
}
