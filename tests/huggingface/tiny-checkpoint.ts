/** Small Hugging Face directories with random weights: the names and shapes of each family, spelled out. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeSafetensors } from '../../compiler/checkpoint/write-safetensors.js';
import { encodeBytes, roundTo } from '../../ir/numeric.js';
import { randomFrom, seedOf } from '../conformance/random.js';
import type { Config, Weights } from './reference.js';

export type Shapes = Readonly<Record<string, readonly number[]>>;

/** Values as they are stored: around 1 for norms, small for biases, about 1 / sqrt(fan-in) for matrices. */
export function randomWeights(
  shapes: Shapes,
  dtype: 'f32' | 'f16' | 'bf16' = 'f32',
): Map<string, Float64Array> {
  return new Map(
    Object.entries(shapes).map(([name, shape]) => {
      const random = randomFrom(seedOf(name));
      const isNorm = /norm|ln_|router_scale/.test(name) && name.endsWith('bias') === false;
      const spread = shape.length === 1 ? 0.3 : 1.5 / Math.sqrt(shape.at(-1) as number);
      const count = shape.reduce((product, size) => product * size, 1);
      const values = Float64Array.from({ length: count }, () =>
        roundTo[dtype]((isNorm ? 1 : 0) + spread * (2 * random() - 1)),
      );
      return [name, values];
    }),
  );
}

export function weightsOf(values: ReadonlyMap<string, Float64Array>, shapes: Shapes): Weights {
  const get = (name: string): Float64Array => {
    const found = values.get(name);
    if (found === undefined) throw new Error(`the reference asks for ${name}`);
    return found;
  };
  return {
    has: (name) => values.has(name),
    vector: get,
    matrix: (name) => {
      const [rows = 0, columns = 0] = shapes[name] ?? [];
      return Array.from({ length: rows }, (_, i) => get(name).subarray(i * columns, (i + 1) * columns));
    },
  };
}

export interface TinyCheckpoint {
  readonly config: Config;
  readonly shapes: Shapes;
  readonly dtype?: 'f32' | 'f16' | 'bf16';
}

/** Writes the directory; gives the weights for the reference. */
export async function writeCheckpoint(
  directory: string,
  { config, shapes, dtype = 'f32' }: TinyCheckpoint,
): Promise<Weights> {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config));
  const values = randomWeights(shapes, dtype);
  await writeSafetensors(
    join(directory, 'model.safetensors'),
    Object.entries(shapes).map(([name, shape]) => ({
      name,
      dtype,
      shape,
      data: encodeBytes(dtype, [...(values.get(name) as Float64Array)]),
    })),
  );
  return weightsOf(values, shapes);
}

const size = (config: Config, key: string): number => config[key] as number;

interface DecoderOptions {
  readonly biases?: readonly ('q_proj' | 'k_proj' | 'v_proj' | 'o_proj')[];
  readonly qkNorms?: boolean;
  readonly sandwich?: boolean;
  readonly ffn?: (layer: number, prefix: string) => Shapes;
}

/** The tensors of a decoder with grouped-query attention. */
export function decoderShapes(config: Config, options: DecoderOptions = {}): Shapes {
  const d = size(config, 'hidden_size');
  const heads = size(config, 'num_attention_heads');
  const kv = (config.num_key_value_heads as number | undefined) ?? heads;
  const hd = (config.head_dim as number | undefined) ?? d / heads;
  const rows = { q_proj: heads * hd, k_proj: kv * hd, v_proj: kv * hd, o_proj: d };
  const attention = (prefix: string): Shapes =>
    Object.fromEntries([
      ...Object.entries(rows).map(([name, out]) => [
        `${prefix}.${name}.weight`,
        [out, name === 'o_proj' ? heads * hd : d],
      ]),
      ...(options.biases ?? []).map((name) => [`${prefix}.${name}.bias`, [rows[name]]]),
      ...(options.qkNorms ? ['q_norm', 'k_norm'].map((name) => [`${prefix}.${name}.weight`, [hd]]) : []),
    ]);
  return stackShapes(config, attention, options);
}

/** Everything around attention: embeddings, norms, feed-forward layers, head. */
export function stackShapes(
  config: Config,
  attention: (prefix: string) => Shapes,
  options: DecoderOptions,
): Shapes {
  const d = size(config, 'hidden_size');
  const vocab = size(config, 'vocab_size');
  const norms = [
    'input_layernorm',
    'post_attention_layernorm',
    ...(options.sandwich ? ['pre_mlp_layernorm', 'post_mlp_layernorm'] : []),
  ];
  const {
    ffn = (_layer: number, prefix: string) => swigluShapes(prefix, d, size(config, 'intermediate_size')),
  } = options;
  const layers = Array.from({ length: size(config, 'num_hidden_layers') }, (_, layer): Shapes => {
    const prefix = `model.layers.${layer}`;
    return {
      ...Object.fromEntries(norms.map((name) => [`${prefix}.${name}.weight`, [d]])),
      ...attention(`${prefix}.self_attn`),
      ...ffn(layer, `${prefix}.mlp`),
    };
  });
  return Object.assign(
    { 'model.embed_tokens.weight': [vocab, d], 'model.norm.weight': [d] },
    ...layers,
    config.tie_word_embeddings === true ? {} : { 'lm_head.weight': [vocab, d] },
  );
}

export function swigluShapes(prefix: string, d: number, ffn: number): Shapes {
  return {
    [`${prefix}.gate_proj.weight`]: [ffn, d],
    [`${prefix}.up_proj.weight`]: [ffn, d],
    [`${prefix}.down_proj.weight`]: [d, ffn],
  };
}
