/** Damaged files end in coded diagnostics, whatever was damaged: mutations of models that Hew wrote. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { openModel } from '../../compiler/compile.js';
import { onnxBytes } from '../../compiler/onnx/export/export.js';
import { openOnnxBytes } from '../../compiler/onnx/model.js';
import { HewError } from '../../ir/diagnostics.js';
import { floats, modelBytes } from './build-model.js';

const small = modelBytes({
  nodes: [
    { op: 'MatMul', inputs: ['x', 'w'], outputs: ['a'] },
    { op: 'Relu', inputs: ['a'], outputs: ['b'] },
    { op: 'Softmax', inputs: ['b'], outputs: ['y'], attributes: { axis: 1 } },
  ],
  inputs: { x: ['batch', 3] },
  outputs: ['y'],
  initializers: [floats('w', [3, 2], [1, 2, 3, 4, 5, 6])],
});

function openOrCode(bytes: Uint8Array): void {
  try {
    openOnnxBytes(bytes, 'model.onnx').store.close();
  } catch (error) {
    if (!(error instanceof HewError)) throw error;
    expect(error.diagnostics.map(({ code }) => code).every((code) => code.startsWith('HEW'))).toBe(true);
  }
}

const damage = fc.array(fc.record({ at: fc.nat(), value: fc.integer({ min: 0, max: 255 }) }), {
  minLength: 1,
  maxLength: 6,
});

function damaged(
  bytes: Uint8Array,
  changes: readonly { at: number; value: number }[],
  cut: number,
): Uint8Array {
  const copy = Uint8Array.from(bytes);
  for (const { at, value } of changes) copy[at % copy.length] = value;
  return cut % 3 === 0 ? copy.subarray(0, cut % copy.length) : copy;
}

test('a small model', () => {
  fc.assert(
    fc.property(damage, fc.nat(), (changes, cut) => openOrCode(damaged(small, changes, cut))),
    { seed: 20261122, numRuns: 400 },
  );
});

test('the classifier with its weights', () => {
  const model = openModel({ spec: 'examples/glyphnet/model.hew' });
  // Without the weights' file there is nothing to write.
  if (model.source === undefined) return model.close();
  const bytes = onnxBytes(model);
  model.close();
  // The graph stands before the weights, so damage is aimed at its part of the file.
  const graph = 4096;
  fc.assert(
    fc.property(damage, fc.nat(), (changes, cut) =>
      openOrCode(
        damaged(
          bytes,
          changes.map(({ at, value }) => ({ at: at % graph, value })),
          cut,
        ),
      ),
    ),
    { seed: 20261122, numRuns: 60 },
  );
});
