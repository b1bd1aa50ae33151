/** One ONNX node with given inputs through the interpreter. */
import { codeOf } from '../../compiler/onnx/dtypes.js';
import { openOnnxBytes } from '../../compiler/onnx/model.js';
import { interpretEntry } from '../../ir/interpret.js';
import { encodeBytes } from '../../ir/numeric.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { elementCount } from '../../ir/type.js';
import { randomFrom } from '../conformance/random.js';
import { encodeModel, type NodeText, node, valueInfo } from './build-model.js';

export type NodeCase = Omit<NodeText, 'inputs' | 'outputs'> & {
  /** In the order of the operator; undefined for those that are left out. */
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: number;
  /** Names of the outputs, empty for those that are not wanted; default all are. */
  readonly outputNames?: readonly string[];
  /** Inputs from this one on are weights; default none. */
  readonly weightsFrom?: number;
  readonly opset?: number;
};

export function runNode({
  inputs,
  outputs,
  outputNames,
  weightsFrom,
  opset,
  ...rest
}: NodeCase): (Tensor | undefined)[] {
  const nameOf = (i: number): string => (inputs[i] === undefined ? '' : `x${i}`);
  const results = outputNames ?? Array.from({ length: outputs }, (_, i) => `y${i}`);
  const present = inputs.flatMap((value, i) => (value === undefined ? [] : [{ value, i }]));
  const isWeight = (i: number): boolean => i >= (weightsFrom ?? inputs.length);
  const bytes = encodeModel({
    irVersion: 10,
    opsetImport: [
      { domain: '', version: opset ?? 24 },
      { domain: 'com.microsoft', version: 1 },
    ],
    graph: {
      name: 'node',
      node: [node({ ...rest, inputs: inputs.map((_, i) => nameOf(i)), outputs: results })],
      input: present
        .filter(({ i }) => !isWeight(i))
        .map(({ value, i }) => valueInfo(nameOf(i), value.shape, codeOf[value.dtype])),
      output: results.filter((name) => name !== '').map((name) => valueInfo(name, undefined)),
      initializer: present
        .filter(({ i }) => isWeight(i))
        .map(({ value: { dtype, shape, data }, i }) => ({
          name: nameOf(i),
          dataType: codeOf[dtype] as number,
          dims: [...shape],
          rawData: encodeBytes(dtype, data),
        })),
    },
  });
  const opened = openOnnxBytes(bytes, 'node.onnx');
  try {
    const given = present.filter(({ i }) => !isWeight(i)).map(({ value, i }) => [nameOf(i), value]);
    const found = interpretEntry(opened.module, 'main', Object.fromEntries(given), {
      source: opened.source,
      precision: 'f64',
    });
    return results.map((name) => found[name]);
  } finally {
    opened.store.close();
  }
}

/** Different numbers from -1 to 1 with every call. */
export function randomTensors(seed: number): (...shape: number[]) => Tensor {
  const random = randomFrom(seed);
  return (...shape) =>
    tensor(
      'f32',
      shape,
      Array.from({ length: elementCount(shape) }, () => Math.fround(random() * 2 - 1)),
    );
}
