/**
 * Where calibration data comes from, as text says it:
 *
 *   tokens.safetensors, tokens.u16, tokens.u32     token ids; for other models a safetensors file of inputs by name
 *   corpus.txt (any other file)                    text, through the model's tokenizer
 *   generate:32x512,seed=0,temperature=1           text that the language model writes itself
 *   sample:32,steps=20,seed=0                      what a diffusion model is asked while it draws samples
 */
import { readFileSync, statSync } from 'node:fs';
import { extname } from 'node:path';
import { generate, textDefaults } from '../backends/wasm/runtime/generate.js';
import { fail } from '../ir/diagnostics.js';
import { dimRange, type Module } from '../ir/module.js';
import { type CalibrationData, fromTokens, readCalibration, tokenSymbol } from './calibration.js';
import type { OpenedModel } from './compile.js';
import { calibrateOnSamples, type DiffusionCalibrationOptions } from './diffusion-calibration.js';
import type { TokenWindows } from './evaluate/tokens.js';
import { loadModule } from './in-memory.js';
import { createTokenizer } from './tokenizer.js';

export interface CalibrationSourceOptions
  extends Pick<DiffusionCalibrationOptions, 'probes' | 'cache' | 'workers' | 'residentBytes'> {
  /** Tensor of a safetensors file of tokens. */
  readonly tensor?: string | undefined;
  /** Tokens per window of a text or of a file without rows; by default as many as a call takes. */
  readonly window?: number | undefined;
  /** Most windows to take; by default all there are. */
  readonly windows?: number | undefined;
  readonly onProgress?: ((stage: string, done: number, total: number) => void) | undefined;
}

type SourceModel = Pick<OpenedModel, 'module' | 'source' | 'tokenizerFile'>;

/** Calibration data for a model. Fails with HEW6011 when there is none to be had, and as reading files does. */
export async function openCalibration(
  model: SourceModel,
  from: string,
  options: CalibrationSourceOptions = {},
): Promise<CalibrationData> {
  checkCount('window', options.window, 2);
  checkCount('windows', options.windows, 1);
  const [, kind = '', settings = ''] = /^(generate|sample)(?::(.*))?$/.exec(from) ?? [];
  if (kind === 'generate') return generated(model, parseSettings(settings, generateSettings, kind), options);
  if (kind === 'sample') return sampled(model, parseSettings(settings, sampleSettings, kind), options);
  if (isText(from, model.module))
    return fromTokens(model.module, limited(textWindows(model, from, options), options));
  const data = readCalibration(model.module, from, options);
  return data.windows === undefined ? data : fromTokens(model.module, limited(data.windows, options));
}

function checkCount(name: string, value: number | undefined, least: number): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least)) return;
  fail('HEW6011', `calibration: ${name} is ${value}; it has to be a whole number of at least ${least}`);
}

const limited = (windows: TokenWindows, { windows: most }: CalibrationSourceOptions): TokenWindows =>
  most === undefined ? windows : windows.slice(0, most);

// ---- settings after the colon

interface Setting {
  readonly least: number;
  readonly default: number;
  readonly whole?: false;
}

const generateSettings = {
  windows: { least: 1, default: 16 },
  length: { least: 2, default: 256 },
  seed: { least: 0, default: 0 },
  temperature: { least: 0, default: 1, whole: false },
} as const satisfies Record<string, Setting>;

const sampleSettings = {
  n: { least: 1, default: 32 },
  steps: { least: 1, default: 20 },
  seed: { least: 0, default: 0 },
} as const satisfies Record<string, Setting>;

type Settings<S> = { readonly [K in keyof S]: number };

/** `32x512,seed=1`: leading numbers are the first settings, the others are named. */
function parseSettings<S extends Readonly<Record<string, Setting>>>(
  text: string,
  known: S,
  kind: string,
): Settings<S> {
  const names = Object.keys(known);
  const refuse = (why: string): never =>
    fail('HEW6011', `calibration by '${kind}:${text}': ${why}`, {
      help: `settings: ${names.map((name) => `${name}=${known[name]?.default}`).join(', ')}`,
    });
  const values: Record<string, number> = Object.fromEntries(
    names.map((name) => [name, (known[name] as Setting).default]),
  );
  for (const [i, part] of (text === '' ? [] : text.split(',')).entries()) {
    const named = /^\s*(\w+)\s*=\s*(\S+)\s*$/.exec(part);
    const bare = i === 0 ? part.split('x').map((value, at) => [names[at], value] as const) : [];
    const pairs = named === null ? bare : [[named[1], named[2]] as const];
    if (pairs.length === 0) refuse(`'${part}' is not name=value`);
    for (const [name, value] of pairs) {
      const setting = name === undefined ? undefined : known[name];
      if (name === undefined || setting === undefined)
        return refuse(`there is no setting '${name ?? value}'`);
      const number = Number(value?.trim() === '' ? Number.NaN : value);
      const fits = Number.isFinite(number) && number >= setting.least;
      if (!fits || (setting.whole !== false && !Number.isSafeInteger(number)))
        refuse(`${name} cannot be '${value}'; the least is ${setting.least}`);
      values[name] = number;
    }
  }
  return values as Settings<S>;
}

// ---- text

const tokenEndings: ReadonlySet<string> = new Set(['.safetensors', '.u16', '.u32']);

/** Any file that does not end as token files do is text, for a model that takes tokens. */
function isText(path: string, module: Module): boolean {
  return !tokenEndings.has(extname(path)) && tokenSymbol(module) !== undefined;
}

const maxTextBytes = 2 ** 28;
/** Characters that are encoded at once; pieces end with a line. */
const pieceLength = 2 ** 16;

/** Windows of equal length one after the other; the rest of the text is the last, shorter window. */
function textWindows(
  model: SourceModel,
  path: string,
  { window, windows = Number.POSITIVE_INFINITY, onProgress }: CalibrationSourceOptions,
): TokenWindows {
  const text = readText(path);
  const { tokenizerFile } = model;
  if (tokenizerFile === undefined) {
    return fail('HEW6011', `${path} is text, but the model has no tokenizer`, {
      help: 'name a tokenizer.json in the spec, or give tokens (.safetensors, .u16, .u32)',
    });
  }
  const tokenizer = createTokenizer(readFileSync(tokenizerFile, 'utf8'), { file: tokenizerFile });
  const length = window ?? dimRange(model.module, tokenSymbol(model.module) as string).max;
  const ids: number[] = [];
  for (let start = 0; start < text.length && ids.length < length * windows; ) {
    const end = pieceEnd(text, start);
    for (const id of tokenizer.encode(text.slice(start, end))) ids.push(id);
    start = end;
    onProgress?.('calibration: encoding', start, text.length);
  }
  if (ids.length < 2 || (window !== undefined && ids.length < window)) {
    const least = window === undefined ? 'a window needs two' : `a window of ${window} was asked for`;
    return fail('HEW6011', `${path} holds ${ids.length} tokens; ${least}`);
  }
  const starts = Array.from({ length: Math.ceil(ids.length / length) }, (_, i) => i * length);
  return starts
    .map((start) => Int32Array.from(ids.slice(start, start + length)))
    .filter((part) => part.length > 1);
}

function pieceEnd(text: string, start: number): number {
  if (text.length - start <= pieceLength) return text.length;
  const line = text.lastIndexOf('\n', start + pieceLength);
  return line > start ? line + 1 : start + pieceLength;
}

function readText(path: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isFile() !== true) fail('HEW3001', `there is no file '${path}'`);
  if (stats.size > maxTextBytes)
    fail('HEW3006', `${path} has ${stats.size} bytes; a calibration text may have ${maxTextBytes}`);
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
    if (!text.includes('\0')) return text;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  return fail('HEW6011', `${path} is neither UTF-8 text nor a file of tokens`, {
    help: 'files of tokens end in .safetensors, .u16 or .u32',
  });
}

// ---- synthetic text

/** Windows that the model writes, each from its first token; a stop token does not end one. */
async function generated(
  { module, source }: SourceModel,
  { windows, length, seed, temperature }: Settings<typeof generateSettings>,
  { onProgress }: CalibrationSourceOptions,
): Promise<CalibrationData> {
  if (tokenSymbol(module) === undefined) fail('HEW6011', 'the model writes no text that could calibrate it');
  const model = await loadModule(module, source);
  const found: Int32Array[] = [];
  for (let i = 0; i < windows; i++) {
    const first = textDefaults(model).bos ?? 0;
    const ids = [first];
    const settings = { temperature, top_k: 0, top_p: 1, stop: [], max_tokens: length - 1, seed: seed + i };
    for await (const event of generate(model, [first], settings)) {
      if (event.type === 'token') ids.push(event.id);
      else if (event.reason === 'context')
        fail('HEW6011', `the model's context ends after ${ids.length} tokens; ${length} were asked for`);
      onProgress?.('calibration: generating', i * length + ids.length, windows * length);
    }
    found.push(Int32Array.from(ids));
  }
  return fromTokens(module, found);
}

// ---- what a diffusion model sees

/** The inputs of every call while samples are drawn by DDIM, half of them guided. */
function sampled(
  { module, source }: SourceModel,
  { n, steps, seed }: Settings<typeof sampleSettings>,
  { probes, cache, workers, residentBytes, onProgress }: CalibrationSourceOptions,
): Promise<CalibrationData> {
  const report = (done: number, total: number): void => onProgress?.('calibration: sampling', done, total);
  return calibrateOnSamples(module, source, {
    samples: n,
    steps,
    seed,
    probes,
    cache,
    workers,
    residentBytes,
    onProgress: report,
  });
}
