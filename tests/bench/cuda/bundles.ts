/**
 * Writes the bundles that bench.py and bench_dit.py measure, of the models of models.ts, without weights and without code:
 * `bundles.ts OUTPUT [NAME..] [--tuning=FILE]`.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { emitCuda, lower } from '../../../backends/cuda/compile.js';
import { packageCuda, sourceFile } from '../../../backends/cuda/package.js';
import { type Tuning, untuned } from '../../../backends/cuda/tuning.js';
import { weightFiles } from '../../../backends/native/package.js';
import { choicesIn, readTuning } from '../../../compiler/tuning/file.js';
import type { Module } from '../../../ir/module.js';
import { models } from './models.js';

function write(directory: string, module: Module, tuning: Tuning): void {
  const cuda = emitCuda(lower(module, 'bf16').module, { tuning });
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

const flag = '--tuning=';
const [output = 'out/cuda', ...wanted] = process.argv.slice(2).filter((arg) => !arg.startsWith(flag));
const file = process.argv.find((arg) => arg.startsWith(flag))?.slice(flag.length);
const tuning = file === undefined ? untuned : choicesIn(readTuning(file));
for (const [name, make] of Object.entries(models)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  write(join(output, name), make(), tuning);
  console.log(readFileSync(join(output, name, sourceFile)).length, name);
}
