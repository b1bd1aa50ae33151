/** Models compiled for Ascend, run by the native runtime on the model of the chip. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { compile, openNative } from 'hew';
import type { Inputs, Model } from '../../backends/wasm/runtime/model.js';
import { buildNative } from '../../compiler/native/build.js';

export interface HostModel {
  readonly bundle: string;
  readonly model: Model;
  readonly cache: string;
}

export async function hostModel(name: string, directory: string, chip = '910b3'): Promise<HostModel> {
  const [bundle, cache] = [join(directory, name), join(directory, 'cache')];
  await compile({ spec: `examples/${name}/model.hew`, output: bundle, target: 'ascendc', chip });
  const { model } = await openNative(bundle, { cache });
  return { bundle, model, cache };
}

/** What the program `hew-run` prints. */
export async function runHost({ bundle, cache }: HostModel, args: readonly string[]): Promise<string> {
  const { library, kernels = '' } = await buildNative(bundle, cache);
  const runner = join(dirname(library), 'hew-run');
  const sources = ['-I', 'runtime-native/include', 'runtime-native/tools/hew_run.cpp', library];
  if (!existsSync(runner)) execFileSync('g++', ['-std=c++17', '-w', ...sources, '-o', runner]);
  return execFileSync(runner, [bundle, '--kernels', kernels, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

export function runEntry(
  { model }: HostModel,
  entry: string,
  inputs: Inputs,
  output: string,
  symbols: Readonly<Record<string, number>>,
): Float32Array {
  return model.run(entry, inputs, { outputs: [output], symbols })[output] as Float32Array;
}

/** |a - b| / |b| */
export function relativeError(actual: ArrayLike<number>, wanted: ArrayLike<number>): number {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < actual.length; i++) {
    const value = wanted[i] as number;
    difference += ((actual[i] as number) - value) ** 2;
    norm += value ** 2;
  }
  return Math.sqrt(difference / norm);
}
