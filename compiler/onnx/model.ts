/** Opening an ONNX model: what `openModel` does for a path that ends in .onnx. */
import { closeSync, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Diagnostic, diagnostic, fail } from '../../ir/diagnostics.js';
import type { TensorSource } from '../../ir/materialise.js';
import type { Module } from '../../ir/module.js';
import type { Tensor } from '../../ir/tensor.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { openForReading } from '../checkpoint/safetensors.js';
import { Dimensions } from './dimensions.js';
import { importGraph } from './graph.js';
import { type ModelFile, TensorStore } from './tensors.js';
import { type OnnxModel, readOnnx, readOnnxBytes } from './wire.js';

/** Shape arithmetic goes away, and what exporters took apart is put together again. */
const importPipeline = 'canonicalize,fold,canonicalize,cse,dce,lift,fold,cse,dce';

/** Versions of the standard operators that are read as they are written. */
const opsets = { min: 1, max: 24 } as const;

export interface OpenOnnxOptions {
  /** Symbolic dimensions: a value, bounds or a formula, as text. */
  readonly set?: Readonly<Record<string, string>> | undefined;
  /** Storage dtype of f32 weights of two axes or more; default is their own. */
  readonly weightsDtype?: 'f32' | 'f16' | 'bf16' | undefined;
  /** Values of graph inputs that become constants. */
  readonly constants?: ReadonlyMap<string, Tensor> | undefined;
}

export interface OpenedOnnx {
  readonly module: Module;
  readonly store: TensorStore;
  readonly source: TensorSource;
  readonly tokenizerFile: string | undefined;
  readonly warnings: readonly Diagnostic[];
  /** Names in the file of the entry's inputs and outputs. */
  readonly names: ReadonlyMap<string, string>;
}

export function isOnnxPath(path: string): boolean {
  return path.toLowerCase().endsWith('.onnx');
}

/** Fails with all that is wrong with the model, as one HewError; files are closed then. */
export function openOnnx(path: string, options: OpenOnnxOptions = {}): OpenedOnnx {
  const file = openForReading(path);
  let store: TensorStore | undefined;
  try {
    store = new TensorStore(file);
    const tokenizer = join(dirname(path), 'tokenizer.json');
    const tokenizerFile = existsSync(tokenizer) ? tokenizer : undefined;
    return { ...importModel(readOnnx(file), store, options), tokenizerFile };
  } catch (error) {
    if (store === undefined) closeSync(file.fd);
    else store.close();
    throw error;
  }
}

/** The same for a model in memory; its external data lies beside `path`. */
export function openOnnxBytes(bytes: Uint8Array, path: string, options: OpenOnnxOptions = {}): OpenedOnnx {
  const file: ModelFile = { path, bytes };
  const store = new TensorStore(file);
  try {
    return { ...importModel(readOnnxBytes(bytes, path), store, options), tokenizerFile: undefined };
  } catch (error) {
    store.close();
    throw error;
  }
}

function importModel(
  model: OnnxModel,
  store: TensorStore,
  { set, constants, weightsDtype }: OpenOnnxOptions,
): Omit<OpenedOnnx, 'tokenizerFile'> {
  const source = store.source();
  const newer = checkOpset(model);
  const dimensions = new Dimensions(set ?? {});
  const { module, warnings, names } = importGraph(model, store, source, {
    dimensions,
    constants,
    weightsDtype,
  });
  const { module: lifted } = runPipeline(module, parsePipeline(importPipeline));
  return { module: lifted, store, source, warnings: [...newer, ...warnings], names };
}

function checkOpset({ opsets: given }: OnnxModel): Diagnostic[] {
  const version = given.get('');
  if (version === undefined) return [];
  if (version < opsets.min) fail('HEW3107', `the model uses opset ${version} of the standard operators`);
  if (version <= opsets.max) return [];
  const message = `the model uses opset ${version}; its operators are read as those of opset ${opsets.max}`;
  return [diagnostic('HEW3107', message, { severity: 'warning' })];
}
