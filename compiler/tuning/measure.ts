/** Measures all candidates for one shape: each must give the result of the default, and the fastest is chosen. */
import { type Candidates, candidatesOf } from '../../backends/cuda/candidates.js';
import type { CudaModule } from '../../backends/cuda/compile.js';
import { packageCuda } from '../../backends/cuda/package.js';
import {
  type DecodeShape,
  type GroupedShape,
  kinds,
  type Request,
  recordText,
  type Tuning,
} from '../../backends/cuda/tuning.js';
import type { ComputeDType } from '../../backends/narrow.js';
import type { NativeEntry, NativeManifest } from '../../backends/native/manifest.js';
import { weightFiles } from '../../backends/native/package.js';
import { HewError } from '../../ir/diagnostics.js';
import type { Module } from '../../ir/module.js';
import { storedBytes } from '../../ir/type.js';
import { version } from '../version.js';
import type { CompiledKernels, KernelCall, OpenedKernels, TuningDevice } from './device.js';
import type { TuningEntry } from './file.js';
import { difference, elementsOf, madeUp } from './operands.js';

export interface MeasureOptions {
  readonly compute: ComputeDType;
  /** What else the kernels ask for. */
  readonly others: Tuning;
  readonly symbols: Readonly<Record<string, number>>;
  /** The position of attention of one token. */
  readonly position: number | undefined;
  /** Candidates are measured in turns, so often each. */
  readonly rounds: number;
}

/** Runs in a round. */
export const repeats = 7;
/** What a candidate has to gain to replace the default: less is noise. */
const leastGain = 0.01;

export interface Prepared {
  readonly candidates: Candidates;
  readonly manifest: Omit<NativeManifest, 'files'>;
  readonly kernels: CompiledKernels;
}

export async function prepare(
  device: TuningDevice,
  module: Module,
  request: Request,
  { compute, others }: MeasureOptions,
): Promise<Prepared> {
  const candidates = candidatesOf(module, request, others);
  return { candidates, ...(await compiled(device, candidates.cuda, compute)) };
}

/** A bundle without weights, but for those that are constants. */
export async function compiled(
  device: TuningDevice,
  cuda: CudaModule,
  compute: ComputeDType,
): Promise<Omit<Prepared, 'candidates'>> {
  const manifest = packageCuda(cuda, compute, null, {
    compilerVersion: version,
    tokenizerFile: undefined,
    weights: false,
  });
  const constants = weightFiles(cuda, undefined, false, () => {});
  return { manifest, kernels: await device.compile(manifest, cuda.source, constants) };
}

export async function measure(
  prepared: Prepared,
  request: Request,
  options: MeasureOptions,
): Promise<TuningEntry> {
  const opened = await prepared.kernels.open();
  try {
    return measureOpened(opened, prepared, request, options);
  } finally {
    opened.close();
  }
}

function measureOpened(
  opened: OpenedKernels,
  { candidates, manifest }: Prepared,
  request: Request,
  options: MeasureOptions,
): TuningEntry {
  const { choices, copies, checked, launches } = candidates;
  const position = options.position ?? positionOf(request);
  for (const { name, dtype, shape } of manifest.states)
    opened.writeState(name, madeUp(dtype, elementsOf({ shape }, {}), 0));
  const indices = request.kind === 'grouped' ? { below: (request.shape as GroupedShape).experts } : 0;
  const calls = copies.map(({ entry }) =>
    callOf(manifest.entries[entry] as NativeEntry, entry, position, indices, options),
  );
  const exact = sumsAreIntegers(request);
  const slots = (manifest.entries[(copies[0] as { entry: string }).entry] as NativeEntry).outputs;
  const results = (call: KernelCall): Uint8Array[] =>
    checked.map((name) => {
      const slot = slots.find((own) => own.name === name) as NativeEntry['outputs'][number];
      return opened.run(call, name, storedBytes(slot.dtype, elementsOf(slot, call.symbols)));
    });
  const wanted = results(calls[0] as KernelCall);
  const refusals = calls.map((call, i) => {
    if (i === 0) return undefined;
    return attempt(() => {
      const given = results(call);
      const problems = given.map((other, output) => {
        const { dtype } = slots.find(
          ({ name }) => name === checked[output],
        ) as NativeEntry['outputs'][number];
        return difference(dtype, wanted[output] as Uint8Array, other, exact);
      });
      return problems.find((problem) => problem !== undefined);
    });
  });
  const times = calls.map((): number[] => []);
  const outputs = slots.map(({ name }) => name);
  for (let round = 0; round < options.rounds; round++)
    calls.forEach((call, i) => {
      if (refusals[i] === undefined) times[i]?.push(...opened.measure(call, outputs, repeats));
    });
  const measured = choices.map((parameters, i) => {
    const refused = refusals[i];
    if (refused !== undefined) return { parameters: { ...parameters }, refused };
    return {
      parameters: { ...parameters },
      microseconds: rounded((1000 * median(times[i] as number[])) / launches),
    };
  });
  return { kind: request.kind, shape: { ...request.shape }, choice: chosen(measured), measured };
}

type Measured = TuningEntry['measured'][number];

/** The fastest, or the first, which is the default, where that is hardly slower. */
function chosen(measured: readonly Measured[]): TuningEntry['choice'] {
  const [standard] = measured as [Measured];
  const time = ({ microseconds }: Measured): number => microseconds ?? Number.POSITIVE_INFINITY;
  const fastest = measured.reduce((best, other) => (time(other) < time(best) ? other : best), standard);
  return time(fastest) < time(standard) * (1 - leastGain) ? fastest.parameters : standard.parameters;
}

export function callOf(
  { inputs, symbols }: NativeEntry,
  entry: string,
  position: number,
  indices: Parameters<typeof madeUp>[2],
  options: Pick<MeasureOptions, 'symbols'>,
): KernelCall {
  const own = Object.fromEntries(symbols.map((name) => [name, options.symbols[name] as number]));
  return {
    entry,
    symbols: own,
    inputs: inputs.map((slot) => {
      const elements = elementsOf(slot, own);
      return { name: slot.name, data: madeUp(slot.dtype, elements, elements === 1 ? position : indices) };
    }),
  };
}

/** The middle of a cache; indices of other kernels are zero. */
function positionOf({ kind, shape }: Request): number {
  return kind === 'decode' ? Math.floor((shape as DecodeShape).length / 2) : 0;
}

function sumsAreIntegers({ func }: Request): boolean {
  return func.body.some(({ name }) => name === 'integer_linear');
}

/** What a check says, or why it could not be made. */
function attempt(check: () => string | undefined): string | undefined {
  try {
    return check();
  } catch (error) {
    if (error instanceof HewError) return error.message;
    throw error;
  }
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}

export const rounded = (value: number): number => Number(value.toPrecision(5));

/** Microseconds of the default and of the choice. */
export function tunedTimes({ choice, measured }: TuningEntry): {
  readonly standard: number;
  readonly chosen: number;
} {
  const timeOf = (parameters: object | undefined): number =>
    measured.find((own) => recordText(own.parameters) === recordText(parameters ?? {}))?.microseconds ??
    Number.NaN;
  return { standard: timeOf(measured[0]?.parameters), chosen: timeOf(choice) };
}

/** Whether a GPU runs kernels of the kind. */
export function runsKind({ kind }: Request, { gpu }: TuningDevice): boolean {
  return kinds[kind].needs === 'any' || gpu.architecture === 'sm_90a';
}
