/** `hew tune`: measures the kernels of a model on a GPU in all ways that they may be run, and stores what was the fastest. */
import { existsSync } from 'node:fs';
import { requestsOf } from '../../backends/cuda/candidates.js';
import { lower } from '../../backends/cuda/compile.js';
import { kinds, type Request, requestKey, rowBucket, untuned } from '../../backends/cuda/tuning.js';
import type { ComputeDType } from '../../backends/narrow.js';
import { didYouMean, fail, HewError } from '../../ir/diagnostics.js';
import { evalDim } from '../../ir/dim.js';
import { type Module, modelDims } from '../../ir/module.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import { writeFileAtomically } from '../atomic-write.js';
import { type ModelOptions, openModel } from '../compile.js';
import type { TuningDevice } from './device.js';
import { checkArchitecture, choicesIn, type Gpu, readTuning, type TuningEntry, tuningText } from './file.js';
import { type MeasureOptions, measure, type Prepared, prepare, runsKind } from './measure.js';
import { started } from './started.js';
import { judged } from './whole.js';

export interface TuneOptions extends ModelOptions, TuneModuleOptions {
  readonly pipeline?: string | undefined;
}

export interface TuneModuleOptions {
  /** The file to write; entries of a file that is there stay unless they are measured again. */
  readonly output: string;
  readonly dtype?: ComputeDType | undefined;
  /** Values of the run-time symbols to measure at; the greatest for those that are missing. */
  readonly symbols?: Readonly<Record<string, readonly number[]>> | undefined;
  /** Kinds of kernels to measure; all by default. */
  readonly kinds?: readonly string[] | undefined;
  /** The position of attention of one token; half of its cache by default. */
  readonly position?: number | undefined;
  /** How often the candidates are measured in turns; 3 by default. */
  readonly rounds?: number | undefined;
  readonly onProgress?: ((stage: string, done: number, total: number) => void) | undefined;
}

export interface TuneReport {
  readonly output: string;
  readonly gpu: Gpu;
  readonly entries: readonly TuningEntry[];
  /** Shapes that could not be measured, and why. */
  readonly failed: readonly { readonly key: string; readonly reason: string }[];
  readonly seconds: number;
}

/**
 * Fails as compiling does, with HEW7004 for an unknown symbol or kind, with HEW6240 to HEW6242 for a file at `output` that
 * cannot be added to, and with HEW6243 where there is nothing to measure.
 */
export async function tune(options: TuneOptions, device: TuningDevice): Promise<TuneReport> {
  const model = openModel(options);
  model.close();
  const steps = parsePipeline(options.pipeline ?? standardPipeline);
  return tuneModule(runPipeline(model.module, steps).module, options, device);
}

/** `tune` for a module that the passes have changed already, such as one with integer weights. */
export async function tuneModule(
  simplified: Module,
  options: TuneModuleOptions,
  device: TuningDevice,
): Promise<TuneReport> {
  const start = performance.now();
  const { output } = options;
  const known = existsSync(output) ? readTuning(output) : undefined;
  if (known !== undefined) checkArchitecture(known, output, device.gpu);
  const compute = options.dtype ?? 'bf16';
  const module = lower(simplified, compute).module;
  const assignments = assignmentsOf(module, options.symbols ?? {});
  const sites = sitesOf(module, options, assignments, device);
  const measuring = {
    compute,
    others: known === undefined ? untuned : choicesIn(known),
    position: options.position,
    rounds: options.rounds ?? 3,
  };
  const alone: TuningEntry[] = [];
  const failed: { key: string; reason: string }[] = [];
  const optionsOf = ({ symbols }: Site): MeasureOptions => ({ ...measuring, symbols });
  const compiled = started(sites.map((site) => () => prepare(device, module, site.request, optionsOf(site))));
  for (const [i, site] of sites.entries()) {
    const { key, request } = site;
    options.onProgress?.(`measuring ${request.kind}`, i, sites.length);
    try {
      alone.push(await measure(await (compiled[i] as Promise<Prepared>), request, optionsOf(site)));
    } catch (error) {
      failed.push({ key, reason: reasonOf(error) });
    }
  }
  const entries = await judged(device, module, alone, {
    ...measuring,
    assignments,
    onProgress: options.onProgress,
  }).catch((error: unknown) => {
    failed.push({ key: 'the whole model', reason: reasonOf(error) });
    return alone;
  });
  if (entries.length > 0)
    await writeFileAtomically(
      output,
      new TextEncoder().encode(tuningText(device.gpu, entries, known?.entries ?? [])),
    );
  return { output, gpu: device.gpu, entries, failed, seconds: (performance.now() - start) / 1000 };
}

/** What nvcc or the driver refuses of one shape or of the model; the rest may still be measured. */
const ofOneShape: ReadonlySet<string | undefined> = new Set(['HEW6210', 'HEW6214']);

function reasonOf(error: unknown): string {
  if (!(error instanceof HewError) || !ofOneShape.has(error.diagnostics[0]?.code)) throw error;
  return error.message;
}

/** A shape that is measured, and the values of the symbols it is measured at. */
interface Site {
  readonly key: string;
  readonly request: Request;
  readonly symbols: Readonly<Record<string, number>>;
}

function sitesOf(
  module: Module,
  options: TuneModuleOptions,
  assignments: readonly Site['symbols'][],
  device: TuningDevice,
): Site[] {
  const wanted = kindsOf(options);
  const sites = new Map<string, Site>();
  for (const request of requestsOf(module)) {
    if (!wanted.has(request.kind) || !runsKind(request, device)) continue;
    const key = requestKey(request.kind, request.shape);
    const symbols = assignments.find((values) => fits(request, module, values));
    if (symbols !== undefined && !sites.has(key)) sites.set(key, { key, request, symbols });
  }
  if (sites.size === 0)
    fail('HEW6243', `no kernel of the model has parameters to measure on ${device.gpu.name}`, {
      help: `kinds of kernels: ${Object.keys(kinds).join(', ')}; --symbol says which sizes are measured`,
    });
  return [...sites.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** Whether a shape with a bucket of rows has the number of rows that these values give. */
function fits(request: Request, module: Module, symbols: Readonly<Record<string, number>>): boolean {
  if (request.rows === undefined) return true;
  const rows = evalDim(request.rows, new Map([...modelDims(module), ...Object.entries(symbols)]));
  return 'rows' in request.shape && rowBucket(rows) === request.shape.rows;
}

function kindsOf({ kinds: names }: TuneModuleOptions): ReadonlySet<string> {
  const known = Object.keys(kinds);
  for (const name of names ?? [])
    if (!known.includes(name))
      fail('HEW7004', `there are no kernels of kind '${name}'`, {
        help: didYouMean(name, known) ?? `there are: ${known.join(', ')}`,
      });
  return new Set(names ?? known);
}

/** Every combination of the values that symbols are given. */
function assignmentsOf(
  module: Module,
  given: Readonly<Record<string, readonly number[]>>,
): Readonly<Record<string, number>>[] {
  const symbols = [...module.dims].flatMap(([name, decl]) => ('min' in decl ? [{ name, ...decl }] : []));
  for (const name of Object.keys(given))
    if (!symbols.some((symbol) => symbol.name === name))
      fail('HEW7004', `there is no symbol '${name}'`, {
        help: `there are: ${symbols.map((symbol) => symbol.name).join(', ')}`,
      });
  return symbols.reduce<Readonly<Record<string, number>>[]>(
    (all, { name, max }) =>
      all.flatMap((values) => (given[name] ?? [max]).map((value) => ({ ...values, [name]: value }))),
    [{}],
  );
}
