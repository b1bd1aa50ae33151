/**
 * ONNX's own conformance suite: the node tests up to opset 17 as Debian's package libonnx-testdata installs them, and a
 * selection of those for newer opsets in newer-opsets.json.gz.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { carriedAs, onnxDTypes } from '../../compiler/onnx/dtypes.js';
import { type OpenedOnnx, openOnnx } from '../../compiler/onnx/model.js';
import {
  byteLength,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValueInfo,
  readOnnxBytes,
  readTensorFile,
} from '../../compiler/onnx/wire.js';
import { HewError } from '../../ir/diagnostics.js';
import { castTo, decodeBytes } from '../../ir/numeric.js';
import type { Tensor } from '../../ir/tensor.js';
import { elementCount } from '../../ir/type.js';

/** HEW_ONNX_TESTDATA names another copy of the suite. */
const places = [process.env.HEW_ONNX_TESTDATA, '/usr/share/libonnx-testdata/data'];

/** The folder of node tests; undefined when the suite is not installed. */
export const nodeTests = places
  .flatMap((path) => (path === undefined ? [] : [join(path, 'node')]))
  .find((path) => existsSync(path));

export const missingSuite = 'the ONNX conformance suite is not installed (apt-get install libonnx-testdata)';

/**
 * Unpacks the tests of newer opsets, which the generator in the package onnx 1.23.1 makes (Apache License 2.0): those
 * of operators that opset 18 or a later one has added or changed, without function bodies and large ones.
 */
export function unpackNewerTests(folder: string): void {
  const packed = gunzipSync(readFileSync(new URL('newer-opsets.json.gz', import.meta.url))).toString();
  const tests = JSON.parse(packed) as Readonly<Record<string, Readonly<Record<string, string>>>>;
  for (const [name, files] of Object.entries(tests)) {
    for (const [path, base64] of Object.entries(files)) {
      const target = join(folder, name, path);
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, Buffer.from(base64, 'base64'));
    }
  }
}

export function testNames(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => existsSync(join(folder, name, 'model.onnx')))
    .sort();
}

/** Why a test cannot be run; the text stands in the list of skipped tests. */
export class Skip extends Error {}

export interface SuiteTest {
  readonly opened: OpenedOnnx;
  /** By the names of the entry. */
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly wanted: Readonly<Record<string, Tensor>>;
  /** Inputs that were given as constants. */
  readonly promoted: boolean;
}

/** Inputs that decide shapes, by operator. */
const deciding: Readonly<Record<string, readonly number[]>> = {
  Reshape: [1],
  Expand: [1],
  Slice: [1, 2, 3, 4],
  Pad: [1, 2, 3],
  Tile: [1],
  Squeeze: [1],
  Unsqueeze: [1],
  Split: [1],
  TopK: [1],
  Range: [0, 1, 2],
  ConstantOfShape: [0],
  OneHot: [1],
  CumSum: [1],
  Resize: [1, 2, 3],
  Upsample: [1],
  Compress: [1],
  NonZero: [0],
  MaxUnpool: [2],
  Loop: [0, 1],
  If: [0],
  SequenceAt: [1],
  SequenceInsert: [2],
  SequenceErase: [1],
  SplitToSequence: [1],
  Dropout: [1, 2],
  STFT: [1, 3],
  DFT: [1, 2],
  MelWeightMatrix: [0, 1, 2, 3, 4],
  HannWindow: [0],
  HammingWindow: [0],
  BlackmanWindow: [0],
  CenterCropPad: [1],
  ...Object.fromEntries(
    ['Sum', 'Mean', 'Max', 'Min', 'Prod', 'L1', 'L2', 'SumSquare', 'LogSum', 'LogSumExp'].map((name) => [
      `Reduce${name}`,
      [1],
    ]),
  ),
};

/** Opens a test; what its dtypes or kinds of value rule out is a Skip. */
export function openTest(folder: string, name: string, dataSet = 0): SuiteTest {
  const path = join(folder, name, 'model.onnx');
  const model = readOnnxBytes(readFileSync(path), path);
  const data = join(folder, name, `test_data_set_${dataSet}`);
  const weights = new Set(model.graph.initializers.map((tensor) => tensor.name));
  const inputs = model.graph.inputs.filter((input) => !weights.has(input.name));
  const given = new Map(inputs.map((info, i) => [info.name, inputFile(join(data, `input_${i}.pb`), info)]));
  const direct = promotedNames(model, (node) => deciding[node.op] ?? []);
  const integers = new Set([...given].filter(([, t]) => t.dtype !== 'f32').map(([name]) => name));
  const attempts = [
    new Set<string>(),
    direct,
    integers,
    new Set([...direct, ...integers]),
    new Set(given.keys()),
  ];
  for (const [i, names] of attempts.entries()) {
    try {
      const constants = new Map([...given].filter(([name]) => names.has(name)));
      const opened = openOnnx(path, { constants });
      const wanted = model.graph.outputs.map(
        ({ name, kind, dtype }, i) => [name, tensorFile(join(data, `output_${i}.pb`), kind, dtype)] as const,
      );
      const own = new Map([...opened.names].map(([mine, theirs]) => [theirs, mine]));
      const results = opened.module.functions.get('main')?.outputs ?? [];
      return {
        opened,
        promoted: i > 0,
        inputs: Object.fromEntries(
          [...given]
            .filter(([name]) => !names.has(name))
            .map(([name, value]) => [own.get(name) as string, value]),
        ),
        wanted: Object.fromEntries(wanted.map(([, value], k) => [results[k] as string, value])),
      };
    } catch (error) {
      const isDynamic = error instanceof HewError && error.diagnostics.some(({ code }) => code === 'HEW3108');
      if (!isDynamic || i === attempts.length - 1) throw error;
    }
  }
  throw new Error('unreachable');
}

function promotedNames({ graph }: OnnxModel, indices: (node: OnnxNode) => readonly number[]): Set<string> {
  return new Set(graph.nodes.flatMap((node) => indices(node).map((i) => node.inputs[i] ?? '')));
}

/** Four tests store a `like` operand, of which only the type matters, in another shape than they declare. */
function inputFile(path: string, { name, kind, dtype, shape }: OnnxValueInfo): Tensor {
  const value = tensorFile(path, kind, dtype);
  const declared = shape?.map(Number);
  if (name !== 'like' || declared === undefined || declared.join() === value.shape.join()) return value;
  return { dtype: value.dtype, shape: declared, data: new Float64Array(elementCount(declared)) };
}

function tensorFile(path: string, kind: string, declared: number): Tensor {
  if (kind !== 'tensor') throw new Skip(`${kind} as input or output`);
  const file = readFileSync(path);
  const tensor = readTensorFile(file);
  if (tensor.data.kind === 'external') throw new Skip('external data');
  const { data } = tensor;
  const bytes = data.kind === 'bytes' ? data.bytes : file.subarray(data.start, data.end);
  // The suite stores bfloat16 as uint16 of the same bits.
  return decoded(declared === 16 ? { ...tensor, dtype: 16 } : tensor, bytes, declared);
}

function decoded(tensor: OnnxTensor, file: Uint8Array, declared: number): Tensor {
  const dtype = carriedAs(declared);
  if (dtype === undefined) throw new Skip(`${onnxDTypes[declared]?.name ?? declared} is no type of Hew`);
  if (file.length !== byteLength(tensor.dtype, tensor.shape)) throw new Error('a tensor of the wrong size');
  if (onnxDTypes[declared]?.name === 'double') {
    const doubles = new Float64Array(Uint8Array.from(file).buffer);
    return { dtype, shape: tensor.shape, data: doubles.map(castTo.f32) };
  }
  return { dtype, shape: tensor.shape, data: decodeBytes(dtype, file, elementCount(tensor.shape)) };
}

/** The first thing wrong with an output, by the suite's own tolerance: |a - e| <= 1e-7 + 1e-3 |e|. */
export function mismatch(found: Tensor, wanted: Tensor): string | undefined {
  if (found.dtype !== wanted.dtype) return `dtype ${found.dtype}, not ${wanted.dtype}`;
  if (found.shape.join() !== wanted.shape.join()) return `shape [${found.shape}], not [${wanted.shape}]`;
  for (let i = 0; i < wanted.data.length; i++) {
    const [a, e] = [found.data[i] as number, wanted.data[i] as number];
    if (Number.isNaN(e) ? Number.isNaN(a) : a === e || Math.abs(a - e) <= 1e-7 + 1e-3 * Math.abs(e)) continue;
    return `element ${i} is ${a}, not ${e}`;
  }
  return undefined;
}

export function mismatches(
  found: Readonly<Record<string, Tensor>>,
  wanted: Readonly<Record<string, Tensor>>,
): string[] {
  return Object.entries(wanted).flatMap(([name, value]) => {
    const problem = mismatch(found[name] as Tensor, value);
    return problem === undefined ? [] : [`${name}: ${problem}`];
  });
}
