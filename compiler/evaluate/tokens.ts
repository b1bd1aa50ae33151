/** Quality of a language model on given tokens. */
import { closeSync } from 'node:fs';
import type { Model } from '../../backends/wasm/runtime/load.js';
import { score } from '../../backends/wasm/runtime/load.js';
import { scoreRows } from '../../backends/wasm/runtime/score.js';
import { didYouMean, fail } from '../../ir/diagnostics.js';
import { nameOf } from '../../ir/dim.js';
import { dimRange, type Module } from '../../ir/module.js';
import { type Checkpoint, openCheckpoint, type TensorInfo } from '../checkpoint/checkpoint.js';
import { isSystemError, openForReading, readRange } from '../checkpoint/safetensors.js';
import type { Executor, ExecutorCall } from '../executor.js';

/** Windows of token ids; each is scored from an empty context. */
export type TokenWindows = readonly Int32Array[];

export interface TokenReport {
  readonly windows: number;
  /** Tokens that were predicted: all but the first of each window. */
  readonly tokens: number;
  /** Mean negative log-likelihood per predicted token, in nats. */
  readonly nll: number;
  /** exp(nll). */
  readonly perplexity: number;
  /** Mean negative log-likelihood of each window. */
  readonly windowNll: readonly number[];
}

/** Mean NLL and perplexity over all windows. Fails with a LoadError for ids that the model does not know. */
export function evaluateTokens(
  model: Model,
  windows: TokenWindows,
  onProgress: (done: number, total: number) => void = () => {},
): TokenReport {
  const scores = windows.map((window, i) => {
    const found = score(model, window);
    onProgress(i + 1, windows.length);
    return found;
  });
  return tokenReport(scores);
}

/** Of log-probabilities of the predicted tokens, by window. */
function tokenReport(scores: readonly Float64Array[]): TokenReport {
  const sums = scores.map((window) => -window.reduce((sum, value) => sum + value, 0));
  const counts = scores.map((window) => window.length);
  const tokens = counts.reduce((sum, count) => sum + count, 0);
  const nll = sums.reduce((sum, value) => sum + value, 0) / tokens;
  return {
    windows: scores.length,
    tokens,
    nll,
    perplexity: Math.exp(nll),
    windowNll: sums.map((sum, i) => sum / (counts[i] as number)),
  };
}

/** `evaluateTokens` for a model of any size: the same figures, to the bit. */
export async function evaluateWindows(
  executor: Executor,
  module: Module,
  windows: TokenWindows,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<TokenReport> {
  const scores = windows.map((window) => new Float64Array(window.length - 1));
  const parts = windows.map((window, i) => promptParts(module, window.length - 1, i));
  const sequences = windows.map((window, i) =>
    (parts[i] ?? []).map((part) => callOf(module, part, window.subarray(part.start, part.end))),
  );
  await executor.run(
    { sequences, outputs: ['logits'] },
    {
      outputs: (i, call, { logits }) => {
        const part = parts[i]?.[call] as PromptPart;
        const targets = [...(windows[i] as Int32Array).subarray(part.start + 1, part.end + 1)];
        scores[i]?.set(scoreRows(logits as Float32Array, targets), part.start);
      },
      progress: onProgress,
    },
  );
  return tokenReport(scores);
}

/** Positions of a window that one call reads. */
interface PromptPart {
  readonly entry: 'prefill' | 'decode';
  readonly start: number;
  readonly end: number;
}

/** Calls that read `count` tokens, by the conventions of the loader (runtime/language-model.ts). */
function promptParts(module: Module, count: number, window: number): PromptPart[] {
  if (count < 1)
    fail('HEW7005', `window ${window} has ${count + 1} tokens and cannot be scored; give at least two`);
  const symbol = idsSymbol(module, 'prefill');
  const { min, max } = symbol === undefined ? { min: 1, max: 0 } : dimRange(module, symbol);
  const parts: PromptPart[] = [];
  for (let start = 0; start < count; ) {
    const length = Math.min(max, count - start);
    const fits = length >= Math.max(min, 1);
    if (!fits && !module.functions.has('decode'))
      fail('HEW7008', 'the model has no entry that reads tokens: it needs prefill or decode');
    const end = start + (fits ? length : 1);
    parts.push({ entry: fits ? 'prefill' : 'decode', start, end });
    start = end;
  }
  return parts;
}

/** The run-time symbol that counts the ids of an entry. */
function idsSymbol(module: Module, entry: string): string | undefined {
  const [length] = module.functions.get(entry)?.args.find(({ name }) => name === 'ids')?.type.shape ?? [];
  return length && nameOf(length);
}

function callOf(module: Module, { entry }: PromptPart, ids: Int32Array): ExecutorCall {
  const symbol = idsSymbol(module, entry);
  return { entry, inputs: { ids }, symbols: new Map(symbol === undefined ? [] : [[symbol, ids.length]]) };
}

export interface TokenFileOptions {
  /** Name of the tensor in a safetensors file; not needed when there is only one. */
  readonly tensor?: string | undefined;
  /** Tokens per window where the file has no rows; 513 by default, the last window may be shorter. */
  readonly window?: number | undefined;
}

const defaultWindow = 513;

/**
 * Reads a token file: `.safetensors` with integers [windows, length] or [length], or raw little-endian `.u16` or
 * `.u32`. Fails with HEW3001, HEW3006 or HEW4001..4003, and with HEW3009 for a file that holds no tokens.
 */
export function readTokenFile(path: string, options: TokenFileOptions = {}): TokenWindows {
  const { window = defaultWindow } = options;
  const rows = path.endsWith('.safetensors') ? tensorRows(path, options.tensor) : [readRaw(path)];
  const windows = rows.length > 1 ? rows : split(rows[0] as Int32Array, window);
  return windows.length > 0 ? windows : fail('HEW3009', `${path} holds fewer than two tokens`);
}

/** A window of one token predicts nothing. */
function split(tokens: Int32Array, window: number): Int32Array[] {
  const windows: Int32Array[] = [];
  for (let start = 0; start + 1 < tokens.length; start += window)
    windows.push(tokens.slice(start, start + window));
  return windows.filter((part) => part.length > 1);
}

const rawTypes = { '.u16': Uint16Array, '.u32': Uint32Array } as const;
const maxRawBytes = 2 ** 30;

function readRaw(path: string): Int32Array {
  const ending = Object.keys(rawTypes).find((candidate) => path.endsWith(candidate));
  if (ending === undefined) {
    return fail('HEW3009', `${path} is not a token file`, {
      help: 'token files end in .safetensors, .u16 or .u32',
    });
  }
  const ArrayType = rawTypes[ending as keyof typeof rawTypes];
  const file = openForReading(path);
  try {
    if (file.size > maxRawBytes) fail('HEW3006', `${path} has ${file.size} bytes; at most ${maxRawBytes}`);
    if (file.size % ArrayType.BYTES_PER_ELEMENT !== 0)
      fail('HEW3009', `${path} has ${file.size} bytes, which is no whole number of tokens`);
    return Int32Array.from(new ArrayType(readRange(file, 0, file.size, 'HEW3009').buffer));
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return fail('HEW3001', `${path} cannot be read: ${error.message}`);
  } finally {
    closeSync(file.fd);
  }
}

function tensorRows(path: string, name: string | undefined): Int32Array[] {
  const checkpoint = openCheckpoint(path);
  try {
    const info = chooseTensor(checkpoint, name);
    const values = integers(checkpoint, info);
    const length = info.shape.at(-1) ?? 0;
    if (info.shape.length < 1 || info.shape.length > 2 || values.length === 0) {
      fail(
        'HEW4003',
        `tensor '${info.name}' is [${info.shape.join(', ')}], not [windows, length] or [length]`,
      );
    }
    return Array.from({ length: values.length / length }, (_, row) =>
      values.slice(row * length, (row + 1) * length),
    );
  } finally {
    checkpoint.close();
  }
}

function chooseTensor({ path, tensors }: Checkpoint, name: string | undefined): TensorInfo {
  const names = [...tensors.keys()];
  if (name !== undefined) {
    const found = tensors.get(name);
    const help = didYouMean(name, names) ?? `it has: ${names.join(', ')}`;
    return found ?? fail('HEW4002', `${path} has no tensor '${name}'`, { help });
  }
  const [only, ...others] = [...tensors.values()];
  if (only !== undefined && others.length === 0) return only;
  return fail('HEW4002', `${path} has ${names.length} tensors; which of them holds the tokens is not said`, {
    help: `say which one: ${names.join(', ')}`,
  });
}

/** Values of an integer tensor that fit 31 bits. Fails with HEW4003 for others. */
export function integers(checkpoint: Checkpoint, { name, dtype }: TensorInfo): Int32Array {
  const { buffer } = checkpoint.read(name);
  const readers: Partial<Record<TensorInfo['dtype'], () => Int32Array>> = {
    i32: () => new Int32Array(buffer),
    i64: () => Int32Array.from(new BigInt64Array(buffer), toInt32),
    u32: () => Int32Array.from(new Uint32Array(buffer), toInt32),
    u16: () => Int32Array.from(new Uint16Array(buffer)),
    i16: () => Int32Array.from(new Int16Array(buffer)),
    u8: () => Int32Array.from(new Uint8Array(buffer)),
    i8: () => Int32Array.from(new Int8Array(buffer)),
  };
  const read = readers[dtype];
  return read === undefined ? fail('HEW4003', `tensor '${name}' is ${dtype}, not integers`) : read();
}

/** Ids beyond 31 bits become -1, which no vocabulary has. */
function toInt32(value: bigint | number): number {
  return value >= 0 && value < 2 ** 31 ? Number(value) : -1;
}
