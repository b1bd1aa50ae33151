/** Reports of what a model costs on an Ascend chip: compiles it, and runs an entry on the host's model of the chip. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChipName, chips } from '../backends/ascendc/chips.js';
import { type AscendReport, type KernelWork, reportOf } from '../backends/ascendc/report.js';
import { dtypes, viewOf } from '../backends/wasm/runtime/dtype.js';
import type { EntryInfo } from '../backends/wasm/runtime/manifest.js';
import type { Model } from '../backends/wasm/runtime/model.js';
import { elementCount, evaluateShape } from '../backends/wasm/runtime/shape.js';
import { fail } from '../ir/diagnostics.js';
import type { Pass } from '../passes/pass.js';
import { chipNamed } from './ascend.js';
import { compile, type ModelOptions } from './compile.js';
import { readAscendManifest } from './native/build.js';
import { openNative } from './native/open.js';

export interface ReportOptions extends ModelOptions {
  readonly chip?: string | undefined;
  readonly pipeline?: string | undefined;
  /** Passes the pipeline may name beside the registered ones. */
  readonly passes?: readonly Pass[] | undefined;
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
    const native = await openNative(bundle, { cache, onBuild, syntheticWeights: 0 });
    try {
      for (const [name, value] of Object.entries(states ?? {})) fillState(native.model, name, value);
      runOnZeros(native.model, entry, symbols ?? {});
      const records = JSON.parse(native.work()) as KernelWork[];
      const chip: ChipName = chipNamed(manifest.ascendc.chip);
      return reportOf(chips[chip], entry, records, manifest.ascendc.kernels);
    } finally {
      native.close();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Fails with HEW7004 where the model has no such state of integers. */
function fillState(model: Model, name: string, value: number): void {
  const integers = model.manifest.states.filter(({ dtype }) => dtype === 'i32');
  const state = integers.find((s) => s.name === name);
  if (state === undefined)
    unknown(
      'integer state',
      name,
      integers.map((s) => s.name),
    );
  model.state(name).write(new Int32Array(elementCount(state.shape)).fill(value));
}

/** Gives an entry zeros. */
function runOnZeros(model: Model, name: string, given: Readonly<Record<string, number>>): void {
  const entry = model.entries[name] ?? unknown('entry', name, Object.keys(model.entries));
  for (const symbol of Object.keys(given))
    if (!entry.symbols.includes(symbol)) unknown('symbol', symbol, entry.symbols);
  const symbols = Object.fromEntries(
    entry.symbols.map((symbol) => [symbol, given[symbol] ?? model.manifest.symbols[symbol]?.min ?? 1]),
  );
  const inputs = entry.inputs.map(({ name: input, dtype, shape }) => {
    const sizes = evaluateShape(shape, new Map(Object.entries(symbols)));
    const count = elementCount(sizes);
    const data = viewOf(dtype, new ArrayBuffer(count * dtypes[dtype].bytes), 0, count);
    return [input, { data, shape: sizes }] as const;
  });
  model.run(name, Object.fromEntries(inputs), { outputs: outputsOf(entry), symbols });
}

/** Of a language model, what generation asks for: the logits of the last token. */
function outputsOf({ outputs }: EntryInfo): string[] {
  const names = outputs.map(({ name }) => name);
  return names.includes('last') ? ['last'] : names;
}

function unknown(what: string, name: string, known: readonly string[]): never {
  return fail('HEW7004', `there is no ${what} '${name}'`, { help: `there are: ${known.join(', ')}` });
}
