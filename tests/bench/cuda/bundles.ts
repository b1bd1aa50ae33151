/**
 * Writes the bundles that bench.py and bench_dit.py measure, without weights and without code: `bundles.ts OUTPUT [NAME..]`.
 * They are a decoder of 7B parameters in bf16 for one sequence and for several, and with weights that are integers of 8 and 4
 * bits; and DiT-XL/2 in bf16, and in W8A8 with ranges by groups of timesteps.
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
import { withStepGroups } from './step-groups.js';

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

function moduleOf(spec: string, config: string, set: Readonly<Record<string, string>>): Module {
  const file = (name: string): string => join(import.meta.dirname, name);
  const model = openModel({ spec: file(spec), config: file(config), set, weightsDtype: 'bf16' });
  model.close();
  return runPipeline(model.module, parsePipeline(standardPipeline)).module;
}

function decoder(batch: number, integers?: Integers): () => Module {
  return () => {
    const set = { batch_size: String(batch), max_position_embeddings: '1152' };
    const module = moduleOf('decode-batch.hew', 'pangu-7b.json', set);
    return integers === undefined ? module : withIntegers(module, integers);
  };
}

const diffusion = (): Module => moduleOf('dit.hew', 'dit-xl.json', {});

const bundles: Readonly<Record<string, () => Module>> = {
  'bf16-1': decoder(1),
  'bf16-8': decoder(8),
  'bf16-32': decoder(32),
  'i8-1': decoder(1, { dtype: 'i8', group: 0 }),
  'i8-8': decoder(8, { dtype: 'i8', group: 0 }),
  'i4-1': decoder(1, { dtype: 'i4', group: 128 }),
  'i4-8': decoder(8, { dtype: 'i4', group: 128 }),
  'dit-bf16': diffusion,
  'dit-w8a8': () => withStepGroups(diffusion()),
};

const [, , output = 'out/cuda', ...wanted] = process.argv;
for (const [name, make] of Object.entries(bundles)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  write(join(output, name), make());
  console.log(readFileSync(join(output, name, sourceFile)).length, name);
}
