/** Export and import again: every op of the table, external data, and what cannot be written. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openModel } from '../../compiler/compile.js';
import { exportOnnx, onnxBytes } from '../../compiler/onnx/export/export.js';
import { exportTable } from '../../compiler/onnx/export/operators.js';
import { openOnnxBytes } from '../../compiler/onnx/model.js';
import { interpretEntry } from '../../ir/interpret.js';
import { entriesOf } from '../../ir/module.js';
import { opNames } from '../../ir/ops/table.js';
import type { Tensor } from '../../ir/tensor.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { scratchDirectory } from '../cli/run-cli.js';
import { caseModule, caseTitle, differences } from '../conformance/case.js';
import { opCases } from '../conformance/cases.js';
import { tinyModel } from '../prune/tiny-model.js';

const directory = scratchDirectory();

for (const op of opNames.filter((name) => exportTable[name] !== 'structure' && name !== 'all_reduce')) {
  const cases = opCases.filter((each) => each.op === op);
  test(`${op} comes back from ONNX with the same results`, () => {
    expect(cases.length).toBeGreaterThan(0);
    for (const each of cases) {
      const { module, inputs } = caseModule(each, { weights: 'arguments' });
      const wanted = interpretEntry(module, 'main', inputs);
      const set = Object.fromEntries(
        [...module.dims].flatMap(([name, d]) => ('value' in d ? [] : [[name, `${d.min}..${d.max}`]])),
      );
      const back = openOnnxBytes(onnxBytes({ module, source: undefined }), 'model.onnx', { set });
      const given = Object.fromEntries(
        (back.module.functions.get('main')?.args ?? []).map(({ name }) => [
          name as string,
          inputs[name as string] as Tensor,
        ]),
      );
      const found = interpretEntry(back.module, 'main', given, { source: back.source });
      back.store.close();
      expect(differences(wanted, found, each.tolerance), caseTitle(each)).toEqual([]);
    }
  });
}

test('one rank of several has no ONNX form', () => {
  const { module } = runPipeline(tinyModel().module, parsePipeline('shard'));
  expect(() => onnxBytes({ module, source: undefined }, 'decode')).toThrow(
    /HEW3114: the model is one rank of several/,
  );
});

test('weights above the limit go into a file beside the model', async () => {
  const model = openModel({ spec: 'examples/pangu-2m/model.hew' });
  const folder = join(directory, 'external');
  mkdirSync(folder);
  const output = join(folder, 'model.onnx');
  const report = await exportOnnx(model, { output, entry: 'decode', inlineBytes: 1000 });
  expect(report.files).toEqual(['model.onnx', 'model.onnx.data']);
  expect(readFileSync(output).length).toBeLessThan(200_000);
  const back = openModel({ spec: output });
  const name = 'model.norm.weight';
  expect(back.checkpoint?.read(name)).toEqual(model.checkpoint?.read(name));
  back.close();
  model.close();
});

test('one entry per file', async () => {
  const model = openModel({ spec: 'examples/pangu-2m/model.hew' });
  expect(entriesOf(model.module)).toHaveLength(2);
  await expect(exportOnnx(model, { output: join(directory, 'both.onnx') })).rejects.toThrow('HEW3114');
  model.close();
});
