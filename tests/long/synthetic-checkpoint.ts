/** Checkpoints of any size with reproducible small random weights, written as streams. */
import { writeSafetensors } from '../../compiler/checkpoint/write-safetensors.js';

export interface PanguSizes {
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly intermediate_size: number;
  readonly vocab_size: number;
}

/** Names and shapes of a dense sandwich-norm decoder with untied embeddings. */
function* tensorShapes(c: PanguSizes): Generator<readonly [string, readonly number[]]> {
  const { hidden_size: d, head_dim: hd, intermediate_size: ffn } = c;
  const [q, kv] = [c.num_attention_heads * hd, c.num_key_value_heads * hd];
  yield ['model.embed_tokens.weight', [c.vocab_size, d]];
  yield ['lm_head.weight', [c.vocab_size, d]];
  yield ['model.norm.weight', [d]];
  for (let i = 0; i < c.num_hidden_layers; i++) {
    const layer = `model.layers.${i}`;
    for (const norm of [
      'input_layernorm',
      'post_attention_layernorm',
      'pre_mlp_layernorm',
      'post_mlp_layernorm',
    ]) {
      yield [`${layer}.${norm}.weight`, [d]];
    }
    yield [`${layer}.self_attn.q_proj.weight`, [q, d]];
    yield [`${layer}.self_attn.k_proj.weight`, [kv, d]];
    yield [`${layer}.self_attn.v_proj.weight`, [kv, d]];
    yield [`${layer}.self_attn.o_proj.weight`, [d, q]];
    yield [`${layer}.mlp.gate_proj.weight`, [ffn, d]];
    yield [`${layer}.mlp.up_proj.weight`, [ffn, d]];
    yield [`${layer}.mlp.down_proj.weight`, [d, ffn]];
  }
}

const chunkElements = 1 << 20;

/** Sign and exponent of bf16 values whose mantissas are random: weights of about ±0.03, and gammas from 0.5 to 1. */
const [weight, gamma] = [
  { signs: 1 << 15, exponent: 0x3c80 },
  { signs: 0, exponent: 0x3f00 },
];

/** The bits are those of a linear congruential generator. */
function* values(
  count: number,
  seed: number,
  { signs, exponent }: { readonly signs: number; readonly exponent: number },
): Generator<Uint8Array> {
  let state = seed >>> 0;
  for (let start = 0; start < count; start += chunkElements) {
    const chunk = new Uint16Array(Math.min(chunkElements, count - start));
    for (let i = 0; i < chunk.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      chunk[i] = ((state >>> 16) & signs) | exponent | ((state >>> 20) & 0x7f);
    }
    yield new Uint8Array(chunk.buffer);
  }
}

type TensorShapes = Iterable<readonly [string, readonly number[]]>;

async function writeSynthetic(path: string, shapes: TensorShapes): Promise<void> {
  const entries = [...shapes].map(([name, shape], i) => {
    const count = shape.reduce((product, n) => product * n, 1);
    return {
      name,
      dtype: 'bf16' as const,
      shape,
      data: () => values(count, i + 1, name.endsWith('norm.weight') ? gamma : weight),
    };
  });
  await writeSafetensors(path, entries);
}

export const writeSyntheticPangu = (path: string, sizes: PanguSizes): Promise<void> =>
  writeSynthetic(path, tensorShapes(sizes));

/** The names are those of config.json. */
export interface DitSizes {
  readonly hidden_size: number;
  readonly depth: number;
  readonly num_heads: number;
  readonly patch_size: number;
  readonly input_size: number;
  readonly in_channels: number;
  readonly num_classes: number;
}

/** Names and shapes of a DiT whose last layer predicts the noise and no variance. */
function* ditShapes(c: DitSizes): Generator<readonly [string, readonly number[]]> {
  const d = c.hidden_size;
  const linear = function* (name: string, out: number, inner: number) {
    yield [`${name}.weight`, [out, inner]] as const;
    yield [`${name}.bias`, [out]] as const;
  };
  yield ['x_embedder.proj.weight', [d, c.in_channels, c.patch_size, c.patch_size]];
  yield ['x_embedder.proj.bias', [d]];
  yield* linear('t_embedder.mlp.0', d, 256);
  yield* linear('t_embedder.mlp.2', d, d);
  yield ['y_embedder.embedding_table.weight', [c.num_classes + 1, d]];
  for (let i = 0; i < c.depth; i++) {
    yield* linear(`blocks.${i}.adaLN_modulation.1`, 6 * d, d);
    yield* linear(`blocks.${i}.attn.qkv`, 3 * d, d);
    yield* linear(`blocks.${i}.attn.proj`, d, d);
    yield* linear(`blocks.${i}.mlp.fc1`, 4 * d, d);
    yield* linear(`blocks.${i}.mlp.fc2`, d, 4 * d);
  }
  yield* linear('final_layer.adaLN_modulation.1', 2 * d, d);
  yield* linear('final_layer.linear', c.patch_size ** 2 * c.in_channels, d);
}

export const writeSyntheticDit = (path: string, sizes: DitSizes): Promise<void> =>
  writeSynthetic(path, ditShapes(sizes));
