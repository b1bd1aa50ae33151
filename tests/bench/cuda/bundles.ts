/**
 * Writes the bundles that bench.py measures, without weights and without code: `bundles.ts OUTPUT`. They are a decoder of
 * 7B parameters in bf16 for one sequence and for several, and with weights that are integers of 8 and 4 bits.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { emitCuda, lower } from '../../../backends/cuda/compile.js';
import { packageCuda, sourceFile } from '../../../backends/cuda/package.js';
import { weightFiles } from '../../../backends/native/package.js';
import { openModel } from '../../../compiler/compile.js';
import type { Module } from '../../../ir/module.js';
import { parsePipeline, runPipeline } from '../../../passes/pipeline.js';
import { standardPipeline } from '../../../passes/registry.js';
import { type Integers, withIntegers } from '../integer-layers.js';

function write(directory: string, module: Module): void {
  const cuda = emitCuda(lower(module, 'bf16').module);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, sourceFile), cuda.source);
  const files: Record<string, { bytes: number; sha256: string }> = {};
  for (const [file, chunks] of weightFiles(cuda, undefined, false, () => {})) {
    const bytes = Buffer.concat([...chunks()]);
    writeFileSync(join(directory, file), bytes);
    files[file] = { bytes: bytes.length, sha256: '' };
  }
  files[sourceFile] = { bytes: cuda.source.length, sha256: '' };
  const packaged = packageCuda(cuda, 'bf16', null, {
    compilerVersion: 'benchmark',
    tokenizerFile: undefined,
    weights: false,
  });
  writeFileSync(join(directory, 'manifest.json'), JSON.stringify({ ...packaged, files }));
}

function decoder(config: Readonly<Record<string, string>>): Module {
  const spec = join(import.meta.dirname, 'decode-batch.hew');
  const model = openModel({
    spec,
    config: join(import.meta.dirname, 'pangu-7b.json'),
    set: config,
    weightsDtype: 'bf16',
  });
  model.close();
  return runPipeline(model.module, parsePipeline(standardPipeline)).module;
}

const variants: readonly (readonly [name: string, batch: number, integers?: Integers])[] = [
  ['bf16-1', 1],
  ['bf16-8', 8],
  ['bf16-32', 32],
  ['i8-1', 1, { dtype: 'i8', group: 0 }],
  ['i8-8', 8, { dtype: 'i8', group: 0 }],
  ['i4-1', 1, { dtype: 'i4', group: 128 }],
  ['i4-8', 8, { dtype: 'i4', group: 128 }],
];

const output = process.argv[2] ?? 'out/cuda';
for (const [name, batch, integers] of variants) {
  const module = decoder({ batch_size: String(batch), max_position_embeddings: '1152' });
  write(join(output, name), integers === undefined ? module : withIntegers(module, integers));
  console.log(readFileSync(join(output, name, sourceFile)).length, name);
}
