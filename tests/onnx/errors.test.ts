/** What is wrong with a model is said with a code, the node and the remedy; all of it at once. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openModel } from '../../compiler/compile.js';
import { openOnnxBytes } from '../../compiler/onnx/model.js';
import { HewError } from '../../ir/diagnostics.js';
import { hew, scratchDirectory } from '../cli/run-cli.js';
import { floats, type ModelText, modelBytes } from './build-model.js';

const directory = scratchDirectory();

/** `code message` of everything that opening a model reports. */
function problems(bytes: Uint8Array, set: Readonly<Record<string, string>> = {}): string[] {
  try {
    const { store, warnings } = openOnnxBytes(bytes, join(directory, 'model.onnx'), { set });
    store.close();
    return warnings.map(({ code, message }) => `warning ${code} ${message}`);
  } catch (error) {
    if (!(error instanceof HewError)) throw error;
    return error.diagnostics.map(({ code, message }) => `${code} ${message}`);
  }
}

const of = (text: ModelText): string[] => problems(modelBytes(text));

test('a file that is no model', () => {
  expect(problems(new TextEncoder().encode('weights'))[0]).toMatch(/^HEW3102/);
  expect(problems(new Uint8Array(0))[0]).toMatch(/^HEW3102 .*0 graphs/);
  const whole = modelBytes({
    nodes: [{ op: 'Relu', inputs: ['x'], outputs: ['y'] }],
    inputs: { x: [2] },
    outputs: ['y'],
  });
  expect(problems(whole.subarray(0, whole.length - 3))[0]).toMatch(/^HEW3102/);
});

test('names that are missing, repeated, or needed for themselves', () => {
  expect(of({ nodes: [{ op: 'Relu', inputs: ['nowhere'], outputs: ['y'] }], outputs: ['y'] })).toEqual([
    "HEW3103 the node that makes 'y' (Relu) reads 'nowhere', which nothing defines",
  ]);
  const twice = of({
    nodes: [
      { op: 'Relu', inputs: ['x'], outputs: ['y'] },
      { op: 'Neg', inputs: ['x'], outputs: ['y'] },
    ],
    inputs: { x: [2] },
    outputs: ['y'],
  });
  expect(twice).toEqual(["HEW3103 'y' is defined twice"]);
  const cycle = of({
    nodes: [
      { op: 'Add', inputs: ['x', 'b'], outputs: ['a'], name: 'first' },
      { op: 'Neg', inputs: ['a'], outputs: ['b'] },
    ],
    inputs: { x: [2] },
    outputs: ['b'],
  });
  expect(cycle.join()).toContain('the graph has a cycle');
  expect(
    of({ nodes: [{ op: 'Add', inputs: ['x', 'y'], outputs: ['y'] }], inputs: { x: [2] }, outputs: ['y'] })[0],
  ).toMatch(/^HEW3103/);
});

test('nodes in any order are sorted', () => {
  const nodes = [
    { op: 'Neg', inputs: ['a'], outputs: ['y'] },
    { op: 'Relu', inputs: ['x'], outputs: ['a'] },
  ];
  expect(of({ nodes, inputs: { x: [2] }, outputs: ['y'] })).toEqual([]);
});

test('every operator that is not known is reported, once, with what depends on it skipped', () => {
  const found = of({
    nodes: [
      { op: 'Frobnicate', inputs: ['x'], outputs: ['a'], name: 'f' },
      { op: 'Relu', inputs: ['a'], outputs: ['b'] },
      { op: 'Grid', domain: 'my.domain', inputs: ['x'], outputs: ['c'] },
    ],
    inputs: { x: [2] },
    outputs: ['b', 'c'],
  });
  expect(found).toEqual([
    "HEW3104 node 'f' (Frobnicate): the standard operators (opset 21) have no Frobnicate that Hew knows",
    "HEW3104 the node that makes 'c' (my.domain.Grid): the domain my.domain have no Grid that Hew knows",
  ]);
});

test('an operator that is not known may be one that is', () => {
  const nodes = [{ op: 'Softmx', inputs: ['x'], outputs: ['y'] }];
  const bytes = modelBytes({ nodes, inputs: { x: [2] }, outputs: ['y'] });
  try {
    openOnnxBytes(bytes, 'm.onnx');
    expect.unreachable();
  } catch (error) {
    expect((error as HewError).diagnostics[0]?.help).toMatch(/did you mean 'Softmax'/);
  }
});

test('tensors whose shape, type and data do not fit', () => {
  const withTensor = (tensor: Parameters<typeof floats> | object): string[] =>
    of({
      nodes: [{ op: 'Relu', inputs: ['w'], outputs: ['y'] }],
      outputs: ['y'],
      initializers: [tensor as never],
    });
  expect(withTensor(floats('w', [3], [1, 2]))).toEqual([
    "HEW3105 tensor 'w' of float [3] needs 12 bytes, but has 8",
  ]);
  expect(withTensor({ name: 'w', dataType: 1, dims: [-1] })[0]).toMatch(/^HEW3105 .*no tensor can have/);
  expect(withTensor({ name: 'w', dataType: 1, dims: [2 ** 40, 2 ** 40] })[0]).toMatch(
    /^HEW3105 .*beyond any memory/,
  );
  expect(withTensor({ name: 'w', dataType: 77, dims: [1] })[0]).toMatch(/^HEW3105 .*does not define/);
  expect(withTensor({ name: 'w', dataType: 6, dims: [2], int32Data: [1] })[0]).toMatch(/^HEW3105 .*1 values/);
  expect(withTensor({ name: 'w', dataType: 14, dims: [1], rawData: new Uint8Array(8) })[0]).toMatch(
    /^HEW3109/,
  );
});

test.each([
  ['../secret.bin', 'plain relative path'],
  ['/etc/hostname', 'plain relative path'],
  ['a/../b.bin', 'plain relative path'],
  ['link.bin', 'links out of its folder'],
])('external data at %s', (location, reason) => {
  const outside = join(directory, 'outside');
  mkdirSync(outside, { recursive: true });
  writeFileSync(join(outside, 'secret.bin'), new Uint8Array(8));
  const folder = join(directory, 'folder');
  mkdirSync(folder, { recursive: true });
  try {
    symlinkSync(join(outside, 'secret.bin'), join(folder, 'link.bin'));
  } catch {
    // It is there from the case before.
  }
  const tensor = {
    name: 'w',
    dataType: 1,
    dims: [2],
    dataLocation: 1,
    externalData: [{ key: 'location', value: location }],
  };
  const bytes = modelBytes({
    nodes: [{ op: 'Relu', inputs: ['w'], outputs: ['y'] }],
    outputs: ['y'],
    initializers: [tensor],
  });
  const path = join(folder, 'model.onnx');
  writeFileSync(path, bytes);
  expect(() => openModel({ spec: path })).toThrow(reason);
  expect(problemsOfFile(path)[0]).toMatch(/^HEW3106/);
});

function problemsOfFile(path: string): string[] {
  try {
    openModel({ spec: path }).close();
    return [];
  } catch (error) {
    if (!(error instanceof HewError)) throw error;
    return error.diagnostics.map(({ code, message }) => `${code} ${message}`);
  }
}

test('external data that ends too early, or is badly described', () => {
  const folder = join(directory, 'short');
  mkdirSync(folder);
  writeFileSync(join(folder, 'data.bin'), new Uint8Array(8));
  const open = (entries: Record<string, string>): string => {
    const tensor = {
      name: 'w',
      dataType: 1,
      dims: [2],
      dataLocation: 1,
      externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
    };
    const path = join(folder, 'model.onnx');
    writeFileSync(
      path,
      modelBytes({
        nodes: [{ op: 'Relu', inputs: ['w'], outputs: ['y'] }],
        outputs: ['y'],
        initializers: [tensor],
      }),
    );
    return problemsOfFile(path).join();
  };
  expect(open({ location: 'data.bin' })).toBe('');
  expect(open({ location: 'data.bin', offset: '4' })).toMatch(/^HEW3106 .*needs bytes 4 to 12/);
  expect(open({ location: 'data.bin', offset: '-4' })).toMatch(/^HEW3106/);
  expect(open({ location: 'data.bin', length: '4' })).toMatch(/^HEW3105/);
  expect(open({})).toMatch(/^HEW3106 .*names no file/);
});

test('opsets', () => {
  const relu = { nodes: [{ op: 'Relu', inputs: ['x'], outputs: ['y'] }], inputs: { x: [2] }, outputs: ['y'] };
  expect(of({ ...relu, opset: 99 })).toEqual([
    'warning HEW3107 the model uses opset 99; its operators are read as those of opset 24',
  ]);
  expect(of({ ...relu, opset: 0 })[0]).toMatch(/^HEW3107/);
});

test('a shape that depends on the data', () => {
  const found = of({
    nodes: [
      { op: 'Cast', inputs: ['x'], outputs: ['s'], attributes: { to: 7 } },
      { op: 'Reshape', inputs: ['x', 's'], outputs: ['y'], name: 'r' },
    ],
    inputs: { x: [2] },
    outputs: ['y'],
  });
  expect(found[0]).toMatch(/^HEW3108 node 'r' \(Reshape\): shape \(input 1, 's'\) depends on the data/);
});

test('operands that do not fit, and forms that are not supported', () => {
  const add = of({
    nodes: [{ op: 'Add', inputs: ['x', 'z'], outputs: ['y'] }],
    inputs: { x: [2], z: [3] },
    outputs: ['y'],
  });
  expect(add[0]).toMatch(/^HEW3110 .*\(Add\)/);
  const half = of({
    nodes: [
      {
        op: 'MatMulNBits',
        domain: 'com.microsoft',
        inputs: ['x', 'x', 'x'],
        outputs: ['y'],
        attributes: { K: 4, N: 2, bits: 3, block_size: 16 },
      },
    ],
    inputs: { x: [2] },
    outputs: ['y'],
  });
  expect(half[0]).toMatch(/^HEW3111 .*3 bits/);
});

test('differences that are only warned of', () => {
  const found = of({
    nodes: [{ op: 'Add', inputs: ['x', 'w'], outputs: ['y'] }],
    inputs: { x: [2], w: [2] },
    outputs: ['y'],
    initializers: [floats('w', [2], [1, 2])],
  });
  expect(found).toEqual(["warning HEW3112 input 'w' has a default value, which is built in"]);
});

test('settings of symbolic dimensions', () => {
  const bytes = modelBytes({
    nodes: [{ op: 'Relu', inputs: ['x'], outputs: ['y'] }],
    inputs: { x: ['batch', 2] },
    outputs: ['y'],
  });
  expect(problems(bytes)[0]).toMatch(/^warning HEW3113 .*from 1 to 256: batch/);
  expect(problems(bytes, { batch: '4' })).toEqual([]);
  expect(problems(bytes, { batch: '1..4' })).toEqual([]);
  expect(problems(bytes, { batch: '4..1' })[0]).toMatch(/^HEW3113/);
  expect(problems(bytes, { size: '4' })[0]).toMatch(/^HEW3113 .*no symbolic dimension 'size'/);
});

test('hew check lists everything, with the exit code for what is not supported', async () => {
  const path = join(directory, 'several.onnx');
  writeFileSync(
    path,
    modelBytes({
      nodes: [
        { op: 'Frobnicate', inputs: ['x'], outputs: ['a'] },
        { op: 'Unknown', inputs: ['x'], outputs: ['b'] },
      ],
      inputs: { x: [2] },
      outputs: ['a', 'b'],
    }),
  );
  const { code, stderr } = await hew(['check', path]);
  expect(code).toBe(4);
  expect(stderr.match(/HEW3104/g)).toHaveLength(2);
});

test('a configuration file has no meaning for an ONNX model', async () => {
  const path = join(directory, 'plain.onnx');
  writeFileSync(
    path,
    modelBytes({
      nodes: [{ op: 'Relu', inputs: ['x'], outputs: ['y'] }],
      inputs: { x: [2] },
      outputs: ['y'],
    }),
  );
  expect((await hew(['check', path])).code).toBe(0);
  expect((await hew(['check', path, '--config', 'config.json'])).stderr).toContain('HEW3111');
});
