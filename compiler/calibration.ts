/**
 * Calibration data: calls of the observed entry, each from empty states. Tokens are a safetensors file with integers
 * [windows, length], or raw .u16 or .u32; for other models a safetensors file with one tensor for each input of the
 * entry, batch first.
 */
import { createHash } from 'node:crypto';
import type { Inputs, TypedArray } from '../backends/wasm/runtime/load.js';
import { fail } from '../ir/diagnostics.js';
import { nameOf } from '../ir/dim.js';
import { dimRange, type Func, type Module, modelDims, type Value } from '../ir/module.js';
import type { DType } from '../ir/type.js';
import { observedEntry } from '../passes/structure.js';
import { openCheckpoint } from './checkpoint/checkpoint.js';
import { toFloat32 } from './checkpoint/dtypes.js';
import { readTokenFile, type TokenWindows } from './evaluate/tokens.js';

export interface CalibrationCall {
  readonly inputs: Inputs;
  /** Values of the run-time symbols. */
  readonly symbols: ReadonlyMap<string, number>;
  /** The timestep that all samples of the call share, for diffusion models. */
  readonly timestep?: number | undefined;
}

export interface CalibrationData {
  /** Name of the entry the calls are for. */
  readonly entry: string;
  readonly calls: readonly CalibrationCall[];
  /** Tokens of each call, for language models: what `evaluate` predicts. */
  readonly windows: TokenWindows | undefined;
  /** Hash of everything above. */
  readonly fingerprint: string;
}

export interface CalibrationOptions {
  readonly tensor?: string | undefined;
  /** Tokens per window where the file has no rows. */
  readonly window?: number | undefined;
}

/** Reads a calibration file for a model. Fails with HEW6011 when it does not fit, and as reading files does. */
export function readCalibration(
  module: Module,
  path: string,
  options: CalibrationOptions = {},
): CalibrationData {
  const entry = calledEntry(module);
  const symbol = tokenSymbolOf(entry);
  if (symbol === undefined) return fromTensors(module, entry, path);
  const { max } = dimRange(module, symbol);
  return fromTokens(module, readTokenFile(path, { window: max, ...options }));
}

/** The run-time symbol of the observed entry when it takes one list of ids, as those of language models do. */
export function tokenSymbol(module: Module): string | undefined {
  const entry = observedEntry(module);
  return entry && tokenSymbolOf(entry);
}

function tokenSymbolOf(entry: Func): string | undefined {
  const [ids, ...others] = entry.args;
  const [length, ...inner] = ids?.type.shape ?? [];
  if (ids?.type.dtype !== 'i32' || others.length > 0 || inner.length > 0 || length === undefined)
    return undefined;
  return nameOf(length);
}

/** Windows longer than a call takes are an error: their positions would not be those of the model's data. */
export function fromTokens(module: Module, windows: TokenWindows): CalibrationData {
  const entry = observedEntry(module);
  const symbol = entry && tokenSymbolOf(entry);
  if (entry === undefined || symbol === undefined)
    return fail('HEW6011', 'the model has no entry that takes token ids alone');
  const { min, max } = dimRange(module, symbol);
  const [input] = entry.args as [Value];
  const calls = windows.map((ids, i) => {
    if (ids.length < Math.max(min, 2) || ids.length > max) {
      fail(
        'HEW6011',
        `calibration window ${i} has ${ids.length} tokens; the model takes ${Math.max(min, 2)} to ${max} in a call`,
      );
    }
    return { inputs: { [input.name as string]: ids }, symbols: new Map([[symbol, ids.length]]) };
  });
  if (calls.length === 0) fail('HEW6011', 'the calibration data has no windows');
  return { entry: entry.name, calls, windows, fingerprint: fingerprintOf(windows) };
}

const arrays: Partial<Record<DType, (values: Float32Array) => TypedArray>> = {
  f32: (values) => values.slice(),
  i32: (values) => Int32Array.from(values),
};

/** Splits the batch axis of each input's tensor into calls of as many as the entry takes. */
function fromTensors(module: Module, entry: Func, path: string): CalibrationData {
  const checkpoint = openCheckpoint(path);
  try {
    const tensors = entry.args.map((arg) => {
      const info = checkpoint.tensors.get(arg.name ?? '');
      if (info === undefined) {
        return fail('HEW6011', `${path} has no tensor for the input '${arg.name}' of entry '${entry.name}'`, {
          help: `it has: ${[...checkpoint.tensors.keys()].slice(0, 8).join(', ')}`,
        });
      }
      const [symbol] = arg.type.shape.map(nameOf);
      return { arg, shape: info.shape, symbol, values: toFloat32(info.dtype, checkpoint.read(info.name)) };
    });
    const count = tensors[0]?.shape[0] ?? 0;
    const symbol = tensors[0]?.symbol;
    if (
      symbol === undefined ||
      count === 0 ||
      tensors.some((t) => t.shape[0] !== count || t.symbol !== symbol)
    ) {
      return fail('HEW6011', `the inputs of entry '${entry.name}' in ${path} do not share a batch axis`);
    }
    const { max } = dimRange(module, symbol);
    const starts = Array.from({ length: Math.ceil(count / max) }, (_, i) => i * max);
    const calls = starts.map((start) => {
      const taken = Math.min(max, count - start);
      const inputs = tensors.map(({ arg, shape, values }) => {
        const size = shape.slice(1).reduce((n, axis) => n * axis, 1);
        const data = arrays[arg.type.dtype]?.(values.subarray(start * size, (start + taken) * size));
        if (data === undefined) fail('HEW6011', `input '${arg.name}' is ${arg.type.dtype}`);
        return [arg.name as string, { data, shape: [taken, ...shape.slice(1)] }] as const;
      });
      return { inputs: Object.fromEntries(inputs), symbols: new Map([[symbol, taken]]) };
    });
    return {
      entry: entry.name,
      calls,
      windows: undefined,
      fingerprint: fingerprintOf(tensors.map((t) => t.values)),
    };
  } finally {
    checkpoint.close();
  }
}

/** Calls of the observed entry by their inputs, as a program made them. Fails with HEW6011 for other inputs. */
export function fromCalls(
  module: Module,
  given: readonly { readonly inputs: Inputs; readonly timestep?: number | undefined }[],
): CalibrationData {
  const entry = calledEntry(module);
  const calls = given.map((call) => callOf(module, call));
  if (calls.length === 0) fail('HEW6011', 'the calibration data has no calls');
  const values = calls.flatMap(({ inputs }) =>
    Object.values(inputs).map((input) => (ArrayBuffer.isView(input) ? input : input.data)),
  );
  return { entry: entry.name, calls, windows: undefined, fingerprint: fingerprintOf(values) };
}

const calledEntry = (module: Module): Func =>
  observedEntry(module) ?? fail('HEW6011', 'the model has no entry to run calibration data through');

/** A call with the values of its run-time symbols. */
export function callOf(
  module: Module,
  { inputs, timestep }: { readonly inputs: Inputs; readonly timestep?: number | undefined },
): CalibrationCall {
  const symbols = new Map<string, number>();
  for (const { name, type } of calledEntry(module).args) {
    const input = inputs[name ?? ''] ?? fail('HEW6011', `a calibration call has no input '${name}'`);
    const shape = ArrayBuffer.isView(input) ? [input.length] : input.shape;
    type.shape.map(nameOf).forEach((symbol, axis) => {
      const isSymbol = symbol !== undefined && !modelDims(module).has(symbol);
      if (isSymbol && shape.length === type.shape.length) symbols.set(symbol, shape[axis] as number);
    });
  }
  return { inputs, symbols, timestep };
}

function fingerprintOf(arraysOfData: readonly TypedArray[]): string {
  const hash = createHash('sha256');
  for (const array of arraysOfData) {
    hash.update(`${array.length}:`);
    hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  }
  return hash.digest('hex');
}
