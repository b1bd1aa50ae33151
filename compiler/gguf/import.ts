/**
 * A GGUF file as a Hugging Face directory: config.json, safetensors, tokenizer.json, and the spec that `hew import`
 * writes for such a directory. Tensors are read and converted a few rows at a time.
 */
import { closeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Diagnostic, diagnostic, fail } from '../../ir/diagnostics.js';
import { writeNewDirectory } from '../atomic-write.js';
import { type OpenFile, openForReading, readRange } from '../checkpoint/safetensors.js';
import { type TensorEntry, writeSafetensors } from '../checkpoint/write-safetensors.js';
import type { JsonObject } from '../huggingface/facts.js';
import { importHuggingFace } from '../huggingface/import.js';
import {
  type GgufArchitecture,
  ggufArchitectures,
  huggingFaceName,
  rotatedHeads,
  rowOrder,
} from './architectures.js';
import { decodeBlocks, encodeBlocks } from './blocks.js';
import type { GgufTensor, TensorType } from './format.js';
import { type GgufHeader, readHeader } from './header.js';
import { frequencyTensor, scalingOf } from './rope.js';
import { tokenizerJson } from './tokenizer.js';

export const floatTypes = { f32: 'F32', f16: 'F16', bf16: 'BF16' } as const;
export type FloatType = keyof typeof floatTypes;

export interface GgufImport {
  readonly file: string;
  /** Directory to make; an empty one is replaced. */
  readonly output: string;
  /** What quantized tensors are stored as; f32 holds their values exactly. */
  readonly dtype?: FloatType | undefined;
  readonly set?: Readonly<Record<string, string>> | undefined;
}

export interface ImportedGguf {
  readonly files: readonly string[];
  readonly warnings: readonly Diagnostic[];
}

/** Fails with HEW3161 or HEW3162 for the file, HEW8003 for the directory, and as `importHuggingFace` does. */
export async function importGguf({ file: path, output, dtype, set }: GgufImport): Promise<ImportedGguf> {
  const file = openForReading(path);
  try {
    const model = readModel(file);
    const files = ['model.hew', 'config.json', 'model.safetensors'];
    const warnings: Diagnostic[] = [];
    await writeNewDirectory(output, async (directory) => {
      await writeJson(join(directory, 'config.json'), model.config);
      const tokenizer = tokenizerJson(model.header.metadata);
      if ('problem' in tokenizer) warnings.push(withoutTokenizer(path, String(tokenizer.problem)));
      else {
        await writeJson(join(directory, 'tokenizer.json'), tokenizer);
        files.push('tokenizer.json');
      }
      await writeSafetensors(join(directory, 'model.safetensors'), entriesOf(model, file, dtype ?? 'f32'));
      const imported = await importHuggingFace({ directory, set });
      warnings.push(...imported.warnings);
    });
    return { files, warnings };
  } finally {
    closeSync(file.fd);
  }
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFile(path, `${JSON.stringify(value, undefined, 2)}\n`);
}

function withoutTokenizer(path: string, problem: string): Diagnostic {
  return diagnostic('HEW3162', `${path} is imported without its tokenizer: ${problem}`, {
    severity: 'warning',
    help: 'put the tokenizer.json of the model beside the spec, and name it there',
  });
}

// ---- metadata to configuration

interface GgufModel {
  readonly header: GgufHeader;
  readonly architecture: GgufArchitecture;
  readonly config: JsonObject;
}

function readModel(file: OpenFile): GgufModel {
  const header = readHeader(file);
  const refuse = (what: string): never =>
    fail('HEW3162', `${file.path}: ${what}`, {
      help: `architectures that Hew reads: ${ggufArchitectures.map(({ name }) => name).join(', ')}`,
    });
  const name = header.metadata.get('general.architecture')?.value;
  const architecture =
    ggufArchitectures.find((each) => each.name === name) ??
    refuse(`its architecture is ${JSON.stringify(name)}`);
  const odd = [...header.tensors.keys()].find(
    (tensor) => tensor !== frequencyTensor && huggingFaceName(tensor) === undefined,
  );
  if (odd !== undefined) refuse(`the tensor '${odd}' is not part of an ordinary ${architecture.name} model`);
  return { header, architecture, config: configOf(header, architecture, file, refuse) };
}

function configOf(
  { metadata, tensors }: GgufHeader,
  { name: prefix, huggingFace }: GgufArchitecture,
  file: OpenFile,
  refuse: (what: string) => never,
): JsonObject {
  const optional = (key: string): number | undefined => {
    const entry = metadata.get(key);
    const values = entry?.type === 'array' ? [...new Set(entry.value)] : [entry?.value];
    if (values.length > 1) refuse(`'${key}' differs from layer to layer`);
    return typeof values[0] === 'number' ? values[0] : undefined;
  };
  const number = (key: string): number =>
    optional(`${prefix}.${key}`) ?? refuse(`the metadata lacks the number '${prefix}.${key}'`);
  const heads = number('attention.head_count');
  const hidden = number('embedding_length');
  const width = optional(`${prefix}.attention.key_length`) ?? hidden / heads;
  const rotary = optional(`${prefix}.rope.dimension_count`) ?? width;
  if (rotary !== width) refuse(`${rotary} of the ${width} channels of a head are rotary`);
  if ((optional(`${prefix}.expert_count`) ?? 0) > 0) refuse('it has experts');
  const theta = optional(`${prefix}.rope.freq_base`) ?? 10_000;
  const frequencies = tensors.get(frequencyTensor);
  const divisors = frequencies && [
    ...decodeBlocks(frequencies.type, bytesOf(file, frequencies), frequencyTensor),
  ];
  const scaling = scalingOf(metadata, prefix, theta, divisors);
  if (scaling !== null && 'problem' in scaling) refuse(String(scaling.problem));
  const biased = (part: string): boolean => tensors.has(`blk.0.${part}.bias`);
  const vocab = tensors.get('token_embd.weight')?.shape[0];
  return {
    architectures: [huggingFace],
    model_type: prefix,
    hidden_act: 'silu',
    hidden_size: hidden,
    intermediate_size: number('feed_forward_length'),
    num_hidden_layers: number('block_count'),
    num_attention_heads: heads,
    num_key_value_heads: optional(`${prefix}.attention.head_count_kv`) ?? heads,
    head_dim: width,
    vocab_size: vocab ?? refuse('it has no embedding'),
    max_position_embeddings: number('context_length'),
    rms_norm_eps: number('attention.layer_norm_rms_epsilon'),
    rope_theta: theta,
    rope_scaling: scaling,
    tie_word_embeddings: !tensors.has('output.weight'),
    ...(prefix === 'llama'
      ? biased('attn_q') === biased('attn_output') && { attention_bias: biased('attn_q') }
      : { use_sliding_window: false }),
    ...idOf('bos_token_id', optional('tokenizer.ggml.bos_token_id')),
    ...idOf('eos_token_id', optional('tokenizer.ggml.eos_token_id')),
  };
}

function idOf(key: string, id: number | undefined): JsonObject {
  return id === undefined ? {} : { [key]: id };
}

// ---- tensors

function bytesOf(file: OpenFile, { offset, bytes }: GgufTensor): Uint8Array<ArrayBuffer> {
  return readRange(file, offset, bytes, 'HEW3161');
}

function entriesOf(
  { header, architecture, config }: GgufModel,
  file: OpenFile,
  dtype: FloatType,
): TensorEntry[] {
  const order = rowOrder(config.head_dim as number, 'huggingface');
  return [...header.tensors.values()].flatMap((tensor) => {
    const name = huggingFaceName(tensor.name);
    if (name === undefined) return [];
    const moved = architecture.permuted && rotatedHeads(name) !== undefined ? order : undefined;
    const target = keptType(tensor.type) ?? dtype;
    return [{ name, dtype: target, shape: tensor.shape, data: () => converted(file, tensor, target, moved) }];
  });
}

/** Floats of 16 and 32 bits stay what they are. */
function keptType(type: TensorType): FloatType | undefined {
  return (Object.keys(floatTypes) as FloatType[]).find((name) => floatTypes[name] === type);
}

const chunkBytes = 4 * 2 ** 20;

/** The bytes of a tensor in another type, rows of each head in another order if one is given. */
function* converted(
  file: OpenFile,
  tensor: GgufTensor,
  dtype: FloatType,
  order: readonly number[] | undefined,
): Generator<Uint8Array> {
  const { name, type, shape, offset, bytes } = tensor;
  // A bias has a row for each output too.
  const rows = shape.length > 1 || order !== undefined ? (shape[0] as number) : 1;
  const rowBytes = bytes / rows;
  const step = order?.length ?? Math.max(1, Math.floor(chunkBytes / rowBytes));
  if (order !== undefined && rows % step !== 0)
    fail('HEW3161', `${file.path}: '${name}' has ${rows} rows, which are no whole heads of ${step}`);
  for (let row = 0; row < rows; row += step) {
    const count = Math.min(step, rows - row);
    const chunk = readRange(file, offset + row * rowBytes, count * rowBytes, 'HEW3161');
    const inOrder = order === undefined ? chunk : reordered(chunk, order, rowBytes);
    yield floatTypes[dtype] === type
      ? inOrder
      : encodeBlocks(floatTypes[dtype], decodeBlocks(type, inOrder, name));
  }
}

/** Row r of the result is row `order[r]`. */
export function reordered(
  bytes: Uint8Array,
  order: readonly number[],
  rowBytes: number,
): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes.length);
  order.forEach((from, row) => {
    out.set(bytes.subarray(from * rowBytes, (from + 1) * rowBytes), row * rowBytes);
  });
  return out;
}
