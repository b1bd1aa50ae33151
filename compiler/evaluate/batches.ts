/** Runs of an entry point over more inputs than one call may take. */
import type { DType, Model, TypedArray } from '../../backends/wasm/runtime/load.js';
import { symbolsOf } from '../../backends/wasm/runtime/shape.js';
import { fail } from '../../ir/diagnostics.js';

/** Row-major values of an input, the batch on axis 0. */
export interface BatchInput {
  readonly values: Float32Array;
  readonly shape: readonly number[];
}

export interface BatchPart {
  /** Index of the first input of this call, and how many there are. */
  readonly start: number;
  readonly count: number;
  readonly values: Float32Array;
}

/** Calls `entry` with the first `count` inputs, as many at a time as it takes, for one f32 output. */
export function* runBatches(
  model: Model,
  entry: string,
  inputs: Readonly<Record<string, BatchInput>>,
  count: number,
  output: string,
): Generator<BatchPart> {
  const size = Math.min(count, largestBatch(model, entry));
  for (let start = 0; start < count; start += size) {
    const taken = Math.min(size, count - start);
    const given = Object.entries(inputs).map(([name, input]) => [
      name,
      batchOf(model, entry, name, input, start, taken),
    ]);
    const values = model.run(entry, Object.fromEntries(given), { outputs: [output] })[output];
    if (!(values instanceof Float32Array))
      fail('HEW7008', `output '${output}' of entry '${entry}' is not f32`);
    yield { start, count: taken, values };
  }
}

function batchOf(
  model: Model,
  entry: string,
  name: string,
  { values, shape }: BatchInput,
  start: number,
  count: number,
): { data: TypedArray; shape: number[] } {
  const inner = shape.slice(1);
  const size = inner.reduce((product, axis) => product * axis, 1);
  const dtype = model.entry(entry).inputs.find((slot) => slot.name === name)?.dtype ?? 'f32';
  const data = typedArrays[dtype]?.(values.subarray(start * size, (start + count) * size));
  if (data === undefined) return fail('HEW7008', `input '${name}' of entry '${entry}' is ${dtype}`);
  return { data, shape: [count, ...inner] };
}

const typedArrays: Partial<Record<DType, (values: Float32Array) => TypedArray>> = {
  f32: (values) => values.slice(),
  i32: (values) => Int32Array.from(values),
  i64: (values) => BigInt64Array.from(values, (value) => BigInt(Math.round(value))),
  u8: (values) => Uint8Array.from(values),
};

/** The bound of the symbol that is the first axis of the first input. */
function largestBatch(model: Model, entry: string): number {
  const [batch] = model.entry(entry).inputs[0]?.shape ?? [];
  if (batch === undefined) return 1;
  if (typeof batch === 'number') return Math.max(1, batch);
  const [symbol] = symbolsOf([batch]);
  return Math.max(1, model.manifest.symbols[symbol ?? '']?.max ?? 1);
}
