/** A Hew model as a GGUF file that llama.cpp runs. */
import { closeSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { diagnostic, fail, HewError } from '../../ir/diagnostics.js';
import { toFloat32 } from '../checkpoint/dtypes.js';
import { openForReading } from '../checkpoint/safetensors.js';
import type { TensorEntry } from '../checkpoint/write-safetensors.js';
import type { ModelOptions, OpenedModel } from '../compile.js';
import { bytesOf, describeModel } from '../huggingface/describe.js';
import { type JsonObject, numberIn, own } from '../huggingface/facts.js';
import {
  type GgufArchitecture,
  ggufArchitectures,
  ggufName,
  rotatedHeads,
  rowOrder,
} from './architectures.js';
import { encodeBlocks, type WritableType } from './blocks.js';
import { type MetadataValue, tensorTypes } from './format.js';
import { readHeader } from './header.js';
import { reordered } from './import.js';
import { frequencyTensor, ropeEntries } from './rope.js';
import { tokenizerMetadata } from './tokenizer.js';
import { type GgufEntry, writeGguf } from './write.js';

export interface GgufOptions extends ModelOptions {
  /** What matrices are stored as; default F16. Vectors are F32. */
  readonly type?: WritableType | undefined;
}

/**
 * Writes the file and reads its head back. Fails with HEW3164 for a model that no configuration describes, HEW3165 for
 * one that GGUF has no words for, HEW8003 when the file cannot be written.
 */
export async function exportGguf(
  model: OpenedModel,
  options: GgufOptions,
  output: string,
): Promise<{ readonly notes: readonly string[] }> {
  const { architecture, config, tensors } = await describeModel(model, options);
  const target = ggufArchitectures.find(({ name }) => name === architecture.gguf);
  if (target === undefined) {
    return inexpressible(`models of the architecture ${architecture.names[0]}`, [
      `it has ${ggufArchitectures.map(({ name }) => name).join(', ')}`,
    ]);
  }
  if (
    architecture.parts({ config, directory: '', weights: '', tensors: new Map() }).includes('layers-window')
  )
    inexpressible(`a sliding window in models of the kind ${target.name}`);
  const { type = 'F16' } = options;
  const width =
    numberIn(config, 'head_dim') ?? size(config, 'hidden_size') / size(config, 'num_attention_heads');
  const rope = ropeEntries(config, target.name, width);
  if ('problem' in rope) return inexpressible(rope.problem);
  const tokenizer = tokenizerEntries(model, config);
  const metadata = new Map<string, MetadataValue>([
    ...generalEntries(basename(output, '.gguf'), target, type),
    ...sizeEntries(config, target.name, width),
    ...rope.metadata,
    ...tokenizer,
  ]);
  const order = target.permuted ? rowOrder(width, 'gguf') : undefined;
  const entries = [
    ...(rope.divisors === undefined ? [] : [vector(frequencyTensor, rope.divisors)]),
    ...tensors.map((entry) => ggufEntry(entry, type, order)),
  ];
  await writeGguf(output, metadata, entries);
  checkWritten(output, entries);
  return { notes: notesOf(entries, type, metadata) };
}

function inexpressible(what: string, notes: readonly string[] = []): never {
  throw new HewError([diagnostic('HEW3165', `GGUF has no way to say it: ${what}`, { notes })]);
}

const size = (config: JsonObject, key: string): number =>
  numberIn(config, key) ?? fail('HEW3002', `the configuration value '${key}' is missing`);

// ---- metadata

const text = (value: string): MetadataValue => ({ type: 'string', value });
const u32 = (value: number): MetadataValue => ({ type: 'u32', value });

/** `general.file_type` of files whose matrices are mostly of a type (enum llama_ftype). */
const fileTypes: Record<WritableType, number> = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 7, BF16: 32 };

type Entries = readonly (readonly [string, MetadataValue])[];

function generalEntries(name: string, { name: architecture }: GgufArchitecture, type: WritableType): Entries {
  return [
    ['general.architecture', text(architecture)],
    ['general.name', text(name)],
    ['general.file_type', u32(fileTypes[type])],
    ['general.quantization_version', u32(2)],
  ];
}

function sizeEntries(config: JsonObject, prefix: string, width: number): Entries {
  const heads = size(config, 'num_attention_heads');
  const rows: readonly (readonly [string, number])[] = [
    ['vocab_size', size(config, 'vocab_size')],
    ['context_length', size(config, 'max_position_embeddings')],
    ['embedding_length', size(config, 'hidden_size')],
    ['block_count', size(config, 'num_hidden_layers')],
    ['feed_forward_length', size(config, 'intermediate_size')],
    ['attention.head_count', heads],
    ['attention.head_count_kv', numberIn(config, 'num_key_value_heads') ?? heads],
    ['attention.key_length', width],
    ['attention.value_length', width],
  ];
  const eps = numberIn(config, 'rms_norm_eps') ?? 1e-6;
  return [
    ...rows.map(([key, value]) => [`${prefix}.${key}`, u32(value)] as const),
    [`${prefix}.attention.layer_norm_rms_epsilon`, { type: 'f32', value: eps }],
  ];
}

function tokenizerEntries({ tokenizerFile, module }: OpenedModel, config: JsonObject): Entries {
  if (tokenizerFile === undefined) return [['tokenizer.ggml.model', text('none')]];
  const found = tokenizerMetadata(
    JSON.parse(readFileSync(tokenizerFile, 'utf8')),
    size(config, 'vocab_size'),
  );
  if ('problem' in found) return inexpressible(found.problem);
  const stop = module.sampler?.settings.stop;
  const id = (key: string, otherwise?: unknown): Entries => {
    const given = [own(config, key) ?? otherwise ?? []].flat()[0];
    return typeof given === 'number' && given >= 0 ? [[`tokenizer.ggml.${key}`, u32(given)]] : [];
  };
  return [...id('bos_token_id'), ...id('eos_token_id', stop), ...id('pad_token_id'), ...found];
}

// ---- tensors

function vector(name: string, values: readonly number[]): GgufEntry {
  const data = (): Uint8Array[] => [encodeBlocks('F32', Float32Array.from(values))];
  return { name, type: 'F32', shape: [values.length], data };
}

/** Rows of a matrix that are converted at a time. */
const chunkValues = 2 ** 20;

function ggufEntry(
  entry: TensorEntry,
  wanted: WritableType,
  order: readonly number[] | undefined,
): GgufEntry {
  const name = ggufName(entry.name) ?? inexpressible(`the tensor '${entry.name}'`);
  const { shape } = entry;
  const type = typeOf(name, shape, wanted);
  const moved = rotatedHeads(entry.name) === undefined ? undefined : order;
  return {
    name,
    type,
    shape,
    *data() {
      const values = toFloat32(entry.dtype, inOrder(bytesOf(entry), shape[0] as number, moved));
      const step = Math.max(1, Math.floor(chunkValues / (shape.at(-1) as number))) * (shape.at(-1) as number);
      for (let i = 0; i < values.length; i += step) yield encodeBlocks(type, values.subarray(i, i + step));
    },
  };
}

function inOrder(bytes: Uint8Array, rows: number, order: readonly number[] | undefined): Uint8Array {
  if (order === undefined) return bytes;
  const heads = rows / order.length;
  const all = Array.from({ length: heads }, (_, head) =>
    order.map((row) => head * order.length + row),
  ).flat();
  return reordered(bytes, all, bytes.length / rows);
}

/**
 * Vectors are F32, as llama.cpp adds them. Rows that are no whole blocks become F16, and embedding and head are not
 * stored in less than 8 bits.
 */
function typeOf(name: string, shape: readonly number[], wanted: WritableType): WritableType {
  if (shape.length < 2) return 'F32';
  const coarse = wanted === 'Q4_0' && (name === 'token_embd.weight' || name === 'output.weight');
  const type = coarse ? 'Q8_0' : wanted;
  return (shape.at(-1) as number) % tensorTypes[type].values === 0 ? type : 'F16';
}

// ---- what was written

function checkWritten(path: string, entries: readonly GgufEntry[]): void {
  const file = openForReading(path);
  try {
    const { tensors } = readHeader(file);
    const wrong = entries.find(({ name, type, shape }) => {
      const found = tensors.get(name);
      return found?.type !== type || found.shape.join() !== shape.join();
    });
    if (wrong !== undefined || tensors.size !== entries.length)
      fail('HEW9001', `${path} was read back with other tensors than were written`);
  } finally {
    closeSync(file.fd);
  }
}

function notesOf(
  entries: readonly GgufEntry[],
  wanted: WritableType,
  metadata: ReadonlyMap<string, MetadataValue>,
): string[] {
  const matrices = entries.filter(({ shape }) => shape.length > 1);
  const counts = Map.groupBy(matrices, ({ type }) => type);
  const listed = [...counts].map(([type, list]) => `${list.length} of ${type}`).join(', ');
  const odd = matrices.find(
    ({ type, shape }) => type === 'F16' && (shape.at(-1) as number) % tensorTypes[wanted].values !== 0,
  );
  return [
    `matrices: ${listed}`,
    ...(odd === undefined
      ? []
      : [`rows that are no multiple of ${tensorTypes[wanted].values} are F16, such as ${odd.name}`]),
    ...(metadata.get('tokenizer.ggml.model')?.value === 'none'
      ? ['no tokenizer: programs have to give token ids']
      : []),
  ];
}
