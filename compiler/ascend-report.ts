/** Reports of what a model costs on an Ascend chip: compiles it, and runs an entry on the host's model of the chip. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type ChipName, chips } from '../backends/ascendc/chips.js';
import { type AscendReport, type KernelWork, reportOf } from '../backends/ascendc/report.js';
import type { AscendManifest, NativeEntry, PlanSize } from '../backends/native/manifest.js';
import { fail } from '../ir/diagnostics.js';
import { type DType, storedBytes } from '../ir/type.js';
import { chipNamed } from './ascend.js';
import { buildForHost, readAscendManifest } from './ascend-host.js';
import { compile, type ModelOptions } from './compile.js';

export interface ReportOptions extends ModelOptions {
  readonly chip?: string | undefined;
  readonly pipeline?: string | undefined;
  readonly entry: string;
  /** Values of the entry's run-time symbols; the least for those that are missing. */
  readonly symbols?: Readonly<Record<string, number>> | undefined;
  /** Values of integer states, such as the position in the context; zero for those that are missing. */
  readonly states?: Readonly<Record<string, number>> | undefined;
  /** Where compiled kernels are kept. */
  readonly cache: string;
  readonly onBuild?: (() => void) | undefined;
}

/**
 * Weights are zeros, and a kernel that runs several times with the same sizes runs once, so a model may be larger than
 * the memory of this machine. Fails as compiling does, with HEW7004 for an unknown entry, symbol or state, and with
 * HEW6213 and HEW6214.
 */
export async function reportModel(options: ReportOptions): Promise<AscendReport> {
  const { entry, symbols, states, cache, onBuild, ...model } = options;
  const directory = await mkdtemp(join(tmpdir(), 'hew-report-'));
  try {
    const bundle = join(directory, 'bundle');
    await compile({ ...model, output: bundle, target: 'ascendc', withWeights: false });
    const manifest = readAscendManifest(bundle);
    const programs = await buildForHost(bundle, cache, onBuild);
    const args = await entryArguments(directory, manifest, entry, symbols ?? {}, states ?? {});
    const work = join(directory, 'work.json');
    try {
      await promisify(execFile)(programs.runner, [
        ...[bundle, '--kernels', programs.kernels, '--synthetic-weights', '0'],
        ...args,
        ...['--work', work],
      ]);
    } catch (error) {
      const said = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error);
      fail('HEW6214', said.trim().replace(/^hew-run: /, ''));
    }
    const records = JSON.parse(await readFile(work, 'utf8')) as KernelWork[];
    const chip: ChipName = chipNamed(manifest.ascendc.chip);
    return reportOf(chips[chip], entry, records, manifest.ascendc.kernels);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Arguments of `hew-run` that give an entry zeros and ask for all its outputs. */
async function entryArguments(
  directory: string,
  manifest: AscendManifest,
  name: string,
  given: Readonly<Record<string, number>>,
  states: Readonly<Record<string, number>>,
): Promise<string[]> {
  const entry = manifest.entries[name] ?? unknown('entry', name, Object.keys(manifest.entries));
  for (const symbol of Object.keys(given))
    if (!entry.symbols.includes(symbol)) unknown('symbol', symbol, entry.symbols);
  const value = (symbol: string): number => given[symbol] ?? manifest.symbols[symbol]?.min ?? 1;
  const file = async (stem: string, bytes: Uint8Array): Promise<string> => {
    const path = join(directory, stem);
    await writeFile(path, bytes);
    return path;
  };
  const stateArguments = Object.entries(states).map(async ([state, number]) => {
    const found = manifest.states.find((s) => s.name === state);
    if (found === undefined || found.dtype !== 'i32')
      return unknown(
        'integer state',
        state,
        manifest.states.filter((s) => s.dtype === 'i32').map((s) => s.name),
      );
    const values = new Int32Array(found.bytes / 4).fill(number);
    return ['--state', `${state}=${await file('state', new Uint8Array(values.buffer))}`];
  });
  const inputs = entry.inputs.map(async ({ name: input, dtype, shape }) => {
    const elements = shape.reduce<number>((product, size) => product * sizeOf(size, value), 1);
    const zeros = new Uint8Array(storedBytes(dtype as DType, elements));
    return ['--input', `${input}=${await file(`input-${input}`, zeros)}`];
  });
  return [
    ...(await Promise.all(stateArguments)).flat(),
    ...['--entry', name],
    ...(await Promise.all(inputs)).flat(),
    ...entry.symbols.flatMap((symbol) => ['--symbol', `${symbol}=${value(symbol)}`]),
    ...outputsOf(entry).flatMap((output) => ['--output', `${output}=${join(directory, 'output')}`]),
  ];
}

/** Of a language model, what generation asks for: the logits of the last token. */
function outputsOf({ outputs }: NativeEntry): string[] {
  const names = outputs.map(({ name }) => name);
  return names.includes('last') ? ['last'] : names;
}

function unknown(what: string, name: string, known: readonly string[]): never {
  return fail('HEW7004', `there is no ${what} '${name}'`, { help: `there are: ${known.join(', ')}` });
}

function sizeOf(size: PlanSize, symbol: (name: string) => number): number {
  if (typeof size === 'number') return size;
  if ('sum' in size) return Math.floor(sizeOf(size.sum, symbol) / size.divisor);
  return size.reduce(
    (sum, [coefficient, ...names]) =>
      sum + names.reduce((product, name) => product * symbol(name), coefficient),
    0,
  );
}
