/**
 * ONNX Runtime, when it is installed: `npm ci --ignore-scripts` in tests/onnxruntime. It is no dependency of Hew, and tests
 * that need it say why they are skipped.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Tensor } from '../../ir/tensor.js';

const manifest = new URL('../onnxruntime/package.json', import.meta.url);
const installed = new URL('node_modules/onnxruntime-node', manifest);

export const missingRuntime = existsSync(fileURLToPath(installed))
  ? undefined
  : 'ONNX Runtime is not installed (npm ci --ignore-scripts in tests/onnxruntime)';

interface RuntimeTensor {
  readonly data: ArrayLike<number | bigint>;
  readonly dims: readonly number[];
}

interface Runtime {
  readonly InferenceSession: {
    create(
      path: string,
      options: object,
    ): Promise<{
      readonly inputNames: readonly string[];
      run(feeds: Readonly<Record<string, RuntimeTensor>>): Promise<Readonly<Record<string, RuntimeTensor>>>;
    }>;
  };
  readonly Tensor: new (type: string, data: ArrayBufferView, dims: readonly number[]) => RuntimeTensor;
}

const makers: Readonly<Record<string, readonly [string, (data: Float64Array) => ArrayBufferView]>> = {
  f32: ['float32', (data) => Float32Array.from(data)],
  i32: ['int32', (data) => Int32Array.from(data)],
  i64: ['int64', (data) => BigInt64Array.from(data, BigInt)],
};

/** Runs a model once; outputs by name, as float64. */
export async function runInRuntime(
  path: string,
  inputs: Readonly<Record<string, Tensor>>,
): Promise<Record<string, Float64Array>> {
  const { InferenceSession, Tensor: RuntimeTensor } = createRequire(manifest)('onnxruntime-node') as Runtime;
  const session = await InferenceSession.create(path, { logSeverityLevel: 3, intraOpNumThreads: 1 });
  const feeds = Object.entries(inputs).map(([name, { dtype, shape, data }]) => {
    const [type, make] = makers[dtype] as (typeof makers)[string];
    return [name, new RuntimeTensor(type, make(data), shape)];
  });
  const outputs = await session.run(Object.fromEntries(feeds));
  return Object.fromEntries(
    Object.entries(outputs).map(([name, { data }]) => [
      name,
      Float64Array.from(data as ArrayLike<number>, Number),
    ]),
  );
}
