/** `hew import` of an ONNX file: a spec of the graph, and its weights as safetensors. */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type Diagnostic, fail, HewError } from '../../ir/diagnostics.js';
import type { Module } from '../../ir/module.js';
import { printFunc } from '../../ir/print.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import { withTemporary } from '../atomic-write.js';
import { writeSafetensors } from '../checkpoint/write-safetensors.js';
import { openModel } from '../compile.js';
import { tensorsOf } from '../write-model.js';
import { openOnnx } from './model.js';
import { specText } from './spec-text.js';

export interface OnnxImportOptions {
  readonly path: string;
  /** Directory to make; it must not exist. */
  readonly output: string;
  readonly set?: Readonly<Record<string, string>> | undefined;
}

/** Fails as opening does, and with HEW3115 when the spec would not be the graph; nothing is written then. */
export async function importOnnx({ path, output, set }: OnnxImportOptions): Promise<{
  readonly files: readonly string[];
  readonly warnings: readonly Diagnostic[];
}> {
  const { module, source, store, warnings } = openOnnx(path, { set });
  try {
    await mkdir(dirname(resolve(output)), { recursive: true });
    await withTemporary(resolve(output), async (directory) => {
      await mkdir(directory, { recursive: true });
      await writeSafetensors(join(directory, weightsName), tensorsOf(module, source));
      const spec = join(directory, specName);
      const weights = module.params.size > 0 ? [`weights "${weightsName}"`] : [];
      await writeFile(spec, specText(module, `The graph of ${basename(path)}, node by node.`, weights));
      checkSame(module, spec);
      await rename(directory, resolve(output));
    });
    return { files: [specName, weightsName], warnings };
  } finally {
    store.close();
  }
}

const specName = 'model.hew';
const weightsName = 'model.safetensors';

/** What was written must elaborate to the functions that were imported. */
function checkSame(module: Module, spec: string): void {
  if (textOfSpec(spec) === functionText(module)) return;
  fail('HEW3115', 'the spec that would be written does not describe the graph', {
    help: 'compile the .onnx file itself: it is accepted wherever a spec is',
  });
}

/** Undefined when the spec does not elaborate, as with inputs that are named like words of the language. */
function textOfSpec(spec: string): string | undefined {
  try {
    const reopened = openModel({ spec });
    try {
      return functionText(reopened.module);
    } finally {
      reopened.close();
    }
  } catch (error) {
    if (error instanceof HewError) return undefined;
    throw error;
  }
}

function functionText(module: Module): string {
  const simple = runPipeline(module, parsePipeline(standardPipeline)).module;
  return [...simple.functions.values()].map((func) => printFunc(func, { names: false })).join('\n');
}
