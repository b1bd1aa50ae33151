/** Models compiled for Ascend, run by the native runtime on the model of the chip. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildForHost, compile, type HostPrograms } from 'hew';

export interface HostModel {
  readonly bundle: string;
  readonly programs: HostPrograms;
}

export async function hostModel(name: string, directory: string, chip = '910b3'): Promise<HostModel> {
  const bundle = join(directory, name);
  await compile({ spec: `examples/${name}/model.hew`, output: bundle, target: 'ascendc', chip });
  return { bundle, programs: await buildForHost(bundle, join(directory, 'cache')) };
}

/** What `hew-run` prints. */
export function runHost({ bundle, programs }: HostModel, args: readonly string[]): string {
  return execFileSync(programs.runner, [bundle, '--kernels', programs.kernels, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** One run of an entry with inputs and one output in files of the bundle's folder's parent. */
export function runEntry(
  model: HostModel,
  entry: string,
  inputs: Readonly<Record<string, Float32Array | Int32Array>>,
  output: string,
  symbols: Readonly<Record<string, number>>,
): Float32Array {
  const file = (name: string): string => `${model.bundle}.${name}`;
  for (const [name, data] of Object.entries(inputs)) writeFileSync(file(name), data);
  runHost(model, [
    ...['--entry', entry, '--output', `${output}=${file(output)}`],
    ...Object.keys(inputs).flatMap((name) => ['--input', `${name}=${file(name)}`]),
    ...Object.entries(symbols).flatMap(([name, value]) => ['--symbol', `${name}=${value}`]),
  ]);
  return readFloats(file(output));
}

export function readFloats(path: string): Float32Array {
  const bytes = readFileSync(path);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
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
