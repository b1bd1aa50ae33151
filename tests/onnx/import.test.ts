/** `hew import model.onnx` and `hew export --format onnx`. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openModel } from '../../compiler/compile.js';
import { importOnnx } from '../../compiler/onnx/import.js';
import { hew, scratchDirectory } from '../cli/run-cli.js';
import { floats, modelBytes } from './build-model.js';

const directory = scratchDirectory();

test('a graph becomes a spec with its weights, which is the same graph', async () => {
  const path = join(directory, 'layer.onnx');
  writeFileSync(
    path,
    modelBytes({
      nodes: [
        { op: 'MatMul', inputs: ['x', 'layer.weight'], outputs: ['a'] },
        { op: 'Sigmoid', inputs: ['a'], outputs: ['s'] },
        { op: 'Mul', inputs: ['a', 's'], outputs: ['y'] },
      ],
      inputs: { x: ['batch', 3] },
      outputs: ['y'],
      initializers: [floats('layer.weight', [3, 2], [1, 2, 3, 4, 5, 6])],
    }),
  );
  const output = join(directory, 'imported', 'layer');
  const { code, stdout } = await hew(['import', path, '-o', output, '--set', 'batch=1..4']);
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: `${output}: model.hew, model.safetensors, from ONNX\n`,
  });
  const text = readFileSync(join(output, 'model.hew'), 'utf8');
  expect(text).toContain('dim batch in 1..4');
  expect(text).toContain('silu(');
  const model = openModel({ spec: join(output, 'model.hew') });
  expect([...model.module.params.values()].map(({ recipe }) => recipe.kind)).toEqual(['source']);
  model.close();
});

test('a graph that specs cannot express is refused, and nothing is left', async () => {
  const path = join(directory, 'nothing.onnx');
  // A spec has no name for an input that is a word of the language.
  writeFileSync(
    path,
    modelBytes({
      nodes: [{ op: 'Relu', inputs: ['weight'], outputs: ['y'] }],
      inputs: { weight: [2] },
      outputs: ['y'],
    }),
  );
  const output = join(directory, 'refused');
  await expect(importOnnx({ path, output })).rejects.toThrow('HEW3115');
  expect(existsSync(output)).toBe(false);
  expect((await hew(['check', path])).code).toBe(0);
});

test('hew export writes one entry', async () => {
  const output = join(directory, 'decode.onnx');
  const { code, stdout } = await hew([
    'export',
    'examples/pangu-2m/model.hew',
    '--format',
    'onnx',
    '--entry',
    'decode',
    '-o',
    output,
  ]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/entry decode, \d+ nodes, 13 states as inputs and outputs/);
  expect((await hew(['check', output])).code).toBe(0);
});
