/**
 * Comparison of a compiled model with golden outputs: a safetensors file of inputs, and of the float32 outputs that a
 * reference implementation computed from them. The names of its tensors tell what the file is for; see `goldenKinds`.
 */

import { prefillLogits, promptChunks } from '../../backends/wasm/runtime/language-model.js';
import { generate, type Model, sample } from '../../backends/wasm/runtime/load.js';
import { didYouMean, fail } from '../../ir/diagnostics.js';
import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint.js';
import { toFloat32 } from '../checkpoint/dtypes.js';
import { runBatches } from './batches.js';
import { evaluateTokens, integers } from './tokens.js';

/** One comparison. `pass` is undefined for a check that could not be made; `note` says why. */
export interface GoldenCheck {
  readonly name: string;
  readonly what: string;
  readonly value: number | undefined;
  readonly limit: number;
  /** Whether the limit is the largest or the smallest value that passes. */
  readonly bound: 'max' | 'min';
  readonly pass: boolean | undefined;
  readonly note?: string;
}

export interface GoldenReport {
  readonly kind: GoldenKind;
  readonly checks: readonly GoldenCheck[];
}

export interface GoldenOptions {
  /** Limits by name of the check, in place of the usual ones. */
  readonly limits?: Readonly<Record<string, number>>;
  /** Names of the checks to make; all by default. */
  readonly only?: readonly string[] | undefined;
  readonly onProgress?: (check: string, done: number, total: number) => void;
}

type Progress = (done: number, total: number) => void;

interface CheckDefinition {
  readonly what: string;
  readonly limit: number | ((golden: Golden) => number);
  readonly bound: 'max' | 'min';
  /** Tensors of the golden file that the check reads. */
  readonly needs: readonly string[];
  measure(model: Model, golden: Golden, onProgress: Progress): number | Promise<number>;
}

/** Every kind by the tensors that identify it, and its checks. Limits are those for float32 compute. */
const goldenKinds = {
  'language model': {
    identifiedBy: ['prompt', 'logits'],
    checks: {
      logits: {
        what: 'logits of the prompt, largest difference',
        limit: 2e-3,
        bound: 'max',
        needs: ['prompt', 'logits'],
        measure: promptDifference,
      },
      greedy: {
        what: 'tokens of the greedy continuation that agree from the start',
        limit: (golden) => golden.ints('greedy').length,
        bound: 'min',
        needs: ['prompt', 'greedy'],
        measure: greedyAgreement,
      },
      eval_nll: {
        what: 'mean NLL of a window, largest difference',
        limit: 1e-3,
        bound: 'max',
        needs: ['eval_tokens', 'eval_nll'],
        measure: nllDifference,
      },
    },
  },
  'diffusion model': {
    identifiedBy: ['x', 't', 'eps'],
    checks: {
      eps: {
        what: 'predicted noise, largest difference',
        limit: 1e-3,
        bound: 'max',
        needs: ['x', 't', 'eps'],
        measure: (model, golden) => batchDifference(model, golden, 'eps', 0),
      },
      block_out: {
        what: 'outputs of the blocks, largest difference',
        limit: 2e-3,
        bound: 'max',
        needs: ['x', 't', 'block_out'],
        measure: (model, golden) => batchDifference(model, golden, 'block_out', 1),
      },
      ddim20_psnr: {
        what: 'samples of 20 DDIM steps at guidance 1.5, PSNR in dB',
        limit: 50,
        bound: 'min',
        needs: ['noise', 'noise_y', 'ddim20_cfg1.5'],
        measure: samplePsnr,
      },
    },
  },
  classifier: {
    identifiedBy: ['x', 'logits', 'features'],
    checks: {
      logits: {
        what: 'logits, largest difference',
        limit: 1e-3,
        bound: 'max',
        needs: ['x', 'logits'],
        measure: (model, golden) => batchDifference(model, golden, 'logits', 0),
      },
      features: {
        what: 'features, largest difference',
        limit: 1e-3,
        bound: 'max',
        needs: ['x', 'features'],
        measure: (model, golden) => batchDifference(model, golden, 'features', 0),
      },
    },
  },
} as const satisfies Record<
  string,
  { identifiedBy: readonly string[]; checks: Readonly<Record<string, CheckDefinition>> }
>;

export type GoldenKind = keyof typeof goldenKinds;

/**
 * Runs every check of the golden file's kind. Fails with HEW8004 for a file of no known kind, HEW8001 for the name
 * of no check, and as reading a checkpoint and running a model do.
 */
export async function evaluateGolden(
  model: Model,
  path: string,
  options: GoldenOptions = {},
): Promise<GoldenReport> {
  const checkpoint = openCheckpoint(path);
  try {
    const golden = new Golden(checkpoint);
    const kind = kindOf(checkpoint);
    const definitions: Readonly<Record<string, CheckDefinition>> = goldenKinds[kind].checks;
    checkNames([...Object.keys(options.limits ?? {}), ...(options.only ?? [])], Object.keys(definitions));
    const checks: GoldenCheck[] = [];
    for (const [name, definition] of Object.entries(definitions)) {
      if (options.only?.includes(name) === false) continue;
      checks.push(await runCheck(name, definition, model, golden, options));
    }
    return { kind, checks };
  } finally {
    checkpoint.close();
  }
}

function kindOf({ path, tensors }: Checkpoint): GoldenKind {
  const kinds = Object.entries(goldenKinds) as [GoldenKind, (typeof goldenKinds)[GoldenKind]][];
  const [found] = kinds.find(([, { identifiedBy }]) => identifiedBy.every((name) => tensors.has(name))) ?? [];
  if (found !== undefined) return found;
  const known = kinds.map(([kind, { identifiedBy }]) => `${kind}: ${identifiedBy.join(', ')}`);
  return fail('HEW8004', `${path} has golden outputs of no known kind`, {
    notes: [`its tensors: ${[...tensors.keys()].join(', ')}`, `kinds by their tensors: ${known.join('; ')}`],
  });
}

/** Fails with HEW8001 for a name of no check; a misspelt limit would otherwise be ignored in silence. */
export function checkNames(given: readonly string[], known: readonly string[]): void {
  const unknown = given.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  fail('HEW8001', `there is no check '${unknown}'`, {
    help: didYouMean(unknown, known) ?? `checks: ${known.join(', ')}`,
  });
}

async function runCheck(
  name: string,
  definition: CheckDefinition,
  model: Model,
  golden: Golden,
  { limits = {}, onProgress }: GoldenOptions,
): Promise<GoldenCheck> {
  const { what, bound } = definition;
  const note = obstacle(name, definition, model, golden);
  const usual = definition.limit;
  if (note !== undefined) {
    const limit = limits[name] ?? (typeof usual === 'number' ? usual : 0);
    return { name, what, value: undefined, limit, bound, pass: undefined, note };
  }
  const limit = limits[name] ?? (typeof usual === 'number' ? usual : usual(golden));
  const value = await definition.measure(model, golden, (done, total) => onProgress?.(name, done, total));
  const pass = bound === 'max' ? value <= limit : value >= limit;
  return { name, what, value, limit, bound, pass };
}

/** Why a check cannot be made: the golden file or the model lacks something that is optional. */
function obstacle(
  name: string,
  { needs }: CheckDefinition,
  model: Model,
  golden: Golden,
): string | undefined {
  const missing = needs.find((tensor) => !golden.has(tensor));
  if (missing !== undefined) return `the golden file has no '${missing}'`;
  const lacksBlocks = name === 'block_out' && entryWith(model, 'block_out') === undefined;
  return lacksBlocks ? "the model has no output 'block_out'" : undefined;
}

/** Tensors of a golden file by name. */
/** A file of golden inputs and outputs. */
export class Golden {
  constructor(private readonly checkpoint: Checkpoint) {}

  has(name: string): boolean {
    return this.checkpoint.tensors.has(name);
  }

  shape(name: string): readonly number[] {
    return this.info(name).shape;
  }

  ints(name: string): Int32Array {
    return integers(this.checkpoint, this.info(name));
  }

  floats(name: string): Float32Array {
    return toFloat32(this.info(name).dtype, this.checkpoint.read(name));
  }

  private info(name: string) {
    return (
      this.checkpoint.tensors.get(name) ?? fail('HEW4002', `${this.checkpoint.path} has no tensor '${name}'`)
    );
  }
}

/** Infinite when the lengths differ or a value is not a number, so that no limit is met. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs((a[i] as number) - (b[i] as number));
    if (!(difference <= largest)) largest = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
  }
  return largest;
}

/** Peak signal-to-noise ratio in dB, for values of which the largest possible difference is `peak`. */
export function psnr(a: ArrayLike<number>, b: ArrayLike<number>, peak: number): number {
  if (a.length !== b.length || a.length === 0) return Number.NEGATIVE_INFINITY;
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += ((a[i] as number) - (b[i] as number)) ** 2;
  // Equal values would give infinity, which JSON does not have.
  return Math.min(10 * Math.log10((peak * peak * a.length) / sum), maxPsnr);
}

const maxPsnr = 200;

// ---- language models

function promptDifference(model: Model, golden: Golden): number {
  model.reset();
  const rows = promptChunks(model, Array.from(golden.ints('prompt'))).map(({ entry, ids }) =>
    entry === 'prefill'
      ? prefillLogits(model, ids)
      : model.run('decode', { ids: Int32Array.from(ids) }).logits,
  );
  const found = new Float32Array(rows.reduce((sum, part) => sum + (part?.length ?? 0), 0));
  let offset = 0;
  for (const part of rows) {
    found.set(part as Float32Array, offset);
    offset += part?.length ?? 0;
  }
  return largestDifference(found, golden.floats('logits'));
}

async function greedyAgreement(model: Model, golden: Golden, onProgress: Progress): Promise<number> {
  const wanted = golden.ints('greedy');
  const prompt = Array.from(golden.ints('prompt'));
  const ids: number[] = [];
  for await (const event of generate(model, prompt, {
    temperature: 0,
    max_tokens: wanted.length,
    stop: [],
  })) {
    if (event.type === 'token') ids.push(event.id);
    onProgress(ids.length, wanted.length);
  }
  const different = wanted.findIndex((id, i) => id !== ids[i]);
  return different < 0 ? wanted.length : different;
}

function nllDifference(model: Model, golden: Golden, onProgress: Progress): number {
  const tokens = golden.ints('eval_tokens');
  const length = golden.shape('eval_tokens').at(-1) ?? 0;
  const windows = Array.from({ length: tokens.length / length }, (_, row) =>
    tokens.slice(row * length, (row + 1) * length),
  );
  const { windowNll } = evaluateTokens(model, windows, onProgress);
  return largestDifference(windowNll, golden.floats('eval_nll'));
}

// ---- models that run on batches

/** The entry point that has an output of that name, with its outputs' names. */
function entryWith(model: Model, output: string): string | undefined {
  const found = Object.entries(model.entries).find(([, entry]) =>
    entry.outputs.some(({ name }) => name === output),
  );
  return found?.[0];
}

/** Compares an output whose axis `batchAxis` is the batch. The golden output may be of the first inputs only. */
function batchDifference(model: Model, golden: Golden, output: string, batchAxis: number): number {
  const entry = entryWith(model, output);
  if (entry === undefined) return fail('HEW7008', `the model has no output '${output}'`);
  const names = model
    .entry(entry)
    .inputs.map(({ name }) => name)
    .filter((name) => golden.has(name));
  const inputs = Object.fromEntries(
    names.map((name) => [name, { values: golden.floats(name), shape: golden.shape(name) }]),
  );
  const shape = golden.shape(output);
  const wanted = golden.floats(output);
  const count = shape[batchAxis] ?? 0;
  const inner = shape.slice(batchAxis + 1).reduce((product, size) => product * size, 1);
  const outer = shape.slice(0, batchAxis).reduce((product, size) => product * size, 1);
  let largest = 0;
  for (const part of runBatches(model, entry, inputs, count, output)) {
    const expected = new Float32Array(outer * part.count * inner);
    for (let i = 0; i < outer; i++) {
      const from = (i * count + part.start) * inner;
      expected.set(wanted.subarray(from, from + part.count * inner), i * part.count * inner);
    }
    largest = Math.max(largest, largestDifference(part.values, expected));
  }
  return largest;
}

/** Samples lie in -1..1, so the peak is 2. */
async function samplePsnr(model: Model, golden: Golden, onProgress: Progress): Promise<number> {
  const { data } = await sample(model, {
    classes: Array.from(golden.ints('noise_y')),
    method: 'ddim',
    steps: 20,
    guidance: 1.5,
    noise: golden.floats('noise'),
    onProgress,
  });
  return psnr(data, golden.floats('ddim20_cfg1.5'), 2);
}
